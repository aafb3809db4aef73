//! What the bearer of a token reaches: its calls, its namespace, its job.

use firn::access::rights::{Right, TABLE, Touches};
use firn_proto::v1alpha1::{self as proto, worker_service_client::WorkerServiceClient};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{
    ADMINISTRATOR, Bearer, guarded, issue, jobs,
    raw::{answer, naming},
    submit_into, wanted,
};
use crate::server::Server;

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
