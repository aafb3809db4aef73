//! Ranks and workers are lost: what is done, and what people are told.

use firn_core::identifiers::{Generation, RankIdentity};
use firn_core::spec::JobSpec;
use firn_core::state::*;
use firn_core::{Directive, Input, Reply};

use crate::bench::*;

fn training(workers: u32, restarts: u32) -> (Coordinator, Vec<RankIdentity>) {
    let mut wanted: JobSpec = spec_on("ants", workers);
    wanted.training.epochs = 3;
    wanted.restart_policy.max_restarts = restarts;
    let mut coordinator = Coordinator::new();
    let ranks = coordinator.training_job(wanted, &TRAIN_AND_VALIDATION);
    (coordinator, ranks)
}

/// Trains on up to so many workers, and goes on with one.
fn elastic(workers: u32) -> (Coordinator, Vec<RankIdentity>) {
    let mut wanted: JobSpec = spec_on("ants", workers);
    wanted.training.epochs = 3;
    wanted.resources.workers.min = 1;
    let mut coordinator = Coordinator::new();
    let ranks = coordinator.training_job(wanted, &TRAIN_AND_VALIDATION);
    (coordinator, ranks)
}

#[test]
fn ranks_that_are_left_form_the_gang_anew_in_the_same_processes_and_keep_every_step() {
    let (mut coordinator, ranks) = elastic(2);
    coordinator.commit(&ranks[0], 0, 0..3).unwrap();
    coordinator.take_effects();
    coordinator.exited(&ranks[0], Ending::Killed(9));
    assert_eq!(coordinator.stops(), [], "nobody is stopped");
    let job = coordinator.job("ants");
    assert_eq!((job.generation, job.living_workers().len()), (Generation(2), 1));
    assert_eq!(
        coordinator.commit(&ranks[1], 0, 3..4).unwrap_err().to_string(),
        "expected generation 2 of jobs/ants, found 1"
    );

    // rank 1 had applied a step more than the ledger knows
    let left = coordinator.rejoin(&ranks[1..], 4);
    let world = coordinator.world(&left[0]);
    assert_eq!((world.rank, world.ring_addresses.len(), world.steps_done), (0, 1, 4));
    assert_eq!(world.origin, Origin::Rank(0));
    assert_eq!(world.collective, CollectiveKind::Solo);
    assert_eq!(coordinator.commit(&left[0], 0, 3..4), Ok(Reply::StepsCommitted(4)));
    assert_eq!(coordinator.job("ants").run.ledger.rolled_back, []);
}

#[test]
fn a_step_that_only_the_lost_rank_had_is_computed_again() {
    let (mut coordinator, ranks) = elastic(2);
    coordinator.commit(&ranks[0], 0, 0..3).unwrap();
    coordinator.exited(&ranks[0], Ending::Killed(9));
    let left = coordinator.rejoin(&ranks[1..], 2);
    let ledger = &coordinator.job("ants").run.ledger;
    let taken_back = &ledger.rolled_back[0];
    assert_eq!((ledger.committed, taken_back.from, taken_back.to), (2, 2, 3));
    assert_eq!(coordinator.commit(&left[0], 0, 2..3), Ok(Reply::StepsCommitted(3)));
}

#[test]
fn a_process_in_place_of_a_lost_one_prepares_while_the_others_train() {
    let (mut coordinator, ranks) = elastic(2);
    coordinator.exited(&ranks[1], Ending::Killed(9));
    let recruits = coordinator.start_ranks();
    assert_eq!(recruits.len(), 1);
    let left = coordinator.rejoin(&ranks[..1], 0);
    coordinator.commit(&left[0], 0, 0..2).unwrap();
    coordinator.register(&recruits[0], dataset(&TRAIN_AND_VALIDATION));
    assert_eq!(coordinator.join(&recruits[0]), Ok(Reply::Wait));
    assert_eq!(coordinator.job("ants").generation, Generation(3));
    let news = coordinator.news(&left[0]);
    assert!(news.at_step_boundary, "nobody was lost: the step is finished first");
    let both = coordinator.rejoin(&left, 3);
    assert_eq!(both.len(), 2);
    let world = coordinator.world(&both[1]);
    assert_eq!((world.origin, world.steps_done, world.rank), (Origin::Rank(0), 3, 1));
    assert_eq!(coordinator.commit(&both[0], 0, 2..4), Ok(Reply::StepsCommitted(4)));
}

#[test]
fn a_gang_takes_in_workers_that_come_later_up_to_the_most_of_the_spec() {
    let mut wanted = spec_on("ants", 3);
    wanted.resources.workers.min = 1;
    let mut coordinator = Coordinator::new();
    coordinator.attach("w0", &["cpu"]);
    coordinator.submit(wanted);
    let first = coordinator.bring_up();
    coordinator.prepare(&first, &TRAIN_AND_VALIDATION);
    for worker in ["w1", "w2", "w3"] {
        coordinator.attach(worker, &["cpu"]);
    }
    let recruits = coordinator.start_ranks();
    assert_eq!(recruits.len(), 2);
    for recruit in &recruits {
        coordinator.join(recruit).unwrap();
    }
    let all = coordinator.rejoin(&first, 1);
    assert_eq!(all.len(), 3);
    assert_eq!(coordinator.world(&all[2]).ring_addresses.len(), 3);
    assert_eq!(coordinator.job("ants").losses, [], "growth is no loss");
}

#[test]
fn when_nobody_is_left_the_job_goes_on_from_the_newest_checkpoint() {
    let (mut coordinator, ranks) = training(1, 3);
    assert_eq!(coordinator.train(&ranks, 0), train_epoch(1));
    coordinator.commit(&ranks[0], 1, 4..7).unwrap();
    coordinator.store(&ranks[0], 1, 6).unwrap();
    coordinator.exited(&ranks[0], Ending::Killed(9));
    let again = coordinator.bring_up();
    let world = coordinator.world(&again[0]);
    let newest = Coordinator::checkpoint(1, 6, ranks[0].generation);
    assert_eq!((world.origin, world.steps_done), (Origin::Checkpoint(newest), 6));
    assert_eq!(world.next, train_epoch(1));
    let ledger = &coordinator.job("ants").run.ledger;
    assert_eq!(
        (ledger.committed, ledger.rolled_back[0].from, ledger.rolled_back[0].to),
        (6, 6, 7)
    );
    assert_eq!(coordinator.commit(&again[0], 1, 6..8), Ok(Reply::StepsCommitted(8)));
}

#[test]
fn a_start_from_step_0_is_told() {
    let (mut coordinator, ranks) = training(1, 3);
    coordinator.commit(&ranks[0], 0, 0..3).unwrap();
    coordinator.exited(&ranks[0], Ending::Killed(9));
    coordinator.bring_up();
    assert_eq!(
        coordinator.condition("ants", ConditionKind::Running).2,
        "1 rank joined in generation 2 (solo); begins anew at step 0, because no checkpoint was stored yet: 3 steps are computed again"
    );
}

#[test]
fn a_rank_whose_steps_were_taken_back_since_is_no_source() {
    let (mut coordinator, ranks) = elastic(2);
    coordinator.commit(&ranks[0], 0, 0..3).unwrap();
    coordinator.accept(Input::RollbackRequested {
        identity: ranks[0].clone(),
        reason: "three steps were not finite".to_owned(),
    });
    coordinator.rejoin(&ranks, 3);
    assert_eq!(
        coordinator.world(&coordinator.members("ants")[0]).origin,
        Origin::Initial
    );
    // rank 0 is lost before rank 1 has heard of the new world
    coordinator.exited(&ranks[0], Ending::Killed(9));
    coordinator.join_from(&ranks[1], ranks[1].generation, 3).unwrap();
    let left = coordinator.members("ants");
    coordinator.start_ranks();
    assert_eq!(coordinator.world(&left[0]).origin, Origin::Initial);
}

#[test]
fn an_evaluation_of_steps_that_are_taken_back_is_taken_back_too() {
    let (mut coordinator, ranks) = training(1, 3);
    coordinator.commit(&ranks[0], 0, 0..4).unwrap();
    let pass = Pass::validation(0);
    for index in 0..2 {
        let shard = ShardTable {
            samples: 20,
            shard_size: 16,
        }
        .shard(index)
        .unwrap();
        coordinator.complete(&ranks[0], pass, shard).unwrap();
    }
    coordinator.score();
    assert_eq!(coordinator.job("ants").run.evaluations.len(), 1);
    coordinator.exited(&ranks[0], Ending::Killed(9));
    let ranks = coordinator.bring_up();
    let run = &coordinator.job("ants").run;
    assert_eq!((run.evaluations.len(), run.ledger.committed), (0, 0));
    assert_eq!(coordinator.world(&ranks[0]).next, train_epoch(0));
    coordinator.train(&ranks, 0);
    assert_eq!(coordinator.job("ants").run.evaluations.len(), 1);
}

#[test]
fn shards_that_were_scored_with_steps_that_are_taken_back_are_scored_again() {
    let (mut coordinator, ranks) = training(1, 3);
    coordinator.commit(&ranks[0], 0, 0..4).unwrap();
    let pass = Pass::validation(0);
    let first = shard(coordinator.request(&ranks[0], pass));
    coordinator.complete(&ranks[0], pass, first).unwrap();
    coordinator.exited(&ranks[0], Ending::Killed(9));
    let ranks = coordinator.bring_up();
    coordinator.commit(&ranks[0], 0, 0..4).unwrap();
    assert_eq!(shard(coordinator.request(&ranks[0], pass)), first);
}

#[test]
fn an_evaluation_of_a_committed_checkpoint_goes_on_after_a_restart() {
    let (mut coordinator, ranks) = training(1, 3);
    coordinator.commit(&ranks[0], 0, 0..4).unwrap();
    coordinator.store(&ranks[0], 1, 4).unwrap();
    let pass = Pass::validation(0);
    let Ok(Reply::Shard(shard)) = coordinator.request(&ranks[0], pass) else {
        panic!("there is work")
    };
    coordinator.complete(&ranks[0], pass, shard).unwrap();
    coordinator.exited(&ranks[0], Ending::Killed(9));
    let ranks = coordinator.bring_up();
    assert_eq!(coordinator.world(&ranks[0]).next, Directive::RunPass(pass));
    let Ok(Reply::Shard(next)) = coordinator.request(&ranks[0], pass) else {
        panic!("there is work")
    };
    assert_eq!(next.index, shard.index + 1);
}

#[test]
fn a_gang_that_is_formed_again_after_training_loads_the_best_checkpoint_first() {
    let mut wanted = spec("ants");
    wanted.training.epochs = 2;
    let mut coordinator = Coordinator::new();
    let ranks = coordinator.training_job(wanted, &EVERY_SPLIT);
    coordinator.losses = vec![0.1, 0.5];
    coordinator.train(&ranks, 0);
    coordinator.train(&ranks, 1);
    let best = Coordinator::checkpoint(1, 4, ranks[0].generation);
    let test = Pass::Evaluate {
        split: SplitName::Test,
        epoch: 0,
    };
    coordinator.walk(&ranks, test);
    coordinator.exited(&ranks[0], Ending::Exited(1));
    let ranks = coordinator.bring_up();
    let world = coordinator.world(&ranks[0]);
    assert_eq!(
        world.next,
        Directive::LoadBest {
            checkpoint: best.clone(),
            epoch: 0
        }
    );
    assert_eq!(world.origin, Origin::Unneeded);
    assert_eq!(
        coordinator.request(&ranks[0], test),
        Ok(Reply::Complete(Directive::Finish { best, best_epoch: 0 }))
    );
}

#[test]
fn below_the_fewest_workers_the_ranks_that_are_left_wait_warm_and_the_job_says_so() {
    let (mut coordinator, ranks) = training(2, 3);
    let stream = coordinator.state.soft.streams[&"w0".into()];
    coordinator.accept(Input::AgentLeaving {
        worker: "w0".into(),
        stream,
    });
    assert_eq!(
        coordinator.job("ants").losses[0].cause.failure.message,
        "rank 0 on host-w0 is lost: worker w0 was shut down"
    );
    assert_eq!(
        coordinator.join_from(&ranks[1], ranks[1].generation, 2),
        Ok(Reply::Wait)
    );
    let (_, reason, message) = coordinator.condition("ants", ConditionKind::Running);
    assert_eq!(reason, "WaitingForWorkers");
    assert_eq!(
        message,
        "needs one more worker with 1 free cpu slot; no other worker is attached; the ranks that are left stay warm"
    );
    assert_eq!(coordinator.stops(), []);
    coordinator.attach("w9", &["cpu"]);
    let recruits = coordinator.start_ranks();
    coordinator.join(&recruits[0]).unwrap();
    let both = coordinator.members("ants");
    let world = coordinator.world(&both[0]);
    assert_eq!((world.steps_done, world.ring_addresses.len()), (2, 2));
}

#[test]
fn a_rank_that_could_not_be_started_is_told_with_the_reason() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a"]);
    let mut wanted = spec("ants");
    wanted.restart_policy.max_restarts = 0;
    coordinator.submit(wanted);
    let start = coordinator.starts().remove(0);
    let exit = exit(Ending::NotStarted("firn-worker: permission denied".to_owned()));
    coordinator.accept(Input::RankExited {
        worker: start.worker,
        process: start.process,
        exit,
    });
    assert_eq!(
        coordinator.failure("ants").message,
        "rank 0 on host-a could not be started: firn-worker: permission denied; no restart is allowed"
    );
}

#[test]
fn ranks_of_an_ended_job_are_told_to_stop() {
    let (mut coordinator, ranks) = training(1, 3);
    coordinator.accept(Input::Cancel { job: job("ants") });
    let stop = Directive::Stop {
        reason: "it was cancelled".to_owned(),
    };
    assert_eq!(
        coordinator.request(&ranks[0], Pass::validation(0)),
        Ok(Reply::Complete(stop))
    );
    assert_eq!(
        coordinator.commit(&ranks[0], 0, 0..1).unwrap_err().to_string(),
        "job jobs/ants has ended: it was cancelled"
    );
}

#[test]
fn an_ended_job_keeps_its_status() {
    let (mut coordinator, ranks) = training(2, 0);
    coordinator.exited(&ranks[1], Ending::Exited(10));
    let failure = coordinator.failure("ants").clone();
    let conditions = coordinator.job("ants").conditions.clone();
    coordinator.pass(1_000);
    coordinator.exited(&ranks[0], Ending::Exited(11));
    coordinator.accept(Input::Cancel { job: job("ants") });
    coordinator.crash();
    assert_eq!(coordinator.failure("ants"), &failure);
    assert_eq!(coordinator.job("ants").conditions, conditions);
}

#[test]
fn at_the_end_the_other_ranks_may_exit_before_rank_0_has_finished() {
    let mut coordinator = Coordinator::new();
    let ranks = coordinator.training_job(spec_on("ants", 2), &TRAIN_AND_VALIDATION);
    coordinator.train(&ranks, 0);
    coordinator.exited(&ranks[1], Ending::Exited(0));
    assert!(matches!(coordinator.job("ants").phase, Phase::Running(_)));
    coordinator.finish(&ranks[0]);
    coordinator.exited(&ranks[0], Ending::Exited(0));
    assert_eq!(coordinator.job("ants").outcome(), Some(&Outcome::Succeeded));
    assert!(coordinator.state.processes.is_empty());
}

#[test]
fn a_rank_that_exits_before_the_end_is_lost_even_with_status_0() {
    let (mut coordinator, ranks) = training(1, 0);
    coordinator.exited(&ranks[0], Ending::Exited(0));
    assert_eq!(
        coordinator.failure("ants").message,
        "rank 0 on host-w0 exited before the job was finished; no restart is allowed"
    );
}
