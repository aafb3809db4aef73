//! Agents and ranks that do not do as they should.

use firn_proto::v1alpha1::{
    self as proto, agent_message::Message, complete_shard_request::Report, upload_header::Target,
};
use sha2::{Digest as _, Sha256};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::{
    agent::{Agent, hello},
    rank::{Rank, evaluate, start_two},
    server::{Server, get, job, submit, summary},
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
