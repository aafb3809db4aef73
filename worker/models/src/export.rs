//! What a job leaves of its model: the trained part alone, and the whole network under the names of the file it came from.
//!
//! Tensors that did not train are copied byte for byte from that file, whose digest must still be the one taken at load. Trained
//! tensors and the head are fp32.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use firn_core::spec::Word;
use safetensors::Dtype;
use serde_json::{Map, Value, json};
use tch::Tensor;

use crate::{
    error::ModelError,
    model::Model,
    parameter_builder::Role,
    weights::{
        file::{FileEntry, WeightFile},
        write::{Entry, tensor_bytes, write},
    },
};

/// Of `config.json` and of the header of `head.safetensors`, which gain fields without raising it. Files without one are of builds before, and
/// of this form.
const FORMAT: u32 = 1;

/// Field of the header of `head.safetensors`: BLAKE3 of what never trained.
const FROZEN: &str = "frozen_digest";

/// What the whole network is exported as: under the names of a library, or as the program that it came as, whose outputs the head of
/// `head.safetensors` reads.
pub fn merged_name(model: &Model) -> &'static str {
    match program(model) {
        Some(_) => PROGRAM_FILE,
        None => WEIGHTS_FILE,
    }
}

/// Names of the file that holds the whole network, of which a job leaves one.
pub const WHOLE: [&str; 2] = [WEIGHTS_FILE, PROGRAM_FILE];
const WEIGHTS_FILE: &str = "model.safetensors";
pub(crate) const PROGRAM_FILE: &str = "backbone.pt";

fn program(model: &Model) -> Option<&Tensor> {
    let program = model.entries.iter().find(|entry| entry.role == Role::Program);
    program.map(|entry| &entry.tensor)
}

/// `head.safetensors`: the head and every tensor that trained, under the names of the source file.
pub fn head(model: &Model) -> Result<Vec<u8>, ModelError> {
    let metadata = [
        ("format".to_owned(), "pt".to_owned()),
        ("firn_format".to_owned(), FORMAT.to_string()),
        ("architecture".to_owned(), model.architecture.word().to_owned()),
        ("cut".to_owned(), model.summary().cut),
        ("classes".to_owned(), model.classes.to_string()),
        (FROZEN.to_owned(), model.frozen_digest()),
    ];
    let mut bytes = Vec::new();
    write(&mut bytes, trained_entries(model)?, &metadata)
        .expect("writing to memory succeeds: names and shapes are plain JSON");
    Ok(bytes)
}

/// Writes the whole network, which torchvision loads with `strict=True`; a program as it came, byte for byte.
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

/// `config.json`: what the merged model is and what its outputs mean.
pub fn config(model: &Model, classes: &[String]) -> Value {
    let names: Map<_, _> = classes
        .iter()
        .enumerate()
        .map(|(id, name)| (id.to_string(), name.clone().into()))
        .collect();
    let ids: Map<_, _> = classes
        .iter()
        .enumerate()
        .map(|(id, name)| (name.clone(), id.into()))
        .collect();
    let mut config = json!({
        "firn_format": FORMAT,
        "architecture": model.architecture.word(),
        "num_labels": classes.len(),
        "id2label": names,
        "label2id": ids,
    });
    let own = model.family.configuration(model.naming.dialect.library);
    config.as_object_mut().expect("it was made as an object").extend(own);
    config
}

/// Puts what a job trained, as [`head`] wrote it, into a model of the same spec and naming.
///
/// # Errors
/// When the file cannot be read, lacks something of what trains in the model, or was trained above another frozen part; then nothing is changed.
pub fn adopt(model: &Model, path: &Path) -> Result<(), ModelError> {
    let file = WeightFile::open(path)?;
    let found = model.frozen_digest();
    if let Some(expected) = file.metadata(FROZEN).filter(|expected| *expected != found) {
        return Err(ModelError::Mismatch {
            what: format!("frozen part below {}", path.display()),
            expected: format!("the weights with BLAKE3 {expected}, above which it was trained"),
            found: format!("others, with BLAKE3 {found}"),
        });
    }
    let state = model.trainable_state();
    let stored = |(name, tensor): &(String, Tensor)| {
        let key = exported(model, name);
        let entry = file.entry(&key).filter(|entry| entry.shape == tensor.size());
        let stored = entry.map(|entry| file.tensor(entry)).transpose()?.flatten();
        match stored {
            Some(stored) => Ok((name.clone(), stored.f_to_device(tensor.device())?)),
            None => Err(ModelError::Mismatch {
                what: format!("`{key}` of {}", path.display()),
                expected: format!("numbers of shape {:?}", tensor.size()),
                found: match file.entry(&key) {
                    Some(entry) => format!("{:?} of shape {:?}", entry.dtype, entry.shape),
                    None => "nothing".to_owned(),
                },
            }),
        }
    };
    model.load_state(&state.iter().map(stored).collect::<Result<Vec<_>, _>>()?)
}

/// The same with adapters merged into the weights that they stand beside.
fn merged_entries(model: &Model) -> Result<Vec<Entry>, ModelError> {
    let factors: std::collections::BTreeSet<String> = {
        let factors = model.entries.iter().filter(|entry| model.is_factor(&entry.name));
        factors.map(|entry| model.naming.exported(&entry.key)).collect()
    };
    let mut entries = trained_entries(model)?;
    entries.retain(|entry| !factors.contains(&entry.name));
    for (name, weight) in model.merged_weights()? {
        entries.push(Entry::of(exported(model, &name), &weight)?);
    }
    Ok(entries)
}

/// The name under which a tensor is exported.
pub(crate) fn exported(model: &Model, name: &str) -> String {
    match name.strip_prefix("head.") {
        Some(tail) => format!("{}.{tail}", model.naming.head()),
        None => match model.entries.iter().find(|entry| entry.name == name) {
            Some(entry) => model.naming.exported(&entry.key),
            None => of_auxiliary(model, name),
        },
    }
}

/// The state that trained and the head, under the file's names.
fn trained_entries(model: &Model) -> Result<Vec<Entry>, ModelError> {
    model
        .trainable_state()
        .iter()
        .map(|(name, tensor): &(String, Tensor)| Entry::of(exported(model, name), tensor))
        .collect()
}

/// The name under which a tensor of the auxiliary output layer is exported.
fn of_auxiliary(model: &Model, name: &str) -> String {
    model.naming.exported(&model.naming.candidates(name).remove(0))
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

fn untrained(model: &Model) -> impl Iterator<Item = &crate::parameter_builder::NamedTensor> {
    let trains: std::collections::BTreeSet<String> = {
        let state = model.trainable_state().into_iter().map(|(name, _)| name);
        state
            .chain(model.adapted.iter().map(|layer| layer.weight.clone()))
            .collect()
    };
    model.entries.iter().filter(move |entry| !trains.contains(&entry.name))
}

/// Backbone tensors that are as the file has them, and what the file holds besides where its dialect keeps that.
fn copy_untrained(model: &Model, file: &WeightFile, entries: &mut Vec<Entry>) {
    let known: std::collections::BTreeSet<&str> = model.entries.iter().map(|entry| entry.key.as_str()).collect();
    let mut copied: Vec<String> = untrained(model).map(|entry| entry.key.clone()).collect();
    let head = format!("{}.", model.naming.head());
    let keeps_extras = model.naming.dialect.keeps_extras;
    copied.extend(
        file.keys()
            .filter(|key| !known.contains(key) && !model.naming.exported(key).starts_with(&head))
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

fn is_counter_of_known(key: &str, known: &std::collections::BTreeSet<&str>) -> bool {
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
    let present: std::collections::BTreeSet<String> = entries.iter().map(|entry| entry.name.clone()).collect();
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
