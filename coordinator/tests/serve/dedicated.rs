//! Agents that are there for one job.

use firn_proto::v1alpha1::{self as proto, agent_command::Command, agent_message::Message};
use tonic::Code;

use crate::{
    agent::{Agent, hello},
    server::{Server, job, submit, summary},
};

fn for_job(worker: &str, instance: &str, job: &str) -> proto::AgentHello {
    proto::AgentHello {
        for_job: format!("jobs/{job}"),
        ..hello(worker, instance)
    }
}

/// What an agent hears next of the end of its job.
async fn job_ended(agent: &mut Agent) -> (String, String) {
    match agent.next().await.unwrap() {
        Some(Command::JobEnded(ended)) => (ended.job, ended.outcome),
        other => panic!("expected JobEnded, found {other:?}"),
    }
}

fn told(job: &str, outcome: &str) -> (String, String) {
    (job.to_owned(), outcome.to_owned())
}

async fn cancel(server: &Server, name: &str) {
    let request = proto::CancelJobRequest {
        name: name.to_owned(),
        ..Default::default()
    };
    server.jobs().cancel_job(request).await.unwrap();
}

#[tokio::test]
async fn an_agent_waits_for_its_job_serves_it_alone_and_is_told_of_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut agent = Agent::attach(&server, for_job("own", "i1", "insects")).await.unwrap();
    assert_eq!(agent.welcome.awaited_job, "jobs/insects");
    let mut other = Agent::attach(&server, for_job("other", "i1", "flowers")).await.unwrap();
    submit(&server, job("flowers")).await;
    assert_eq!(other.start_rank().await.job, "jobs/flowers");
    other.start_rank().await;
    submit(&server, job("insects")).await;
    let starts = [agent.start_rank().await, agent.start_rank().await];
    assert!(starts.iter().all(|start| start.job == "jobs/insects"));

    cancel(&server, "jobs/insects").await;
    // It is told of the end, and to stop its ranks; their exits are heard.
    let mut stopped = Vec::new();
    let mut end = None;
    while stopped.len() < 2 || end.is_none() {
        match agent.next().await.unwrap() {
            Some(Command::StopRank(stop)) => stopped.push(stop.process_id),
            Some(Command::JobEnded(ended)) => end = Some((ended.job, ended.outcome)),
            other => panic!("expected the end, found {other:?}"),
        }
    }
    assert_eq!(end, Some(told("jobs/insects", "Cancelled")));
    for process in stopped {
        agent.exited(&process, 12).await;
    }
    agent.send(Message::Leaving(proto::AgentLeaving {})).await;
    while agent.next().await.is_ok_and(|command| command.is_some()) {}

    // Who comes too late is told at once.
    let mut late = Agent::attach(&server, for_job("late", "i1", "insects")).await.unwrap();
    assert_eq!(late.welcome.awaited_job, "");
    assert_eq!(job_ended(&mut late).await, told("jobs/insects", "Cancelled"));
    assert_eq!(summary(&crate::server::get(&server, "jobs/flowers").await), "Starting");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn who_a_worker_is_there_for_and_its_labels_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let agent = proto::AgentHello {
        labels: [("zone".to_owned(), "a".to_owned())].into(),
        for_namespace: "vision".to_owned(),
        ..for_job("own", "i1", "insects")
    };
    let _agent = Agent::attach(&server, agent).await.unwrap();
    let listed = server.jobs().list_workers(proto::ListWorkersRequest {}).await;
    let worker = listed.unwrap().into_inner().workers.remove(0);
    assert_eq!(
        (worker.for_job.as_str(), worker.for_namespace.as_str()),
        ("jobs/insects", "vision")
    );
    assert_eq!(worker.labels["zone"], "a");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_new_agent_comes_in_place_of_one_that_seems_to_live_and_that_one_does_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut first = Agent::attach(&server, for_job("own", "i1", "insects")).await.unwrap();
    let _second = Agent::attach(&server, for_job("own", "i2", "insects")).await.unwrap();
    assert_eq!(
        first.next().await.unwrap_err().code(),
        Code::Aborted,
        "the old stream is closed"
    );
    let refused = Agent::attach(&server, for_job("own", "i1", "insects"))
        .await
        .err()
        .unwrap();
    assert_eq!(
        (refused.code(), refused.message()),
        (
            Code::AlreadyExists,
            "another agent has come in place of this one as worker own, from host own.example"
        )
    );
    server.stop().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_is_refused_by_field() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let label = |key: &str, value: &str| proto::AgentHello {
        labels: [(key.to_owned(), value.to_owned())].into(),
        ..hello("one", "i1")
    };
    let many = (0..65).map(|number| (number.to_string(), String::new()));
    for (wrong, message) in [
        (
            proto::AgentHello {
                for_job: "insects".to_owned(),
                ..hello("one", "i1")
            },
            "hello.for_job: expected `jobs/{job}`, found `insects`",
        ),
        (
            label("", "a"),
            "hello.labels: expected a key of 1 to 253 bytes and a value of at most as many, found 0 and 1",
        ),
        (
            label("zone", &"a".repeat(254)),
            "hello.labels: expected a key of 1 to 253 bytes and a value of at most as many, found 4 and 254",
        ),
        (
            proto::AgentHello {
                labels: many.collect(),
                ..hello("one", "i1")
            },
            "hello.labels: expected at most 64, found 65",
        ),
    ] {
        let refused = Agent::attach(&server, wrong).await.err().unwrap();
        assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, message));
    }
    server.stop().await.unwrap();
}
