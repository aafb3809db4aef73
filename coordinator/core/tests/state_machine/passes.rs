//! Passes over a split: handed out in shards, each counted once.

use std::collections::BTreeSet;

use firn_core::identifiers::RankIdentity;
use firn_core::state::*;
use firn_core::task::classification::matrix_of_cells;
use firn_core::{Directive, Effect, Input, Reply};

use crate::bench::*;

const SCAN: Pass = Pass::Scan(SplitName::Train);

fn pair() -> (Coordinator, Vec<RankIdentity>) {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a", "b"]);
    coordinator.submit(spec_on("ants", 2));
    let ranks = coordinator.bring_up();
    for rank in &ranks {
        coordinator.register(rank, dataset(&TRAIN_AND_VALIDATION));
    }
    (coordinator, ranks)
}

#[test]
fn a_rank_that_asks_ahead_does_not_get_what_it_holds_but_gets_again_what_it_missed() {
    let (mut coordinator, ranks) = pair();
    let held = shard(coordinator.request(&ranks[0], SCAN)).index;
    let others = [(); 2].map(|()| shard(coordinator.request(&ranks[1], SCAN)).index);
    assert_eq!(coordinator.request_ahead(&ranks[0], SCAN, &[held]), Ok(Reply::Wait));
    assert_eq!(
        shard(coordinator.request(&ranks[0], SCAN)).index,
        held,
        "its answer was lost"
    );
    let missed = coordinator.request_ahead(&ranks[1], SCAN, &others[..1]);
    assert_eq!(shard(missed).index, others[1]);
}

#[test]
fn shards_are_dealt_out_once_and_the_pass_ends_when_all_are_back() {
    let (mut coordinator, ranks) = pair();
    let first = shard(coordinator.request(&ranks[0], SCAN));
    let second = shard(coordinator.request(&ranks[1], SCAN));
    let third = shard(coordinator.request(&ranks[1], SCAN));
    assert_eq!([first.begin, second.begin, third.begin, third.end], [0, 16, 32, 35]);
    coordinator.complete(&ranks[1], SCAN, second).unwrap();
    coordinator.complete(&ranks[1], SCAN, third).unwrap();
    assert_eq!(coordinator.request(&ranks[1], SCAN), Ok(Reply::Wait));
    coordinator.complete(&ranks[0], SCAN, first).unwrap();
    let next = Reply::Complete(Directive::RunPass(Pass::Scan(SplitName::Validation)));
    assert_eq!(coordinator.request(&ranks[1], SCAN), Ok(next.clone()));
    assert_eq!(coordinator.request(&ranks[0], SCAN), Ok(next));
}

#[test]
fn a_shard_whose_answer_was_lost_is_given_again_when_nothing_else_is_left() {
    let (mut coordinator, ranks) = pair();
    let lost = shard(coordinator.request(&ranks[0], SCAN));
    for _ in 0..2 {
        let shard = shard(coordinator.request(&ranks[0], SCAN));
        assert_ne!(shard, lost);
        coordinator.complete(&ranks[0], SCAN, shard).unwrap();
    }
    assert_eq!(coordinator.request(&ranks[1], SCAN), Ok(Reply::Wait));
    assert_eq!(shard(coordinator.request(&ranks[0], SCAN)), lost);
}

#[test]
fn a_shard_counts_once_however_often_it_is_delivered() {
    let (mut coordinator, ranks) = pair();
    let first = shard(coordinator.request(&ranks[0], SCAN));
    assert_eq!(coordinator.complete(&ranks[0], SCAN, first), Ok(Reply::ShardCounted));
    let records = coordinator.journal.len();
    assert_eq!(coordinator.complete(&ranks[0], SCAN, first), Ok(Reply::ShardRepeated));
    assert_eq!(coordinator.complete(&ranks[1], SCAN, first), Ok(Reply::ShardRepeated));
    assert_eq!(coordinator.journal.len(), records);
}

#[test]
fn leases_are_forgotten_by_a_new_coordinator_and_a_shard_still_counts_once() {
    let (mut coordinator, ranks) = pair();
    let first = shard(coordinator.request(&ranks[0], SCAN));
    coordinator.crash();
    let ahead = coordinator.request_ahead(&ranks[0], SCAN, &[first.index]);
    assert_ne!(shard(ahead), first, "it is still at work on that one");
    assert_eq!(shard(coordinator.request(&ranks[1], SCAN)), first);
    assert_eq!(coordinator.complete(&ranks[1], SCAN, first), Ok(Reply::ShardCounted));
    assert_eq!(coordinator.complete(&ranks[0], SCAN, first), Ok(Reply::ShardRepeated));
}

#[test]
fn a_new_formation_goes_on_with_the_shards_that_are_left() {
    let (mut coordinator, ranks) = pair();
    let first = shard(coordinator.request(&ranks[0], SCAN));
    let second = shard(coordinator.request(&ranks[1], SCAN));
    coordinator.complete(&ranks[0], SCAN, first).unwrap();
    coordinator.exited(&ranks[1], Ending::Killed(9));
    let recruits = coordinator.start_ranks();
    coordinator.join(&recruits[0]).unwrap();
    let ranks = coordinator.rejoin(&ranks[..1], 0);
    assert_eq!(shard(coordinator.request(&ranks[1], SCAN)), second);
}

#[test]
fn passes_run_in_their_order() {
    let (mut coordinator, ranks) = pair();
    let refusal = coordinator
        .request(&ranks[0], Pass::Scan(SplitName::Validation))
        .unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "expected pass scan/train, found pass scan/validation"
    );
    let refusal = coordinator.request(&ranks[0], Pass::validation(0)).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "expected pass scan/train, found pass evaluate/validation/0"
    );
    assert_eq!(
        coordinator.walk(&ranks, SCAN),
        Directive::RunPass(Pass::Scan(SplitName::Validation))
    );
    assert_eq!(
        coordinator.walk(&ranks, Pass::Scan(SplitName::Validation)),
        train_epoch(0)
    );
    // there is no test split
    assert_eq!(
        coordinator.request(&ranks[0], Pass::Scan(SplitName::Test)),
        Ok(Reply::Complete(train_epoch(0)))
    );
    let refusal = coordinator.request(&ranks[0], Pass::validation(1)).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "expected the steps and the checkpoint of epoch 0, found pass evaluate/validation/1"
    );
}

#[test]
fn before_the_dataset_is_registered_there_is_no_pass() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a"]);
    coordinator.submit(spec("ants"));
    let rank = coordinator.bring_up().remove(0);
    assert_eq!(
        coordinator.request(&rank, SCAN).unwrap_err().to_string(),
        "expected the registration of the dataset, found pass scan/train"
    );
}

#[test]
fn an_evaluation_counts_each_sample_once_whoever_scored_it() {
    let mut coordinator = Coordinator::new();
    let mut wanted = spec_on("ants", 2);
    wanted.data.quarantine.max_samples = 1;
    let ranks = coordinator.training_job(wanted, &TRAIN_AND_VALIDATION);
    let pass = Pass::validation(0);
    coordinator.commit(&ranks[0], 0, 0..4).unwrap();
    coordinator.store(&ranks[0], 1, 4).unwrap();
    let report = |samples, loss_sum, matrix, corrupt| evaluated((samples, loss_sum), matrix, corrupt);
    let complete = |rank: &RankIdentity, shard, report| Input::ShardCompleted {
        identity: rank.clone(),
        pass,
        shard,
        report,
    };
    let bad = vec![corrupt(SplitName::Validation, 17)];
    coordinator.accept(complete(&ranks[1], 1, report(3, 3.0, [1, 0, 0, 2], bad)));
    assert_eq!(coordinator.take_effects().len(), 0);
    coordinator.accept(complete(&ranks[0], 0, report(16, 8.0, [7, 2, 1, 6], Vec::new())));
    assert_eq!(coordinator.request(&ranks[0], pass), Ok(Reply::Wait));
    assert_eq!(
        coordinator.effects,
        [Effect::ScorePass {
            job: job("ants"),
            generation: ranks[0].generation,
            pass
        }]
    );
    assert!(coordinator.score());
    let evaluation = &coordinator.job("ants").run.evaluations[0];
    assert_eq!((evaluation.split, evaluation.epoch), (SplitName::Validation, 0));
    assert_eq!(evaluation.metrics.samples, 19);
    assert_eq!(matrix_of_cells(2, evaluation.metrics.confusion()), [8, 2, 1, 8]);
    let value = |name| evaluation.metrics.values.get(name).copied();
    assert_eq!(value("loss"), Some(11.0 / 19.0));
    assert_eq!(value("accuracy"), Some(16.0 / 19.0));
    assert_eq!(value("roc_auc"), Some(1.0));
    assert!(
        coordinator
            .job("ants")
            .run
            .passes
            .keys()
            .all(|pass| matches!(pass, Pass::Scan(_)))
    );
    let late = complete(&ranks[1], 0, report(16, 8.0, [7, 2, 1, 6], Vec::new()));
    assert_eq!(coordinator.accept(late), Reply::ShardRepeated);
}

#[test]
fn sums_do_not_depend_on_the_order_of_delivery() {
    let mut seen = BTreeSet::new();
    for order in [[0, 1], [1, 0]] {
        let mut coordinator = Coordinator::new();
        let rank = coordinator.training_job(spec("ants"), &TRAIN_AND_VALIDATION).remove(0);
        for shard in order {
            let (samples, loss_sum) = if shard == 0 { (16, 0.1) } else { (4, 1e16) };
            let report = evaluated((samples, loss_sum), [samples, 0, 0, 0], Vec::new());
            coordinator.accept(Input::ShardCompleted {
                identity: rank.clone(),
                pass: Pass::validation(0),
                shard,
                report,
            });
        }
        coordinator.score();
        let metrics = &coordinator.job("ants").run.evaluations[0].metrics;
        seen.insert(metrics.values["loss"].to_bits());
    }
    assert_eq!(seen.len(), 1);
}

#[test]
fn a_late_score_of_an_older_formation_is_refused_and_the_new_one_is_asked_for() {
    let mut coordinator = Coordinator::new();
    let rank = coordinator.training_job(spec("ants"), &TRAIN_AND_VALIDATION).remove(0);
    coordinator.commit(&rank, 0, 0..4).unwrap();
    coordinator.store(&rank, 1, 4).unwrap();
    let pass = Pass::validation(0);
    for index in 0..2 {
        let shard = ShardTable {
            samples: 20,
            shard_size: 16,
        }
        .shard(index)
        .unwrap();
        coordinator.complete(&rank, pass, shard).unwrap();
    }
    coordinator.take_effects();
    coordinator.exited(&rank, Ending::Killed(9));
    let late = Input::PassScored {
        job: job("ants"),
        generation: rank.generation,
        pass,
        from_predictions: [("roc_auc".to_owned(), 0.1)].into(),
        intervals: None,
        thresholds: Vec::new(),
    };
    assert_eq!(coordinator.refuse(late), "expected generation 2 of jobs/ants, found 1");
    let asked = coordinator.take_effects();
    assert!(
        asked
            .iter()
            .any(|effect| matches!(effect, Effect::ScorePass { generation, .. } if generation.0 == 2)),
        "the new formation asks"
    );
    coordinator.crash();
    assert!(coordinator.score(), "and so does a new coordinator");
    assert_eq!(
        coordinator.job("ants").run.evaluations[0].metrics.values["roc_auc"],
        1.0
    );
}

#[test]
fn a_pass_that_cannot_be_scored_ends_the_job_once_and_blames_no_rank() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a", "b"]);
    coordinator.submit(spec_on("ants", 2));
    let ranks = coordinator.bring_up();
    coordinator.prepare(&ranks, &TRAIN_AND_VALIDATION);
    let pass = Pass::validation(0);
    let failed = |generation| Input::ScoringFailed {
        job: job("ants"),
        generation,
        pass,
        reason: "report 3 is damaged".to_owned(),
    };
    coordinator.accept(failed(ranks[0].generation));
    let failure = coordinator.failure("ants").clone();
    assert_eq!(failure.reason, FailureReason::InternalError);
    assert_eq!(
        failure.message,
        format!("the coordinator cannot score the pass {pass}: report 3 is damaged")
    );
    assert_eq!((failure.rank, failure.host.as_str()), (None, ""));
    assert_eq!(coordinator.stops().len(), 2, "both ranks are stopped");
    let ended = coordinator.job("ants");
    assert_eq!((ended.losses.len(), ended.restarts, ended.generation.0), (0, 0, 1));
    let again = coordinator.refuse(failed(ranks[0].generation));
    assert!(again.starts_with("job jobs/ants has ended"), "{again}");
}

#[test]
fn a_split_of_which_no_sample_can_be_read_fails_the_job() {
    let mut coordinator = Coordinator::new();
    let mut wanted = spec("ants");
    wanted.data.quarantine.max_samples = 100;
    let rank = coordinator.training_job(wanted, &TRAIN_AND_VALIDATION).remove(0);
    for (shard, samples) in [(0u32, 0..16), (1, 16..20)] {
        let bad = samples.map(|index| corrupt(SplitName::Validation, index)).collect();
        let report = evaluated((0, 0.0), [0; 4], bad);
        coordinator.accept(Input::ShardCompleted {
            identity: rank.clone(),
            pass: Pass::validation(0),
            shard,
            report,
        });
    }
    coordinator.score();
    assert_eq!(
        coordinator.failure("ants").message,
        "split validation has no sample that can be read"
    );
}
