//! Ranks and workers are lost: what is done, and what people are told.

use firn_core::identifiers::{Generation, RankIdentity};
use firn_core::spec::JobSpec;
use firn_core::state::*;
use firn_core::{Directive, Input, Reply};

use crate::bench::*;

fn training(workers: u32, restarts: u32) -> (Coordinator, Vec<RankIdentity>) {
    let mut wanted: JobSpec = spec_on("ants", workers);
    wanted.training.epochs = 3;
    wanted.max_restarts = restarts;
    let mut coordinator = Coordinator::new();
    let ranks = coordinator.training_job(wanted, &TRAIN_AND_VALIDATION);
    (coordinator, ranks)
}

#[test]
fn a_lost_rank_brings_the_gang_down_and_it_is_formed_again_from_the_newest_checkpoint() {
    let (mut coordinator, ranks) = training(2, 3);
    assert_eq!(coordinator.train(&ranks, 0), Directive::TrainEpoch(1));
    coordinator.commit(&ranks[0], 1, 4..7).unwrap();
    coordinator.take_effects();
    coordinator.exited(&ranks[1], Ending::Killed(9));
    assert_eq!(coordinator.stops(), [ranks[0].process.clone()]);
    assert!(matches!(coordinator.job("ants").phase, Phase::Collapsing(_)));
    coordinator.obey();

    assert_eq!(coordinator.job("ants").generation, Generation(2));
    assert_eq!(coordinator.job("ants").restarts(), 1);
    let run = &coordinator.job("ants").run;
    assert_eq!(run.ledger.committed, 4);
    let rolled_back = &run.ledger.rolled_back[0];
    assert_eq!(
        (rolled_back.from, rolled_back.to, rolled_back.generation),
        (4, 7, Generation(2))
    );

    let again = coordinator.bring_up();
    let world = coordinator.world(&again[1]);
    assert_eq!(world.resume, Some(Coordinator::checkpoint(1, 4, ranks[0].generation)));
    assert_eq!(world.next, Directive::TrainEpoch(1));
    assert_eq!(
        coordinator.commit(&ranks[0], 1, 4..5).unwrap_err().to_string(),
        "expected generation 2 of jobs/ants, found 1"
    );
    assert_eq!(coordinator.train(&again, 1), Directive::TrainEpoch(2));
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
    let run = &coordinator.job("ants").run;
    assert_eq!((run.evaluations.len(), run.ledger.committed), (0, 0));
    let ranks = coordinator.bring_up();
    assert_eq!(coordinator.world(&ranks[0]).next, Directive::TrainEpoch(0));
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
    assert_eq!(world.resume, Some(Coordinator::checkpoint(2, 8, Generation(1))));
    assert_eq!(
        coordinator.request(&ranks[0], test),
        Ok(Reply::Complete(Directive::Finish { best, best_epoch: 0 }))
    );
}

#[test]
fn after_too_many_losses_the_job_has_failed_with_its_first_cause() {
    let (mut coordinator, mut ranks) = training(2, 2);
    for _ in 0..2 {
        coordinator.exited(&ranks[1], Ending::Killed(9));
        coordinator.obey();
        coordinator.live(10_000);
        ranks = coordinator.bring_up();
    }
    coordinator.exited(&ranks[1], Ending::Killed(11));
    coordinator.obey();
    let failure = coordinator.failure("ants");
    assert_eq!(failure.reason, FailureReason::NodeFailures);
    assert_eq!(
        failure.message,
        "rank 1 on host-w1 was killed by signal 11 (SIGSEGV); the gang had been formed again 2 times, which is the limit"
    );
    assert_eq!((failure.rank, failure.host.as_str()), (Some(1), "host-w1"));
    assert_eq!(failure.last_log_lines, ["last words"]);
    assert_eq!(coordinator.job("ants").losses.len(), 3);
    assert_eq!(coordinator.job("ants").restarts(), 2);
}

#[test]
fn restarts_wait_longer_each_time() {
    let (mut coordinator, mut ranks) = training(1, 9);
    for wait in [0, 1_000, 2_000, 4_000] {
        coordinator.exited(&ranks[0], Ending::Killed(9));
        if wait > 0 {
            let Phase::Restarting(restart) = &coordinator.job("ants").phase else {
                panic!("it waits")
            };
            assert_eq!(restart.not_before, coordinator.now + wait);
            coordinator.live(wait - 1);
            assert!(coordinator.starts().is_empty());
            coordinator.live(1);
        }
        ranks = coordinator.bring_up();
        assert_eq!(ranks.len(), 1);
    }
}

#[test]
fn a_gang_is_formed_again_on_the_workers_that_are_left() {
    let mut wanted = spec_on("ants", 2);
    wanted.resources.min_workers = 1;
    let mut coordinator = Coordinator::new();
    let ranks = coordinator.training_job(wanted, &TRAIN_AND_VALIDATION);
    let stream = coordinator.state.soft.streams[&"w0".into()];
    coordinator.accept(Input::AgentLeaving {
        worker: "w0".into(),
        stream,
    });
    assert_eq!(coordinator.starts(), [], "rank 1 still holds its slot");
    coordinator.exited(&ranks[1], Ending::Exited(12));
    let starts = coordinator.starts();
    assert_eq!(starts.len(), 1);
    assert_eq!(
        (starts[0].worker.as_str(), starts[0].rank, starts[0].world_size),
        ("w1", 0, 1)
    );
    assert_eq!(
        coordinator.job("ants").losses[0].cause.failure.message,
        "rank 0 on host-w0 is lost: worker w0 was shut down"
    );
}

#[test]
fn below_the_fewest_workers_the_job_waits_and_says_so() {
    let (mut coordinator, ranks) = training(2, 3);
    let stream = coordinator.state.soft.streams[&"w0".into()];
    coordinator.accept(Input::AgentLeaving {
        worker: "w0".into(),
        stream,
    });
    coordinator.exited(&ranks[1], Ending::Exited(12));
    assert_eq!(
        coordinator.why_queued("ants"),
        "needs 2 workers with 1 free cpu slot each; 1 of 1 attached workers has one"
    );
    coordinator.attach("w9", &["cpu"]);
    let starts = coordinator.starts();
    assert_eq!(
        starts.iter().map(|start| start.worker.as_str()).collect::<Vec<_>>(),
        ["w1", "w9"]
    );
}

#[test]
fn a_rank_that_could_not_be_started_is_told_with_the_reason() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a"]);
    let mut wanted = spec("ants");
    wanted.max_restarts = 0;
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
fn while_a_gang_comes_down_its_ranks_deliver_but_get_no_new_work() {
    let (mut coordinator, ranks) = training(2, 3);
    coordinator.commit(&ranks[0], 0, 0..2).unwrap();
    coordinator.exited(&ranks[1], Ending::Killed(9));
    assert_eq!(coordinator.commit(&ranks[0], 0, 2..4), Ok(Reply::StepsCommitted(4)));
    assert_eq!(coordinator.store(&ranks[0], 1, 4), Ok(Reply::Done));
    let reason = "rank 1 on host-w1 was killed by signal 9 (SIGKILL)".to_owned();
    assert_eq!(
        coordinator.request(&ranks[0], Pass::validation(0)),
        Ok(Reply::Complete(Directive::Stop { reason: reason.clone() }))
    );
    assert_eq!(
        coordinator.join(&ranks[0]).unwrap_err().to_string(),
        format!("the gang of jobs/ants is being formed again: {reason}")
    );
    assert!(coordinator.commit(&ranks[1], 0, 0..1).is_err(), "its end is known");
    coordinator.obey();
    assert_eq!(coordinator.job("ants").run.ledger.committed, 4);
    let again = coordinator.bring_up();
    assert_eq!(
        coordinator.world(&again[0]).next,
        Directive::RunPass(Pass::validation(0))
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
