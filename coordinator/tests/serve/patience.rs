//! For how long anybody waits: callers' deadlines, the coordinator's own, and the end of it.

use std::{fs::OpenOptions, time::Duration};

use firn::serve::limits::Limits;
use firn_proto::v1alpha1::{self as proto, agent_command::Command, agent_message::Message, upload_header::Target};
use nix::sys::stat::Mode;
use sha2::{Digest as _, Sha256};
use tonic::{Code, Request};

use crate::{
    agent::{Agent, hello},
    rank::start_two,
    server::{Server, job, settings, submit},
};

const SHORT: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_callers_deadline_ends_its_stream_too() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    submit(&server, job("insects")).await;
    let mut request = Request::new(proto::WatchJobRequest {
        name: "jobs/insects".to_owned(),
    });
    request.set_timeout(SHORT);
    let mut watch = server.jobs().watch_job(request).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());
    let ended = watch.message().await.unwrap_err();
    assert_eq!(
        (ended.code(), ended.message()),
        (Code::DeadlineExceeded, "the deadline of this call has passed")
    );
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_call_that_waits_for_others_is_told_to_ask_again_and_then_gets_its_answer() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path());
    settings.limits.longest_wait = SHORT;
    let server = Server::start_with(settings).unwrap();
    submit(&server, job("insects")).await;
    let mut agent = Agent::attach(&server, hello("one", "i1")).await.unwrap();
    let (_, [mut zero, mut one]) = start_two(&server, &mut agent).await;
    let alone = zero.join().await.unwrap_err();
    assert_eq!(
        (alone.code(), alone.message()),
        (
            Code::DeadlineExceeded,
            "what this call waits for has not come yet: ask again"
        )
    );
    let (first, second) = tokio::join!(zero.join(), one.join());
    assert_eq!(first.unwrap().ring_addresses, second.unwrap().ring_addresses);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn the_coordinator_works_on_no_call_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path());
    settings.limits.longest_handling = SHORT;
    let server = Server::start_with(settings).unwrap();
    // An upload of which nothing comes.
    let never = server.ranks().upload(tokio_stream::pending()).await.unwrap_err();
    assert_eq!(never.code(), Code::DeadlineExceeded);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_read_its_download_does_not_keep_the_coordinator_from_stopping() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path());
    settings.shutdown_grace = Duration::from_secs(1);
    let server = Server::start_with(settings).unwrap();
    submit(&server, job("insects")).await;
    let mut agent = Agent::attach(&server, hello("one", "i1")).await.unwrap();
    let (_, [mut zero, mut one]) = start_two(&server, &mut agent).await;
    let _ = tokio::join!(zero.begin(), one.begin());
    // More than a connection holds on its way.
    let content = vec![7; 12 << 20];
    let artifact = proto::Artifact {
        name: "head.safetensors".to_owned(),
        size_bytes: content.len() as u64,
        sha256: hex::encode(Sha256::digest(&content)),
        location: String::new(),
    };
    zero.upload(Target::Artifact(artifact), &content).await.unwrap();
    let mut download = server
        .jobs()
        .download_artifact(proto::DownloadArtifactRequest {
            name: "jobs/insects".to_owned(),
            artifact: "head.safetensors".to_owned(),
        })
        .await
        .unwrap()
        .into_inner();
    assert!(download.message().await.unwrap().is_some());
    // Also a connection that never began: its handshake is still waited for.
    let _silent = tokio::net::TcpStream::connect(server.address).await.unwrap();
    server.stop().await.unwrap();
    drop(download);
}

#[test]
fn waits_are_shorter_than_the_deadlines_around_them() {
    let limits = Limits::default();
    assert!(limits.handshake < limits.keepalive_interval);
    assert!(limits.longest_wait < limits.longest_handling);
    // A rank gives one attempt 90 s.
    assert!(limits.longest_wait < Duration::from_secs(90) && Duration::from_secs(90) < limits.longest_handling);
}

/// A pipe that nobody writes to stands for the disk: opening it waits, as a sync may.
#[tokio::test]
async fn log_lines_that_wait_for_the_disk_hold_up_no_heartbeat() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path());
    settings.core.lease = 1_000;
    settings.core.heartbeat_interval = 200;
    let server = Server::start_with(settings).unwrap();
    submit(&server, job("insects")).await;
    let mut agent = Agent::attach(&server, hello("one", "i1")).await.unwrap();
    let [start, _] = [agent.start_rank().await, agent.start_rank().await];
    let log = folder.path().join("jobs/insects/logs.jsonl");
    std::fs::create_dir_all(log.parent().unwrap()).unwrap();
    nix::unistd::mkfifo(&log, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();

    agent.send_lines(&start.process_id, 0, &["a", "b"]).await;
    agent.send_lines(&start.process_id, 2, &["c"]).await;
    // One that falls silent now is cut off when its lease ends; by then the other has lived through a whole one.
    let mut silent = Agent::attach(&server, hello("silent", "i1")).await.unwrap();
    let mut heartbeat = tokio::time::interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            ended = silent.next() => if !matches!(ended, Ok(Some(_))) { break },
            _ = heartbeat.tick() => agent.beat().await,
        }
    }
    let workers = server.jobs().list_workers(proto::ListWorkersRequest {}).await.unwrap();
    let workers = workers.into_inner().workers;
    let state = |name: &str| &workers.iter().find(|worker| worker.name == name).unwrap().state;
    assert_eq!((state("one").as_str(), state("silent").as_str()), ("Ready", "Lost"));

    // The disk has failed: the agent has to send the lines again.
    let pipe = OpenOptions::new().write(true).open(&log).unwrap();
    std::fs::remove_file(&log).unwrap();
    drop(pipe);
    let ended = agent.next().await.unwrap_err();
    assert!(ended.message().contains("logs.jsonl"), "{ended}");
    server.kill().await;
}

/// Whoever follows the log until the last rank has ended has seen what it said before.
#[tokio::test]
async fn an_exit_does_not_overtake_the_lines_that_were_sent_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    submit(&server, job("insects")).await;
    let mut agent = Agent::attach(&server, hello("one", "i1")).await.unwrap();
    let [start, _] = [agent.start_rank().await, agent.start_rank().await];
    let process_id = start.process_id;
    for line in 0..20 {
        agent.send_lines(&process_id, line, &["a"]).await;
    }
    let exited = proto::RankExited {
        process_id: process_id.clone(),
        exit_code: Some(1),
        ..Default::default()
    };
    agent.send(Message::RankExited(exited)).await;
    let mut stored = 0;
    loop {
        match agent.next().await.unwrap() {
            Some(Command::LogAck(ack)) => {
                assert!(ack.next_sequence > stored);
                stored = ack.next_sequence;
            }
            Some(Command::ExitAck(_)) => break,
            // What follows from the exit.
            Some(_) => assert_eq!(stored, 20),
            None => panic!("expected ExitAck, found the end of the stream"),
        }
    }
    assert_eq!(stored, 20);
    server.stop().await.unwrap();
}
