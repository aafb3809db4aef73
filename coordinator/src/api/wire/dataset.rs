//! Manifests, model summaries and quarantined samples: wire <-> core.

use firn_core::{
    state::{Dataset, ModelSummary, QuarantinedSample, SplitManifest, SplitName},
    task::regression::Target,
};
use firn_proto::v1alpha1 as proto;
use tonic::Status;

use crate::api::refusal::invalid;

/// Longest digest, name or reason that a rank may send, bytes.
const LONGEST_TEXT: usize = 4096;

pub(crate) fn split_name(field: &str, text: &str) -> Result<SplitName, Status> {
    text.parse()
        .map_err(|error: firn_core::state::UnknownName| invalid(field, error.to_string()))
}

fn short(field: &str, text: String) -> Result<String, Status> {
    if text.len() > LONGEST_TEXT {
        return Err(invalid(
            field,
            format!("expected at most {LONGEST_TEXT} bytes, found {}", text.len()),
        ));
    }
    Ok(text)
}

pub(crate) fn dataset_from_wire(summary: proto::DatasetSummary) -> Result<Dataset, Status> {
    let classes = summary.classes;
    let mut splits = Vec::with_capacity(summary.splits.len());
    for (index, split) in summary.splits.into_iter().enumerate() {
        splits.push(split_from_wire(&format!("dataset.splits[{index}]"), split)?);
    }
    let is_ordered = splits.windows(2).all(|pair| pair[0].split < pair[1].split);
    if !is_ordered {
        return Err(invalid(
            "dataset.splits",
            "expected each split once, in the order train, validation, test",
        ));
    }
    let target = |target: proto::TargetSummary| Target {
        name: target.name,
        mean: target.mean,
        std: target.std,
    };
    Ok(Dataset {
        classes,
        targets: summary.targets.into_iter().map(target).collect(),
        splits,
        warnings: summary.warnings,
    })
}

fn split_from_wire(field: &str, manifest: proto::SplitManifest) -> Result<SplitManifest, Status> {
    let split = split_name(&format!("{field}.split"), &manifest.split)?;
    Ok(SplitManifest {
        split,
        samples: manifest.samples,
        class_counts: manifest.class_counts,
        digest: short(&format!("{field}.digest"), manifest.digest)?,
    })
}

pub(crate) fn dataset_to_wire(dataset: &Dataset) -> proto::DatasetSummary {
    let target = |target: &Target| proto::TargetSummary {
        name: target.name.clone(),
        mean: target.mean,
        std: target.std,
    };
    proto::DatasetSummary {
        classes: dataset.classes.clone(),
        targets: dataset.targets.iter().map(target).collect(),
        splits: dataset
            .splits
            .iter()
            .map(|manifest| proto::SplitManifest {
                split: manifest.split.as_str().to_owned(),
                samples: manifest.samples,
                class_counts: manifest.class_counts.clone(),
                digest: manifest.digest.clone(),
            })
            .collect(),
        warnings: dataset.warnings.clone(),
        class_count: u32::try_from(dataset.classes.len()).unwrap_or(u32::MAX),
    }
}

pub(crate) fn model_from_wire(summary: proto::ModelSummary) -> Result<ModelSummary, Status> {
    Ok(ModelSummary {
        frozen_parameters: summary.frozen_parameters,
        trainable_parameters: summary.trainable_parameters,
        cut: short("model.cut", summary.cut)?,
        frozen_digest: short("model.frozen_digest", summary.frozen_digest)?,
    })
}

pub(crate) fn model_to_wire(summary: &ModelSummary) -> proto::ModelSummary {
    proto::ModelSummary {
        frozen_parameters: summary.frozen_parameters,
        trainable_parameters: summary.trainable_parameters,
        cut: summary.cut.clone(),
        frozen_digest: summary.frozen_digest.clone(),
    }
}

pub(crate) fn quarantined_from_wire(
    field: &str,
    sample: proto::QuarantinedSample,
) -> Result<QuarantinedSample, Status> {
    Ok(QuarantinedSample {
        split: split_name(&format!("{field}.split"), &sample.split)?,
        index: sample.index,
        sample: short(&format!("{field}.sample"), sample.sample)?,
        reason: short(&format!("{field}.reason"), sample.reason)?,
    })
}

pub(crate) fn quarantined_to_wire(sample: &QuarantinedSample) -> proto::QuarantinedSample {
    proto::QuarantinedSample {
        split: sample.split.as_str().to_owned(),
        index: sample.index,
        sample: sample.sample.clone(),
        reason: sample.reason.clone(),
    }
}
