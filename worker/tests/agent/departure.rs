//! An agent that is told to stop.

use std::{
    fs,
    time::{Duration, Instant},
};

use firn_proto::v1alpha1::agent_message::Message;
use nix::sys::signal::Signal;

use super::{
    ORDERLY, STUBBORN,
    coordinator::{Coordinator, Session},
    process::{Agent, open_pipe, pipe, wait_until_closed},
};

/// Takes its time to hand over when it gets SIGTERM, until a line comes through the pipe `go`; then leaves with the status for that.
const HANDS_OVER: &str = r#"trap 'echo handing over; read line <"$1/go"; exit 13' TERM; sleep 1000 & echo ready; wait"#;

/// All that is said from here to the farewell, without heartbeats; acknowledged as a real coordinator does.
fn hear_out(session: &Session) -> Vec<String> {
    let mut heard = Vec::new();
    while let Some(message) = session.next() {
        match message {
            Message::Draining(draining) => heard.push(format!("draining within {} ms", draining.grace_ms)),
            Message::RankExited(exit) => {
                session.acknowledge_exit(&exit.process_id);
                heard.push(format!(
                    "exit {:?} {:?} {}",
                    exit.exit_code, exit.signal, exit.start_error
                ));
            }
            Message::Logs(batch) => {
                session.acknowledge_lines(&batch.process_id, batch.first_sequence + batch.lines.len() as u64);
                heard.extend(batch.lines.into_iter().map(|line| line.text));
            }
            Message::Leaving(_) => {
                heard.push("leaving".to_owned());
                break;
            }
            _ => {}
        }
    }
    heard
}

#[test]
fn an_agent_that_is_told_to_stop_says_so_first_stops_its_ranks_and_leaves_nothing_undelivered() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start();
    let mut agent = Agent::start(folder.path(), coordinator.address, ORDERLY);
    let session = coordinator.session();
    session.start_rank("p1");
    session.wait_for_line("ready");
    session.acknowledge_lines("p1", 1);

    agent.signal(Signal::SIGTERM);
    let mut heard = hear_out(&session);
    assert_eq!(heard.first().map(String::as_str), Some("draining within 20000 ms"));
    assert_eq!(heard.last().map(String::as_str), Some("leaving"));
    heard.sort();
    assert_eq!(
        heard,
        ["bye", "draining within 20000 ms", "exit Some(12) None ", "leaving"]
    );
    drop(session);
    assert_eq!(agent.wait().code(), Some(0), "{}", agent.log());
    assert_eq!(agent.undelivered(), 0);
    assert!(!folder.path().join("state/scratch/reviews").exists());
}

#[test]
fn nothing_new_is_started_on_an_agent_that_leaves_while_a_rank_hands_over() {
    let folder = tempfile::tempdir().unwrap();
    let go = pipe(folder.path(), "go");
    let coordinator = Coordinator::start();
    let mut agent = Agent::start(folder.path(), coordinator.address, HANDS_OVER);
    let session = coordinator.session();
    session.start_rank("p1");
    session.wait_for_line("ready");

    agent.signal(Signal::SIGTERM);
    session.wait_for_line("handing over");
    session.start_rank("p2");
    let refused = session.wait_for_exit();
    assert_eq!(
        (refused.process_id.as_str(), refused.start_error.as_str()),
        ("p2", "the agent is shutting down")
    );
    fs::write(go, "on\n").unwrap();
    let exit = session.wait_for_exit();
    assert_eq!((exit.process_id.as_str(), exit.exit_code), ("p1", Some(13)));
    hear_out(&session);
    drop(session);
    assert_eq!(agent.wait().code(), Some(0), "{}", agent.log());
}

#[test]
fn a_rank_that_does_not_hand_over_in_time_is_killed_and_the_agents_exit_status_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start();
    let mut agent = Agent::start_with_grace(folder.path(), coordinator.address, STUBBORN, "1s");
    let session = coordinator.session();
    session.start_rank("p1");
    session.wait_for_line("ready");

    let told = Instant::now();
    agent.signal(Signal::SIGTERM);
    let exit = session.wait_for_exit();
    let took = told.elapsed();
    assert_eq!((exit.signal, exit.out_of_memory), (Some(9), false));
    assert!(
        took >= Duration::from_millis(950),
        "killed after {took:?} of a grace of 1 s"
    );
    println!("a stubborn rank was gone {took:?} after SIGTERM, with a grace of 1 s");
    hear_out(&session);
    drop(session);
    assert_eq!(agent.wait().code(), Some(3), "{}", agent.log());
}

#[test]
fn a_second_signal_kills_the_ranks_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start();
    let mut agent = Agent::start_with_grace(folder.path(), coordinator.address, STUBBORN, "1h");
    let session = coordinator.session();
    session.start_rank("p1");
    session.wait_for_line("ready");

    agent.signal(Signal::SIGTERM);
    session.wait_for(|message| matches!(message, Message::Draining(_)).then_some(()));
    agent.signal(Signal::SIGINT);
    assert_eq!(session.wait_for_exit().signal, Some(9));
    hear_out(&session);
    drop(session);
    assert_eq!(agent.wait().code(), Some(3), "{}", agent.log());
}

#[test]
fn without_a_coordinator_the_ranks_are_told_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let alive = pipe(folder.path(), "alive");
    let coordinator = Coordinator::start();
    let script = format!(r#"exec 3>"$1/alive"; {ORDERLY}"#);
    let mut agent = Agent::start(folder.path(), coordinator.address, &script);
    let session = coordinator.session();
    session.start_rank("p1");
    let alive = open_pipe(&alive);
    session.wait_for_line("ready");

    let port = coordinator.stop();
    agent.signal(Signal::SIGTERM);
    wait_until_closed(alive);
    assert_eq!(agent.wait().code(), Some(0), "{}", agent.log());

    // What could not be delivered is, by the next agent on the folder.
    let coordinator = Coordinator::start_at(port, super::Manner::default());
    agent.start_again(coordinator.address);
    assert_eq!(coordinator.session().wait_for_exit().exit_code, Some(12));
}
