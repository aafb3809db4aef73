//! Jobs in each of their states, for the tests of the views.

use firn_proto::v1alpha1::*;
use prost_types::Timestamp;

/// When all sample jobs were created.
pub(crate) fn created() -> Timestamp {
    Timestamp {
        seconds: 1_767_323_045,
        nanos: 0,
    }
}

/// So many seconds after the jobs were created.
pub(crate) fn after(seconds: i64) -> Timestamp {
    Timestamp {
        seconds: created().seconds + seconds,
        nanos: 0,
    }
}

pub(crate) fn condition(kind: &str, reason: &str, message: &str, at: i64) -> Condition {
    Condition {
        r#type: kind.into(),
        status: "True".into(),
        reason: reason.into(),
        message: message.into(),
        last_transition_time: Some(after(at)),
    }
}

/// Waits for a slot.
pub(crate) fn queued() -> FineTuneJob {
    FineTuneJob {
        api_version: "firn.dev/v1alpha1".into(),
        kind: "FineTuneJob".into(),
        metadata: Some(Metadata {
            name: "reviews".into(),
            namespace: "default".into(),
            labels: [("team".to_owned(), "text".to_owned())].into(),
            resource_name: "jobs/reviews".into(),
            create_time: Some(created()),
        }),
        spec: Some(JobSpec {
            model: Some(ModelSpec {
                architecture: "bert".into(),
                weights: "file:///data/minilm/model.safetensors".into(),
                freeze: Some(FreezeSpec {
                    through: "all".into(),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            data: Some(DataSpec {
                format: "csv".into(),
                ..Default::default()
            }),
            training: Some(TrainingSpec {
                epochs: Some(2),
                batch_size: Some(32),
                best_metric: "validation/f1_macro".into(),
                ..Default::default()
            }),
            ..Default::default()
        }),
        status: Some(JobStatus {
            conditions: vec![condition(
                "Queued",
                "WaitingForSlots",
                "needs 2 slots on 2 workers; 1 worker is attached",
                0,
            )],
            summary: "Queued".into(),
            ..Default::default()
        }),
    }
}

/// In its second epoch, one evaluation behind it.
pub(crate) fn running() -> FineTuneJob {
    let mut job = queued();
    let status = job.status.as_mut().expect("a queued job has a status");
    status
        .conditions
        .push(condition("Admitted", "GangStarted", "2 ranks on 2 workers", 2));
    status
        .conditions
        .push(condition("Running", "Training", "all ranks have joined", 3));
    status.summary = "Running".into();
    status.generation = 1;
    status.ranks = vec![rank(0, "local-0"), rank(1, "local-1")];
    status.dataset = Some(DatasetSummary {
        classes: vec!["negative".into(), "positive".into()],
        splits: vec![split("train", 450), split("validation", 60), split("test", 60)],
        warnings: vec!["class `neutral` has no validation sample".into()],
        ..DatasetSummary::default()
    });
    status.model = Some(ModelSummary {
        frozen_parameters: 22_565_376,
        trainable_parameters: 770,
        cut: "all".into(),
        frozen_digest: "9f2c".into(),
    });
    status.progress = Some(Progress {
        epoch: 1,
        epochs: 2,
        step: 20,
        total_steps: 30,
        samples_per_second: 812.4,
        loss: 0.31214,
        learning_rate: 5e-4,
        eta_seconds: Some(12.3),
        activity: "training".into(),
    });
    status.evaluations = vec![evaluation("validation", 0, 0.5210, 0.8500)];
    status.best_epoch = Some(0);
    job
}

/// Rank 1 was lost, and rank 0 went on alone.
pub(crate) fn recovered() -> FineTuneJob {
    let mut job = running();
    let status = job.status.as_mut().expect("a running job has a status");
    (status.generation, status.restarts) = (2, 1);
    status.ranks.truncate(1);
    status.losses = vec![Loss {
        generation: 1,
        time: Some(after(30)),
        failure: Some(Failure {
            reason: "NodeFailures".into(),
            message: "rank 1 on host-a was killed by signal 9 (SIGKILL)".into(),
            rank: Some(1),
            host: "host-a".into(),
            last_log_lines: vec!["epoch 1 step 19".into(), "epoch 1 step 20".into()],
        }),
    }];
    *status.conditions.last_mut().expect("it was decided") =
        condition("Running", "GangStarted", "1 rank joined in generation 2 (solo)", 31);
    job
}

/// Done, with three evaluations and two artifacts.
pub(crate) fn succeeded() -> FineTuneJob {
    let mut job = running();
    let status = job.status.as_mut().expect("a running job has a status");
    status
        .conditions
        .push(condition("Succeeded", "TrainingCompleted", "2 epochs", 42));
    status.summary = "Succeeded".into();
    status.evaluations.push(evaluation("validation", 1, 0.4310, 0.9));
    status.evaluations.push(evaluation("test", 1, 0.4502, 0.9167));
    status.best_epoch = Some(1);
    status.progress.as_mut().expect("a running job has progress").step = 30;
    status.artifacts = vec![
        Artifact {
            name: "head.safetensors".into(),
            size_bytes: 3_216,
            sha256: "aa".into(),
            location: "coordinator".into(),
        },
        Artifact {
            name: "model.safetensors".into(),
            size_bytes: 94_686_412,
            sha256: "bb".into(),
            location: "file://host-a/data/out/model.safetensors".into(),
        },
    ];
    job
}

/// Rank 1 found a corrupt sample.
pub(crate) fn failed() -> FineTuneJob {
    let mut job = running();
    let status = job.status.as_mut().expect("a running job has a status");
    status.conditions.push(condition(
        "Failed",
        "BadData",
        "rank 1 on host-a found a corrupt sample",
        9,
    ));
    status.summary = "Failed".into();
    status.failure = Some(Failure {
        reason: "BadData".into(),
        message: "cannot decode sample ants/7.jpg: not a JPEG or PNG".into(),
        rank: Some(1),
        host: "host-a".into(),
        last_log_lines: vec![
            "epoch 1 step 20".into(),
            "error: cannot decode sample ants/7.jpg".into(),
        ],
    });
    job
}

/// Somebody cancelled it.
pub(crate) fn cancelled() -> FineTuneJob {
    let mut job = running();
    let status = job.status.as_mut().expect("a running job has a status");
    status
        .conditions
        .push(condition("Failed", "Cancelled", "cancelled on request", 9));
    status.summary = "Cancelled".into();
    job
}

fn rank(rank: u32, worker: &str) -> RankPlacement {
    RankPlacement {
        rank,
        worker: worker.into(),
        host: "host-a".into(),
        slot: 0,
        device: "cpu".into(),
        state: "Joined".into(),
    }
}

fn split(name: &str, samples: u64) -> SplitManifest {
    SplitManifest {
        split: name.into(),
        samples,
        class_counts: vec![samples / 2, samples - samples / 2],
        digest: "d1".into(),
    }
}

fn evaluation(split: &str, epoch: u32, loss: f64, accuracy: f64) -> Evaluation {
    let class = |name: &str, precision, recall, f1| ClassMetrics {
        class: name.into(),
        precision,
        recall,
        f1,
        support: 30,
    };
    Evaluation {
        split: split.into(),
        epoch,
        samples: 60,
        metrics: [
            ("loss".to_owned(), loss),
            ("accuracy".to_owned(), accuracy),
            ("f1_macro".to_owned(), accuracy - 0.0008),
        ]
        .into(),
        confusion: vec![28, 2, 3, 27],
        per_class: vec![
            class("negative", 0.9032, 0.9333, 0.9180),
            class("positive", 0.9310, 0.9, 0.9153),
        ],
        ..Evaluation::default()
    }
}

/// A worker with one slot that is busy and one that is free.
pub(crate) fn worker() -> Worker {
    let slot = |index, job: &str| Slot {
        index,
        device: "cpu".into(),
        description: "2 threads".into(),
        memory_bytes: 8 << 30,
        job: job.into(),
    };
    Worker {
        name: "local-0".into(),
        host: "host-a".into(),
        state: "Ready".into(),
        slots: vec![slot(0, "jobs/reviews"), slot(1, "")],
        attach_time: Some(after(0)),
        version: "0.1.0".into(),
        reason: String::new(),
        labels: [("zone".to_owned(), "a".to_owned())].into(),
        for_job: String::new(),
        for_namespace: String::new(),
    }
}
