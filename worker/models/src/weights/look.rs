//! Which network a file seems to hold, by the names and shapes of its tensors.
//!
//! A file is that of an architecture if it has every tensor in its shape and no layer more. Where none is, names alone tell a family: their
//! numbers apart, a network of other sizes has the same ones.

use std::{collections::BTreeSet, path::Path};

use firn_core::spec::{Architecture, ModelSpec, Word, beside_weights};

use super::{file::WeightFile, fit::Leftover, naming::Naming};
use crate::{
    architecture::{self, Family},
    error::ModelError,
    parameter_builder::NamedTensor,
};

/// How alike a file and an architecture are; what is more alike is greater.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub(crate) struct Likeness {
    pub(crate) kind: Kind,
    /// The part of the tensors of both that are the same.
    pub(crate) share: f64,
}

/// What is alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(crate) enum Kind {
    /// Some of the tensors.
    Some,
    /// The names are those of its family.
    Names,
    /// Every tensor is there in its shape, and no layer more.
    Exact,
}

/// What a file looks like.
pub(crate) struct Look {
    pub(crate) architecture: Architecture,
    pub(crate) family: Box<dyn Family>,
    pub(crate) likeness: Likeness,
}

/// The architecture that a file is most like; of equals the first one. `spec`: all but the architecture; its weights are the file.
pub(crate) fn look(file: &WeightFile, spec: &ModelSpec) -> Result<Option<Look>, ModelError> {
    let mut best: Option<Look> = None;
    for &(_, architecture) in Architecture::WORDS {
        let Some(family) = family_of(architecture, spec) else {
            continue;
        };
        let likeness = likeness(file, family.as_ref())?;
        if best.as_ref().is_none_or(|best| likeness > best.likeness) {
            best = Some(Look {
                architecture,
                family,
                likeness,
            });
        }
        if likeness.kind == Kind::Exact {
            break;
        }
    }
    Ok(best)
}

/// The network of this architecture; that of texts with the sizes of the `config.json` beside the file, or its usual ones where there is none.
/// `None` where the configuration is that of another.
fn family_of(architecture: Architecture, spec: &ModelSpec) -> Option<Box<dyn Family>> {
    let other = ModelSpec {
        architecture,
        tokenizer: None,
        ..spec.clone()
    };
    if has_configuration(&other) {
        return architecture::of(&other).ok();
    }
    let usual = ModelSpec { weights: None, ..other };
    architecture::of(&usual).ok()
}

/// Whether a `config.json` stands beside the weights.
pub(crate) fn has_configuration(spec: &ModelSpec) -> bool {
    let weights = spec.weights.as_deref();
    let beside = weights.and_then(|path| beside_weights(path, "config.json"));
    beside.is_some_and(|path| Path::new(&path).exists())
}

fn likeness(file: &WeightFile, family: &dyn Family) -> Result<Likeness, ModelError> {
    let naming = Naming::detect(family.dialects(), file.keys());
    let (_, entries) = architecture::inventory(family, &naming)?;
    let leftover = Leftover::of(file, &naming, &entries);
    let has = |entry: &&NamedTensor| {
        file.entry(&entry.key)
            .is_some_and(|found| found.shape == entry.tensor.size())
    };
    let same = entries.iter().filter(has).count();
    let kind = if same == entries.len() && leftover.surplus.is_empty() {
        Kind::Exact
    } else if has_names_of(file, &entries, &leftover) {
        Kind::Names
    } else {
        Kind::Some
    };
    let share = same as f64 / (entries.len() + leftover.surplus.len()) as f64;
    Ok(Likeness { kind, share })
}

/// Whether the names are those of the network, but for their numbers.
fn has_names_of(file: &WeightFile, entries: &[NamedTensor], leftover: &Leftover) -> bool {
    let expected: BTreeSet<String> = entries.iter().map(|entry| without_numbers(&entry.key)).collect();
    let found: BTreeSet<String> = file.keys().map(without_numbers).collect();
    let is_known = |key: &String| expected.contains(&without_numbers(key));
    expected.is_subset(&found) && leftover.surplus.iter().all(is_known)
}

/// `layer.11.output` → `layer.#.output`.
fn without_numbers(key: &str) -> String {
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = key
        .split('.')
        .map(|part| if is_number(part) { "#" } else { part })
        .collect();
    parts.join(".")
}

/// What a file looks like that does not fit the spec, with the words around it; empty where nothing is known.
pub(crate) fn in_words(file: &WeightFile, spec: &ModelSpec, family: &dyn Family) -> Result<String, ModelError> {
    let found = look(file, spec)?.filter(|look| look.architecture != spec.architecture);
    if let Some(look) = found {
        let word = look.architecture.word();
        match (look.likeness.kind, layers(file, look.family.as_ref())) {
            (Kind::Exact, _) => return Ok(format!(" (it looks like {word})")),
            (Kind::Names, _) if likeness(file, family)?.kind == Kind::Names => {}
            (Kind::Names, Some(layers)) => return Ok(format!(" (it looks like {word} of {layers} layers)")),
            (Kind::Names, None) => return Ok(format!(" (it looks like {word}, with other sizes)")),
            (Kind::Some, _) => {}
        }
    }
    let asked = family.layers();
    Ok(
        match layers(file, family).filter(|_| spec.architecture.sizes_are_configured()) {
            Some(layers) if layers != asked => {
                format!(" (it looks like {layers} layers, the `config.json` beside it says {asked})")
            }
            _ => String::new(),
        },
    )
}

/// Layers of an encoder or decoder, by their numbers in the names; `None` where the family or the names have none.
pub(crate) fn layers(file: &WeightFile, family: &dyn Family) -> Option<usize> {
    if family.layers() == 0 {
        return None;
    }
    let last = file.keys().filter_map(layer_number).max()?;
    Some(last + 1)
}

/// The number after `layer`, `layers` or `h` in a name.
fn layer_number(key: &str) -> Option<usize> {
    let is_list = |part: &&str| matches!(*part, "layer" | "layers" | "h");
    let mut parts = key.split('.').skip_while(|part| !is_list(part));
    parts.nth(1)?.parse().ok()
}
