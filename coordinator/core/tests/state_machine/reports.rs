//! What ranks report for shards: corrupt samples, and numbers that cannot be.

use firn_core::state::*;
use firn_core::{Input, Reply, ShardReport};

use crate::bench::*;

const SCAN: Pass = Pass::Scan(SplitName::Train);

fn scanned(coordinator: &Coordinator, shard: Shard, bad: Vec<QuarantinedSample>) -> ShardReport {
    match coordinator.report(SCAN, shard) {
        ShardReport::Scanned {
            bytes_read,
            content_digest,
            ..
        } => ShardReport::Scanned {
            bytes_read,
            content_digest,
            corrupt: bad,
        },
        other => other,
    }
}

#[test]
fn corrupt_samples_are_set_aside_up_to_the_limit() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a"]);
    let mut wanted = spec("ants");
    wanted.data.quarantine.max_samples = 2;
    coordinator.submit(wanted);
    let rank = coordinator.bring_up().remove(0);
    coordinator.register(&rank, dataset(&TRAIN_AND_VALIDATION));
    let first = shard(coordinator.request(&rank, SCAN));
    let bad = vec![corrupt(SplitName::Train, 3), corrupt(SplitName::Train, 4)];
    let report = scanned(&coordinator, first, bad.clone());
    let input = Input::ShardCompleted {
        identity: rank.clone(),
        pass: SCAN,
        shard: 0,
        report,
    };
    assert_eq!(coordinator.accept(input), Reply::ShardCounted);
    assert_eq!(coordinator.job("ants").run.quarantined, bad);
    assert!(matches!(
        coordinator.register(&rank, dataset(&TRAIN_AND_VALIDATION)),
        Reply::Dataset { quarantined, .. } if quarantined == bad
    ));

    // one that is known is no further one; the next is one too many
    let again = Input::SampleQuarantined {
        identity: rank.clone(),
        sample: corrupt(SplitName::Train, 3),
    };
    assert_eq!(coordinator.accept(again), Reply::Done);
    let beyond = Input::SampleQuarantined {
        identity: rank.clone(),
        sample: corrupt(SplitName::Train, 35),
    };
    assert_eq!(
        coordinator.refuse(beyond),
        "split train has 35 samples, found sample 35"
    );
    let third = Input::SampleQuarantined {
        identity: rank,
        sample: corrupt(SplitName::Train, 20),
    };
    let Reply::JobFailed(failure) = coordinator.accept(third) else {
        panic!("the job fails")
    };
    assert_eq!(failure.reason, FailureReason::BadData);
    assert_eq!(
        failure.message,
        "sample 20 of train (bees/20.jpg) is corrupt: is empty; that is one more than may be set aside \
         (data.quarantine.maxSamples is 2)"
    );
    assert_eq!(coordinator.failure("ants"), &failure);
    assert_eq!(coordinator.job("ants").run.quarantined.len(), 3);
}

#[test]
fn without_a_limit_the_first_corrupt_sample_fails_the_job() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a"]);
    coordinator.submit(spec("ants"));
    let ranks = coordinator.bring_up();
    coordinator.register(&ranks[0], dataset(&TRAIN_AND_VALIDATION));
    let first = shard(coordinator.request(&ranks[0], SCAN));
    let report = scanned(&coordinator, first, vec![corrupt(SplitName::Train, 3)]);
    let input = Input::ShardCompleted {
        identity: ranks[0].clone(),
        pass: SCAN,
        shard: 0,
        report,
    };
    assert!(matches!(coordinator.accept(input), Reply::JobFailed(_)));
    assert!(
        coordinator
            .failure("ants")
            .message
            .starts_with("sample 3 of train (bees/3.jpg) is corrupt")
    );
}

#[test]
fn scans_that_cannot_be_of_the_shard_are_refused() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a"]);
    let mut wanted = spec("ants");
    wanted.data.quarantine.max_samples = 9;
    coordinator.submit(wanted);
    let rank = coordinator.bring_up().remove(0);
    coordinator.register(&rank, dataset(&TRAIN_AND_VALIDATION));
    let first = shard(coordinator.request(&rank, SCAN));
    let complete = |pass, shard, report| Input::ShardCompleted {
        identity: rank.clone(),
        pass,
        shard,
        report,
    };
    let report = scanned(&coordinator, first, Vec::new());
    assert_eq!(
        coordinator.refuse(complete(SCAN, 3, report)),
        "pass scan/train has 3 shards, found shard 3"
    );
    let report = scanned(&coordinator, first, vec![corrupt(SplitName::Train, 16)]);
    assert_eq!(
        coordinator.refuse(complete(SCAN, 0, report)),
        "corrupt: expected different samples 0..16 of train, found 16 of train"
    );
    let report = scanned(&coordinator, first, vec![corrupt(SplitName::Train, 1); 2]);
    coordinator.refuse(complete(SCAN, 0, report));
}

#[test]
fn evaluations_that_do_not_add_up_are_refused() {
    let mut wanted = spec("ants");
    wanted.data.quarantine.max_samples = 9;
    let mut coordinator = Coordinator::new();
    let rank = coordinator.training_job(wanted, &TRAIN_AND_VALIDATION).remove(0);
    let first = ShardTable {
        samples: 35,
        shard_size: 16,
    }
    .shard(0)
    .unwrap();
    let complete = |report| Input::ShardCompleted {
        identity: rank.clone(),
        pass: Pass::validation(0),
        shard: 0,
        report,
    };
    let evaluated = |samples, matrix, bad| evaluated((samples, 1.0), matrix, bad);
    let table = [
        (
            evaluated(15, [8, 0, 0, 7], Vec::new()),
            "evaluation.samples: expected 16 of the 16 samples of shard 0 of pass evaluate/validation/0, found 15",
        ),
        (
            evaluated(16, [8, 0, 0, 8], vec![corrupt(SplitName::Validation, 0)]),
            "evaluation.samples: expected 15 of the 16 samples of shard 0 of pass evaluate/validation/0, found 16",
        ),
        (
            evaluated(16, [8, 0, 0, 7], Vec::new()),
            "evaluation.statistics: expected confusion counts of 16 samples, found 15",
        ),
        (
            scanned(&coordinator, first, Vec::new()),
            "expected an evaluation report for pass evaluate/validation/0, found a scan",
        ),
    ];
    for (report, message) in table {
        assert_eq!(coordinator.refuse(complete(report)), message);
    }
}

#[test]
fn a_loss_that_is_not_finite_fails_the_job() {
    let mut coordinator = Coordinator::new();
    let rank = coordinator.training_job(spec("ants"), &TRAIN_AND_VALIDATION).remove(0);
    let first = shard(coordinator.request(&rank, Pass::validation(0)));
    coordinator.losses = vec![f64::NAN];
    assert!(matches!(
        coordinator.complete(&rank, Pass::validation(0), first),
        Ok(Reply::JobFailed(_))
    ));
    assert_eq!(coordinator.failure("ants").reason, FailureReason::NumericalError);
}
