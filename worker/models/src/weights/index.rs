//! Weights in several files: the index that says in which shard each tensor lies, as Hugging Face writes it.
//!
//! Its shards are files of the index's own folder, so nothing that it says leads to a file elsewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
};

use serde::Deserialize;

use crate::error::ModelError;

/// How the name of an index ends.
pub(crate) const INDEX: &str = ".safetensors.index.json";

/// Which shard holds which tensor.
pub(super) struct ShardIndex {
    path: PathBuf,
    /// Tensor → shard.
    tensors: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Written {
    weight_map: BTreeMap<String, String>,
}

impl ShardIndex {
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, ModelError> {
        let index = |tensors| Self {
            path: path.to_path_buf(),
            tensors,
        };
        let written: Written = serde_json::from_slice(bytes).map_err(|error| {
            let expected = "a JSON object whose `weight_map` names the file of each tensor";
            index(BTreeMap::new()).refuse("index of weights", expected, error.to_string())
        })?;
        let index = index(written.weight_map);
        index.check_shards()?;
        Ok(index)
    }

    /// The files, in the order of their names.
    pub(super) fn shards(&self) -> BTreeSet<&str> {
        self.tensors.values().map(String::as_str).collect()
    }

    /// Where a shard lies.
    pub(super) fn place(&self, shard: &str) -> PathBuf {
        self.path.with_file_name(shard)
    }

    /// The tensors and their shards.
    pub(super) fn tensors(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tensors
            .iter()
            .map(|(tensor, shard)| (tensor.as_str(), shard.as_str()))
    }

    pub(super) fn no_file(&self, shard: &str, reason: &std::io::Error) -> ModelError {
        self.refuse(
            &format!("shard `{shard}`"),
            "a file beside the index",
            reason.to_string(),
        )
    }

    pub(super) fn not_in_its_shard(&self, tensor: &str, shard: &str) -> ModelError {
        self.refuse(
            &format!("tensor `{tensor}`"),
            &format!("its values in `{shard}`"),
            "nothing there".to_owned(),
        )
    }

    fn check_shards(&self) -> Result<(), ModelError> {
        if self.tensors.is_empty() {
            return Err(self.refuse("`weight_map`", "the shard of each tensor", "no tensor".to_owned()));
        }
        for shard in self.shards() {
            let path = Path::new(shard);
            let is_below = path.components().all(|part| matches!(part, Component::Normal(_)));
            if !is_below || path.extension().is_none_or(|extension| extension != "safetensors") {
                let expected = "the name of a `.safetensors` file in the folder of the index";
                return Err(self.refuse("`weight_map`", expected, format!("`{shard}`")));
            }
        }
        Ok(())
    }

    fn refuse(&self, what: &str, expected: &str, found: String) -> ModelError {
        ModelError::ShardIndex {
            path: self.path.clone(),
            what: what.to_owned(),
            expected: expected.to_owned(),
            found,
        }
    }
}
