//! What ranks said is for the coordinator that had them started, and for no other.

use std::{fs, path::Path};

use firn_proto::v1alpha1::agent_message::Message;
use nix::sys::signal::Signal;

use super::{
    coordinator::{Coordinator, Manner, Session},
    process::Agent,
};

/// Two lines, and then it waits for the agent's end.
const TALKATIVE: &str = "echo one; echo two; exec sleep 1000";

fn named(id: &str) -> Manner {
    Manner {
        id: id.to_owned(),
        ..Manner::default()
    }
}

/// What is heard of processes before the process `last` ends.
fn heard(session: &Session, last: &str) -> Vec<String> {
    let mut heard = Vec::new();
    loop {
        heard.push(match session.next().expect("the stream is open") {
            Message::Logs(batch) => format!("{} from {}", batch.process_id, batch.first_sequence),
            Message::RankStarted(started) => format!("{} started", started.process_id),
            Message::RankExited(exit) if exit.process_id == last => return heard,
            Message::RankExited(exit) => format!("{} ended", exit.process_id),
            _ => continue,
        });
    }
}

/// An agent whose rank `p1` has printed, and which is killed before anything is acknowledged.
fn leave_something(folder: &Path, coordinator: &Coordinator) -> Agent {
    let mut agent = Agent::start(folder, coordinator.address, TALKATIVE);
    let session = coordinator.session();
    session.start_rank("p1");
    session.wait_for_line("two");
    agent.signal(Signal::SIGKILL);
    agent.wait();
    agent
}

#[test]
fn another_coordinator_hears_nothing_of_what_was_meant_for_the_first_and_the_first_hears_all_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (Coordinator::start_with(named("a")), Coordinator::start_with(named("b")));
    let mut agent = leave_something(folder.path(), &first);

    agent.start_again(second.address);
    let session = second.session();
    // Of the same name as one of the first coordinator.
    session.start_rank("p1");
    session.wait_for_line("one");
    session.start_rank("p2");
    session.stop_rank("p2", 0);
    let heard = heard(&session, "p2");
    assert!(!heard.contains(&"p1 ended".to_owned()), "{heard:?}");
    agent.signal(Signal::SIGKILL);
    agent.wait();

    agent.start_again(first.address);
    let (lines, exit) = first.session().collect(2);
    assert_eq!(lines.last().unwrap(), "two");
    assert_eq!((exit.process_id.as_str(), exit.signal), ("p1", Some(9)));
    assert!(
        agent
            .log()
            .contains("reporting a rank that ended with an earlier agent")
    );
}

#[test]
fn what_was_left_for_a_coordinator_that_did_not_say_who_it_is_is_delivered_as_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut agent = leave_something(folder.path(), &Coordinator::start());
    let record = fs::read_to_string(folder.path().join("state/ranks/p1/process.json")).unwrap();
    assert_eq!(record, r#"{"process_id":"p1","job":"jobs/reviews","generation":3}"#);

    let named = Coordinator::start_with(named("a"));
    agent.start_again(named.address);
    let (lines, exit) = named.session().collect(2);
    assert_eq!((lines.len(), exit.signal), (2, Some(9)));
}

#[test]
fn a_coordinator_that_learns_to_say_who_it_is_keeps_its_ranks_and_another_one_has_them_killed() {
    let folder = tempfile::tempdir().unwrap();
    let older = Coordinator::start();
    let agent = Agent::start(folder.path(), older.address, TALKATIVE);
    let session = older.session();
    session.start_rank("p1");
    let pid = session.wait_for_start();

    let upgraded = Coordinator::start_at(older.stop(), named("a"));
    let session = upgraded.session();
    assert_eq!(session.hello.processes[0].pid, pid);
    session.wait_for_line("two");
    session.start_rank("p2");
    session.wait_for_start();

    let another = Coordinator::start_at(upgraded.stop(), named("b"));
    // The agent goes away until the ranks are gone, and has nothing to say of them.
    let session = loop {
        let session = another.session();
        if session.hello.processes.is_empty() {
            break session;
        }
        assert!(
            session
                .next()
                .is_none_or(|message| matches!(message, Message::Heartbeat(_)))
        );
    };
    session.start_rank("p3");
    session.stop_rank("p3", 0);
    let heard = heard(&session, "p3");
    assert!(heard.iter().all(|what| what.starts_with("p3")), "{heard:?}");
    assert!(
        agent
            .log()
            .contains("another coordinator answers; killing the ranks of the one before")
    );
}
