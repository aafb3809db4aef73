//! The coordinator is killed and starts again from its journal.

use firn_core::identifiers::Generation;
use firn_core::state::*;
use firn_core::{Directive, Input, Reply, State};

use crate::bench::*;

#[test]
fn a_waiting_job_is_still_there() {
    let mut coordinator = Coordinator::new();
    coordinator.submit(spec("ants"));
    coordinator.crash();
    assert_eq!(coordinator.job("ants").phase, Phase::Queued);
    assert_eq!(
        coordinator.why_queued("ants"),
        "needs 1 worker with 1 free cpu slot; no worker is attached"
    );
    coordinator.attach_cpus(&["a"]);
    assert_eq!(coordinator.starts().len(), 1);
}

#[test]
fn ranks_train_on_and_finish_the_job_with_a_coordinator_that_crashes_before_every_message() {
    let mut coordinator = Coordinator::new();
    let mut wanted = spec_on("ants", 2);
    wanted.training.epochs = 2;
    let ranks = coordinator.training_job(wanted, &EVERY_SPLIT);
    let living = |rank: usize| LivingProcess {
        process: ranks[rank].process.clone(),
        pid: 100 + rank as u32,
    };
    let crash = |coordinator: &mut Coordinator| {
        coordinator.crash();
        for rank in 0..2 {
            let (_, unwanted) = coordinator.attach_with(description(&format!("w{rank}"), &["cpu"]), &[living(rank)]);
            assert!(unwanted.is_empty());
        }
    };
    for epoch in 0..2 {
        for step in 4 * u64::from(epoch)..4 * u64::from(epoch) + 4 {
            crash(&mut coordinator);
            coordinator.commit(&ranks[0], epoch, step..step + 1).unwrap();
        }
        crash(&mut coordinator);
        coordinator
            .store(&ranks[0], epoch + 1, 4 * u64::from(epoch) + 4)
            .unwrap();
        let pass = Pass::validation(epoch);
        while let Ok(Reply::Shard(shard)) = coordinator.request(&ranks[1], pass) {
            crash(&mut coordinator);
            coordinator.complete(&ranks[1], pass, shard).unwrap();
            crash(&mut coordinator);
            coordinator.score();
        }
    }
    crash(&mut coordinator);
    let test = Pass::Evaluate {
        split: SplitName::Test,
        epoch: 0,
    };
    assert!(matches!(coordinator.walk(&ranks, test), Directive::Finish { .. }));
    crash(&mut coordinator);
    coordinator.finish(&ranks[0]);
    crash(&mut coordinator);
    assert_eq!(coordinator.job("ants").outcome(), Some(&Outcome::Succeeded));
    assert_eq!(coordinator.job("ants").run.evaluations.len(), 3);
    assert_eq!(coordinator.job("ants").generation, ranks[0].generation);
}

#[test]
fn a_gang_that_came_down_while_the_coordinator_was_away_is_formed_again() {
    let mut coordinator = Coordinator::new();
    let ranks = coordinator.training_job(spec_on("ants", 2), &TRAIN_AND_VALIDATION);
    coordinator.crash();
    // both agents come back, one without its rank
    let living = LivingProcess {
        process: ranks[0].process.clone(),
        pid: 100,
    };
    coordinator.attach_with(description("w0", &["cpu"]), &[living]);
    coordinator.attach_with(description("w1", &["cpu"]), &[]);
    coordinator.live(2_000);
    assert_eq!(coordinator.stops(), [], "who lives goes on");
    let job = coordinator.job("ants");
    assert_eq!((job.losses.len(), job.generation), (1, Generation(2)));
    coordinator.crash();
    coordinator.attach_with(
        description("w0", &["cpu"]),
        &[LivingProcess {
            process: ranks[0].process.clone(),
            pid: 100,
        }],
    );
    coordinator.attach_with(description("w1", &["cpu"]), &[]);
    let recruits = coordinator.start_ranks();
    assert_eq!(recruits.len(), 1, "the start is asked for again");
    coordinator.join(&recruits[0]).unwrap();
    let both = coordinator.rejoin(&ranks[..1], 0);
    assert_eq!(coordinator.world(&both[1]).ring_addresses.len(), 2);
}

#[test]
fn replay_of_every_prefix_of_the_journal_never_fails() {
    let mut coordinator = Coordinator::new();
    let ranks = coordinator.training_job(spec("ants"), &TRAIN_AND_VALIDATION);
    coordinator.train(&ranks, 0);
    coordinator.finish(&ranks[0]);
    let mut state = State::new(coordinator.state.settings.clone());
    for record in &coordinator.journal {
        firn_core::apply(&mut state, record);
        firn_core::decide(&state, coordinator.now, Input::CoordinatorStarted).unwrap();
    }
    assert_eq!(durable(&state), durable(&coordinator.state));
}

#[test]
fn records_that_fit_no_state_change_nothing() {
    let mut coordinator = Coordinator::new();
    let ranks = coordinator.training_job(spec("ants"), &TRAIN_AND_VALIDATION);
    coordinator.train(&ranks, 0);
    // every record but the submission, on an empty state
    let mut state = State::new(coordinator.state.settings.clone());
    for record in coordinator
        .journal
        .iter()
        .filter(|record| record.job().is_some())
        .skip(1)
    {
        firn_core::apply(&mut state, record);
    }
    assert!(state.jobs.is_empty() && state.processes.is_empty());
}
