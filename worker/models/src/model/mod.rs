//! A network with its cut: loaded once, frozen below, training above.

mod above;
mod adapters;
mod below;
mod phases;
mod proof;
mod state;
mod trial;

use std::path::{Path, PathBuf};

use firn_core::spec::{Architecture, Modality, ModelSpec, Precision};
use tch::{Device, Tensor};

use crate::{
    architecture::{self, Family, Opened},
    auxiliary::AuxiliaryHead,
    cut::{Phase, Phases, distances, hold, mark_trained, split},
    error::ModelError,
    frozen::FrozenProof,
    head::{HEAD, Head},
    input::Input,
    layers::adapter::{Adapted, AdapterPlan},
    parameter_builder::{Made, NamedTensor, ParameterBuilder, Role, Source},
    stage::{Features, Pass, Stages},
    weights::{
        file::WeightFile,
        fit,
        naming::Naming,
        notes::{self, WeightsNote},
    },
};

pub use self::{phases::Placement, state::state_digest};

/// What a model is made from.
#[derive(Debug, Clone)]
pub struct ModelOptions<'a> {
    /// Architecture, weights, cut and head.
    pub spec: &'a ModelSpec,
    /// Outputs of the head, at least 1.
    pub classes: usize,
    /// Of every random value.
    pub seed: u64,
    /// Where it computes.
    pub device: Device,
    /// Whether BatchNorm above the cut normalises by the batch in training and updates its statistics. That batch is the one given
    /// to [`Model::logits`], or, in [`Model::shared_outputs`], the one that all ranks have together.
    pub train_batch_norm: bool,
}

/// What is frozen and what trains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSummary {
    /// Numbers that gradients would train, and that never train.
    pub frozen_parameters: u64,
    /// Numbers that train in some epoch, the head included.
    pub trainable_parameters: u64,
    /// The last stage that never trains; `none` when everything trains.
    pub cut: String,
    /// All stages, input side first.
    pub stages: Vec<String>,
}

/// The file that the weights came from.
pub(crate) struct Origin {
    pub(crate) path: PathBuf,
    pub(crate) digest: blake3::Hash,
    /// What of it was taken as it is.
    notes: Vec<WeightsNote>,
}

impl Origin {
    fn of(file: WeightFile, notes: Vec<WeightsNote>) -> Self {
        Self {
            path: file.path,
            digest: file.digest,
            notes,
        }
    }
}

/// A network, cut in two.
pub struct Model {
    pub(crate) architecture: Architecture,
    pub(crate) naming: Naming,
    pub(crate) origin: Option<Origin>,
    pub(crate) family: Box<dyn Family>,
    /// How transformers opens what is exported.
    pub(crate) opened: Option<Opened>,
    pub(crate) classes: usize,
    /// Every tensor of the backbone as loaded or trained.
    pub(crate) entries: Vec<NamedTensor>,
    /// Those that were asked for.
    pub(crate) adapters: Option<AdapterPlan>,
    /// The layers that have them.
    pub(crate) adapted: Vec<Adapted>,
    /// Where the cut stands in which epoch.
    pub(crate) phases: Phases,
    /// Where it stands now.
    pub(crate) phase: Phase,
    stage_names: Vec<String>,
    pub(crate) frozen: Stages,
    trained: Stages,
    /// All stages in the form that computes below the cut, while adapters are merged.
    merged: Option<Stages>,
    pub(crate) head: Head,
    pub(crate) auxiliary: Option<AuxiliaryHead>,
    /// All that trains in some epoch.
    trainable: Vec<(String, Tensor)>,
    /// Parallel to it.
    placements: Vec<Placement>,
    train_batch_norm: bool,
    /// How many stages below the cut have products of less than single precision, and of which.
    reduced: (usize, Precision),
    /// Digest of what is frozen in each phase, at load.
    loaded: Vec<(Phase, String)>,
    /// Digests of the frozen part of this phase.
    pub(crate) proof: FrozenProof,
}

impl Model {
    /// Builds the network and loads its weights. Without weights they are random, from the seed; a BERT encoder then takes its sizes
    /// from the `config.json` beside the tokenizer, and is BERT-base where there is none.
    ///
    /// # Errors
    /// An unknown stage; a pickle; an unreadable file; all missing or mis-shaped tensors at once.
    pub fn load(options: &ModelOptions<'_>) -> Result<Self, ModelError> {
        Self::load_for(options, None)
    }

    /// The same for images of so many pixels a side, where only a trial with one tells how long its features are; without a size
    /// that of the architecture's own preprocessing.
    ///
    /// # Errors
    /// Those of [`Model::load`], and of the trial.
    pub fn load_for(options: &ModelOptions<'_>, crop: Option<u32>) -> Result<Self, ModelError> {
        let ModelOptions {
            spec,
            classes,
            seed,
            device,
            train_batch_norm,
        } = *options;
        let file = weights(spec)?;
        let family = architecture::of(spec)?;
        let stage_names = spec.architecture.stages(family.layers());
        let built = Built::of(family.as_ref(), file.as_ref(), (spec, &stage_names), (seed, device))?;
        let (phase, lowest_cut) = (built.phases.first(), built.phases.lowest_cut());
        let Built {
            naming,
            phases,
            adapters,
            stages,
            notes,
            made: Made { entries, adapted, .. },
        } = built;
        mark_trained(&entries, phase.cut)?;
        let auxiliary = AuxiliaryHead::beside(&stages, lowest_cut, (seed, classes as i64, device))?;
        let distances = distances(stages.len(), &entries);
        let (frozen, trained) = split(stages, phase.cut)?;
        let by_trial = || trial::feature_width(&frozen, spec.architecture, (crop, device));
        let library = naming.dialect.library;
        let width = family.feature_width(library).map_or_else(by_trial, Ok)?;
        let head = new_head(spec, family.head_has_bias(), [classes as i64, width], (seed, device))?;
        let opened = architecture::opened::of(family.as_ref(), library, &entries, (&spec.head, width));
        let heads = (auxiliary.as_ref(), &head);
        let (trainable, placements) = phases::trainable(&entries, (lowest_cut, &distances), heads);
        let later = phases::digests_of_later(&entries, &phases)?;
        let mut model = Self {
            architecture: spec.architecture,
            naming: naming.exported_for(opened.as_ref()),
            origin: file.map(|file| Origin::of(file, notes)),
            family,
            opened,
            classes,
            entries,
            adapters,
            adapted,
            phases,
            phase,
            stage_names,
            frozen,
            trained,
            merged: None,
            head,
            auxiliary,
            trainable,
            placements,
            train_batch_norm,
            reduced: (0, Precision::Single),
            loaded: later,
            proof: FrozenProof::default(),
        };
        model.proof = model.prove()?;
        model.loaded.insert(0, (phase, model.proof.original.clone()));
        Ok(model)
    }

    /// What is frozen and what trains.
    pub fn summary(&self) -> ModelSummary {
        let lowest_cut = self.phases.lowest_cut();
        let parameters = self.entries.iter().filter(|entry| entry.role == Role::Parameter);
        let frozen = parameters.filter(|entry| entry.is_frozen_below(lowest_cut));
        let own: u64 = self.frozen.iter().map(|stage| stage.own_parameters()).sum();
        let trainable: usize = self.trainable.iter().map(|(_, tensor)| tensor.numel()).sum();
        ModelSummary {
            frozen_parameters: frozen.map(|entry| entry.tensor.numel() as u64).sum::<u64>() + own,
            trainable_parameters: trainable as u64,
            cut: lowest_cut
                .checked_sub(1)
                .map_or_else(|| "none".to_owned(), |last| self.stage_names[last].clone()),
            stages: self.stage_names.clone(),
        }
    }

    /// What of the weights is not as their library writes it today, and was taken all the same: worth a line each in a log.
    pub fn weights_notes(&self) -> &[WeightsNote] {
        self.origin.as_ref().map_or(&[], |origin| &origin.notes)
    }

    /// What the model takes in.
    pub fn input_modality(&self) -> Modality {
        self.architecture.modality()
    }

    /// Text models: the most tokens of one sample, special ones included.
    pub fn max_length(&self) -> Option<u32> {
        self.family.longest_text()
    }

    /// Text models: rows of the table of token embeddings; no token may have an id beyond them.
    pub fn vocabulary(&self) -> Option<u32> {
        self.family.vocabulary()
    }

    /// Text models: whether they tell the second text of a pair from the first by types of tokens.
    pub fn has_token_types(&self) -> bool {
        self.family.has_token_types()
    }

    /// Outputs of the head.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// What every stage gives, by its name, input side first: below the cut in the form that computes there, above it as when a sample is
    /// scored.
    pub fn stage_outputs(&self, input: &Input) -> Result<Vec<(String, Features)>, ModelError> {
        let pass = Pass::default();
        let mut state = input.enter(self.input_modality(), self.max_length())?;
        let mut outputs = Vec::with_capacity(self.stage_names.len());
        let stages = self.frozen.iter().chain(&self.trained);
        for (name, stage) in self.stage_names.iter().zip(stages) {
            state = tch::no_grad(|| stage.forward(state, &pass))?;
            outputs.push((name.clone(), state.shallow_clone()));
        }
        Ok(outputs)
    }

    /// Refuses images of so many pixels a side where the network takes others, or something that trains needs larger ones.
    pub fn check_crop(&self, crop: u32) -> Result<(), ModelError> {
        if let Some(only) = self.family.only_image().filter(|&only| only != crop) {
            return Err(ModelError::Mismatch {
                what: "spec.data.preprocessing.crop".to_owned(),
                expected: format!("{only}, the only size of images that the network takes"),
                found: crop.to_string(),
            });
        }
        match &self.auxiliary {
            Some(auxiliary) => auxiliary.check_crop(crop, &self.stage_names),
            None => Ok(()),
        }
    }

    /// What gradients train in some epoch, in a fixed order, the heads last: leaf tensors by Firn's names.
    pub fn trainable(&self) -> &[(String, Tensor)] {
        &self.trainable
    }
}

/// The head, and what it pools states by.
fn new_head(spec: &ModelSpec, has_bias: bool, shape: [i64; 2], drawn: (u64, Device)) -> Result<Head, ModelError> {
    Head::new(HEAD, drawn, shape, has_bias, &spec.head)?.of_states(spec.pooling, shape[1], drawn)
}

/// The file of tensors that the spec names; a TorchScript file is read where it is built.
fn weights(spec: &ModelSpec) -> Result<Option<WeightFile>, ModelError> {
    let path = spec.weights.as_deref().map(Path::new);
    let path = path.filter(|_| spec.architecture != Architecture::TorchScript);
    path.map(WeightFile::open).transpose()
}

/// A network, before it is cut.
struct Built {
    naming: Naming,
    phases: Phases,
    adapters: Option<AdapterPlan>,
    stages: Stages,
    /// What of the file was taken as it is.
    notes: Vec<WeightsNote>,
    made: Made,
}

impl Built {
    /// From the file, which it has to fit, or from the seed. What stays frozen above the cut is held.
    fn of(
        family: &dyn Family,
        file: Option<&WeightFile>,
        (spec, stage_names): (&ModelSpec, &[String]),
        (seed, device): (u64, Device),
    ) -> Result<Self, ModelError> {
        let naming = match file {
            Some(file) => Naming::detect(family.dialects(), file.keys()),
            None => Naming::own(family.dialects()),
        };
        let (_, inventory) = architecture::inventory(family, &naming)?;
        let phases = Phases::of(spec, stage_names, &inventory)?;
        let adapters = adapters::plan(spec, seed, phases.lowest_cut());
        let source = file.map_or(Source::Seed(seed), Source::File);
        let mut builder = ParameterBuilder::new(source, &naming, device).with_adapters(adapters.clone());
        let stages = family.build(&mut builder)?;
        let mut made = builder.finish();
        assert_eq!(stages.len(), stage_names.len(), "one stage is built for each name");
        let notes = match file {
            Some(file) => {
                let problems = std::mem::take(&mut made.problems);
                let leftover = fit::check((file, &naming), (spec, family), &made.entries, problems)?;
                notes::of(file, &naming, &made.entries, leftover)
            }
            None => Vec::new(),
        };
        adapters::check(spec, &made)?;
        let lowest_cut = phases.lowest_cut();
        hold(&spec.freeze.parameters, (&mut made.entries, lowest_cut), &naming)?;
        adapters::hold_all_but(&made.adapted, &mut made.entries);
        Ok(Self {
            naming,
            phases,
            adapters,
            stages,
            notes,
            made,
        })
    }
}
