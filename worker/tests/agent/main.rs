//! The agent as a process, held against a coordinator that the test plays.
#![allow(clippy::unwrap_used, reason = "a test that finds something else has failed")]

mod certificates;
mod coordinator;
mod dedicated;
mod departure;
mod epochs;
mod exits;
mod memory;
mod process;
mod spools;

use std::fs;

use firn_proto::v1alpha1::agent_message::Message;
use nix::sys::signal::Signal;
use tonic::Status;

use self::{
    coordinator::{Coordinator, Manner},
    process::{Agent, open_pipe, pipe, wait_until_closed},
};

/// Prints `ready`, then waits for a line in the pipe `go`, says it and exits with 7; holds the pipe `alive` open meanwhile.
const OBEDIENT: &str = r#"exec 3>"$1/alive"; echo ready; read line <"$1/go"; echo "got $line"; exit 7"#;
/// Ends itself in order on SIGTERM.
const ORDERLY: &str = r#"trap 'echo bye; exit 12' TERM; sleep 1000 & echo ready; wait"#;
/// Does not care about SIGTERM.
const STUBBORN: &str = r#"trap '' TERM; echo ready; sleep 1000"#;

#[test]
fn a_rank_is_started_once_with_its_environment_and_its_exit_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start();
    let script = r#"echo "$RANK of $WORLD_SIZE, $FIRN_JOB $FIRN_PROCESS_ID $FIRN_GENERATION $FIRN_DEVICE $OMP_NUM_THREADS"; echo oops >&2; exit 10"#;
    let _agent = Agent::start(folder.path(), coordinator.address, script);
    let session = coordinator.session();
    assert_eq!(session.hello.worker, "w1");
    assert_eq!(session.hello.address, "127.0.0.1");
    assert_eq!(session.hello.slots.len(), 2);
    assert!(
        session
            .hello
            .slots
            .iter()
            .all(|slot| slot.device == "cpu" && slot.memory_bytes > 0)
    );

    session.start_rank("p1");
    session.start_rank("p1");
    let (mut lines, exit) = session.collect(2);
    lines.sort();
    assert_eq!(lines, ["1 of 2, jobs/reviews p1 3 cpu 1", "oops"]);
    assert_eq!((exit.exit_code, exit.signal), (Some(10), None));
    assert_eq!(exit.last_log_lines.len(), 2);

    // The repeat had no effect: what starts next is the next process.
    session.acknowledge_exit("p1");
    session.start_rank("p1");
    session.start_rank("p2");
    let next = session.wait_for(|message| match message {
        Message::RankExited(exit) => Some(exit.process_id),
        _ => None,
    });
    assert_eq!(next, "p2");
}

#[test]
fn every_line_of_a_rank_that_is_killed_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start();
    let _agent = Agent::start(
        folder.path(),
        coordinator.address,
        "seq 1 30000; printf unfinished; kill -9 $$",
    );
    let session = coordinator.session();
    session.start_rank("p1");
    let (lines, exit) = session.collect(30_001);
    assert!(
        lines[..30_000]
            .iter()
            .enumerate()
            .all(|(index, line)| *line == (index + 1).to_string())
    );
    assert_eq!(lines[30_000], "unfinished");
    assert_eq!((exit.exit_code, exit.signal), (None, Some(9)));
    assert_eq!(exit.last_log_lines.len(), 40);
    assert_eq!(exit.last_log_lines[39], "unfinished");
}

#[test]
fn a_rank_is_asked_to_stop_and_killed_with_its_children_only_if_it_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start();
    let script = format!("case $FIRN_PROCESS_ID in orderly) {ORDERLY};; *) {STUBBORN};; esac");
    let _agent = Agent::start(folder.path(), coordinator.address, &script);
    let session = coordinator.session();

    session.start_rank("orderly");
    session.wait_for_line("ready");
    session.stop_rank("orderly", 60_000);
    let exit = session.wait_for_exit();
    assert_eq!(
        (exit.exit_code, exit.last_log_lines.as_slice()),
        (Some(12), ["ready".to_owned(), "bye".to_owned()].as_slice())
    );

    session.start_rank("stubborn");
    session.wait_for_line("ready");
    session.stop_rank("stubborn", 100);
    assert_eq!(session.wait_for_exit().signal, Some(9));
}

#[test]
fn ranks_go_on_without_the_coordinator_and_an_exit_is_reported_until_it_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let (alive, go) = (pipe(folder.path(), "alive"), pipe(folder.path(), "go"));
    let coordinator = Coordinator::start();
    let agent = Agent::start(folder.path(), coordinator.address, OBEDIENT);
    let session = coordinator.session();
    session.start_rank("p1");
    let alive = open_pipe(&alive);
    let pid = session.wait_for_start();
    session.wait_for_line("ready");

    // Away and back: the rank is the same.
    let coordinator = Coordinator::start_at(coordinator.stop(), Manner::default());
    let session = coordinator.session();
    let processes: Vec<_> = session
        .hello
        .processes
        .iter()
        .map(|process| (process.process_id.as_str(), process.pid))
        .collect();
    assert_eq!(processes, [("p1", pid)]);
    assert_eq!(session.hello.slots[0].job, "jobs/reviews");

    // Away again, and the rank ends meanwhile.
    let port = coordinator.stop();
    fs::write(go, "on\n").unwrap();
    wait_until_closed(alive);
    for _ in 0..2 {
        let coordinator = Coordinator::start_at(port.clone(), Manner::default());
        let session = coordinator.session();
        let exit = session.wait_for_exit();
        assert_eq!(exit.exit_code, Some(7));
        session.wait_for_line("got on");
        coordinator.stop();
    }

    let coordinator = Coordinator::start_at(port, Manner::default());
    let session = coordinator.session();
    let (lines, _) = session.collect(2);
    assert_eq!(lines, ["ready", "got on"]);
    session.acknowledge_exit("p1");
    // Commands are obeyed in order, so when the next one has had its effect the process is forgotten.
    session.send(firn_proto::v1alpha1::agent_command::Command::StartRank(
        firn_proto::v1alpha1::StartRank {
            process_id: "p2".to_owned(),
            slot: 99,
            ..Default::default()
        },
    ));
    let refused = session.wait_for_exit();
    assert_eq!(
        refused.start_error,
        "slot 99 was ordered, but this worker has 2 slots, numbered from 0"
    );
    assert_eq!(agent.undelivered(), 1);
}

#[test]
fn a_rank_does_not_outlive_an_agent_that_is_killed_and_the_next_agent_reports_it() {
    let folder = tempfile::tempdir().unwrap();
    let alive = pipe(folder.path(), "alive");
    let coordinator = Coordinator::start();
    let script = r#"exec 3>"$1/alive"; echo ready; exec sleep 1000"#;
    let mut agent = Agent::start(folder.path(), coordinator.address, script);
    let session = coordinator.session();
    session.start_rank("p1");
    let alive = open_pipe(&alive);
    session.wait_for_line("ready");
    let first_instance = session.hello.instance_id.clone();

    agent.signal(Signal::SIGKILL);
    wait_until_closed(alive);
    agent.wait();

    agent.start_again(coordinator.address);
    let session = coordinator.session();
    assert_ne!(session.hello.instance_id, first_instance);
    assert!(session.hello.processes.is_empty());
    let (lines, exit) = session.collect(1);
    assert_eq!(lines, ["ready"]);
    assert_eq!((exit.signal, exit.last_log_lines), (Some(9), vec!["ready".to_owned()]));
}

#[test]
fn a_rank_that_the_coordinator_no_longer_wants_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start();
    let _agent = Agent::start(folder.path(), coordinator.address, STUBBORN);
    let session = coordinator.session();
    session.start_rank("p1");
    session.wait_for_line("ready");

    let coordinator = Coordinator::start_at(
        coordinator.stop(),
        Manner {
            unwanted: vec!["p1".to_owned()],
            ..Manner::default()
        },
    );
    let exit = coordinator.session().wait_for_exit();
    assert_eq!((exit.process_id.as_str(), exit.signal), ("p1", Some(9)));
}

#[test]
fn a_second_agent_on_the_same_state_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start();
    let agent = Agent::start(folder.path(), coordinator.address, ORDERLY);
    let _session = coordinator.session();

    let second = agent.run_second(coordinator.address);
    let message = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success());
    assert!(
        message.contains("error: another agent already uses the state folder"),
        "{message}"
    );
}

#[test]
fn a_refusal_that_a_person_must_mend_ends_the_agent_with_the_coordinators_words() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start_with(Manner {
        refusal: Some(Status::unauthenticated("no token was given")),
        ..Manner::default()
    });
    let mut agent = Agent::start(folder.path(), coordinator.address, ORDERLY);
    assert!(!agent.wait().success());
    assert!(
        agent
            .log()
            .contains("error: the coordinator refused this worker: no token was given"),
        "{}",
        agent.log()
    );
}

#[test]
fn heartbeats_count_up() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start();
    let _agent = Agent::start(folder.path(), coordinator.address, ORDERLY);
    let session = coordinator.session();
    for expected in 0..3 {
        let sequence = session.wait_for(|message| match message {
            Message::Heartbeat(heartbeat) => Some(heartbeat.sequence),
            _ => None,
        });
        assert_eq!(sequence, expected);
    }
}
