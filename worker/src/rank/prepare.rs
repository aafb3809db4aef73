//! What a rank does once, before it joins anyone: it learns what is to be done, indexes the data, and loads the model.
//!
//! All of it outlives every gang. It is the expensive part of a start, and the reason why a rank stays in its process when others are lost.

use std::sync::Arc;

use firn_core::{compatibility::DataRules, spec};
use firn_data::{Dataset, Preprocessor, Split, TextLimits};
use firn_models::{
    Model, ModelOptions,
    export::{self, Opened},
};
use firn_proto::v1alpha1 as wire;
use tch::Device;
use tracing::info;

use super::{
    checkpoints::Checkpoints,
    coordinator::Coordinator,
    determinism,
    failure::RankFailure,
    files::model_files,
    job_data::{JobData, Quarantined},
    learner::{Learner, computation::Computation, inputs::Inputs},
    membership::{Membership, gang},
    reduced_precision,
    session::Session,
    settings::RankArguments,
    stop_reason::StopReason,
    task,
};

/// Loads data and model, and agrees with the other ranks on both.
pub(crate) fn prepare<'a>(
    coordinator: &'a Coordinator<'a>,
    arguments: &'a RankArguments,
) -> Result<Session<'a>, StopReason> {
    let enrolled = coordinator.enrol()?;
    let spec = spec_of(&enrolled)?;
    let rules = DataRules::numbered(enrolled.data_rules);
    let device = gang::parse_device(&arguments.device)?;
    reduced_precision::check(&spec.training, device)?;
    determinism::pin(&spec, device);
    let (dataset, quarantined) = agree_on_dataset(coordinator, &spec, rules)?;
    let model = agree_on_model(coordinator, &spec, task::outputs(&spec, &dataset), device)?;

    let tokenizer = model_files::tokenizer(&spec.model)?;
    let limits = TextLimits {
        longest: model.max_length(),
        vocabulary: model.vocabulary(),
        pairs: spec.data.format.has_pairs(),
        words: spec.data.format.has_words(),
        rules,
    };
    let preprocessor = Preprocessor::augmented(
        &spec.data.preprocessing,
        spec.data.augmentation.as_ref(),
        tokenizer.as_deref(),
        limits,
    )?;
    let computation = Computation {
        model,
        objective: task::objective(&spec, &dataset, device)?,
        training: spec.training.clone(),
        inputs: Inputs::new(&spec.data.preprocessing, device)?,
    };
    let learner = Learner::new(
        computation,
        settings_digest(&enrolled),
        dataset.train.samples.len() as u64,
    )?;
    let checkpoints = Checkpoints::new(&spec, arguments, &learner)?;
    let data = JobData::new(dataset, preprocessor, arguments.threads, quarantined);
    reduced_precision::tell(&spec.training, &data, &learner)?;
    Ok(Session {
        arguments,
        spec,
        data,
        learner,
        membership: Membership::new(coordinator, arguments, device),
        checkpoints,
    })
}

/// The spec as it is stored now.
pub(crate) fn spec_of(enrolled: &wire::EnrolResponse) -> Result<spec::JobSpec, RankFailure> {
    serde_json::from_str(&enrolled.spec_json)
        .map_err(|error| RankFailure::Directive(format!("sent a spec that cannot be read: {error}")))
}

/// What names the job's settings in checkpoints. The first coordinator does not say it: there it is the digest of the spec as it came.
fn settings_digest(enrolled: &wire::EnrolResponse) -> String {
    match enrolled.settings_digest.as_str() {
        "" => blake3::hash(enrolled.spec_json.as_bytes()).to_hex().to_string(),
        fixed => fixed.to_owned(),
    }
}

/// Indexes the dataset and compares it with what the other ranks see. Returns it with the samples that are set aside already.
fn agree_on_dataset(
    coordinator: &Coordinator,
    spec: &spec::JobSpec,
    rules: DataRules,
) -> Result<(Dataset, Quarantined), StopReason> {
    let dataset = firn_data::index_by(rules, &spec.data, spec.training.seed)?;
    let registered = coordinator.register_dataset(summary_of(spec, &dataset))?;
    info!(
        outputs = task::outputs(spec, &dataset),
        train = dataset.train.len(),
        "the dataset is indexed"
    );
    let mut quarantined = Quarantined::default();
    quarantined.extend(registered.quarantined);
    Ok((dataset, quarantined))
}

/// Loads the model and compares its frozen part with that of the other ranks.
fn agree_on_model(
    coordinator: &Coordinator,
    spec: &spec::JobSpec,
    outputs: usize,
    device: Device,
) -> Result<Model, StopReason> {
    let crop = spec.data.preprocessing.crop();
    let here = model_files::local(&spec.model)?;
    let options = ModelOptions {
        spec: &here,
        classes: outputs,
        seed: spec.training.seed,
        device,
        train_batch_norm: spec.training.train_batch_norm,
    };
    let mut model = Model::load_for(&options, crop)?;
    let never_trained = spec.model.freeze.never_trained(&model.summary().stages);
    model.reduce_precision(never_trained, spec.training.frozen_precision);
    if let Some(crop) = crop {
        model.check_crop(crop)?;
    }
    for note in model.weights_notes() {
        info!("of the weights: {note}");
    }
    if let Some(Opened::WithoutHead(reason)) = export::opened(&model).filter(|_| spec.artifacts.merged_model) {
        info!("of what the job leaves, `AutoModel` of transformers opens the encoder alone: {reason}");
    }
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

fn summary_of(spec: &spec::JobSpec, dataset: &Dataset) -> wire::DatasetSummary {
    let manifest = |split: &Arc<Split>| wire::SplitManifest {
        split: split.name.to_string(),
        samples: split.samples.len() as u64,
        digest: split.digest(),
        ..wire::SplitManifest::default()
    };
    let mut summary = wire::DatasetSummary {
        splits: dataset.splits().map(manifest).collect(),
        warnings: dataset.warnings.clone(),
        ..wire::DatasetSummary::default()
    };
    task::summarise(spec, dataset, &mut summary);
    summary
}
