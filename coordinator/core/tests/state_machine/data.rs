//! The manifest and the model: every rank must have found the same.

use std::sync::Arc;

use firn_core::identifiers::RankIdentity;
use firn_core::spec::{MetricName, MissingLabels};
use firn_core::state::*;
use firn_core::{Directive, Input, Reply};

use crate::bench::*;

fn pair() -> (Coordinator, Vec<RankIdentity>) {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a", "b"]);
    coordinator.submit(spec_on("ants", 2));
    let ranks = coordinator.bring_up();
    (coordinator, ranks)
}

#[test]
fn the_first_manifest_becomes_the_jobs() {
    let (mut coordinator, ranks) = pair();
    let found = Arc::new(dataset(&TRAIN_AND_VALIDATION));
    let answer = Reply::Dataset {
        dataset: found.clone(),
        quarantined: Vec::new(),
    };
    assert_eq!(coordinator.register(&ranks[1], dataset(&TRAIN_AND_VALIDATION)), answer);
    let records = coordinator.journal.len();
    assert_eq!(coordinator.register(&ranks[0], dataset(&TRAIN_AND_VALIDATION)), answer);
    assert_eq!(coordinator.register(&ranks[1], dataset(&TRAIN_AND_VALIDATION)), answer);
    assert_eq!(coordinator.journal.len(), records);
    let registered = coordinator.job("ants").run.dataset.clone().unwrap();
    assert_eq!((registered.rank, registered.host.as_str()), (1, "host-b"));
    assert_eq!(
        registered.shards[&SplitName::Train],
        ShardTable {
            samples: 35,
            shard_size: 16
        }
    );
}

#[test]
fn labels_that_are_missing_fail_a_job_that_refuses_them_also_where_its_rank_takes_them_for_classes() {
    for (missing_labels, refuses) in [(MissingLabels::Error, true), (MissingLabels::Keep, false)] {
        let mut coordinator = Coordinator::new();
        coordinator.attach_cpus(&["a"]);
        let mut table = spec("ants");
        table.data.missing_labels = Some(missing_labels);
        coordinator.submit(table);
        let ranks = coordinator.bring_up();
        let mut found = dataset(&TRAIN_AND_VALIDATION);
        found.classes[0] = "NaN".to_owned();
        let Reply::JobFailed(failure) = coordinator.register(&ranks[0], found) else {
            assert!(!refuses);
            continue;
        };
        assert!(refuses);
        assert_eq!(failure.reason, FailureReason::BadData);
        assert_eq!(
            failure.message,
            "rank 0 on host-a found labels `NaN`, which are missing values; data.missingLabels can leave such rows out (drop) or take \
             the word for a class (keep)"
        );
    }
}

#[test]
fn a_metric_that_the_classes_cannot_have_fails_the_job_that_it_should_decide() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a"]);
    let mut watching = spec("ants");
    watching.training.best_metric = MetricName::named("top_5_accuracy");
    coordinator.submit(watching);
    let ranks = coordinator.bring_up();
    let Reply::JobFailed(failure) = coordinator.register(&ranks[0], dataset(&TRAIN_AND_VALIDATION)) else {
        panic!("the job fails")
    };
    assert_eq!(failure.reason, FailureReason::Misconfigured);
    assert_eq!(
        failure.message,
        "spec.training.bestMetric: expected a metric that data of 2 classes can have, found `validation/top_5_accuracy`, which is \
         undefined or always 1 there"
    );
}

#[test]
fn different_files_on_two_hosts_fail_the_job_and_name_both() {
    let (mut coordinator, ranks) = pair();
    coordinator.register(&ranks[0], dataset(&TRAIN_AND_VALIDATION));
    let mut other = dataset(&TRAIN_AND_VALIDATION);
    other.splits[1].samples = 19;
    other.splits[1].class_counts = vec![9, 10];
    other.splits[1].digest = "another".to_owned();
    let Reply::JobFailed(failure) = coordinator.register(&ranks[1], other) else {
        panic!("the job fails")
    };
    assert_eq!(failure.reason, FailureReason::BadData);
    assert_eq!(
        failure.message,
        "rank 0 on host-a and rank 1 on host-b see different data: split validation: expected 20 samples with digest \
         validation-files, found 19 samples with digest another; every worker must see the same files"
    );
    assert_eq!(coordinator.failure("ants"), &failure);
    assert_eq!(coordinator.stops().len(), 2);
}

#[test]
fn a_split_that_one_host_lacks_and_other_classes_are_told_apart() {
    let (mut coordinator, ranks) = pair();
    coordinator.register(&ranks[0], dataset(&TRAIN_AND_VALIDATION));
    coordinator.register(&ranks[1], dataset(&[SplitName::Train]));
    assert!(
        coordinator
            .failure("ants")
            .message
            .contains("split validation: expected 20 samples with digest validation-files, found no such split")
    );

    let (mut coordinator, ranks) = pair();
    coordinator.register(&ranks[0], dataset(&TRAIN_AND_VALIDATION));
    let mut other = dataset(&TRAIN_AND_VALIDATION);
    other.classes[1] = "wasps".to_owned();
    coordinator.register(&ranks[1], other);
    assert!(
        coordinator
            .failure("ants")
            .message
            .contains("classes: expected [ants, bees], found [ants, wasps]")
    );
}

/// How a manifest is spoiled.
type Spoil = fn(&mut Dataset);

#[test]
fn a_manifest_that_cannot_be_is_refused() {
    let (mut coordinator, ranks) = pair();
    let table: [(&str, Spoil); 4] = [
        ("dataset: expected at least one class, found none", |dataset| {
            dataset.classes.clear()
        }),
        ("dataset: expected samples in split train, found none", |dataset| {
            dataset.splits.remove(0).samples = 0
        }),
        ("dataset: expected each split once, found one twice", |dataset| {
            dataset.splits[1].split = SplitName::Train
        }),
        (
            "dataset: split train: expected 2 class counts that add up to 35, found 2 that add up to 3",
            |dataset| dataset.splits[0].class_counts = vec![1, 2],
        ),
    ];
    for (message, change) in table {
        let mut found = dataset(&TRAIN_AND_VALIDATION);
        change(&mut found);
        let input = Input::DatasetRegistered {
            identity: ranks[0].clone(),
            dataset: Arc::new(found),
        };
        assert_eq!(coordinator.refuse(input), message);
    }
}

#[test]
fn the_manifest_outlives_the_gang() {
    let (mut coordinator, ranks) = pair();
    coordinator.register(&ranks[0], dataset(&TRAIN_AND_VALIDATION));
    coordinator.exited(&ranks[1], Ending::Killed(9));
    let recruits = coordinator.start_ranks();
    coordinator.join(&recruits[0]).unwrap();
    let ranks = coordinator.rejoin(&ranks[..1], 0);
    assert_eq!(
        coordinator.world(&ranks[0]).next,
        Directive::RunPass(Pass::Scan(SplitName::Train))
    );
    assert!(matches!(
        coordinator.register(&ranks[0], dataset(&TRAIN_AND_VALIDATION)),
        Reply::Dataset { .. }
    ));
}

#[test]
fn a_rank_with_other_weights_fails_the_job() {
    let (mut coordinator, ranks) = pair();
    let model = |digest: &str| ModelSummary {
        frozen_parameters: 10,
        trainable_parameters: 2,
        cut: "layer4".to_owned(),
        frozen_digest: digest.to_owned(),
    };
    let tell = |rank: &RankIdentity, digest| Input::ModelRegistered {
        identity: rank.clone(),
        model: model(digest),
    };
    assert_eq!(coordinator.accept(tell(&ranks[0], "1234")), Reply::Done);
    assert_eq!(coordinator.accept(tell(&ranks[0], "1234")), Reply::Done);
    let Reply::JobFailed(failure) = coordinator.accept(tell(&ranks[1], "5678")) else {
        panic!("the job fails")
    };
    assert_eq!(failure.reason, FailureReason::Misconfigured);
    assert_eq!(
        failure.message,
        "rank 0 on host-a and rank 1 on host-b loaded different models: expected 10 frozen and 2 trainable parameters, \
         cut layer4, frozen digest 1234, found 10 frozen and 2 trainable parameters, cut layer4, frozen digest 5678; \
         every worker must see the same weights"
    );
}
