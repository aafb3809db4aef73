//! Jobs and files for the tests of the command line.

use firn_proto::v1alpha1::*;
use sha2::{Digest as _, Sha256};

pub(crate) const SPEC: &str = "\
apiVersion: firn.dev/v1alpha1
kind: FineTuneJob
metadata: {name: reviews}
spec:
  task: {type: classification}
  model: {architecture: resnet18}
  data:
    format: imagefolder
    train: {uri: file:///data/train}
    validation: {split: 0.2}
  training: {epochs: 2, batchSize: 32}
";

pub(crate) fn job(summary: &str) -> FineTuneJob {
    named("reviews", summary)
}

pub(crate) fn named(name: &str, summary: &str) -> FineTuneJob {
    let condition = |kind: &str, reason: &str| Condition {
        r#type: kind.into(),
        status: "True".into(),
        reason: reason.into(),
        message: format!("{reason} of {name}"),
        last_transition_time: None,
    };
    let conditions = match summary {
        "Queued" => vec![condition("Queued", "WaitingForSlots")],
        "Succeeded" => vec![condition("Succeeded", "TrainingCompleted")],
        "Failed" => vec![condition("Failed", "BadData")],
        "Cancelled" => vec![condition("Failed", "Cancelled")],
        _ => vec![condition("Running", "Training")],
    };
    FineTuneJob {
        api_version: "firn.dev/v1alpha1".into(),
        kind: "FineTuneJob".into(),
        metadata: Some(Metadata {
            name: name.into(),
            resource_name: format!("jobs/{name}"),
            ..Default::default()
        }),
        spec: Some(JobSpec::default()),
        status: Some(JobStatus {
            conditions,
            summary: summary.into(),
            ..Default::default()
        }),
    }
}

pub(crate) fn line(rank: u32, sequence: u64, text: &str) -> LogLine {
    LogLine {
        rank,
        sequence,
        generation: 1,
        stream: "stdout".into(),
        text: text.into(),
        time: None,
    }
}

pub(crate) fn artifact(name: &str, content: &[u8], location: &str) -> Artifact {
    Artifact {
        name: name.into(),
        size_bytes: content.len() as u64,
        sha256: hex::encode(Sha256::digest(content)),
        location: location.into(),
    }
}
