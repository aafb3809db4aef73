//! An agent that is there for one job: with which status it ends, and when.

use std::{fs, path::Path};

use firn_proto::v1alpha1::agent_message::Message;
use nix::sys::signal::Signal;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{
    ORDERLY, STUBBORN,
    coordinator::{Coordinator, Manner, Session},
    process::{Agent, open_pipe, pipe},
};

/// Told to stop before the job was over.
const INTERRUPTED: Option<i32> = Some(75);

/// An agent for `reviews`, whose ranks run `script`.
fn start(folder: &Path, coordinator: &Coordinator, script: &str) -> Agent {
    let mut agent = Agent::prepare(folder, script);
    agent.more = vec!["--for-job", "reviews"];
    agent.start_again(coordinator.address);
    agent
}

/// Everything up to the farewell, acknowledged.
fn hear_out(session: &Session) -> Vec<String> {
    let mut heard = Vec::new();
    while let Some(message) = session.next() {
        match message {
            Message::RankExited(exit) => {
                session.acknowledge_exit(&exit.process_id);
                heard.push(format!("exit {:?}{}", exit.exit_code, exit.start_error));
            }
            Message::Logs(batch) => {
                session.acknowledge_lines(&batch.process_id, batch.first_sequence + batch.lines.len() as u64);
                heard.extend(batch.lines.into_iter().map(|line| line.text));
            }
            Message::Leaving(_) => break,
            _ => {}
        }
    }
    heard
}

#[test]
fn what_an_agent_is_there_for_is_said_with_its_labels_on_every_stream() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start();
    let mut agent = Agent::prepare(folder.path(), ORDERLY);
    agent.more = vec![
        "--for-job",
        "jobs/reviews",
        "--for-namespace",
        "vision",
        "--label",
        "zone=a",
        "--label",
        "gpu=h100,rack=7",
    ];
    agent.start_again(coordinator.address);
    let mut coordinator = coordinator;
    for _ in 0..2 {
        let hello = coordinator.session().hello;
        assert_eq!(
            (hello.for_job.as_str(), hello.for_namespace.as_str()),
            ("jobs/reviews", "vision")
        );
        let labels: Vec<String> = hello
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        assert_eq!(labels, ["gpu=h100", "rack=7", "zone=a"]);
        coordinator = Coordinator::start_at(coordinator.stop(), Manner::default());
    }
}

#[test]
fn a_label_that_is_no_pair_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start();
    let mut agent = Agent::prepare(folder.path(), ORDERLY);
    agent.more = vec!["--label", "zone"];
    let ended = agent.run_second(coordinator.address);
    let message = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1));
    assert!(
        message.contains("label should be KEY=VALUE, like `zone=a`, found `zone`"),
        "{message}"
    );
}

#[test]
fn when_its_job_is_over_it_sees_its_ranks_off_and_ends_with_0_whatever_the_outcome() {
    for outcome in ["Succeeded", "Failed", "Cancelled", "Deleted"] {
        let folder = tempfile::tempdir().unwrap();
        let go = pipe(folder.path(), "go");
        let coordinator = Coordinator::start();
        let script = r#"echo ready; read line <"$1/go"; echo "got $line"; exit 7"#;
        let mut agent = start(folder.path(), &coordinator, script);
        let session = coordinator.session();
        session.start_rank("p1");
        session.wait_for_line("ready");
        session.acknowledge_lines("p1", 1);

        session.job_ended("jobs/reviews", outcome);
        // Nothing new is begun, and the rank has its time.
        session.start_rank("p2");
        let refused = session.wait_for_exit();
        assert_eq!(refused.start_error, "the agent is shutting down");
        session.acknowledge_exit("p2");
        fs::write(go, "on\n").unwrap();
        let mut heard = hear_out(&session);
        heard.sort();
        assert_eq!(heard, ["exit Some(7)", "got on"]);
        drop(session);
        assert_eq!(agent.wait().code(), Some(0), "{}", agent.log());
        assert_eq!(agent.undelivered(), 0);
        let told = format!("job reviews is over: {outcome}");
        assert!(agent.log().contains(&told), "{}", agent.log());
    }
}

#[test]
fn a_job_that_it_is_not_there_for_may_end_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start();
    let mut agent = start(folder.path(), &coordinator, ORDERLY);
    let session = coordinator.session();
    session.job_ended("jobs/others", "Succeeded");
    session.start_rank("p1");
    session.wait_for_line("ready");
    session.job_ended("jobs/reviews", "Succeeded");
    session.stop_rank("p1", 20_000);
    hear_out(&session);
    drop(session);
    assert_eq!(agent.wait().code(), Some(0), "{}", agent.log());
}

#[test]
fn told_to_stop_before_its_job_is_over_it_ends_with_a_status_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start();
    let mut agent = start(folder.path(), &coordinator, ORDERLY);
    let session = coordinator.session();
    session.start_rank("p1");
    session.wait_for_line("ready");
    agent.signal(Signal::SIGTERM);
    let heard = hear_out(&session);
    assert!(heard.contains(&"exit Some(12)".to_owned()), "{heard:?}");
    drop(session);
    assert_eq!(agent.wait().code(), INTERRUPTED, "{}", agent.log());
}

#[test]
fn the_status_is_the_same_where_a_rank_had_to_be_killed() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start();
    let mut agent = start(folder.path(), &coordinator, STUBBORN);
    let session = coordinator.session();
    session.start_rank("p1");
    session.wait_for_line("ready");
    agent.signal(Signal::SIGTERM);
    session.wait_for(|message| matches!(message, Message::Draining(_)).then_some(()));
    agent.signal(Signal::SIGTERM);
    assert_eq!(session.wait_for_exit().signal, Some(9));
    hear_out(&session);
    drop(session);
    assert_eq!(agent.wait().code(), INTERRUPTED, "{}", agent.log());
}

#[test]
fn the_status_is_the_same_where_the_coordinator_cannot_be_reached() {
    let folder = tempfile::tempdir().unwrap();
    let alive = pipe(folder.path(), "alive");
    let coordinator = Coordinator::start();
    let script = format!(r#"exec 3>"$1/alive"; {ORDERLY}"#);
    let mut agent = start(folder.path(), &coordinator, &script);
    let session = coordinator.session();
    session.start_rank("p1");
    let _alive = open_pipe(&alive);
    session.wait_for_line("ready");
    coordinator.stop();
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.wait().code(), INTERRUPTED, "{}", agent.log());
}

#[test]
fn a_job_that_ends_while_its_agent_is_told_to_stop_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let go = pipe(folder.path(), "go");
    let coordinator = Coordinator::start();
    let script = r#"trap 'echo handing over; read line <"$1/go"; exit 13' TERM; sleep 1000 & echo ready; wait"#;
    let mut agent = start(folder.path(), &coordinator, script);
    let session = coordinator.session();
    session.start_rank("p1");
    session.wait_for_line("ready");
    agent.signal(Signal::SIGTERM);
    session.wait_for_line("handing over");
    session.job_ended("jobs/reviews", "Succeeded");
    // Commands are obeyed in order: when this one has had its effect, so has the one before.
    session.start_rank("p2");
    assert_eq!(session.wait_for_exit().process_id, "p2");
    fs::write(go, "on\n").unwrap();
    hear_out(&session);
    drop(session);
    assert_eq!(agent.wait().code(), Some(0), "{}", agent.log());
}

#[test]
fn it_waits_for_a_job_that_nobody_has_submitted_yet_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start_with(Manner {
        awaited_job: "jobs/reviews".to_owned(),
        ..Manner::default()
    });
    let mut agent = start(folder.path(), &coordinator, ORDERLY);
    let session = coordinator.session();
    session.start_rank("p1");
    session.wait_for_line("ready");
    assert!(
        agent.log().contains("nobody has submitted the job yet"),
        "{}",
        agent.log()
    );
    session.job_ended("jobs/reviews", "Succeeded");
    session.stop_rank("p1", 20_000);
    hear_out(&session);
    drop(session);
    assert_eq!(agent.wait().code(), Some(0), "{}", agent.log());
}

#[test]
fn an_agent_in_whose_place_another_one_has_come_kills_its_ranks_and_ends_with_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start();
    let mut agent = start(folder.path(), &coordinator, STUBBORN);
    let session = coordinator.session();
    session.start_rank("p1");
    session.wait_for_line("ready");
    let details = ErrorDetails::with_error_info("WORKER_REPLACED", "firn.dev", std::collections::HashMap::new());
    let refusal = Status::with_error_details(
        Code::AlreadyExists,
        "another agent has come in place of this one",
        details,
    );
    let _second = Coordinator::start_at(
        coordinator.stop(),
        Manner {
            refusal: Some(refusal),
            ..Manner::default()
        },
    );
    assert_eq!(agent.wait().code(), Some(1), "{}", agent.log());
    assert!(
        agent
            .log()
            .contains("error: this agent is not needed any more: another agent has come in place of this one"),
        "{}",
        agent.log()
    );
}
