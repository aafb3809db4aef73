//! Agents and ranks that do not do as they should.

use firn_core::compatibility::Revision;
use firn_proto::v1alpha1::{
    self as proto, agent_message::Message, complete_shard_request::Report, upload_header::Target,
};
use sha2::{Digest as _, Sha256};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::{
    agent::{Agent, hello},
    rank::{Rank, evaluate, start_two},
    server::{Server, get, job, regression, submit, summary},
};

#[tokio::test]
async fn a_second_agent_under_a_living_name_is_refused_and_the_same_agent_takes_over_its_own_stream() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut first = Agent::attach(&server, hello("one", "i1")).await.unwrap();
    let refused = Agent::attach(&server, hello("one", "i2")).await.err().unwrap();
    assert_eq!(
        (refused.code(), refused.message()),
        (
            Code::AlreadyExists,
            "worker one is attached already from host one.example"
        )
    );

    let second = Agent::attach(&server, hello("one", "i1")).await.unwrap();
    assert_eq!(
        first.next().await.unwrap_err().code(),
        Code::Aborted,
        "the old stream is closed"
    );
    second
        .send(Message::Heartbeat(proto::AgentHeartbeat { sequence: 0 }))
        .await;
    let workers = server
        .jobs()
        .list_workers(proto::ListWorkersRequest {})
        .await
        .unwrap()
        .into_inner()
        .workers;
    assert_eq!(
        workers
            .iter()
            .map(|worker| (worker.name.as_str(), worker.state.as_str()))
            .collect::<Vec<_>>(),
        [("one", "Ready")]
    );
    server.stop().await.unwrap();
}

#[tokio::test]
async fn an_agent_newer_than_the_coordinator_is_refused_by_name_and_listed_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let newer = proto::AgentHello {
        protocol: 99,
        version: "9.0.0".to_owned(),
        ..hello("new", "i1")
    };
    let refused = Agent::attach(&server, newer).await.err().unwrap();
    let reason = "this coordinator serves workers of revision 1 to 4, found revision 99 (build 9.0.0): upgrade the coordinator first";
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::FailedPrecondition, format!("worker new: {reason}").as_str())
    );
    assert_eq!(refused.get_details_error_info().unwrap().reason, "UNKNOWN_REVISION");
    assert_eq!(
        listed(&server).await,
        [("new".to_owned(), "Refused".to_owned(), reason.to_owned())]
    );

    // Its older self is welcome, and no longer listed as refused.
    let _agent = Agent::attach(&server, hello("new", "i2")).await.unwrap();
    assert_eq!(
        listed(&server).await,
        [("new".to_owned(), "Ready".to_owned(), String::new())]
    );
    server.stop().await.unwrap();
}

#[tokio::test]
async fn an_agent_that_announces_no_revision_is_served_and_listed_with_what_it_does_not_get() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let older = proto::AgentHello {
        protocol: 0,
        version: "0.1.0".to_owned(),
        ..hello("old", "i1")
    };
    let mut agent = Agent::attach(&server, older).await.unwrap();
    submit(&server, job("insects")).await;
    // A job that needs nothing new is placed on it. Its rank, which announces none either, is told what to do in the form that it reads,
    // under the name that it gives the settings; a rank of this build reads the document, under the same name.
    let start = agent.start_rank().await;
    let request = |protocol| proto::EnrolRequest {
        identity: Some(proto::RankIdentity {
            job: start.job.clone(),
            process_id: start.process_id.clone(),
            ..Default::default()
        }),
        protocol,
        ..Default::default()
    };
    let told = server.ranks().enrol(request(0)).await.unwrap().into_inner();
    assert!(
        told.spec_json.starts_with(r#"{"name":"insects","#),
        "{}",
        told.spec_json
    );
    assert_eq!(
        told.settings_digest,
        blake3::hash(told.spec_json.as_bytes()).to_hex().to_string()
    );
    let newer = server
        .ranks()
        .enrol(request(Revision::CURRENT.0))
        .await
        .unwrap()
        .into_inner();
    assert!(newer.spec_json.starts_with(r#"{"apiVersion":"#), "{}", newer.spec_json);
    assert_eq!(newer.settings_digest, told.settings_digest);
    // It finds and reads the samples as the older one does, which knows no other way.
    assert_eq!(newer.data_rules, 1);
    let reason = "speaks revision 1 (build 0.1.0), the coordinator 4: it gets no jobs that need more";
    assert_eq!(
        listed(&server).await,
        [("old".to_owned(), "Ready".to_owned(), reason.to_owned())]
    );
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_worker_of_revision_2_gets_the_document_that_it_knows_and_no_job_that_needs_more() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let older = proto::AgentHello {
        protocol: 2,
        version: "0.1.9".to_owned(),
        ..hello("old", "i1")
    };
    let mut agent = Agent::attach(&server, older).await.unwrap();
    submit(&server, regression("prices")).await;
    submit(&server, job("insects")).await;
    let start = agent.start_rank().await;
    assert_eq!(start.job, "jobs/insects");
    let request = |protocol| proto::EnrolRequest {
        identity: Some(proto::RankIdentity {
            job: start.job.clone(),
            process_id: start.process_id.clone(),
            ..Default::default()
        }),
        protocol,
        ..Default::default()
    };
    // A rank of that revision refuses a document with a field that it does not know.
    let told = server.ranks().enrol(request(2)).await.unwrap().into_inner().spec_json;
    let (older, newer) = (
        r#""loss":{"labelSmoothing""#,
        r#""loss":{"type":"cross_entropy","labelSmoothing""#,
    );
    assert!(told.contains(older), "{told}");
    let current = server.ranks().enrol(request(Revision::CURRENT.0)).await.unwrap();
    let current = current.into_inner();
    assert_eq!(current.data_rules, 2);
    let current = current.spec_json;
    let scheduling = r#","scheduling":{"priority":0,"preemptionPolicy":"lower_priority"}"#;
    let known = [(newer, older), (r#","namespace":"default""#, ""), (scheduling, "")];
    let known = known.iter().fold(current, |text, (new, old)| text.replace(new, old));
    assert_eq!(known, told);

    let reason = "speaks revision 2 (build 0.1.9), the coordinator 4: it gets no jobs that need more";
    assert_eq!(
        listed(&server).await,
        [("old".to_owned(), "Ready".to_owned(), reason.to_owned())]
    );
    let waits = get(&server, "jobs/prices").await.status.unwrap().conditions.remove(0);
    let expected = "worker old speaks revision 2 (build 0.1.9); the job needs 3 because of spec.task.type";
    assert!(waits.message.ends_with(expected), "{}", waits.message);
    server.stop().await.unwrap();
}

async fn listed(server: &Server) -> Vec<(String, String, String)> {
    let listed = server.jobs().list_workers(proto::ListWorkersRequest {}).await;
    let workers = listed.unwrap().into_inner().workers.into_iter();
    workers
        .map(|worker| (worker.name, worker.state, worker.reason))
        .collect()
}

#[tokio::test]
async fn a_stream_that_does_not_open_with_a_hello_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let message = proto::AgentMessage {
        message: Some(Message::Heartbeat(proto::AgentHeartbeat { sequence: 0 })),
    };
    let mut stream = server
        .workers()
        .attach(tokio_stream::iter([message]))
        .await
        .unwrap()
        .into_inner();
    let refused = stream.message().await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::InvalidArgument, "hello: expected AgentHello as the first message")
    );
    server.stop().await.unwrap();
}

#[tokio::test]
async fn processes_that_nobody_wants_are_named_in_the_welcome_and_their_lines_are_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let left_over = proto::RankProcess {
        process_id: "p-old".to_owned(),
        job: "jobs/old".to_owned(),
        generation: 3,
        pid: 7,
    };
    let mut agent = Agent::attach(
        &server,
        proto::AgentHello {
            processes: vec![left_over],
            ..hello("one", "i1")
        },
    )
    .await
    .unwrap();
    assert_eq!(agent.welcome.unwanted_processes, ["p-old"]);
    assert_eq!(agent.lines("p-old", 5, &["a", "b"]).await, 7);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_lost_rank_raises_the_generation_and_what_it_still_sends_has_no_effect() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    submit(&server, job("insects")).await;
    let mut agent = Agent::attach(&server, hello("one", "i1")).await.unwrap();
    let (starts, [mut zero, mut one]) = start_two(&server, &mut agent).await;
    let _ = tokio::join!(zero.begin(), one.begin());

    agent.exited(&starts[1].process_id, 139).await;
    let recruit = agent.start_rank().await;
    assert_eq!((recruit.rank, recruit.world_size, recruit.slot), (1, 2, starts[1].slot));
    let news = zero.pulse().await.unwrap();
    assert_eq!((news.generation, news.at_step_boundary), (2, false));

    let refused = zero
        .lease(&proto::Pass {
            kind: "scan".to_owned(),
            split: "train".to_owned(),
            epoch: 0,
        })
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::Aborted, "expected generation 2 of jobs/insects, found 1")
    );
    assert_eq!(refused.get_details_error_info().unwrap().reason, "STALE_GENERATION");
    let content = b"from a rank that was replaced";
    let artifact = proto::Artifact {
        name: "head.safetensors".to_owned(),
        size_bytes: content.len() as u64,
        sha256: hex::encode(Sha256::digest(content)),
        location: String::new(),
    };
    assert_eq!(
        zero.upload(Target::Artifact(artifact), content)
            .await
            .unwrap_err()
            .code(),
        Code::Aborted
    );
    let left = server
        .jobs()
        .list_artifacts(proto::ListArtifactsRequest {
            name: "jobs/insects".to_owned(),
        })
        .await
        .unwrap();
    assert!(left.into_inner().artifacts.is_empty());

    // the same process goes on alone, and takes the new one in when that is ready
    let world = zero.join().await.unwrap();
    assert_eq!((world.generation, world.ring_addresses.len()), (2, 1));
    let mut new = Rank::new(&server, &recruit);
    let coming = tokio::spawn(async move { new.begin().await });
    while zero.pulse().await.unwrap().generation == 2 {}
    let world = zero.join().await.unwrap();
    assert_eq!((world.generation, world.ring_addresses.len()), (3, 2));
    assert!(coming.await.unwrap().next.is_some());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn reports_that_cannot_be_are_refused_by_field() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    submit(&server, job("insects")).await;
    let mut agent = Agent::attach(&server, hello("one", "i1")).await.unwrap();
    let (_, [mut zero, mut one]) = start_two(&server, &mut agent).await;
    let _ = tokio::join!(zero.begin(), one.begin());

    let step = proto::Step {
        loss: f64::NAN,
        ..crate::rank::made_up_step(0, 0)
    };
    let refused = zero
        .service
        .commit_steps(proto::CommitStepsRequest {
            identity: zero.me(),
            steps: vec![step],
        })
        .await
        .unwrap_err();
    assert_eq!(refused.message(), "steps[0].loss: expected a finite number, found NaN");

    let of_another_kind = proto::CompleteShardRequest {
        identity: zero.me(),
        pass: Some(evaluate("validation", 0)),
        shard: 0,
        report: Some(Report::Scan(proto::ScanReport::default())),
    };
    assert_eq!(
        zero.service.complete_shard(of_another_kind).await.unwrap_err().code(),
        Code::InvalidArgument
    );

    let announced = proto::CheckpointRef {
        epochs_done: 1,
        steps_done: 3,
        sha256: hex::encode(Sha256::digest(b"right")),
        size_bytes: 5,
        ..Default::default()
    };
    let refused = zero
        .upload(Target::Checkpoint(announced.clone()), b"wrong")
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::DataLoss);
    let huge = proto::CheckpointRef {
        size_bytes: 17 << 20,
        ..announced
    };
    assert_eq!(
        zero.upload(Target::Checkpoint(huge), b"").await.unwrap_err().code(),
        Code::InvalidArgument
    );

    let nobody = proto::FinishJobRequest { identity: None };
    assert_eq!(
        zero.service.finish_job(nobody).await.unwrap_err().message(),
        "identity: expected the caller's identity, found none"
    );
    let early = zero
        .service
        .finish_job(proto::FinishJobRequest { identity: zero.me() })
        .await
        .unwrap_err();
    assert_eq!(early.code(), Code::FailedPrecondition);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_job_that_fails_says_why_and_on_which_host() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    submit(&server, job("insects")).await;
    let mut agent = Agent::attach(&server, hello("one", "i1")).await.unwrap();
    let (starts, [mut zero, mut one]) = start_two(&server, &mut agent).await;
    let _ = tokio::join!(zero.begin(), one.begin());
    let failure = proto::Failure {
        reason: "BadData".to_owned(),
        message: "cannot read /data/train: permission denied".to_owned(),
        last_log_lines: vec!["the last words".to_owned()],
        ..Default::default()
    };
    one.service
        .report_failure(proto::ReportFailureRequest {
            identity: one.me(),
            failure: Some(failure),
        })
        .await
        .unwrap();
    agent.exited(&starts[1].process_id, 10).await;
    let mut watch = server
        .jobs()
        .watch_job(proto::WatchJobRequest {
            name: "jobs/insects".to_owned(),
        })
        .await
        .unwrap()
        .into_inner();
    let mut ended = None;
    let stopped = agent.stop_rank().await;
    agent.exited(&stopped.process_id, 12).await;
    while let Some(seen) = watch.message().await.unwrap() {
        ended = Some(seen);
    }
    let ended = ended.unwrap();
    assert_eq!(summary(&ended), "Failed");
    let failure = get(&server, "jobs/insects").await.status.unwrap().failure.unwrap();
    assert_eq!(
        (failure.reason.as_str(), failure.rank, failure.host.as_str()),
        ("BadData", Some(1), "one.example")
    );
    assert!(failure.message.contains("permission denied"), "{}", failure.message);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn what_a_stranger_uploads_is_refused_before_anything_reaches_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    submit(&server, job("insects")).await;
    let start = proto::StartRank {
        process_id: "insects-g1-r0".to_owned(),
        job: "jobs/insects".to_owned(),
        generation: 1,
        ..Default::default()
    };
    let unknown = proto::StartRank {
        job: "jobs/absent".to_owned(),
        ..start.clone()
    };
    let content = b"weights of nobody";
    let sha256 = hex::encode(Sha256::digest(content));
    let artifact = Target::Artifact(proto::Artifact {
        name: "head.safetensors".to_owned(),
        size_bytes: content.len() as u64,
        sha256: sha256.clone(),
        location: String::new(),
    });
    let checkpoint = Target::Checkpoint(proto::CheckpointRef {
        epochs_done: 1,
        steps_done: 3,
        sha256,
        size_bytes: content.len() as u64,
        ..Default::default()
    });
    for (start, code) in [(&unknown, Code::NotFound), (&start, Code::Aborted)] {
        for target in [&artifact, &checkpoint] {
            let refused = Rank::new(&server, start).upload(target.clone(), content).await;
            assert_eq!(refused.unwrap_err().code(), code, "{target:?}");
        }
        let mut report = Rank::new(&server, start);
        let shard = proto::Shard::default();
        let refused = report.complete(&evaluate("validation", 0), &shard).await;
        assert_eq!(refused.unwrap_err().code(), code);
    }
    assert!(!folder.path().join("jobs").exists(), "not even a folder was made");
    server.stop().await.unwrap();
}
