//! Whether a file holds the network, and what it holds besides: heads and counters are passed over, whole layers are refused.
//!
//! Where names differ, both sides are told: what is missing, what the file has in its place, and which name or network is nearest. The weights of a deeper network have all the names and shapes of a shallower one. Taken in silence, the rest of its layers would be
//! dropped, and the network would compute something that nobody trained.

use std::{collections::BTreeSet, path::Path};

use firn_core::spec::{Architecture, ModelSpec, Word};

use super::{file::WeightFile, index::INDEX, naming::Naming};
use crate::{
    architecture::{self, Family},
    error::{ModelError, SPELLED_OUT, TensorProblem},
    parameter_builder::NamedTensor,
};

/// First parts of names that belong to outputs of other tasks, and to poolers.
const HEADS: [&str; 18] = [
    "fc",
    "classifier",
    "head",
    "heads",
    "score",
    "pooler",
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
];

/// Ends of names of buffers that no computation here reads: counters, position ids, causal masks, the speeds of rotary positions, rows of tables,
/// what hides a patch.
const BUFFERS: [&str; 8] = [
    "num_batches_tracked",
    "position_ids",
    ".attn.bias",
    ".attn.masked_bias",
    "rotary_emb.inv_freq",
    "relative_position_index",
    ".attn_mask",
    "mask_token",
];

fn is_harmless(name: &str) -> bool {
    let first = name.split('.').next().unwrap_or_default();
    HEADS.contains(&first) || BUFFERS.iter().any(|end| name.ends_with(end))
}

/// Names of the file that are neither used nor harmless.
fn surplus(file: &WeightFile, naming: &Naming, entries: &[NamedTensor]) -> Vec<String> {
    let used: BTreeSet<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
    let plain = |key: &str| {
        let key = key.strip_prefix(&naming.wrapper).unwrap_or(key);
        is_harmless(key.strip_prefix(naming.dialect.prefix).unwrap_or(key))
    };
    let left = file.keys().filter(|key| !used.contains(key) && !plain(key));
    left.map(str::to_owned).collect()
}

/// Refuses a file that lacks tensors of the network, has them in another form, or holds layers which the network has not.
pub(crate) fn check(
    (file, naming): (&WeightFile, &Naming),
    (spec, family): (&ModelSpec, &dyn Family),
    entries: &[NamedTensor],
    mut problems: Vec<TensorProblem>,
) -> Result<(), ModelError> {
    let surplus = surplus(file, naming, entries);
    if surplus.is_empty() && problems.is_empty() {
        return Ok(());
    }
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

/// What the file seems to be: another architecture that it fits, or the number of its layers.
fn looks_like(file: &WeightFile, spec: &ModelSpec, family: &dyn Family) -> Result<String, ModelError> {
    if is_shard(&file.path) {
        return Ok(format!(" (it is one shard of several: name their `…{INDEX}`)"));
    }
    if family.layers() > 0 {
        let layers = file.keys().filter_map(layer_number).max().map_or(0, |last| last + 1);
        let asked = family.layers();
        return Ok(match layers != asked && layers > 0 {
            true => format!(" (it looks like {layers} layers, the `config.json` beside it says {asked})"),
            false => String::new(),
        });
    }
    for &(word, architecture) in Architecture::WORDS {
        if architecture != spec.architecture
            && architecture.modality() == spec.architecture.modality()
            && fits(file, architecture, spec)?
        {
            return Ok(format!(" (it looks like {word})"));
        }
    }
    Ok(String::new())
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

/// The number after `layer`, `layers` or `h` in a name.
fn layer_number(key: &str) -> Option<usize> {
    let is_list = |part: &&str| matches!(*part, "layer" | "layers" | "h");
    let mut parts = key.split('.').skip_while(|part| !is_list(part));
    parts.nth(1)?.parse().ok()
}

/// Whether the file is that of this architecture: every tensor in its shape, and no layer more.
fn fits(file: &WeightFile, architecture: Architecture, spec: &ModelSpec) -> Result<bool, ModelError> {
    let other = ModelSpec {
        architecture,
        ..spec.clone()
    };
    let family = architecture::of(&other)?;
    let naming = Naming::detect(family.dialects(), file.keys());
    let (_, entries) = architecture::inventory(family.as_ref(), &naming)?;
    let has = |entry: &NamedTensor| {
        file.entry(&entry.key)
            .is_some_and(|found| found.shape == entry.tensor.size())
    };
    Ok(entries.iter().all(has) && surplus(file, &naming, &entries).is_empty())
}
