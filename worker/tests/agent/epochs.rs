//! Two coordinators at once: only the newer one is followed.

use firn_proto::v1alpha1::agent_message::Message;
use nix::sys::signal::Signal;

use super::{
    coordinator::{Coordinator, Manner},
    process::Agent,
};

/// One process, so that nothing of it outlives the agent.
const PATIENT: &str = "echo ready; exec sleep 1000";

fn of_epoch(epoch: u64) -> Manner {
    Manner {
        epoch,
        ..Manner::default()
    }
}

/// An agent attaches, learns of the epoch and hangs up.
fn expect_refusal(coordinator: &Coordinator, agent: &Agent) {
    let session = coordinator.session();
    assert!(session.next().is_none(), "nothing is told to an older coordinator");
    // It hangs up before it logs, and it keeps trying: by the next attempt the line is there.
    let _next_attempt = coordinator.session();
    let log = agent.log();
    assert!(
        log.contains("the coordinator has epoch 4, but this agent has met epoch 5: another one has taken over"),
        "{log}"
    );
}

#[test]
fn an_older_coordinator_is_not_attached_to_not_even_by_the_next_agent() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start_with(of_epoch(5));
    let mut agent = Agent::start(folder.path(), coordinator.address, PATIENT);
    let session = coordinator.session();
    session.start_rank("p1");
    let pid = session.wait_for_start();

    let older = Coordinator::start_at(coordinator.stop(), of_epoch(4));
    expect_refusal(&older, &agent);
    let newer = Coordinator::start_at(older.stop(), of_epoch(6));
    let session = newer.session();
    let processes = session.hello.processes.iter();
    assert_eq!(processes.map(|process| process.pid).collect::<Vec<_>>(), [pid]);
    // Whatever comes after the hello, the agent says once it has read the welcome.
    session.next().unwrap();

    let again = Coordinator::start_at(newer.stop(), of_epoch(5));
    agent.signal(Signal::SIGKILL);
    agent.wait();
    agent.start_again(again.address);
    let mut attempt = again.session();
    // The first may still be of the agent that was killed.
    if attempt.hello.processes.len() == 1 {
        attempt = again.session();
    }
    assert!(attempt.next().is_none());
}

#[test]
fn orders_of_an_older_coordinator_are_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start_with(of_epoch(5));
    let agent = Agent::start(folder.path(), coordinator.address, PATIENT);
    let session = coordinator.session();
    session.start_rank_of_epoch("p1", 4);
    session.start_rank_of_epoch("p2", 5);
    let started = session.wait_for(|message| match message {
        Message::RankStarted(started) => Some(started.process_id),
        _ => None,
    });
    assert_eq!(started, "p2");

    session.stop_rank_of_epoch("p2", 0, 4);
    session.start_rank_of_epoch("p3", 5);
    session.stop_rank_of_epoch("p3", 0, 5);
    assert_eq!(session.wait_for_exit().process_id, "p3");
    assert!(
        agent
            .log()
            .contains("not following an order of a coordinator from which another has taken over"),
        "{}",
        agent.log()
    );
}
