//! Where a model's files are on this machine: places of the Hugging Face Hub are fetched into its cache, all others are paths already.

use std::{collections::BTreeSet, fs, path::PathBuf};

use firn_core::spec::{
    self, ModelSpec,
    hub::{HubModel, HubPlace},
};
use firn_hub::{Hub, HubError};
use serde_json::Value;

use crate::rank::failure::RankFailure;

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// What is read beside the weights, where it is there.
const BESIDE: [&str; 4] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
];

/// The model with paths in place of places of the Hub.
///
/// # Errors
/// What the Hub does not give.
pub(crate) fn local(model: &ModelSpec) -> Result<ModelSpec, RankFailure> {
    let here = |place: &Option<String>| place.as_deref().map(on_this_machine).transpose();
    Ok(ModelSpec {
        weights: here(&model.weights)?,
        tokenizer: here(&model.tokenizer)?,
        ..model.clone()
    })
}

/// The tokenizer that the spec names, or the one beside the weights.
///
/// # Errors
/// What the Hub does not give.
pub(crate) fn tokenizer(model: &ModelSpec) -> Result<Option<PathBuf>, RankFailure> {
    let beside = || spec::beside_weights(model.weights.as_deref()?, "tokenizer.json");
    let place = model.tokenizer.clone().or_else(beside);
    let path = place.as_deref().map(on_this_machine).transpose()?;
    Ok(path.map(PathBuf::from))
}

/// A path of this machine.
fn on_this_machine(place: &str) -> Result<String, RankFailure> {
    let Some(parsed) = HubPlace::parse(place) else {
        return Ok(place.to_owned());
    };
    let HubPlace { model, file } = parsed.map_err(RankFailure::Spec)?;
    let hub = Hub::from_environment()?;
    let names = names(&hub, &model)?;
    let beside = BESIDE.iter().map(|name| (*name).to_owned());
    let beside = beside.filter(|name| names.contains(name));
    let path = match file.as_str() {
        "" => {
            let weights = weights(&hub, &model, &names)?;
            for name in weights.into_iter().chain(beside) {
                hub.file(&model, &name)?;
            }
            // Told to be a folder.
            hub.snapshot_folder(&model).join("")
        }
        file => {
            for name in beside {
                hub.file(&model, &name)?;
            }
            hub.file(&model, file)?
        }
    };
    path.into_os_string()
        .into_string()
        .map_err(|path| RankFailure::Spec(format!("the cache of the Hub must be UTF-8, found {path:?}")))
}

/// Names of the files of a commit. Where the Hub cannot be reached, and the weights are in the cache, those that are cached.
fn names(hub: &Hub, model: &HubModel) -> Result<BTreeSet<String>, RankFailure> {
    match hub.snapshot(model) {
        Ok(snapshot) => Ok(snapshot.files.into_iter().collect()),
        Err(error @ HubError::Failed { .. }) => {
            let cached = hub.cached(model);
            match [WEIGHTS, INDEX].iter().any(|name| cached.contains(*name)) {
                true => Ok(cached),
                false => Err(error.into()),
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// The files that hold the weights: one, or the index and its shards.
fn weights(hub: &Hub, model: &HubModel, names: &BTreeSet<String>) -> Result<Vec<String>, RankFailure> {
    if names.contains(WEIGHTS) || !names.contains(INDEX) {
        return Ok(vec![WEIGHTS.to_owned()]);
    }
    let path = hub.file(model, INDEX)?;
    let refused = |reason: String| RankFailure::Spec(format!("{}: {reason}", path.display()));
    let text = fs::read_to_string(&path).map_err(|error| refused(error.to_string()))?;
    let index: Value = serde_json::from_str(&text).map_err(|error| refused(error.to_string()))?;
    let shards = index["weight_map"].as_object().into_iter().flatten();
    let shards: BTreeSet<&str> = shards.filter_map(|(_, shard)| shard.as_str()).collect();
    let shards = shards.into_iter().map(str::to_owned);
    Ok(std::iter::once(INDEX.to_owned()).chain(shards).collect())
}
