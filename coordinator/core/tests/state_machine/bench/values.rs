//! Specs, data sets and descriptions that are valid.

use std::collections::BTreeMap;

use firn_core::compatibility::Revision;
use firn_core::identifiers::{InstanceId, JobId, WorkerName};
use firn_core::spec::*;
use firn_core::state::*;
use firn_core::task::classification::cells_of_matrix;
use firn_core::task::{ClassificationStatistics, Statistics};
use firn_core::{Directive, Reject, Reply, ShardReport};

/// A spec that is valid: one worker, one epoch, batches of 10.
pub(crate) fn spec(name: &str) -> JobSpec {
    JobSpec {
        metadata: Metadata {
            name: name.to_owned(),
            namespace: "default".to_owned(),
            labels: BTreeMap::new(),
        },
        task: Task::Classification,
        model: ModelSpec {
            architecture: Architecture::Resnet18,
            weights: None,
            tokenizer: None,
            freeze: Freeze::All.into(),
            lora: None,
            dropout: StageDropout::None,
            head: HeadSpec::Linear { dropout: 0.0 },
            pooling: Pooling::Mean,
        },
        data: DataSpec {
            format: DataFormat::ImageFolder,
            missing_labels: None,
            classes: Vec::new(),
            train: "/data/train".to_owned(),
            validation: Some(SplitSource::Path("/data/val".to_owned())),
            test: None,
            preprocessing: Architecture::Resnet18.default_preprocessing(),
            augmentation: None,
            quarantine: QuarantineSpec { max_samples: 0 },
        },
        training: training(),
        resources: ResourcesSpec {
            workers: WorkersSpec { min: 1, max: 1 },
            slots_per_worker: 1,
            device: DeviceRequest::Auto,
        },
        restart_policy: RestartPolicy { max_restarts: 3 },
        artifacts: ArtifactsSpec {
            folder: None,
            merged_model: false,
        },
        scheduling: SchedulingSpec::default(),
        run_policy: RunPolicy::default(),
    }
}

fn training() -> TrainingSpec {
    TrainingSpec {
        epochs: 1,
        batch_size: 10,
        micro_batch_size: None,
        seed: 0,
        optimizer: sgd(),
        schedule: ScheduleSpec {
            shape: ScheduleShape::Constant,
            warmup: Warmup::Steps(0),
        },
        loss: LossSpec::default(),
        early_stopping: None,
        best_metric: MetricName::LOSS,
        best_metric_class: None,
        train_batch_norm: false,
        max_gradient_norm: None,
        max_gradient_value: None,
        decayed: Decayed::All,
        layer_decay: 1.0,
        mixing: None,
        ema: None,
        frozen_precision: Precision::Single,
        sampling: Sampling::Shuffle,
        determinism: Determinism::Default,
        checkpoint_interval_ms: 60_000,
    }
}

/// Each evaluation that does not improve on the best one halves the rate.
pub(crate) fn halved_unless_better(metric: MetricName, class: Option<String>) -> ScheduleShape {
    ScheduleShape::Plateau(PlateauSpec {
        metric,
        class,
        factor: 0.5,
        patience: 0,
        threshold: 0.0,
        threshold_mode: ThresholdMode::Absolute,
        cooldown: 0,
        min_learning_rate: 0.0,
    })
}

fn sgd() -> OptimizerSpec {
    OptimizerSpec::Sgd {
        learning_rate: 0.1,
        weight_decay: 0.0,
        momentum: 0.9,
        nesterov: false,
    }
}

/// A spec for so many workers.
pub(crate) fn spec_on(name: &str, workers: u32) -> JobSpec {
    let mut spec = spec(name);
    spec.resources.workers.min = workers;
    spec.resources.workers.max = workers;
    spec
}

/// 35 training samples (4 batches of 10), 20 validation samples; 20 test samples if wanted.
pub(crate) fn dataset(splits: &[SplitName]) -> Dataset {
    let manifest = |&split: &SplitName| {
        let class_counts = if split == SplitName::Train {
            vec![20, 15]
        } else {
            vec![10, 10]
        };
        SplitManifest {
            split,
            samples: class_counts.iter().sum(),
            class_counts,
            digest: format!("{split}-files"),
        }
    };
    Dataset {
        classes: vec!["ants".to_owned(), "bees".to_owned()],
        splits: splits.iter().map(manifest).collect(),
        ..Dataset::default()
    }
}

pub(crate) const TRAIN_AND_VALIDATION: [SplitName; 2] = [SplitName::Train, SplitName::Validation];
pub(crate) const EVERY_SPLIT: [SplitName; 3] = SplitName::ALL;

/// A digest as a checkpoint or an artifact has it.
pub(crate) fn sha256(number: u64) -> String {
    format!("{number:064x}")
}

pub(crate) fn job(name: &str) -> JobId {
    JobId::from(name)
}

pub(crate) fn exit(ending: Ending) -> RankExit {
    RankExit {
        ending,
        last_log_lines: vec!["last words".to_owned()],
        out_of_memory: false,
    }
}

pub(crate) fn description(name: &str, devices: &[&str]) -> WorkerDescription {
    let slot = |(index, device): (u32, &&str)| Slot {
        index,
        device: (*device).to_owned(),
        description: String::new(),
        memory_bytes: 1 << 30,
    };
    WorkerDescription {
        name: WorkerName::from(name),
        host: format!("host-{name}"),
        address: "127.0.0.1".to_owned(),
        slots: (0..).zip(devices).map(slot).collect(),
        version: "0.1.0".to_owned(),
        protocol: Revision::CURRENT,
        instance: InstanceId::from("first"),
        labels: BTreeMap::new(),
        serves: Serves::default(),
    }
}

/// A worker that is there for one job alone.
pub(crate) fn dedicated(name: &str, devices: &[&str], to: &str) -> WorkerDescription {
    WorkerDescription {
        serves: Serves {
            job: Some(job(to)),
            namespace: None,
        },
        ..description(name, devices)
    }
}

/// A worker with labels, `zone=a` each.
pub(crate) fn labelled(name: &str, devices: &[&str], labels: &[&str]) -> WorkerDescription {
    WorkerDescription {
        labels: self::labels(labels),
        ..description(name, devices)
    }
}

/// Pairs that are written `zone=a`.
pub(crate) fn labels(pairs: &[&str]) -> BTreeMap<String, String> {
    let pair = |pair: &&str| {
        pair.split_once('=')
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
    };
    pairs.iter().filter_map(pair).collect()
}

/// What a rank tells with a pulse, after six steps.
pub(crate) fn doing(activity: &str, operation: &str, sequence: u64, ticks: u64) -> Progress {
    Progress {
        activity: activity.into(),
        operation: operation.into(),
        steps_done: 6,
        sequence,
        ticks,
        ..Progress::default()
    }
}

/// A sample that cannot be read.
pub(crate) fn corrupt(split: SplitName, index: u64) -> QuarantinedSample {
    QuarantinedSample {
        split,
        index,
        sample: format!("bees/{index}.jpg"),
        reason: "is empty".to_owned(),
    }
}

/// The shard that was given.
#[track_caller]
pub(crate) fn shard(reply: Result<Reply, Reject>) -> Shard {
    match reply {
        Ok(Reply::Shard(shard)) => shard,
        other => panic!("expected a shard, found {other:?}"),
    }
}

/// The report of an evaluation over two classes. Row of the matrix: true class; column: predicted class.
pub(crate) fn evaluated(
    (samples, loss_sum): (u64, f64),
    matrix: [u64; 4],
    corrupt: Vec<QuarantinedSample>,
) -> ShardReport {
    let statistics = ClassificationStatistics {
        samples,
        loss_sum,
        confusion: cells_of_matrix(2, &matrix),
    };
    ShardReport::Evaluated {
        statistics: Statistics::Classification(statistics),
        corrupt,
    }
}

/// The directive to train an epoch, of a job whose peak is never lowered.
pub(crate) fn train_epoch(epoch: u32) -> Directive {
    Directive::TrainEpoch {
        epoch,
        peak_learning_rate: 0.1,
    }
}
