//! Agents come, live and go.

use firn_core::identifiers::{InstanceId, StreamId, WorkerName};
use firn_core::state::*;
use firn_core::{Effect, Input, Now, Reply};

use crate::bench::*;

fn worker(name: &str) -> WorkerName {
    WorkerName::from(name)
}

fn presence(coordinator: &Coordinator, name: &str) -> Presence {
    coordinator.state.workers[&worker(name)].presence.clone()
}

#[test]
fn a_worker_without_heartbeat_is_lost_when_its_lease_ends() {
    let mut coordinator = Coordinator::new();
    let stream = coordinator.attach("a", &["cpu"]);
    assert_eq!(firn_core::deadline(&coordinator.state), Some(coordinator.now + 10_000));
    coordinator.pass(9_999);
    coordinator.accept(Input::AgentHeartbeat {
        worker: worker("a"),
        stream,
    });
    coordinator.pass(9_999);
    assert_eq!(presence(&coordinator, "a"), Presence::Attached);
    let records = coordinator.journal.len();
    coordinator.pass(1);
    assert_eq!(
        presence(&coordinator, "a"),
        Presence::Lost {
            at: coordinator.now,
            reason: LossReason::LeaseExpired
        }
    );
    assert_eq!(coordinator.journal.len(), records + 1);
    assert_eq!(
        coordinator.take_effects(),
        [Effect::CloseStream {
            worker: worker("a"),
            stream
        }]
    );
    assert_eq!(
        coordinator.refuse(Input::AgentHeartbeat {
            worker: worker("a"),
            stream
        }),
        "worker a is not attached"
    );
    assert_eq!(firn_core::deadline(&coordinator.state), None);
    coordinator.attach("a", &["cpu"]);
    assert_eq!(presence(&coordinator, "a"), Presence::Attached);
}

#[test]
fn heartbeats_are_not_journaled() {
    let mut coordinator = Coordinator::new();
    let stream = coordinator.attach("a", &["cpu"]);
    let records = coordinator.journal.len();
    for _ in 0..10 {
        coordinator.pass(2_000);
        coordinator.accept(Input::AgentHeartbeat {
            worker: worker("a"),
            stream,
        });
    }
    coordinator.attach("a", &["cpu"]);
    assert_eq!(coordinator.journal.len(), records);
}

#[test]
fn a_stream_that_ends_does_not_end_the_worker() {
    let mut coordinator = Coordinator::new();
    let first = coordinator.attach("a", &["cpu"]);
    coordinator.accept(Input::AgentDetached {
        worker: worker("a"),
        stream: first,
    });
    assert_eq!(presence(&coordinator, "a"), Presence::Attached);
    assert!(!coordinator.state.is_connected(&worker("a")));
    let second = coordinator.attach("a", &["cpu"]);
    // the end of the first stream arrives late
    coordinator.accept(Input::AgentDetached {
        worker: worker("a"),
        stream: first,
    });
    assert!(coordinator.state.is_connected(&worker("a")));
    assert_eq!(
        coordinator.refuse(Input::AgentHeartbeat {
            worker: worker("a"),
            stream: first
        }),
        "worker a has attached by a newer stream"
    );
    coordinator.accept(Input::AgentHeartbeat {
        worker: worker("a"),
        stream: second,
    });
}

#[test]
fn nothing_is_placed_on_a_worker_whose_stream_is_closed() {
    let mut coordinator = Coordinator::new();
    let stream = coordinator.attach("a", &["cpu"]);
    coordinator.accept(Input::AgentDetached {
        worker: worker("a"),
        stream,
    });
    coordinator.submit(spec("ants"));
    assert_eq!(coordinator.job("ants").phase, Phase::Queued);
    coordinator.attach("a", &["cpu"]);
    assert!(matches!(coordinator.job("ants").phase, Phase::Starting(_)));
}

#[test]
fn a_second_agent_under_a_living_name_is_refused() {
    let mut coordinator = Coordinator::new();
    let stream = coordinator.attach("a", &["cpu"]);
    let mut second = description("a", &["cpu"]);
    second.instance = InstanceId::from("second");
    let attach = Input::AgentAttached {
        description: second,
        processes: Vec::new(),
        stream: StreamId(99),
    };
    assert_eq!(
        coordinator.refuse(attach.clone()),
        "worker a is attached already from host host-a"
    );
    // the first one is gone, its lease still runs: this is the agent's new start
    coordinator.accept(Input::AgentDetached {
        worker: worker("a"),
        stream,
    });
    assert!(matches!(coordinator.accept(attach), Reply::Welcome(_)));
}

#[test]
fn a_half_open_stream_is_replaced_by_the_agents_next_one() {
    let mut coordinator = Coordinator::new();
    let first = coordinator.attach("a", &["cpu"]);
    coordinator.attach("a", &["cpu"]);
    assert_eq!(
        coordinator.take_effects(),
        [Effect::CloseStream {
            worker: worker("a"),
            stream: first
        }]
    );
}

#[test]
fn slots_of_the_same_index_are_refused() {
    let mut coordinator = Coordinator::new();
    let mut twice = description("a", &["cpu", "cpu"]);
    twice.slots[1].index = 0;
    let attach = Input::AgentAttached {
        description: twice,
        processes: Vec::new(),
        stream: StreamId(9),
    };
    assert_eq!(
        coordinator.refuse(attach),
        "slots: expected 2 different indices, found 1"
    );
}

#[test]
fn an_agent_that_leaves_is_lost_at_once() {
    let mut coordinator = Coordinator::new();
    let stream = coordinator.attach("a", &["cpu"]);
    coordinator.accept(Input::AgentLeaving {
        worker: worker("a"),
        stream,
    });
    assert!(matches!(
        presence(&coordinator, "a"),
        Presence::Lost {
            reason: LossReason::Left,
            ..
        }
    ));
}

#[test]
fn a_new_coordinator_gives_every_worker_two_leases_to_come_back() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a", "b"]);
    coordinator.pass(9_000);
    coordinator.crash();
    assert_eq!(coordinator.state.coordinator_epoch, 2);
    assert_eq!(firn_core::deadline(&coordinator.state), Some(coordinator.now + 20_000));
    coordinator.pass(19_999);
    for worker in ["a", "b"] {
        assert_eq!(presence(&coordinator, worker), Presence::Attached);
    }
    coordinator.pass(1);
    for worker in ["a", "b"] {
        assert!(matches!(
            presence(&coordinator, worker),
            Presence::Lost {
                reason: LossReason::LeaseExpired,
                ..
            }
        ));
    }
}

#[test]
fn processes_that_nobody_knows_are_killed() {
    let mut coordinator = Coordinator::new();
    let living = |name: &str| LivingProcess {
        process: name.into(),
        pid: 7,
    };
    let (_, unwanted) = coordinator.attach_with(description("a", &["cpu"]), &[living("ghost-g1-r0")]);
    assert_eq!(unwanted, ["ghost-g1-r0".into()]);
}

#[test]
fn an_agent_that_comes_back_with_its_ranks_goes_on() {
    let mut coordinator = Coordinator::new();
    let rank = coordinator.training_job(spec("ants"), &TRAIN_AND_VALIDATION).remove(0);
    coordinator.crash();
    let living = LivingProcess {
        process: rank.process.clone(),
        pid: 100,
    };
    let (_, unwanted) = coordinator.attach_with(description("w0", &["cpu"]), &[living]);
    assert!(unwanted.is_empty() && coordinator.take_effects().is_empty());
    assert_eq!(coordinator.commit(&rank, 0, 0..4), Ok(Reply::StepsCommitted(4)));
}

#[test]
fn a_rank_that_its_agent_has_lost_counts_as_exited() {
    let mut coordinator = Coordinator::new();
    coordinator.training_job(spec("ants"), &TRAIN_AND_VALIDATION);
    coordinator.attach("w0", &["cpu"]);
    coordinator.live(1_999);
    assert!(matches!(coordinator.job("ants").phase, Phase::Running(_)));
    coordinator.live(1);
    assert_eq!(
        coordinator.job("ants").losses[0].cause.failure.message,
        "rank 0 on host-w0 is gone: its agent came back without it"
    );
    assert_eq!(coordinator.job("ants").generation.0, 2);
}

#[test]
fn an_exit_that_is_told_after_the_agent_came_back_keeps_its_cause() {
    let mut coordinator = Coordinator::new();
    let rank = coordinator.training_job(spec("ants"), &TRAIN_AND_VALIDATION).remove(0);
    coordinator.crash();
    coordinator.attach("w0", &["cpu"]);
    coordinator.live(100);
    coordinator.exited(&rank, Ending::Exited(10));
    let failure = coordinator.failure("ants");
    assert_eq!(
        failure.message,
        "rank 0 on host-w0 cannot run this job; its log says why"
    );
    assert_eq!(failure.last_log_lines, ["last words"]);
    coordinator.live(10_000);
    assert!(coordinator.state.soft.missing.is_empty());
}

#[test]
fn a_rank_that_its_agent_only_seemed_to_have_lost_goes_on() {
    let mut coordinator = Coordinator::new();
    let rank = coordinator.training_job(spec("ants"), &TRAIN_AND_VALIDATION).remove(0);
    coordinator.attach("w0", &["cpu"]);
    let living = LivingProcess {
        process: rank.process,
        pid: 100,
    };
    coordinator.attach_with(description("w0", &["cpu"]), &[living]);
    coordinator.live(10_000);
    assert!(matches!(coordinator.job("ants").phase, Phase::Running(_)));
}

#[test]
fn a_worker_that_was_away_too_long_kills_the_ranks_that_it_still_has() {
    let mut coordinator = Coordinator::new();
    let rank = coordinator.training_job(spec("ants"), &TRAIN_AND_VALIDATION).remove(0);
    coordinator.pass(10_000);
    assert!(matches!(coordinator.job("ants").phase, Phase::Restarting(_)));
    assert_eq!(
        coordinator.job("ants").losses[0].cause.failure.message,
        "rank 0 on host-w0 is lost: worker w0 sent no heartbeat for 10 s"
    );
    assert!(coordinator.commit(&rank, 0, 0..4).is_err());
    coordinator.take_effects();

    let living = LivingProcess {
        process: rank.process.clone(),
        pid: 100,
    };
    let (_, unwanted) = coordinator.attach_with(description("w0", &["cpu"]), &[living]);
    assert_eq!(unwanted, std::slice::from_ref(&rank.process));
    assert!(
        coordinator.starts().is_empty(),
        "its slot is not free before it is gone"
    );
    coordinator.exited(&rank, Ending::Killed(9));
    assert_eq!(coordinator.starts().len(), 1);
    assert_eq!(coordinator.job("ants").losses.len(), 1);
}

#[test]
fn an_agent_is_reminded_of_a_rank_that_does_not_end() {
    let mut coordinator = Coordinator::new();
    let rank = coordinator.training_job(spec("ants"), &TRAIN_AND_VALIDATION).remove(0);
    coordinator.accept(Input::Cancel { job: job("ants") });
    assert_eq!(coordinator.stops(), std::slice::from_ref(&rank.process));
    coordinator.live(10_000);
    assert!(coordinator.stops().is_empty());
    coordinator.live(2_000);
    assert_eq!(coordinator.stops(), std::slice::from_ref(&rank.process));
    coordinator.live(12_000);
    assert_eq!(coordinator.stops(), std::slice::from_ref(&rank.process));
    coordinator.crash();
    let living = LivingProcess {
        process: rank.process.clone(),
        pid: 100,
    };
    coordinator.attach_with(description("w0", &["cpu"]), &[living]);
    assert_eq!(coordinator.stops(), [rank.process]);
}

#[test]
fn only_so_many_lost_workers_are_remembered() {
    let mut coordinator = Coordinator::new();
    coordinator.state.settings.remembered_workers = 2;
    for (position, name) in ["a", "b", "c"].into_iter().enumerate() {
        let stream = coordinator.attach(name, &["cpu"]);
        coordinator.now = Now(2_000_000 + position as u64);
        coordinator.accept(Input::AgentLeaving {
            worker: worker(name),
            stream,
        });
    }
    assert_eq!(
        coordinator
            .state
            .workers
            .keys()
            .map(WorkerName::as_str)
            .collect::<Vec<_>>(),
        ["b", "c"]
    );
}
