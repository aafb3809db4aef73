//! A network with its cut: loaded once, frozen below, training above.

use std::path::{Path, PathBuf};

use firn_core::spec::{Architecture, Freeze, Modality, ModelSpec};
use tch::{Device, Kind, Tensor};

use crate::{
    architecture::{Plan, bert::BertConfig, modality, resnet::Depth, spelling},
    assembly::{Assembly, Entry, Role, Source},
    error::ModelError,
    frozen::{FrozenProof, digest},
    head::{Dropout, Head},
    input::Input,
    stage::{Features, Stage},
    weights::{file::WeightFile, naming::Naming},
};

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
    /// Whether BatchNorm above the cut normalises by the batch in training and updates its statistics.
    pub train_batch_norm: bool,
}

/// What is frozen and what trains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSummary {
    /// Numbers below the cut that gradients would train.
    pub frozen_parameters: u64,
    /// Numbers above the cut, the head included.
    pub trainable_parameters: u64,
    /// The last frozen stage; `none` when everything trains.
    pub cut: String,
    /// All stages, input side first.
    pub stages: Vec<String>,
}

/// The file that the weights came from.
pub(crate) struct Origin {
    pub(crate) path: PathBuf,
    pub(crate) digest: blake3::Hash,
}

/// A network, cut in two.
pub struct Model {
    pub(crate) architecture: Architecture,
    pub(crate) naming: Naming,
    pub(crate) origin: Option<Origin>,
    pub(crate) plan: Plan,
    pub(crate) classes: usize,
    /// Every tensor of the backbone as loaded or trained.
    pub(crate) entries: Vec<Entry>,
    /// Number of frozen stages.
    pub(crate) cut: usize,
    stage_names: Vec<String>,
    frozen: Vec<Stage>,
    trained: Vec<Stage>,
    head: Head,
    trainable: Vec<(String, Tensor)>,
    train_batch_norm: bool,
    proof: FrozenProof,
}

impl Model {
    /// Builds the network and loads its weights. Without weights they are random, from the seed; a BERT encoder then takes its sizes
    /// from the `config.json` beside the tokenizer, and is BERT-base where there is none.
    ///
    /// # Errors
    /// An unknown stage; a pickle; an unreadable file; all missing or mis-shaped tensors at once.
    pub fn load(options: &ModelOptions<'_>) -> Result<Self, ModelError> {
        let ModelOptions {
            spec,
            classes,
            seed,
            device,
            train_batch_norm,
        } = *options;
        let file = spec
            .weights
            .as_deref()
            .map(|path| WeightFile::open(Path::new(path)))
            .transpose()?;
        let plan = plan(spec)?;
        let stage_names = plan.stage_names();
        let naming = match &file {
            Some(file) => Naming::detect(spec.architecture, file.keys()),
            None => Naming::own(spec.architecture),
        };
        let cut = cut(spec, &stage_names)?;
        let source = file.as_ref().map_or(Source::Seed(seed), Source::File);
        let mut assembly = Assembly::new(source, &naming, device, cut);
        let stages = plan.build(&mut assembly)?;
        let entries = assembly.finish(spelling(spec.architecture))?;
        if let Some(file) = &file {
            report_unused(file, &entries);
        }
        let (frozen, trained) = split(stages, cut)?;
        let head = Head::new(seed, [classes as i64, plan.feature_width()], spec.head.dropout, device)?;
        let trainable = trainable(&entries, cut, &head);
        let origin = file.map(|file| Origin {
            path: file.path,
            digest: file.digest,
        });
        let empty = FrozenProof {
            original: String::new(),
            derived: String::new(),
        };
        let architecture = spec.architecture;
        let mut model = Self {
            architecture,
            naming,
            origin,
            plan,
            classes,
            entries,
            cut,
            stage_names,
            frozen,
            trained,
            head,
            trainable,
            train_batch_norm,
            proof: empty,
        };
        model.proof = model.prove()?;
        Ok(model)
    }

    /// What is frozen and what trains.
    pub fn summary(&self) -> ModelSummary {
        let parameters = |frozen: bool| {
            let chosen = self
                .entries
                .iter()
                .filter(|e| e.role == Role::Parameter && (e.stage < self.cut) == frozen);
            chosen.map(|entry| entry.tensor.numel() as u64).sum::<u64>()
        };
        let head = (self.head.weight.numel() + self.head.bias.numel()) as u64;
        ModelSummary {
            frozen_parameters: parameters(true),
            trainable_parameters: parameters(false) + head,
            cut: self
                .cut
                .checked_sub(1)
                .map_or_else(|| "none".to_owned(), |last| self.stage_names[last].clone()),
            stages: self.stage_names.clone(),
        }
    }

    /// What the model takes in.
    pub fn input_modality(&self) -> Modality {
        modality(self.architecture)
    }

    /// Text models: the most tokens of one sample, special ones included.
    pub fn max_length(&self) -> Option<u32> {
        match &self.plan {
            Plan::Bert(config, _) => u32::try_from(config.max_position_embeddings).ok(),
            _ => None,
        }
    }

    /// Outputs of the head.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Everything below the cut: eval mode, no gradient, no changed buffer.
    pub fn features(&self, input: &Input) -> Result<Features, ModelError> {
        let input = self.entrance(input)?;
        tch::no_grad(|| {
            self.frozen
                .iter()
                .try_fold(input, |state, stage| stage.forward(state, false))
        })
    }

    /// Everything above the cut and the head: logits `(n, classes)`. `dropout` marks a training pass: the head drops units, and
    /// BatchNorm above the cut uses the batch where the model was told to train it. Gradients flow to [`Model::trainable`].
    pub fn logits(&self, features: &Features, dropout: Option<&Dropout<'_>>) -> Result<Tensor, ModelError> {
        let batch_statistics = self.train_batch_norm && dropout.is_some();
        let mask = features.mask.as_ref().map(Tensor::shallow_clone);
        let start = Features {
            tensor: features.tensor.shallow_clone(),
            mask,
        };
        let pooled = self
            .trained
            .iter()
            .try_fold(start, |state, stage| stage.forward(state, batch_statistics))?;
        self.head.forward(&pooled.tensor, dropout)
    }

    /// What gradients train, in a fixed order, the head last: leaf tensors by Firn's names.
    pub fn trainable(&self) -> &[(String, Tensor)] {
        &self.trainable
    }

    /// All that training changes: [`Model::trainable`], then the running statistics of BatchNorm above the cut where they train.
    pub fn trainable_state(&self) -> Vec<(String, Tensor)> {
        let mut state: Vec<_> = self
            .trainable
            .iter()
            .map(|(name, t)| (name.clone(), t.shallow_clone()))
            .collect();
        if self.train_batch_norm {
            let statistics = self
                .entries
                .iter()
                .filter(|e| e.role == Role::Statistic && e.stage >= self.cut);
            state.extend(statistics.map(|entry| (entry.name.clone(), entry.tensor.shallow_clone())));
        }
        state
    }

    /// Copies values into [`Model::trainable_state`], in place.
    ///
    /// # Errors
    /// Unless names and shapes are exactly those of the state; then nothing is changed.
    pub fn load_state(&self, values: &[(String, Tensor)]) -> Result<(), ModelError> {
        let state = self.trainable_state();
        let shapes = |tensors: &[(String, Tensor)]| -> Vec<(String, Vec<i64>)> {
            let mut shapes: Vec<_> = tensors
                .iter()
                .map(|(name, tensor)| (name.clone(), tensor.size()))
                .collect();
            shapes.sort();
            shapes
        };
        let (expected, found) = (shapes(&state), shapes(values));
        if let Some(position) = (0..expected.len().max(found.len())).find(|&i| expected.get(i) != found.get(i)) {
            let describe = |entry: Option<&(String, Vec<i64>)>| match entry {
                Some((name, shape)) => format!("`{name}` of shape {shape:?}"),
                None => "nothing more".to_owned(),
            };
            return Err(ModelError::Mismatch {
                what: "trainable state".to_owned(),
                expected: describe(expected.get(position)),
                found: describe(found.get(position)),
            });
        }
        let (mut targets, mut sources) = (state, values.iter().collect::<Vec<_>>());
        targets.sort_by(|a, b| a.0.cmp(&b.0));
        sources.sort_by(|a, b| a.0.cmp(&b.0));
        tch::no_grad(|| {
            targets
                .iter_mut()
                .zip(sources)
                .try_for_each(|((_, target), (_, source))| Ok(target.f_copy_(source)?))
        })
    }

    /// BLAKE3 (hex) of every parameter and buffer below the cut as they were when loaded.
    pub fn frozen_digest(&self) -> String {
        self.proof.original.clone()
    }

    /// Takes the digests of the frozen part anew and compares them with those taken at load, for the originals, for the copies that
    /// compute, and for copies folded afresh from the originals.
    ///
    /// # Errors
    /// [`ModelError::FrozenChanged`] when a byte differs.
    pub fn verify_frozen(&self) -> Result<FrozenProof, ModelError> {
        let now = self.prove()?;
        let compare = |what, expected: &str, found: &str| match expected == found {
            true => Ok(()),
            false => Err(ModelError::FrozenChanged {
                what,
                expected: expected.to_owned(),
                found: found.to_owned(),
            }),
        };
        compare("the loaded tensors", &self.proof.original, &now.original)?;
        compare("the folded copies", &self.proof.derived, &now.derived)?;
        compare(
            "the folded copies against their originals",
            &self.derived_afresh()?,
            &now.derived,
        )?;
        Ok(now)
    }

    /// Digest of copies that are folded from the original tensors now.
    fn derived_afresh(&self) -> Result<String, ModelError> {
        let source = Source::Entries(&self.entries);
        let mut assembly = Assembly::new(source, &self.naming, self.head.weight.device(), self.cut);
        let (frozen, _) = split(self.plan.build(&mut assembly)?, self.cut)?;
        let mut derived = Vec::new();
        frozen.iter().for_each(|stage| stage.derived(&mut derived));
        digest(derived)
    }

    fn prove(&self) -> Result<FrozenProof, ModelError> {
        let frozen = self.entries.iter().filter(|entry| entry.stage < self.cut);
        let original = frozen
            .map(|entry| (entry.name.clone(), entry.tensor.shallow_clone()))
            .collect();
        let mut derived = Vec::new();
        self.frozen.iter().for_each(|stage| stage.derived(&mut derived));
        Ok(FrozenProof {
            original: digest(original)?,
            derived: digest(derived)?,
        })
    }

    fn entrance(&self, input: &Input) -> Result<Features, ModelError> {
        let fail = |expected: String, found: String| {
            Err(ModelError::Mismatch {
                what: "input of the model".to_owned(),
                expected,
                found,
            })
        };
        match (self.input_modality(), input) {
            (Modality::Image, Input::Images(pixels)) => match pixels.size().as_slice() {
                [_, 3, _, _] if pixels.kind() == Kind::Float => Ok(Features::unmasked(pixels.shallow_clone())),
                shape => fail(
                    "float pixels (n, 3, h, w)".to_owned(),
                    format!("{:?} {shape:?}", pixels.kind()),
                ),
            },
            (Modality::Text, Input::Tokens { ids, mask }) => {
                let longest = i64::from(self.max_length().unwrap_or(u32::MAX));
                match (ids.size().as_slice(), mask.size()) {
                    (&[n, tokens], mask_shape) if mask_shape == [n, tokens] && tokens <= longest => {
                        let mask = Some(mask.shallow_clone());
                        Ok(Features {
                            tensor: ids.shallow_clone(),
                            mask,
                        })
                    }
                    (ids, mask) => fail(
                        format!("ids and mask (n, at most {longest})"),
                        format!("{ids:?}, {mask:?}"),
                    ),
                }
            }
            (Modality::Image, Input::Tokens { .. }) => fail("images".to_owned(), "tokens".to_owned()),
            (Modality::Text, Input::Images(_)) => fail("tokens".to_owned(), "images".to_owned()),
        }
    }
}

/// Names of the stages of the spec's architecture, input side first.
pub fn stages(spec: &ModelSpec) -> Result<Vec<String>, ModelError> {
    Ok(plan(spec)?.stage_names())
}

fn plan(spec: &ModelSpec) -> Result<Plan, ModelError> {
    Ok(match spec.architecture {
        Architecture::Resnet18 => Plan::Resnet(Depth::RESNET18),
        Architecture::Resnet34 => Plan::Resnet(Depth::RESNET34),
        Architecture::Resnet50 => Plan::Resnet(Depth::RESNET50),
        Architecture::Resnet101 => Plan::Resnet(Depth::RESNET101),
        Architecture::Resnet152 => Plan::Resnet(Depth::RESNET152),
        Architecture::MobilenetV2 => Plan::MobilenetV2,
        Architecture::Bert => Plan::Bert(bert_config(spec)?, spec.pooling),
    })
}

fn bert_config(spec: &ModelSpec) -> Result<BertConfig, ModelError> {
    let beside = |path: &String| Path::new(path).with_file_name("config.json");
    if let Some(weights) = &spec.weights {
        return BertConfig::read(&beside(weights));
    }
    match spec.tokenizer.as_ref().map(beside).filter(|path| path.exists()) {
        Some(path) => BertConfig::read(&path),
        None => Ok(BertConfig::default()),
    }
}

/// The number of frozen stages. Stages without parameters just above the named one have nothing to train, so they are computed
/// below the cut: the result is the same and the features are smaller.
fn cut(spec: &ModelSpec, names: &[String]) -> Result<usize, ModelError> {
    let named = match &spec.freeze {
        Freeze::All => names.len(),
        Freeze::Nothing => 0,
        Freeze::Through(stage) => match names.iter().position(|name| name == stage) {
            Some(position) => position + 1,
            None => return Err(unknown_stage(spec.architecture, stage, names)),
        },
    };
    // In every architecture here the only stage without parameters is the last, the pool.
    Ok(if named + 1 == names.len() { names.len() } else { named })
}

fn unknown_stage(architecture: Architecture, stage: &str, names: &[String]) -> ModelError {
    let distance = |name: &String| strsim::damerau_levenshtein(stage, name);
    ModelError::UnknownStage {
        architecture: spelling(architecture).to_owned(),
        stage: stage.to_owned(),
        nearest: names
            .iter()
            .min_by_key(|name| distance(name))
            .cloned()
            .unwrap_or_default(),
        stages: names.to_vec(),
    }
}

fn split(stages: Vec<Stage>, cut: usize) -> Result<(Vec<Stage>, Vec<Stage>), ModelError> {
    let mut frozen = Vec::with_capacity(cut);
    let mut trained = Vec::new();
    for (index, stage) in stages.into_iter().enumerate() {
        if index < cut {
            frozen.push(stage.folded()?)
        } else {
            trained.push(stage)
        }
    }
    Ok((frozen, trained))
}

fn trainable(entries: &[Entry], cut: usize, head: &Head) -> Vec<(String, Tensor)> {
    let above = entries
        .iter()
        .filter(|entry| entry.role == Role::Parameter && entry.stage >= cut);
    let mut trainable: Vec<_> = above
        .map(|entry| (entry.name.clone(), entry.tensor.shallow_clone()))
        .collect();
    trainable.push(("head.weight".to_owned(), head.weight.shallow_clone()));
    trainable.push(("head.bias".to_owned(), head.bias.shallow_clone()));
    trainable
}

/// One line for all tensors of the file that the backbone has no use for: old heads, poolers, counters.
fn report_unused(file: &WeightFile, entries: &[Entry]) {
    let used: std::collections::BTreeSet<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
    let counted = |key: &&str| !used.contains(key) && !key.ends_with(".num_batches_tracked");
    let unused: Vec<&str> = file.keys().filter(counted).collect();
    if !unused.is_empty() {
        tracing::info!(file = %file.path.display(), keys = unused.join(", "), "tensors of the weights file that are not used");
    }
}
