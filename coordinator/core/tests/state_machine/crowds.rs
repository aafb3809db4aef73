//! Many agents and many jobs at once, and a coordinator that cannot keep up for a while.

use firn_core::identifiers::WorkerName;
use firn_core::state::*;
use firn_core::{Event, Input};

use crate::bench::*;

fn lost(coordinator: &Coordinator) -> Vec<&str> {
    let lost = coordinator
        .state
        .workers
        .values()
        .filter(|worker| !worker.is_attached());
    lost.map(|worker| worker.description.name.as_str()).collect()
}

fn expiries(coordinator: &Coordinator) -> usize {
    let expired = |event: &Event| {
        matches!(
            event,
            Event::WorkerLost {
                reason: LossReason::LeaseExpired,
                ..
            }
        )
    };
    coordinator
        .journal
        .iter()
        .filter(|record| expired(&record.event))
        .count()
}

fn agent(number: usize) -> String {
    format!("w{number:05}")
}

fn attach_all(coordinator: &mut Coordinator, agents: usize) {
    for number in 0..agents {
        coordinator.attach(&agent(number), &["cpu"]);
    }
}

#[test]
fn agents_that_take_longer_than_a_lease_to_come_back_are_waited_for_while_others_come() {
    let mut coordinator = Coordinator::new();
    let agents = 20;
    attach_all(&mut coordinator, agents + 1);
    coordinator.crash();
    // One every two seconds: the last comes back after four leases. One is dead.
    for number in 0..agents {
        coordinator.live(2_000);
        coordinator.attach(&agent(number), &["cpu"]);
    }
    assert_eq!(expiries(&coordinator), 0);
    coordinator.live(9_998);
    assert_eq!(
        expiries(&coordinator),
        0,
        "the dead one has the lease of the last that came back"
    );
    coordinator.live(2);
    assert_eq!(lost(&coordinator), [agent(agents)]);
}

#[test]
fn nobody_is_waited_for_without_end() {
    let mut coordinator = Coordinator::new();
    attach_all(&mut coordinator, 50);
    coordinator.crash();
    for number in 0..49 {
        coordinator.live(2_000);
        coordinator.attach(&agent(number), &["cpu"]);
        let is_due = number >= 29;
        assert_eq!(expiries(&coordinator) > 0, is_due, "after {} s", 2 * (number + 1));
    }
}

#[test]
fn a_dead_worker_is_lost_after_two_leases_where_all_others_are_back_at_once() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a", "b"]);
    coordinator.crash();
    coordinator.attach("a", &["cpu"]);
    coordinator.live(19_999);
    assert_eq!(expiries(&coordinator), 0);
    coordinator.live(1);
    assert_eq!(lost(&coordinator), ["b"]);
}

fn heartbeat(coordinator: &mut Coordinator, worker: &str) {
    let worker = WorkerName::from(worker);
    let stream = coordinator.state.soft.streams[&worker];
    coordinator.accept(Input::AgentHeartbeat { worker, stream });
}

#[test]
fn heartbeats_that_came_while_the_coordinator_slept_are_heard_before_a_lease_ends() {
    let mut coordinator = Coordinator::new();
    let ranks = coordinator.training_job(spec("ants"), &TRAIN_AND_VALIDATION);
    coordinator.attach_cpus(&["a"]);
    coordinator.live(2_000);
    assert!(!coordinator.state.soft.pulses.is_empty());
    coordinator.pass(8_000);
    heartbeat(&mut coordinator, "a");
    coordinator.pulse_all();
    coordinator.sleep(60_000);
    coordinator.accept(Input::Tick);
    assert_eq!(expiries(&coordinator), 0);
    assert_eq!(
        coordinator.job("ants").generation,
        ranks[0].generation,
        "no rank counts as silent"
    );
    heartbeat(&mut coordinator, "a");
    coordinator.pass(3_999);
    assert_eq!(expiries(&coordinator), 0);
    coordinator.pass(1);
    assert_eq!(lost(&coordinator), ["w0"], "silence after the sleep is silence");
}

/// A slow disk: agents whose hello was not answered in time hang up, pause, and come back when the coordinator sleeps again.
#[test]
fn no_lease_runs_while_the_coordinator_sleeps_again_and_again() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a", "b"]);
    for _ in 0..2 {
        coordinator.sleep(12_000);
        coordinator.accept(Input::Tick);
        coordinator.pass(4_500);
        heartbeat(&mut coordinator, "a");
    }
    assert_eq!(expiries(&coordinator), 0);
    coordinator.pass(999);
    assert_eq!(expiries(&coordinator), 0);
    coordinator.pass(1);
    assert_eq!(lost(&coordinator), ["b"], "ten seconds without the sleep");
}

#[test]
fn in_a_crowd_a_new_worker_gets_its_job_within_a_moment() {
    let mut coordinator = Coordinator::new();
    attach_all(&mut coordinator, 70);
    coordinator.submit(spec_on("many", 72));
    let waits = "needs 72 workers with 1 free cpu slot each; 70 of 70 attached workers have one";
    assert_eq!(coordinator.why_queued("many"), waits);
    coordinator.attach(&agent(70), &["cpu"]);
    coordinator.attach(&agent(71), &["cpu"]);
    assert!(coordinator.starts().is_empty(), "both are looked at together");
    coordinator.pass(100);
    assert_eq!(coordinator.starts().len(), 72);
    assert_eq!(coordinator.state.soft.settle_at, None);
}

#[test]
fn in_a_long_queue_a_new_job_says_within_a_moment_why_it_waits() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a"]);
    for number in 0..70 {
        coordinator.submit(spec_on(&format!("job{number:02}"), 1));
    }
    assert_eq!(coordinator.why_queued("job69"), "waits to be placed");
    coordinator.pass(100);
    assert_eq!(
        coordinator.why_queued("job69"),
        "waits behind jobs/job01, which needs 1 worker with 1 free cpu slot; 0 of 1 attached workers have one, 1 more is busy"
    );
    // In its turn, not before.
    coordinator.accept(Input::Cancel { job: job("job01") });
    assert!(coordinator.why_queued("job02").starts_with("needs 1 worker"));
}

/// Work that grew with the number of agents for each of them would take minutes here.
#[test]
fn ten_thousand_agents_that_come_back_beside_a_running_job_and_a_thousand_queued_ones_are_looked_at_together() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["w0"]);
    coordinator.training_job(spec("first"), &TRAIN_AND_VALIDATION);
    for number in 0..1_000 {
        coordinator.submit(spec_on(&format!("job{number:03}"), 20_000));
    }
    for round in 0..2 {
        for number in 0..10_000 {
            coordinator.attach(&agent(number), &["cpu"]);
            assert!(coordinator.state.soft.settle_at.is_some(), "none is looked at alone");
        }
        coordinator.pass(200);
        assert_eq!(coordinator.state.soft.streams.len(), 10_001 - round);
        if round == 0 {
            coordinator.crash();
        }
    }
    assert_eq!(expiries(&coordinator), 0);
}
