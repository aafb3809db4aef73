//! What a rank does once, before it joins anyone: it learns what is to be done, indexes the data, and loads the model.
//!
//! All of it outlives every gang. It is the expensive part of a start, and the reason why a rank stays in its process when others are lost.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Instant};

use firn_core::spec;
use firn_data::{Dataset, Preprocessor};
use firn_models::{Model, ModelOptions, Optimizer};
use firn_proto::v1alpha1 as wire;
use tch::Device;
use tracing::info;

use super::{
    checkpoints,
    coordinator::Coordinator,
    determinism,
    failure::RankFailure,
    gang::{self, Gang},
    guard::Guard,
    halt::Halt,
    records::Records,
    session::Session,
    settings::RankArguments,
    task,
};

/// Loads data and model, and agrees with the other ranks on both.
pub(super) fn prepare<'a>(coordinator: &'a Coordinator<'a>, arguments: &'a RankArguments) -> Result<Session<'a>, Halt> {
    let spec_json = coordinator.enrol()?;
    let spec: spec::JobSpec = serde_json::from_str(&spec_json)
        .map_err(|error| RankFailure::Directive(format!("sent a spec that cannot be read: {error}")))?;
    let device = gang::parse_device(&arguments.device)?;
    determinism::pin(&spec, device);
    let (dataset, quarantined) = agree_on_dataset(coordinator, &spec)?;
    let model = agree_on_model(coordinator, &spec, task::outputs(&spec, &dataset), device)?;

    let tokenizer = tokenizer_of(&spec.model);
    let tokenizer = tokenizer.as_deref().map(Path::new);
    let preprocessor = Preprocessor::new(&spec.data.preprocessing, tokenizer, model.max_length())?;
    let loss = task::objective(&spec, &dataset, device)?;
    let optimizer = Optimizer::new(&spec.training.optimizer, model.trainable())?;
    let initial = model.trainable_state().into_iter();
    let initial = initial
        .map(|(name, tensor)| Ok((name, tensor.f_detach()?.copy())))
        .collect::<Result<_, tch::TchError>>()?;

    let session = Session {
        coordinator,
        arguments,
        spec_digest: blake3::hash(spec_json.as_bytes()).to_hex().to_string(),
        spec,
        gang: Gang::apart(device),
        dataset,
        preprocessor: Arc::new(preprocessor),
        quarantined,
        model,
        loss,
        optimizer,
        initial,
        steps_done: 0,
        state_generation: 0,
        guard: Guard::default(),
        records: Records::default(),
        loaded: None,
        committer: None,
        last_checkpoint: Instant::now(),
        storing: None,
    };
    checkpoints::check_place(&session)?;
    Ok(session)
}

/// Indexes the dataset and compares it with what the other ranks see. Returns it with the samples that are set aside already.
fn agree_on_dataset(
    coordinator: &Coordinator,
    spec: &spec::JobSpec,
) -> Result<(Dataset, BTreeSet<(String, u64)>), Halt> {
    let dataset = firn_data::index(&spec.data, spec.training.seed)?;
    let registered = coordinator.register_dataset(summary_of(&dataset))?;
    info!(
        classes = dataset.classes.len(),
        train = dataset.train.len(),
        "the dataset is indexed"
    );
    let quarantined = registered.quarantined.into_iter();
    Ok((
        dataset,
        quarantined.map(|sample| (sample.split, sample.index)).collect(),
    ))
}

/// Loads the model and compares its frozen part with that of the other ranks.
fn agree_on_model(
    coordinator: &Coordinator,
    spec: &spec::JobSpec,
    outputs: usize,
    device: Device,
) -> Result<Model, Halt> {
    let model = Model::load(&ModelOptions {
        spec: &spec.model,
        classes: outputs,
        seed: spec.training.seed,
        device,
        train_batch_norm: spec.training.train_batch_norm,
    })?;
    let parts = model.summary();
    info!(
        cut = parts.cut,
        frozen = parts.frozen_parameters,
        trainable = parts.trainable_parameters,
        "the model is loaded"
    );
    coordinator.register_model(wire::ModelSummary {
        frozen_parameters: parts.frozen_parameters,
        trainable_parameters: parts.trainable_parameters,
        cut: parts.cut,
        frozen_digest: model.frozen_digest(),
    })?;
    Ok(model)
}

fn summary_of(dataset: &Dataset) -> wire::DatasetSummary {
    let classes = dataset.classes.len();
    let splits = std::iter::once(&dataset.train)
        .chain(&dataset.validation)
        .chain(&dataset.test);
    wire::DatasetSummary {
        classes: dataset.classes.clone(),
        splits: splits
            .map(|split| wire::SplitManifest {
                split: split.name.to_string(),
                samples: split.samples.len() as u64,
                class_counts: split.class_counts(classes),
                digest: split.digest(),
            })
            .collect(),
        warnings: dataset.warnings.clone(),
    }
}

/// The tokenizer that the spec names, or the one beside the weights.
fn tokenizer_of(model: &spec::ModelSpec) -> Option<String> {
    let beside = || {
        let weights = Path::new(model.weights.as_deref()?);
        Some(weights.parent()?.join("tokenizer.json").to_string_lossy().into_owned())
    };
    model.tokenizer.clone().or_else(beside)
}
