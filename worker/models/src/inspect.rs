//! What a weights file is: the network that it holds, under whose names, in which precision, and what of it is missing or too much.

use std::{collections::BTreeMap, path::Path};

use firn_core::spec::{Architecture, Freeze, HeadSpec, ModelSpec, Pooling, StageDropout, Word};
use serde::Serialize;
use tch::Device;

use crate::{
    error::ModelError,
    head::HEAD,
    parameter_builder::{Made, NamedTensor, ParameterBuilder, Source},
    weights::{
        file::WeightFile,
        fit::Leftover,
        look::{self, Kind, Look},
        naming::Naming,
        notes,
    },
};

/// A file that shares less than this part of its tensors with every architecture is like none.
const LEAST_LIKENESS: f64 = 0.5;

/// What a weights file is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// The file, or the index of its shards.
    pub path: String,
    /// Files that hold tensors.
    pub files: usize,
    /// Of the tensors.
    pub bytes: u64,
    /// BLAKE3, as jobs record it.
    pub digest: String,
    /// Tensors in the file.
    pub tensors: usize,
    /// Tensors of each type.
    pub dtypes: BTreeMap<String, usize>,
    /// Numbers in all tensors.
    pub parameters: u64,
    /// The architecture that it is, or is most like.
    pub architecture: Option<String>,
    /// Whether a job of this architecture takes the file.
    pub fits: bool,
    /// Whose names its tensors have.
    pub library: Option<String>,
    /// Layers of an encoder or decoder.
    pub layers: Option<usize>,
    /// The output layer that it has besides.
    pub output: Option<OutputLayer>,
    /// What is taken as it is.
    pub notes: Vec<String>,
    /// What keeps a job from taking it: a sentence for each tensor that is missing or has another shape or type.
    pub problems: Vec<String>,
    /// Tensors that the architecture has no place for.
    pub extra: Vec<String>,
}

/// An output layer of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutputLayer {
    /// Its name.
    pub name: String,
    /// Of the layer.
    pub outputs: i64,
}

/// Looks at a safetensors file, the index of a sharded one, or a folder that holds either.
///
/// # Errors
/// What [`crate::Model::load`] says of a file that is none.
pub fn inspect(path: &Path) -> Result<Inspection, ModelError> {
    let file = WeightFile::open(path)?;
    let spec = ModelSpec {
        architecture: Architecture::Resnet18,
        weights: Some(file.path.display().to_string()),
        tokenizer: None,
        freeze: Freeze::All.into(),
        lora: None,
        dropout: StageDropout::None,
        head: HeadSpec::Linear { dropout: 0.0 },
        pooling: Pooling::Mean,
    };
    let is_like = |look: &Look| look.likeness.kind != Kind::Some || look.likeness.share >= LEAST_LIKENESS;
    let found = look::look(&file, &spec)?.filter(is_like);
    let mut inspection = of_any(&file);
    if let Some(look) = found {
        let has_sizes = !look.architecture.sizes_are_configured() || look::has_configuration(&spec);
        compare(&file, &look, has_sizes, &mut inspection)?;
    }
    Ok(inspection)
}

/// What can be said of a file whatever it holds.
fn of_any(file: &WeightFile) -> Inspection {
    let mut dtypes = BTreeMap::new();
    let (mut bytes, mut parameters) = (0, 0);
    for entry in file.keys().filter_map(|key| file.entry(key)) {
        *dtypes.entry(format!("{:?}", entry.dtype)).or_default() += 1;
        bytes += file.bytes(entry).len() as u64;
        parameters += entry.shape.iter().product::<i64>() as u64;
    }
    Inspection {
        path: file.path.display().to_string(),
        files: file.files(),
        bytes,
        digest: file.digest.to_hex().to_string(),
        tensors: file.keys().count(),
        dtypes,
        parameters,
        architecture: None,
        fits: false,
        library: None,
        layers: None,
        output: None,
        notes: Vec::new(),
        problems: Vec::new(),
        extra: Vec::new(),
    }
}

/// Adds what the file is beside the architecture that it looks like; where its sizes are not known, only by its names.
fn compare(file: &WeightFile, look: &Look, has_sizes: bool, into: &mut Inspection) -> Result<(), ModelError> {
    let naming = Naming::detect(look.family.dialects(), file.keys());
    let mut builder = ParameterBuilder::new(Source::File(file), &naming, Device::Cpu);
    look.family.build(&mut builder)?;
    let Made { entries, problems, .. } = builder.finish();
    let leftover = Leftover::of(file, &naming, &entries);
    into.architecture = Some(look.architecture.word().to_owned());
    into.library = Some(naming.dialect.library.name().to_owned());
    into.layers = look::layers(file, look.family.as_ref());
    into.output = output(file, &naming);
    if has_sizes {
        into.problems = problems.iter().map(ToString::to_string).collect();
        into.extra.clone_from(&leftover.surplus);
        into.fits = problems.is_empty() && leftover.surplus.is_empty();
    } else {
        let sentence = "no `config.json` is beside it, which says the sizes of such a network";
        into.problems = vec![sentence.to_owned()];
    }
    let is_there = |entry: &NamedTensor| file.entry(&entry.key).is_some();
    let entries: Vec<NamedTensor> = entries.into_iter().filter(is_there).collect();
    let notes = notes::of(file, &naming, &entries, leftover);
    into.notes = notes.iter().map(ToString::to_string).collect();
    Ok(())
}

/// The output layer under the name that it has in this dialect.
fn output(file: &WeightFile, naming: &Naming) -> Option<OutputLayer> {
    let (wrapper, prefix) = (&naming.wrapper, naming.dialect.prefix);
    let names = [
        format!("{wrapper}{}", naming.head()),
        format!("{wrapper}{prefix}{}", naming.head()),
        // Of transformers' RoBERTa.
        format!("{wrapper}{}.out_proj", naming.head()),
        // What a job leaves whose head is not the library's.
        HEAD.to_owned(),
    ];
    names.into_iter().find_map(|name| {
        let weight = file.entry(&format!("{name}.weight"))?;
        let outputs = *weight.shape.first()?;
        Some(OutputLayer { name, outputs })
    })
}
