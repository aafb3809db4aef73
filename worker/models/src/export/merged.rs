//! The whole network in one file, under the names of the library that the weights came from.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
};

use safetensors::Dtype;
use tch::Tensor;

use super::{Opened, in_whole, of_auxiliary, opened, program};
use crate::{
    error::ModelError,
    head::{HEAD, POOLING},
    model::Model,
    parameter_builder::{NamedTensor, Role},
    weights::{
        file::{FileEntry, WeightFile},
        write::{Entry, tensor_bytes, write},
    },
};

/// Writes the whole network, which its library loads with `strict=True`; a program as it came, byte for byte. Where [`opened`] says that transformers
/// opens it without its head alone, the tensors of the head have Firn's names.
///
/// # Errors
/// When the file of the weights is gone or is no longer the one that was loaded.
pub fn merged(model: &Model, path: &Path) -> Result<(), ModelError> {
    if let Some(program) = program(model) {
        return std::fs::write(path, tensor_bytes(program)?).map_err(|source| ModelError::Write {
            path: path.to_path_buf(),
            source,
        });
    }
    let mut entries = merged_entries(model)?;
    match &model.origin {
        Some(origin) => {
            let file = WeightFile::open(&origin.path)?;
            if file.digest != origin.digest {
                return Err(ModelError::Mismatch {
                    what: format!("content of {}", origin.path.display()),
                    expected: format!("digest {} as when it was loaded", origin.digest.to_hex()),
                    found: format!("digest {}", file.digest.to_hex()),
                });
            }
            copy_untrained(model, &file, &mut entries);
            entries.extend(untrained_auxiliary(model, Some(&file))?);
        }
        None => {
            for entry in untrained(model) {
                entries.push(Entry::of(model.naming.exported(&entry.key), &entry.tensor)?);
            }
            entries.extend(untrained_auxiliary(model, None)?);
        }
    }
    add_counters(model, &mut entries);
    add_constants(model, &mut entries)?;
    let failed = |source| ModelError::Write {
        path: path.to_path_buf(),
        source,
    };
    let mut out = BufWriter::new(File::create(path).map_err(failed)?);
    write(&mut out, entries, &[("format".to_owned(), "pt".to_owned())]).map_err(failed)?;
    out.flush().map_err(failed)
}

/// The same with adapters merged into the weights that they stand beside.
fn merged_entries(model: &Model) -> Result<Vec<Entry>, ModelError> {
    let mut tensors = model.trainable_state();
    tensors.retain(|(name, _)| !model.is_factor(name));
    tensors.extend(model.head.constants());
    tensors.extend(model.merged_weights()?);
    let entries = tensors
        .iter()
        .map(|(name, tensor)| Entry::of(in_whole(model, name), tensor));
    entries.collect()
}

/// The auxiliary output layer where it did not train: the file's, if it has as many outputs as the head; else a new one, since the library
/// that loads the export gives both layers the same number of outputs.
fn untrained_auxiliary(model: &Model, file: Option<&WeightFile>) -> Result<Vec<Entry>, ModelError> {
    let Some(auxiliary) = model.auxiliary.as_ref().filter(|auxiliary| !auxiliary.trains) else {
        return Ok(Vec::new());
    };
    let tensors = auxiliary.head.tensors();
    let key = |name: &str| model.naming.candidates(name).remove(0);
    let stored = |(name, tensor): &(String, Tensor)| {
        let (file, key) = (file?, key(name));
        let entry = file.entry(&key).filter(|entry| entry.shape == tensor.size())?;
        Some(copy(file, entry, of_auxiliary(model, name)))
    };
    match tensors.iter().map(stored).collect() {
        Some(stored) => Ok(stored),
        None => tensors
            .iter()
            .map(|(name, tensor)| Entry::of(of_auxiliary(model, name), tensor))
            .collect(),
    }
}

fn untrained(model: &Model) -> impl Iterator<Item = &NamedTensor> {
    let trains: BTreeSet<String> = {
        let state = model.trainable_state().into_iter().map(|(name, _)| name);
        state
            .chain(model.adapted.iter().map(|layer| layer.weight.clone()))
            .collect()
    };
    model.entries.iter().filter(move |entry| !trains.contains(&entry.name))
}

/// Backbone tensors that are as the file has them, and what the file holds besides where its dialect keeps that.
fn copy_untrained(model: &Model, file: &WeightFile, entries: &mut Vec<Entry>) {
    let known: BTreeSet<&str> = model.entries.iter().map(|entry| entry.key.as_str()).collect();
    let mut copied: Vec<String> = untrained(model).map(|entry| entry.key.clone()).collect();
    let mut heads = vec![model.naming.head(), POOLING];
    if matches!(opened(model), Some(Opened::WithoutHead(_))) {
        heads.push(HEAD);
    }
    let is_head = |name: &str| heads.iter().any(|head| name.starts_with(&format!("{head}.")));
    // The class that opens it with its head has no place for anything else.
    let keeps_extras = model.naming.dialect.keeps_extras && !matches!(opened(model), Some(Opened::ByDenseClass(_)));
    copied.extend(
        file.keys()
            .filter(|key| !known.contains(key) && !is_head(&model.naming.exported(key)))
            .filter(|key| keeps_extras || is_counter_of_known(key, &known))
            .map(str::to_owned),
    );
    for key in copied {
        if let Some(entry) = file.entry(&key) {
            entries.push(copy(file, entry, model.naming.exported(&key)));
        }
    }
}

/// A tensor of the file, byte for byte.
fn copy(file: &WeightFile, entry: &FileEntry, name: String) -> Entry {
    Entry {
        name,
        dtype: entry.dtype,
        shape: entry.shape.clone(),
        bytes: file.bytes(entry).to_vec(),
    }
}

const COUNTER: &str = "num_batches_tracked";

fn is_counter_of_known(key: &str, known: &BTreeSet<&str>) -> bool {
    key.strip_suffix(COUNTER)
        .is_some_and(|norm| known.contains(format!("{norm}running_mean").as_str()))
}

/// What follows from the sizes of the network and the library keeps all the same, where the file had none.
fn add_constants(model: &Model, entries: &mut Vec<Entry>) -> Result<(), ModelError> {
    for (name, tensor) in model.family.constants(model.naming.dialect.library)? {
        let key = model.naming.exported(&model.naming.candidates(&name).remove(0));
        if entries.iter().all(|entry| entry.name != key) {
            entries.push(Entry::of(key, &tensor)?);
        }
    }
    Ok(())
}

/// PyTorch's BatchNorm counts batches in a buffer that nothing here reads; files without it get zeros.
fn add_counters(model: &Model, entries: &mut Vec<Entry>) {
    let present: BTreeSet<String> = entries.iter().map(|entry| entry.name.clone()).collect();
    let statistics = model.entries.iter().filter(|entry| entry.role == Role::Statistic);
    let names = statistics.map(|entry| model.naming.exported(&entry.key));
    let missing = names
        .filter_map(|name| Some(format!("{}{COUNTER}", name.strip_suffix("running_mean")?)))
        .filter(|name| !present.contains(name));
    entries.extend(missing.map(|name| Entry {
        name,
        dtype: Dtype::I64,
        shape: vec![],
        bytes: vec![0; 8],
    }));
}
