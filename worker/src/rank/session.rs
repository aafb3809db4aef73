//! Everything that lives as long as the gang: spec, data, model, optimizer, and the loop over the coordinator's directives.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use firn_core::{order, spec};
use firn_data::{Dataset, Preprocessor, Split};
use firn_models::{Loss, Model, ModelOptions, Optimizer, checkpoint};
use firn_proto::v1alpha1::{self as wire, directive::Next};
use tch::Device;
use tracing::info;

use super::{
    checkpoints, committer::Committer, coordinator::Coordinator, determinism, failure::RankFailure, finish, gang::Gang,
    guard::Guard, passes, settings::RankArguments, training,
};

/// A rank at work.
pub(super) struct Session<'a> {
    pub(super) coordinator: &'a Coordinator<'a>,
    pub(super) arguments: &'a RankArguments,
    pub(super) spec: spec::JobSpec,
    /// The stored spec as it came: its digest names the job's settings in checkpoints.
    pub(super) spec_digest: String,
    pub(super) gang: Gang,
    pub(super) dataset: Dataset,
    pub(super) preprocessor: Arc<Preprocessor>,
    /// Samples that are set aside: split and position in manifest order.
    pub(super) quarantined: BTreeSet<(String, u64)>,
    pub(super) model: Model,
    pub(super) loss: Loss,
    pub(super) optimizer: Optimizer,
    /// Steps applied to the model, over the whole job.
    pub(super) steps_done: u64,
    /// What becomes of steps that are not finite.
    pub(super) guard: Guard,
    /// Rank 0 writes the ledger.
    pub(super) committer: Option<Committer>,
}

impl<'a> Session<'a> {
    /// Loads data and model, and agrees with the other ranks on both.
    pub(super) fn prepare(
        coordinator: &'a Coordinator<'a>,
        arguments: &'a RankArguments,
        gang: Gang,
        world: &wire::World,
    ) -> Result<Self, RankFailure> {
        let spec: spec::JobSpec = serde_json::from_str(&world.spec_json).map_err(|error| {
            RankFailure::Spec(format!(
                "the stored spec cannot be read: {error}; are coordinator and worker of one version?"
            ))
        })?;
        determinism::pin(&spec, gang.device);
        let (dataset, quarantined) = agree_on_dataset(coordinator, &spec)?;
        let model = agree_on_model(coordinator, &spec, dataset.classes.len(), gang.device)?;

        let tokenizer = tokenizer_of(&spec.model);
        let tokenizer = tokenizer.as_deref().map(Path::new);
        let preprocessor = Preprocessor::new(&spec.data.preprocessing, tokenizer, model.max_length())?;
        let weights = class_weights(&spec.training.loss.class_weights, &dataset)?;
        let loss = Loss::new(weights.as_deref(), spec.training.loss.label_smoothing, gang.device)?;
        let optimizer = Optimizer::new(&spec.training.optimizer, model.trainable())?;

        let mut session = Self {
            coordinator,
            arguments,
            spec_digest: blake3::hash(world.spec_json.as_bytes()).to_hex().to_string(),
            spec,
            gang,
            dataset,
            preprocessor: Arc::new(preprocessor),
            quarantined,
            model,
            loss,
            optimizer,
            steps_done: 0,
            guard: Guard::default(),
            committer: None,
        };
        checkpoints::check_place(&session)?;
        if let Some(checkpoint) = &world.resume {
            session.restore(checkpoint)?;
            session.steps_done = checkpoint.steps_done;
            info!(
                epochs = checkpoint.epochs_done,
                steps = checkpoint.steps_done,
                "going on from a checkpoint"
            );
        }
        if session.gang.rank == 0 {
            checkpoints::claim_artifact_folder(&session)?;
            session.committer = Some(Committer::start(coordinator, session.steps_done));
        }
        Ok(session)
    }

    /// Follows directives until the job has ended.
    pub(super) fn follow(&mut self, first: Option<wire::Directive>) -> Result<(), RankFailure> {
        let mut directive = first;
        loop {
            let next = directive.take().and_then(|directive| directive.next);
            directive = match next {
                Some(Next::RunPass(pass)) => Some(passes::run(self, pass)?),
                Some(Next::TrainEpoch(epoch)) => {
                    training::train_epoch(self, epoch)?;
                    Some(passes::run(self, passes::evaluation("validation", epoch))?)
                }
                Some(Next::LoadBest(checkpoint)) => {
                    self.restore(&checkpoint)?;
                    let epoch = checkpoint.epochs_done.saturating_sub(1);
                    Some(passes::run(self, passes::evaluation("test", epoch))?)
                }
                Some(Next::Finish(finish)) => return finish::leave_artifacts(self, &finish),
                Some(Next::Stop(reason)) => return Err(RankFailure::Stopped(reason)),
                None => return Err(RankFailure::Stopped("the coordinator gave no directive".to_owned())),
            };
        }
    }

    /// Steps of one epoch.
    pub(super) fn steps_per_epoch(&self) -> u64 {
        order::steps_per_epoch(self.dataset.train.samples.len() as u64, self.spec.training.batch_size)
    }

    /// The split of that name, if the job has it.
    pub(super) fn split(&self, name: &str) -> Result<Arc<Split>, RankFailure> {
        let split = match name {
            "train" => Some(&self.dataset.train),
            "validation" => self.dataset.validation.as_ref(),
            "test" => self.dataset.test.as_ref(),
            _ => None,
        };
        split.cloned().ok_or_else(|| {
            RankFailure::Spec(format!(
                "the coordinator asked for split {name:?}, which the job does not have"
            ))
        })
    }

    /// Samples of a micro-batch: what the spec says, else what keeps a CPU's caches and a GPU's cores busy. Where BatchNorm trains, the
    /// statistics are those of the whole batch.
    pub(super) fn micro_batch(&self) -> usize {
        let chosen = match (self.spec.training.micro_batch_size, self.gang.device) {
            _ if self.spec.training.train_batch_norm => self.spec.training.batch_size,
            (Some(size), _) => size,
            (None, Device::Cpu) => 16,
            (None, _) => 256,
        };
        chosen as usize
    }

    fn restore(&mut self, reference: &wire::CheckpointRef) -> Result<(), RankFailure> {
        let bytes = checkpoints::fetch(self, reference)?;
        let checkpoint = checkpoint::decode(&bytes)?;
        checkpoint.belongs_to(&self.spec_digest, &self.model.frozen_digest())?;
        self.model.load_state(&checkpoint.model)?;
        self.optimizer.load_state(&checkpoint.optimizer)?;
        Ok(())
    }
}

/// Indexes the dataset and compares it with what the other ranks see. Returns it with the samples that are set aside already.
fn agree_on_dataset(
    coordinator: &Coordinator,
    spec: &spec::JobSpec,
) -> Result<(Dataset, BTreeSet<(String, u64)>), RankFailure> {
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
    classes: usize,
    device: Device,
) -> Result<Model, RankFailure> {
    let model = Model::load(&ModelOptions {
        spec: &spec.model,
        classes,
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

/// The weight of each class, in the order of the classes; `None` if all are 1.
fn class_weights(wanted: &spec::ClassWeights, dataset: &Dataset) -> Result<Option<Vec<f64>>, RankFailure> {
    match wanted {
        spec::ClassWeights::Uniform => Ok(None),
        spec::ClassWeights::Balanced => {
            let counts = dataset.train.class_counts(dataset.classes.len());
            let samples: u64 = counts.iter().sum();
            // scikit-learn's `compute_class_weight("balanced")`: n / (classes · n_class).
            let weights = counts
                .iter()
                .map(|&count| samples as f64 / (counts.len() as f64 * count as f64));
            Ok(Some(weights.collect()))
        }
        spec::ClassWeights::Named(named) => {
            if let Some(unknown) = named.keys().find(|name| !dataset.classes.contains(name)) {
                let classes = dataset.classes.join(", ");
                return Err(RankFailure::Spec(format!(
                    "spec.training.loss.classWeights: the data has no class {unknown:?}; its classes are {classes}"
                )));
            }
            Ok(Some(
                dataset
                    .classes
                    .iter()
                    .map(|class| named.get(class).copied().unwrap_or(1.0))
                    .collect(),
            ))
        }
    }
}
