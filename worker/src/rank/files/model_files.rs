//! Where a model's files are on this machine: places of the Hugging Face Hub are fetched into its cache, all others are paths already.
//!
//! Of a model only what is computed with is fetched: the weights (one file, or an index and its shards), the configuration, the tokenizer, and what is laid
//! beside the artifacts. A cache that has these is not told of by anybody: no rank needs the network then, so one that is started after a loss needs none.

use std::{collections::BTreeSet, fs, path::PathBuf};

use firn_core::spec::{
    ModelSpec, WeightsPlace, beside_weights,
    hub::{HubModel, HubPlace},
    model_folder::{CONFIG, TOKENIZER_CONFIG},
};
use firn_hub::{Hub, HubError};
use serde_json::Value;
use tracing::warn;

use crate::rank::failure::RankFailure;

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const TOKENIZER: &str = "tokenizer.json";
/// What is laid beside the artifacts as it is, where the tokenizer has it.
pub(crate) const SPECIAL_TOKENS: &str = "special_tokens_map.json";

/// The model with paths in place of places of the Hub.
///
/// # Errors
/// What the Hub does not give.
pub(crate) fn local(model: &ModelSpec) -> Result<ModelSpec, RankFailure> {
    let weights = match &model.weights {
        Some(place) => Some(match of_hub(place)? {
            Some(place) => place.weights()?,
            None => place.clone(),
        }),
        None => None,
    };
    let tokenizer = tokenizer(model)?.map(text).transpose()?;
    Ok(ModelSpec {
        weights,
        tokenizer: tokenizer.filter(|_| model.tokenizer.is_some()),
        ..model.clone()
    })
}

/// The tokenizer that the spec names, or the one beside the weights.
///
/// # Errors
/// What the Hub does not give.
pub(crate) fn tokenizer(model: &ModelSpec) -> Result<Option<PathBuf>, RankFailure> {
    let Some(place) = &model.tokenizer else {
        // A job with weights on the Hub names its tokenizer, if it has one.
        let weights = model.weights.as_ref().filter(|place| HubPlace::parse(place).is_none());
        return Ok(weights
            .and_then(|path| beside_weights(path, TOKENIZER))
            .map(PathBuf::from));
    };
    match of_hub(place)? {
        Some(place) => place.tokenizer().map(Some),
        None => Ok(Some(PathBuf::from(place))),
    }
}

/// A place of the Hub, and the Hub. `None`: it is a path.
fn of_hub(place: &str) -> Result<Option<Files>, RankFailure> {
    let Some(parsed) = HubPlace::parse(place) else {
        return Ok(None);
    };
    let HubPlace { model, file } = parsed.map_err(RankFailure::Spec)?;
    let kind = WeightsPlace::of(place);
    let hub = Hub::from_environment()?;
    Ok(Some(Files { hub, model, file, kind }))
}

/// Files of a commit.
struct Files {
    hub: Hub,
    model: HubModel,
    /// The one that is named, or a folder; empty: the whole of it.
    file: String,
    kind: Option<WeightsPlace>,
}

impl Files {
    /// Fetches the weights and the configuration beside them; the path of what is named.
    fn weights(&self) -> Result<String, RankFailure> {
        let Some(kind) = self.kind else {
            // A program, which has all in it.
            return text(self.hub.file(&self.model, &self.file)?);
        };
        self.hub.find(&self.model, &self.beside(CONFIG))?;
        match kind {
            WeightsPlace::File => text(self.hub.file(&self.model, &self.file)?),
            WeightsPlace::Index => text(self.shards(&self.file)?),
            WeightsPlace::Folder => {
                if self.hub.find(&self.model, &self.beside(WEIGHTS))?.is_none() {
                    self.shards(&self.beside(INDEX))?;
                }
                // Told to be a folder.
                text(self.hub.snapshot_folder(&self.model).join(&self.file).join(""))
            }
        }
    }

    /// Fetches an index and its shards.
    fn shards(&self, index: &str) -> Result<PathBuf, RankFailure> {
        let path = self.hub.file(&self.model, index)?;
        let refused = |reason: String| RankFailure::Spec(format!("{}/{index}: {reason}", self.model));
        let json = fs::read_to_string(&path).map_err(|error| refused(error.to_string()))?;
        let json: Value = serde_json::from_str(&json).map_err(|error| refused(error.to_string()))?;
        let shards = json["weight_map"].as_object().into_iter().flatten();
        let shards: BTreeSet<&str> = shards.filter_map(|(_, shard)| shard.as_str()).collect();
        for shard in shards {
            // What leads out of the commit's folder, or is a pickle, is no shard.
            let place = format!("{}/{}", self.model, self.beside(shard));
            let is_shard =
                shard.ends_with(".safetensors") && HubPlace::parse(&place).is_some_and(|place| place.is_ok());
            if !is_shard {
                return Err(refused(format!(
                    "weight_map: expected names of safetensors files, found `{shard}`"
                )));
            }
            self.hub.file(&self.model, &self.beside(shard))?;
        }
        Ok(path)
    }

    /// Fetches the tokenizer, and what the artifacts get of what lies beside it.
    fn tokenizer(&self) -> Result<PathBuf, RankFailure> {
        let path = self.hub.file(&self.model, &self.file)?;
        for name in [TOKENIZER_CONFIG, SPECIAL_TOKENS] {
            match self.hub.find(&self.model, &self.beside(name)) {
                Ok(_) => {}
                // No number depends on these.
                Err(error @ (HubError::Failed { .. } | HubError::Offline { .. })) => {
                    warn!(%error, "the artifacts lack what this file says of the tokenizer");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(path)
    }

    /// The name of a file in the folder that is named, or beside the file.
    fn beside(&self, name: &str) -> String {
        let folder = match self.kind {
            Some(WeightsPlace::Folder) => self.file.as_str(),
            _ => self.file.rsplit_once('/').map_or("", |(folder, _)| folder),
        };
        match folder {
            "" => name.to_owned(),
            folder => format!("{folder}/{name}"),
        }
    }
}

fn text(path: PathBuf) -> Result<String, RankFailure> {
    let path = path.into_os_string().into_string();
    path.map_err(|path| RankFailure::Spec(format!("paths of a model must be UTF-8, found {path:?}")))
}
