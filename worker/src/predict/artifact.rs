//! What a job left, as far as it takes to predict: `spec.json` says how samples are prepared and what the network is, `config.json` what its
//! outputs are, and the tensors lie in `model.safetensors`, or the program in `backbone.pt`, and in `head.safetensors`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use firn_core::{
    spec::{self, JobSpec},
    task::OutputConfig,
};
use firn_models::{Model, ModelOptions, export};
use serde::Deserialize;
use tch::Device;

use super::Scored;
use crate::rank::{failure::RankFailure, files::model_files};

/// A folder that a job left.
pub(crate) struct Artifact {
    folder: PathBuf,
    pub(crate) spec: JobSpec,
    pub(crate) outputs: OutputConfig,
    /// How the job's ranks computed.
    pub(crate) scored: Scored,
}

impl Artifact {
    /// Reads what is said of the network.
    pub(crate) fn open(folder: &Path) -> anyhow::Result<Self> {
        if !folder.is_dir() {
            bail!(
                "{} is no folder: name the one that a job left, with spec.json, config.json and head.safetensors",
                folder.display()
            );
        }
        Ok(Self {
            folder: folder.to_owned(),
            spec: read(folder, "spec.json")?,
            outputs: read(folder, "config.json")?,
            scored: read(folder, "config.json")?,
        })
    }

    /// The network with all that the job taught it. Without a whole one in the folder the pretrained weights are those that the job began with, where it
    /// found them.
    pub(crate) fn model(&self, device: Device) -> Result<Model, RankFailure> {
        // Another job may have left one in the same folder.
        let whole = self
            .spec
            .artifacts
            .merged_model
            .then(|| self.folder.join(export::merged_name(self.spec.model.architecture)));
        let mut model = self.spec.model.clone();
        if let Some(whole) = whole.filter(|path| path.is_file()) {
            // What the tokenizer and the configuration lie beside.
            model.tokenizer = self.tokenizer()?.map(|path| path.display().to_string());
            model.weights = Some(whole.display().to_string());
            if model.lora.take().is_some() {
                // The adapters are in these weights.
                model.freeze = spec::Freeze::All.into();
            }
        }
        let model = model_files::local(&model)?;
        let options = ModelOptions {
            spec: &model,
            classes: self.outputs.classes.len().max(self.outputs.targets.len()),
            seed: self.spec.training.seed,
            device,
            train_batch_norm: self.spec.training.train_batch_norm,
        };
        let mut loaded = Model::load_for(&options, self.spec.data.preprocessing.crop())?;
        export::adopt(&loaded, &self.folder.join("head.safetensors"))?;
        // Stages that were unfrozen by then compute with what was adopted, as when the job scored it.
        loaded.enter_epoch(self.scored.epoch.unwrap_or(self.spec.training.epochs))?;
        // By the job's own cut, also where adapters have trained above it that are in the weights now.
        let never_trained = self.spec.model.freeze.never_trained(&loaded.summary().stages);
        loaded.reduce_precision(never_trained, self.spec.training.frozen_precision);
        Ok(loaded)
    }

    /// The one in the folder, or the one of the job.
    pub(crate) fn tokenizer(&self) -> Result<Option<PathBuf>, RankFailure> {
        let own = self.folder.join("tokenizer.json");
        if own.is_file() {
            return Ok(Some(own));
        }
        model_files::tokenizer(&self.spec.model)
    }
}

fn read<T: for<'de> Deserialize<'de>>(folder: &Path, name: &str) -> anyhow::Result<T> {
    let path = folder.join(name);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not what a job leaves", path.display()))
}
