//! Whether a file holds the network, and what it holds besides: heads and counters are passed over, whole layers are refused.
//!
//! Where names differ, both sides are told: what is missing, what the file has in its place, and which name or network is nearest. The weights
//! of a deeper network have all the names and shapes of a shallower one. Taken in silence, the rest of its layers would be dropped, and the
//! network would compute something that nobody trained.

use std::{collections::BTreeSet, path::Path};

use firn_core::spec::{ModelSpec, Word};

use super::{
    file::WeightFile,
    index::INDEX,
    look,
    naming::{Naming, unwrapped},
};
use crate::{
    architecture::Family,
    error::{ModelError, SPELLED_OUT, TensorProblem},
    head::POOLING,
    parameter_builder::NamedTensor,
};

/// First parts of names that belong to outputs of other tasks, to poolers, and to losses that trainers save beside the network.
const HEADS: [&str; 23] = [
    "fc",
    "linear",
    "classifier",
    "head",
    "heads",
    "score",
    "pooler",
    POOLING,
    "cls",
    "decoder",
    "lm_head",
    "qa_outputs",
    "last_linear",
    "classification_head",
    "multiple_choice_head",
    "AuxLogits",
    "pre_classifier",
    "vocab_transform",
    "vocab_layer_norm",
    "vocab_projector",
    "criterion",
    "loss",
    "loss_fn",
];

/// Ends of names of buffers that no computation here reads: counters, position ids, causal masks, the speeds of rotary positions, rows of tables,
/// what hides a patch.
const BUFFERS: [&str; 9] = [
    "num_batches_tracked",
    "position_ids",
    ".attn.bias",
    ".attn.masked_bias",
    "rotary_emb.inv_freq",
    "relative_position_index",
    "relative_coords_table",
    ".attn_mask",
    "mask_token",
];

/// Names of the file that the network has no use for.
#[derive(Debug, Default)]
pub(crate) struct Leftover {
    /// Of layers, which is more than the network has.
    pub(crate) surplus: Vec<String>,
    /// Of outputs, poolers and losses.
    pub(crate) unused: Vec<String>,
}

impl Leftover {
    pub(crate) fn of(file: &WeightFile, naming: &Naming, entries: &[NamedTensor]) -> Self {
        let used: BTreeSet<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
        let mut leftover = Self::default();
        for key in file.keys().filter(|key| !used.contains(key)) {
            let name = unwrapped(key);
            let name = name.strip_prefix(naming.dialect.prefix).unwrap_or(name);
            if HEADS.contains(&name.split('.').next().unwrap_or_default()) {
                leftover.unused.push(key.to_owned());
            } else if !BUFFERS.iter().any(|end| name.ends_with(end)) {
                leftover.surplus.push(key.to_owned());
            }
        }
        leftover
    }
}

/// Refuses a file that lacks tensors of the network, has them in another form, or holds layers which the network has not; what else it
/// holds is returned.
pub(crate) fn check(
    (file, naming): (&WeightFile, &Naming),
    (spec, family): (&ModelSpec, &dyn Family),
    entries: &[NamedTensor],
    mut problems: Vec<TensorProblem>,
) -> Result<Leftover, ModelError> {
    let leftover = Leftover::of(file, naming, entries);
    if leftover.surplus.is_empty() && problems.is_empty() {
        return Ok(leftover);
    }
    let surplus = leftover.surplus;
    let (path, architecture) = (file.path.clone(), spec.architecture.word().to_owned());
    let looks_like = looks_like(file, spec, family)?;
    if problems.is_empty() {
        return Err(ModelError::SurplusWeights {
            path,
            architecture,
            looks_like,
            surplus,
        });
    }
    for problem in problems.iter_mut().take(SPELLED_OUT) {
        if let TensorProblem::Missing { key, expected, nearest } = problem {
            *nearest = nearest_of(key, expected, file, &surplus);
        }
    }
    Err(ModelError::WeightsDoNotFit {
        path,
        architecture,
        looks_like,
        unknown: surplus.into(),
        problems,
    })
}

/// Of the names without use the one that is most like `key`, and not unlike it, among the tensors of this shape.
fn nearest_of(key: &str, shape: &[i64], file: &WeightFile, unknown: &[String]) -> Option<String> {
    let distance = |name: &String| strsim::damerau_levenshtein(key, name);
    let same_shape = unknown
        .iter()
        .filter(|name| file.entry(name).is_some_and(|entry| entry.shape == shape));
    let nearest = same_shape.min_by_key(|name| distance(name))?;
    (2 * distance(nearest) <= key.len()).then(|| nearest.clone())
}

/// What the file seems to be.
fn looks_like(file: &WeightFile, spec: &ModelSpec, family: &dyn Family) -> Result<String, ModelError> {
    match is_shard(&file.path) {
        true => Ok(format!(" (it is one shard of several: name their `…{INDEX}`)")),
        false => look::in_words(file, spec, family),
    }
}

/// Whether a file is named `model-00001-of-00002.safetensors`.
fn is_shard(path: &Path) -> bool {
    let name = path.file_stem().map(|name| name.to_string_lossy().into_owned());
    let numbers = name.as_deref().and_then(|name| name.rsplit_once("-of-"));
    numbers.is_some_and(|(before, shards)| {
        let number = before.rsplit('-').next().unwrap_or_default();
        [number, shards].iter().all(|digits| digits.parse::<u32>().is_ok())
    })
}
