//! What a job leaves of its model: the trained part alone, and the whole network under the names of the file it came from.
//!
//! Tensors that did not train are copied byte for byte from that file, whose digest must still be the one taken at load. Trained
//! tensors and the head are fp32.

mod configuration;
mod merged;

use std::path::Path;

use firn_core::spec::{Architecture, Word};
use tch::Tensor;

pub use self::{configuration::config, merged::merged};
pub use crate::architecture::{DenseClass, Opened};
use crate::{
    error::ModelError,
    head::{HEAD, POOLING},
    model::Model,
    parameter_builder::Role,
    weights::{
        file::WeightFile,
        write::{Entry, write},
    },
};

/// Of `config.json` and of the header of `head.safetensors`, which gain fields without raising it. Files without one are of builds before, and
/// of this form.
const FORMAT: u32 = 1;

/// Field of the header of `head.safetensors`: BLAKE3 of what never trained.
const FROZEN: &str = "frozen_digest";

/// The same of the network with its adapters merged, as it is exported.
const MERGED: &str = "merged_digest";

/// What the whole network is exported as: under the names of a library, or as the program that it came as, whose outputs the head of
/// `head.safetensors` reads.
pub fn merged_name(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::TorchScript => PROGRAM_FILE,
        _ => WEIGHTS_FILE,
    }
}

const WEIGHTS_FILE: &str = "model.safetensors";
pub(crate) const PROGRAM_FILE: &str = "backbone.pt";

fn program(model: &Model) -> Option<&Tensor> {
    let program = model.entries.iter().find(|entry| entry.role == Role::Program);
    program.map(|entry| &entry.tensor)
}

/// How transformers opens the file of the whole network; `None` where the names are those of another library.
pub fn opened(model: &Model) -> Option<&Opened> {
    model.opened.as_ref()
}

/// The name of a tensor in the file of the whole network: of the head that of its library where the library computes the same with it, and else one that
/// the library has not, so that nobody computes something else unawares.
pub(crate) fn in_whole(model: &Model, name: &str) -> String {
    match (head_tail(name), opened(model)) {
        (Some(tail), Some(Opened::ByDenseClass(class))) => class.tensor(tail),
        (Some(tail), Some(Opened::ByClass(_))) => format!("{}.{tail}", output_layer(model)),
        (Some(_), Some(Opened::WithoutHead(_))) => name.to_owned(),
        _ => exported(model, name),
    }
}

/// The output layer of the class that opens the network, as its library names it.
pub(crate) fn output_layer(model: &Model) -> &'static str {
    model.family.output_layer().unwrap_or(model.naming.head())
}

/// The name of a tensor in the head, if it is one of the head's.
pub(crate) fn head_tail(name: &str) -> Option<&str> {
    name.strip_prefix(HEAD)?.strip_prefix('.')
}

/// `head.safetensors`: the head and every tensor that trained, under the names of the source file.
pub fn head(model: &Model) -> Result<Vec<u8>, ModelError> {
    let mut metadata = vec![
        ("format".to_owned(), "pt".to_owned()),
        ("firn_format".to_owned(), FORMAT.to_string()),
        ("architecture".to_owned(), model.architecture.word().to_owned()),
        ("cut".to_owned(), model.summary().cut),
        ("classes".to_owned(), model.classes.to_string()),
        (FROZEN.to_owned(), model.frozen_digest()),
    ];
    metadata.extend(model.merged_digest()?.map(|digest| (MERGED.to_owned(), digest)));
    let mut bytes = Vec::new();
    let trained = model.trainable_state();
    let entries = trained
        .iter()
        .map(|(name, tensor)| Entry::of(exported(model, name), tensor));
    write(&mut bytes, entries.collect::<Result<_, _>>()?, &metadata)
        .expect("writing to memory succeeds: names and shapes are plain JSON");
    Ok(bytes)
}

/// Puts what a job trained, as [`head`] wrote it, into a model of the same spec and naming.
///
/// # Errors
/// When the file cannot be read, lacks something of what trains in the model, or was trained above another frozen part; then nothing is changed.
pub fn adopt(model: &Model, path: &Path) -> Result<(), ModelError> {
    let file = WeightFile::open(path)?;
    let found = model.frozen_digest();
    let is_merged = file.metadata(MERGED).is_some_and(|merged| merged == found);
    if let Some(expected) = file
        .metadata(FROZEN)
        .filter(|expected| *expected != found && !is_merged)
    {
        return Err(ModelError::Mismatch {
            what: format!("frozen part below {}", path.display()),
            expected: format!("the weights with BLAKE3 {expected}, above which it was trained"),
            found: format!("others, with BLAKE3 {found}"),
        });
    }
    let state = model.trainable_state();
    let stored = |(name, tensor): &(String, Tensor)| {
        let key = exported(model, name);
        // Builds before exported the bare ResNet of transformers without its prefix.
        let key = match (file.entry(&key), file_key(model, name)) {
            (None, Some(bare)) => bare,
            _ => key,
        };
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

/// The name under which a tensor is exported, that of the head's behind the library's name of the output layer.
fn exported(model: &Model, name: &str) -> String {
    match head_tail(name) {
        Some(tail) => format!("{}.{tail}", model.naming.head()),
        None => match model.entries.iter().find(|entry| entry.name == name) {
            Some(entry) => model.naming.exported(&entry.key),
            None if name.starts_with(POOLING) => name.to_owned(),
            None => of_auxiliary(model, name),
        },
    }
}

/// The name of a backbone tensor in the file that it came from, without what wrapped it.
fn file_key(model: &Model, name: &str) -> Option<String> {
    let entry = model.entries.iter().find(|entry| entry.name == name)?;
    let key = entry.key.strip_prefix(&model.naming.wrapper).unwrap_or(&entry.key);
    Some(key.to_owned())
}

/// The name under which a tensor of the auxiliary output layer is exported.
fn of_auxiliary(model: &Model, name: &str) -> String {
    model.naming.exported(&model.naming.candidates(name).remove(0))
}
