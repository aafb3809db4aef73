//! What the story is about: the job, its data and its ranks.

use std::collections::BTreeMap;

use crate::identifiers::{JobId, ProcessId, WorkerName};
use crate::spec::{Metadata, QuarantineSpec, RestartPolicy, WorkersSpec, *};
use crate::state::*;

pub(in crate::audit::tests) const TRAIN: u64 = 10;
pub(in crate::audit::tests) const BATCH: u32 = 4;
pub(in crate::audit::tests) const PER_EPOCH: u64 = 3;
/// The training sample that the scan finds corrupt.
pub(in crate::audit::tests) const CORRUPT: u64 = 7;

pub(in crate::audit::tests) fn job() -> JobId {
    JobId::from("ants")
}

pub(in crate::audit::tests) fn sha256(number: u64) -> String {
    format!("{number:064x}")
}

pub(in crate::audit::tests) fn checkpoint(steps: u64) -> Checkpoint {
    Checkpoint {
        epochs_done: (steps / PER_EPOCH) as u32,
        steps_done: steps,
        sha256: sha256(steps),
        size_bytes: 100,
        location: None,
        ends_epoch: steps.is_multiple_of(PER_EPOCH),
    }
}

pub(super) fn spec() -> JobSpec {
    JobSpec {
        metadata: Metadata {
            name: "ants".to_owned(),
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
            validation: Some(SplitSource::Path("/data/validation".to_owned())),
            test: Some(SplitSource::Path("/data/test".to_owned())),
            preprocessing: Preprocessing::Text { max_length: None },
            augmentation: None,
            quarantine: QuarantineSpec { max_samples: 2 },
        },
        training: training(),
        resources: ResourcesSpec {
            workers: WorkersSpec { min: 1, max: 2 },
            slots_per_worker: 1,
            device: DeviceRequest::Cpu,
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
        epochs: 2,
        batch_size: BATCH,
        checkpoint_interval_ms: 30_000,
        micro_batch_size: None,
        seed: 11,
        optimizer: sgd(),
        schedule: ScheduleSpec {
            shape: ScheduleShape::Constant,
            warmup: Warmup::Steps(0),
        },
        loss: LossSpec::default(),
        early_stopping: None,
        best_metric: MetricName::named("accuracy"),
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
    }
}

fn sgd() -> OptimizerSpec {
    OptimizerSpec::Sgd {
        learning_rate: 0.1,
        weight_decay: 0.0,
        momentum: 0.9,
        nesterov: false,
    }
}

pub(in crate::audit::tests) fn table(split: SplitName) -> ShardTable {
    let samples = match split {
        SplitName::Train | SplitName::Test => TRAIN,
        SplitName::Validation => 20,
    };
    ShardTable::cut(samples, 2)
}

pub(in crate::audit::tests) fn dataset() -> Dataset {
    let split = |split| {
        let samples = table(split).samples;
        SplitManifest {
            split,
            samples,
            class_counts: vec![samples / 2, samples / 2],
            digest: format!("{split}-files"),
        }
    };
    Dataset {
        classes: vec!["ants".to_owned(), "bees".to_owned()],
        splits: SplitName::ALL.map(split).to_vec(),
        ..Dataset::default()
    }
}

pub(super) fn member(rank: u32, process: &str) -> Member {
    Member {
        rank,
        worker: WorkerName::from(format!("worker-{process}")),
        host: format!("host-{process}"),
        slot: 0,
        device: "cpu".to_owned(),
        local_rank: 0,
        local_world_size: 1,
        process: ProcessId::from(process),
        state: MemberState::Starting,
        steps_done: 0,
    }
}
