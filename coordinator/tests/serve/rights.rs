//! Tokens that give some rights: what their bearers reach, and how access ends.

use std::{fs, path::Path, time::Duration};

use firn::{
    access::rights::{Right, TABLE, Touches},
    serve::security::{Security, SecurityPaths},
};
use firn_proto::v1alpha1::{
    self as proto, access_service_client::AccessServiceClient, job_service_client::JobServiceClient,
    worker_service_client::WorkerServiceClient,
};
use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorSet};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};
use tonic_types::StatusExt as _;

use crate::server::{Server, job, settings};

const ADMINISTRATOR: &str = "0123456789abcdef0123456789abcdef";

/// Shows a token with every call.
#[derive(Clone)]
struct Bearer(String);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let header = format!("Bearer {}", self.0).parse().unwrap();
        request.metadata_mut().insert("authorization", header);
        Ok(request)
    }
}

type Calls = InterceptedService<Channel, Bearer>;

fn jobs(server: &Server, token: &str) -> JobServiceClient<Calls> {
    JobServiceClient::with_interceptor(server.channel(), Bearer(token.to_owned()))
}

fn access(server: &Server) -> AccessServiceClient<Calls> {
    AccessServiceClient::with_interceptor(server.channel(), Bearer(ADMINISTRATOR.to_owned()))
}

fn guarded(folder: &Path) -> Server {
    let token_file = folder.join("token");
    fs::write(&token_file, ADMINISTRATOR).unwrap();
    let paths = SecurityPaths {
        token_file: Some(token_file),
        ..SecurityPaths::default()
    };
    let mut settings = settings(&folder.join("data"));
    settings.security = Security::load(&paths, settings.listen).unwrap();
    Server::start_with(settings).unwrap()
}

fn wanted(role: &str, namespace: &str, job: &str) -> proto::CreateTokenRequest {
    proto::CreateTokenRequest {
        role: role.to_owned(),
        namespace: namespace.to_owned(),
        job: job.to_owned(),
        ..Default::default()
    }
}

/// The id and the secret of a new token.
async fn issue(server: &Server, request: proto::CreateTokenRequest) -> (String, String) {
    let answer = access(server).create_token(request).await.unwrap().into_inner();
    (answer.token.unwrap().name, answer.secret)
}

async fn submit_into(server: &Server, token: &str, name: &str, namespace: &str) -> Result<proto::FineTuneJob, Status> {
    let mut job = job(name);
    job.metadata.get_or_insert_default().namespace = namespace.to_owned();
    let request = proto::CreateJobRequest {
        job: Some(job),
        ..Default::default()
    };
    Ok(jobs(server, token).create_job(request).await?.into_inner())
}

fn named(name: &str) -> proto::GetJobRequest {
    proto::GetJobRequest {
        name: name.to_owned(),
        ..Default::default()
    }
}

/// Messages as the bytes that they are on the wire.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        use prost::bytes::BufMut as _;
        buffer.put_slice(&item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

impl Decoder for Raw {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        use prost::bytes::Buf as _;
        buffer.advance(buffer.remaining());
        Ok(Some(()))
    }
}

/// A message of `message` that names the job where such a message names one.
fn naming(descriptors: &FileDescriptorSet, message: &str, job: &str) -> Option<Vec<u8>> {
    let all = || descriptors.file.iter().flat_map(|file| &file.message_type);
    let described: &DescriptorProto = all().find(|found| message.ends_with(&format!(".{}", found.name())))?;
    if described.name() == "RankIdentity" {
        let identity = proto::RankIdentity {
            job: job.to_owned(),
            process_id: "p1".to_owned(),
            generation: 1,
            coordinator_epoch: 1,
        };
        return Some(identity.encode_to_vec());
    }
    described.field.iter().find_map(|field| {
        let inside = match field.name() {
            "name" => job.as_bytes().to_vec(),
            "identity" | "header" => naming(descriptors, field.type_name(), job)?,
            _ => return None,
        };
        let mut bytes = Vec::new();
        prost::encoding::bytes::encode(u32::try_from(field.number()).unwrap(), &inside, &mut bytes);
        Some(bytes)
    })
}

/// What a method answers, whatever kind of stream it has.
async fn answer(server: &Server, token: &str, path: &str, message: Vec<u8>) -> Status {
    let service = InterceptedService::new(server.channel(), Bearer(token.to_owned()));
    let mut grpc = Grpc::new(service);
    grpc.ready().await.unwrap();
    let request = Request::new(tokio_stream::iter([message]));
    match grpc.streaming(request, path.parse().unwrap(), Raw).await {
        Err(status) => status,
        Ok(response) => match response.into_inner().message().await {
            Ok(_) => Status::ok("answered"),
            Err(status) => status,
        },
    }
}

#[tokio::test]
async fn no_call_reaches_a_job_that_is_not_within_the_scope_of_its_token() {
    let folder = tempfile::tempdir().unwrap();
    let server = guarded(folder.path());
    submit_into(&server, ADMINISTRATOR, "theirs", "a").await.unwrap();
    let own = submit_into(&server, ADMINISTRATOR, "mine", "b").await.unwrap();
    let own = own.metadata.unwrap().resource_name;
    let submitter = issue(&server, wanted("submitter", "b", "")).await.1;
    let agent = issue(&server, wanted("agent", "b", "")).await.1;
    let agent_of_job = issue(&server, wanted("agent", "", &own)).await.1;
    let reader_of_job = issue(&server, wanted("reader", "", &own)).await.1;
    let descriptors = FileDescriptorSet::decode(firn_proto::FILE_DESCRIPTOR_SET).unwrap();
    let methods = descriptors.file.iter().flat_map(|file| &file.service);
    let methods: Vec<_> = methods
        .flat_map(|service| service.method.iter().map(move |method| (service.name(), method)))
        .collect();
    let mut asked = 0;
    for row in TABLE.iter().filter(|row| row.touches == Touches::Job) {
        let (_, method) = methods
            .iter()
            .find(|(service, method)| *service == row.service && method.name() == row.method)
            .unwrap();
        let path = format!("/firn.v1alpha1.{}/{}", row.service, row.method);
        let callers = match row.right {
            Right::Serve => vec![&agent, &agent_of_job],
            Right::See => vec![&submitter, &reader_of_job],
            _ => vec![&submitter],
        };
        for caller in callers {
            let mut words = Vec::new();
            for job in ["theirs", "absent"] {
                let message = naming(&descriptors, method.input_type(), &format!("jobs/{job}"));
                let message = message.unwrap_or_else(|| panic!("{path}: its message names no job"));
                let status = answer(&server, caller, &path, message).await;
                assert_eq!(status.code(), Code::NotFound, "{path} of jobs/{job}: {status:?}");
                assert_eq!(
                    status.get_details_error_info().unwrap().reason,
                    "JOB_NOT_FOUND",
                    "{path}"
                );
                words.push(status.message().replace(job, "JOB"));
            }
            assert_eq!(words[0], words[1], "{path} tells which jobs there are");
            asked += 1;
        }
    }
    assert!(asked > 40, "only {asked} calls were made");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_role_without_the_right_is_told_which_one_it_takes() {
    let folder = tempfile::tempdir().unwrap();
    let server = guarded(folder.path());
    let mut refused = 0;
    for role in ["submitter", "reader", "agent"] {
        let (_, token) = issue(&server, wanted(role, "", "")).await;
        for row in TABLE {
            let path = format!("/firn.v1alpha1.{}/{}", row.service, row.method);
            let may = row.right.roles().iter().any(|allowed| allowed.word() == role);
            // Where it may, what the call needs beside the right decides, or a stream begins.
            if !may {
                let status = answer(&server, &token, &path, Vec::new()).await;
                assert_eq!(status.code(), Code::PermissionDenied, "{role} {path}: {status:?}");
                let expected = format!("{role} of everything: {} needs the role administrator", row.method);
                assert!(status.message().contains(&expected), "{path}: {}", status.message());
                refused += 1;
            }
        }
    }
    assert!(refused > 60, "only {refused} calls were refused");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_submitter_of_a_namespace_lives_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = guarded(folder.path());
    let (_, vision) = issue(&server, wanted("submitter", "vision", "")).await;
    let (_, text) = issue(&server, wanted("submitter", "text", "")).await;

    let ants = submit_into(&server, &vision, "ants", "")
        .await
        .unwrap()
        .metadata
        .unwrap();
    assert_eq!(
        (ants.resource_name.as_str(), ants.namespace.as_str()),
        ("jobs/ants", "vision")
    );
    submit_into(&server, &text, "reviews", "text").await.unwrap();
    let status = submit_into(&server, &vision, "bees", "text").await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(
        status.message(),
        "this token is one of a submitter of namespace vision: namespace `text` is not within its scope"
    );

    let listed = |token: String| {
        let mut client = jobs(&server, &token);
        async move {
            let page = client
                .list_jobs(proto::ListJobsRequest::default())
                .await
                .unwrap()
                .into_inner();
            let names = page.jobs.into_iter().map(|job| job.metadata.unwrap().name);
            names.collect::<Vec<_>>()
        }
    };
    assert_eq!(listed(vision.clone()).await, ["ants"]);
    assert_eq!(listed(text.clone()).await, ["reviews"]);
    assert_eq!(listed(ADMINISTRATOR.to_owned()).await, ["reviews", "ants"]);

    let cancel = |name: &str| proto::CancelJobRequest {
        name: name.to_owned(),
        ..Default::default()
    };
    let status = jobs(&server, &text).cancel_job(cancel("jobs/ants")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    jobs(&server, &vision).cancel_job(cancel("jobs/ants")).await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_token_that_is_taken_back_ends_what_was_opened_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = guarded(folder.path());
    submit_into(&server, ADMINISTRATOR, "ants", "vision").await.unwrap();
    let (name, reader) = issue(&server, wanted("reader", "vision", "")).await;
    let request = proto::WatchJobRequest {
        name: "jobs/ants".to_owned(),
    };
    let mut stream = jobs(&server, &reader).watch_job(request).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();

    let listed = access(&server)
        .list_tokens(proto::ListTokensRequest {})
        .await
        .unwrap()
        .into_inner();
    let shown = format!("{listed:?}");
    assert!(shown.contains(&name) && !shown.contains(&reader), "{shown}");

    let revoke = || proto::RevokeTokenRequest {
        name: name.clone(),
        request_id: "once".to_owned(),
    };
    access(&server).revoke_token(revoke()).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), stream.message()).await;
    assert_eq!(ended.unwrap().unwrap_err().code(), Code::Unauthenticated);
    let status = jobs(&server, &reader).get_job(named("jobs/ants")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("revoked") && status.message().contains("firn token create"));
    // A repeat of the same call is told the same; another call finds nothing.
    access(&server).revoke_token(revoke()).await.unwrap();
    let again = proto::RevokeTokenRequest {
        request_id: String::new(),
        ..revoke()
    };
    assert_eq!(
        access(&server).revoke_token(again).await.unwrap_err().code(),
        Code::NotFound
    );
    server.stop().await.unwrap();
}

#[tokio::test]
async fn another_secret_is_taken_at_once_and_the_one_before_for_its_grace() {
    let folder = tempfile::tempdir().unwrap();
    let server = guarded(folder.path());
    submit_into(&server, ADMINISTRATOR, "ants", "vision").await.unwrap();
    let (name, first) = issue(&server, wanted("reader", "vision", "")).await;
    let rotate = |seconds: i64| proto::RotateTokenRequest {
        name: name.clone(),
        grace: Some(prost_types::Duration { seconds, nanos: 0 }),
    };
    let second = access(&server).rotate_token(rotate(3600)).await.unwrap().into_inner();
    assert!(second.token.unwrap().previous_secret_expire_time.is_some());
    for secret in [&first, &second.secret] {
        jobs(&server, secret).get_job(named("jobs/ants")).await.unwrap();
    }
    let third = access(&server).rotate_token(rotate(0)).await.unwrap().into_inner();
    for secret in [&first, &second.secret] {
        let status = jobs(&server, secret).get_job(named("jobs/ants")).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
    }
    jobs(&server, &third.secret).get_job(named("jobs/ants")).await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn issued_tokens_outlive_the_coordinator_and_no_secret_reaches_its_disk() {
    let folder = tempfile::tempdir().unwrap();
    let server = guarded(folder.path());
    submit_into(&server, ADMINISTRATOR, "ants", "vision").await.unwrap();
    let (_, reader) = issue(&server, wanted("reader", "vision", "")).await;
    server.stop().await.unwrap();
    let secret = reader.strip_prefix("firn_").unwrap().as_bytes();
    for entry in fs::read_dir(folder.path().join("data")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let content = fs::read(&path).unwrap();
            let holds = content.windows(secret.len()).any(|window| window == secret);
            assert!(!holds, "{} holds the secret", path.display());
        }
    }
    let server = guarded(folder.path());
    jobs(&server, &reader).get_job(named("jobs/ants")).await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn tokens_that_make_no_sense_are_refused_with_the_field() {
    let folder = tempfile::tempdir().unwrap();
    let server = guarded(folder.path());
    submit_into(&server, ADMINISTRATOR, "ants", "vision").await.unwrap();
    for (request, code, words) in [
        (wanted("root", "", ""), Code::InvalidArgument, "found `root`"),
        (
            wanted("administrator", "vision", ""),
            Code::InvalidArgument,
            "found one of namespace vision",
        ),
        (
            wanted("submitter", "", "jobs/ants"),
            Code::InvalidArgument,
            "found one of jobs/ants",
        ),
        (
            wanted("reader", "vision", "jobs/ants"),
            Code::InvalidArgument,
            "found both",
        ),
        (
            wanted("reader", "Vision!", ""),
            Code::InvalidArgument,
            "found `Vision!`",
        ),
        (
            wanted("agent", "", "jobs/bees"),
            Code::NotFound,
            "jobs/bees does not exist",
        ),
    ] {
        let status = access(&server).create_token(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{status:?}");
        assert!(status.message().contains(words), "{}", status.message());
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn tokens_of_the_file_change_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = guarded(folder.path());
    submit_into(&server, ADMINISTRATOR, "ants", "vision").await.unwrap();
    let request = proto::WatchJobRequest {
        name: "jobs/ants".to_owned(),
    };
    let mut stream = jobs(&server, ADMINISTRATOR)
        .watch_job(request)
        .await
        .unwrap()
        .into_inner();
    stream.message().await.unwrap().unwrap();
    let other = "fedcba9876543210fedcba9876543210";
    // What cannot be used changes nothing.
    fs::write(folder.path().join("token"), "short").unwrap();
    jobs(&server, ADMINISTRATOR).get_job(named("jobs/ants")).await.unwrap();
    fs::write(folder.path().join("token"), other).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(30), stream.message()).await;
    assert_eq!(ended.unwrap().unwrap_err().code(), Code::Unauthenticated);
    jobs(&server, other).get_job(named("jobs/ants")).await.unwrap();
    server.stop().await.unwrap();
}

/// An agent that attaches, and what its stream begins with. It stays while the sender lives.
async fn attach(
    server: &Server,
    token: &str,
    worker: &str,
) -> (tokio::sync::mpsc::Sender<proto::AgentMessage>, Result<(), Status>) {
    let (sender, messages) = tokio::sync::mpsc::channel(1);
    let hello = proto::AgentHello {
        worker: worker.to_owned(),
        host: "a-host".to_owned(),
        instance_id: format!("{worker} of {token}"),
        protocol: firn_core::compatibility::Revision::CURRENT.0,
        ..Default::default()
    };
    let hello = proto::AgentMessage {
        message: Some(proto::agent_message::Message::Hello(hello)),
    };
    sender.send(hello).await.unwrap();
    let mut client = WorkerServiceClient::with_interceptor(server.channel(), Bearer(token.to_owned()));
    let messages = tokio_stream::wrappers::ReceiverStream::new(messages);
    let stream = client.attach(messages).await;
    let begun = match stream {
        Ok(stream) => {
            let mut stream = stream.into_inner();
            let first = stream.message().await.map(drop);
            // Read on, so that the stream stays open.
            tokio::spawn(async move { while let Ok(Some(_)) = stream.message().await {} });
            first
        }
        Err(status) => Err(status),
    };
    (sender, begun)
}

#[tokio::test]
async fn an_agent_of_a_namespace_takes_no_name_of_others_and_is_seen_by_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let server = guarded(folder.path());
    let (_, of_a) = issue(&server, wanted("agent", "a", "")).await;
    let (_, of_b) = issue(&server, wanted("agent", "b", "")).await;
    let (_open, begun) = attach(&server, &of_a, "w").await;
    begun.unwrap();
    let (_, begun) = attach(&server, &of_b, "w").await;
    assert_eq!(begun.unwrap_err().code(), Code::AlreadyExists);
    let (_other, begun) = attach(&server, &of_b, "v").await;
    begun.unwrap();

    let (_, reader_of_b) = issue(&server, wanted("reader", "b", "")).await;
    for (token, seen) in [(reader_of_b.as_str(), vec!["v"]), (ADMINISTRATOR, vec!["v", "w"])] {
        let listed = jobs(&server, token)
            .list_workers(proto::ListWorkersRequest {})
            .await
            .unwrap();
        let names: Vec<String> = listed
            .into_inner()
            .workers
            .into_iter()
            .map(|worker| worker.name)
            .collect();
        assert_eq!(names, seen);
    }
    server.stop().await.unwrap();
}
