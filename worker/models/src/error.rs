//! Everything that can go wrong with a model, told with the file, the tensor or the field it is about.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Why a model could not be built, run, saved or restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The spec freezes, or unfreezes, a stage that the architecture does not have.
    #[error("{architecture} has no stage `{stage}` to freeze through, did you mean `{nearest}`? its stages are {}", .stages.join(", "))]
    UnknownStage {
        /// Architecture as in the spec.
        architecture: String,
        /// What the spec says.
        stage: String,
        /// The stage whose name is closest.
        nearest: String,
        /// All stages, input side first.
        stages: Vec<String>,
    },
    /// A file that only unpickling could open.
    #[error(
        "{} is a pickle file, and opening a pickle runs whatever code it holds, so Firn never does; \
         convert it where you trust it: {}",
        .path.display(), conversion(.path)
    )]
    PickleRefused {
        /// The refused file.
        path: PathBuf,
    },
    /// A file is no TorchScript program that can be used.
    #[error("{} cannot be used as TorchScript: {reason}", .path.display())]
    TorchScript {
        /// The file.
        path: PathBuf,
        /// What is wrong, or libtorch's reason.
        reason: String,
    },
    /// A file could not be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {}: {source}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The bytes are not a safetensors file.
    #[error("{file} is not a readable safetensors file: {reason}")]
    NotSafetensors {
        /// Path, or what the bytes are.
        file: String,
        /// The parser's reason.
        reason: String,
    },
    /// The index of sharded weights does not lead to them.
    #[error("{}: {what}: expected {expected}, found {found}", .path.display())]
    ShardIndex {
        /// The index.
        path: PathBuf,
        /// The shard, tensor or field at fault.
        what: String,
        /// What would be right.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A folder that is no place of weights.
    #[error("{} holds neither `model.safetensors` nor `model.safetensors.index.json`; {found}", .path.display())]
    NoWeightsInFolder {
        /// The folder.
        path: PathBuf,
        /// What it holds instead, in words.
        found: String,
    },
    /// Weights that do not fit the architecture: every problem, not only the first.
    #[error(
        "{} does not fit {architecture}{looks_like}: {}{}",
        .path.display(), not_known(.unknown, .architecture), list(.problems)
    )]
    WeightsDoNotFit {
        /// The weights file.
        path: PathBuf,
        /// Architecture as in the spec.
        architecture: String,
        /// What the file seems to be, with the words around it; empty where nothing is known.
        looks_like: String,
        /// Names of the file that the network does not know, heads and counters apart.
        unknown: Box<[String]>,
        /// All that is wrong.
        problems: Vec<TensorProblem>,
    },
    /// Weights of a larger network: what is left over would have been dropped, and the rest computes something else.
    #[error(
        "{} holds more layers than {architecture} has{looks_like}: {} would not be used",
        .path.display(), first_of(.surplus)
    )]
    SurplusWeights {
        /// The weights file.
        path: PathBuf,
        /// Architecture as in the spec.
        architecture: String,
        /// What the file seems to be, with the words around it; empty where nothing is known.
        looks_like: String,
        /// The names that the network has no use for.
        surplus: Vec<String>,
    },
    /// A `config.json` that does not describe a BERT encoder that Firn builds.
    #[error("{}: field `{field}`: expected {expected}, found {found}", .path.display())]
    Config {
        /// The configuration file.
        path: PathBuf,
        /// The field at fault.
        field: String,
        /// What would be right.
        expected: String,
        /// What it holds.
        found: String,
    },
    /// An input, a label or a gradient that does not fit the model.
    #[error("{what}: expected {expected}, found {found}")]
    Mismatch {
        /// The value at fault.
        what: String,
        /// What would be right.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A checkpoint that belongs to something else or is damaged.
    #[error("checkpoint: {what}: expected {expected}, found {found}")]
    Checkpoint {
        /// The entry at fault.
        what: String,
        /// What would be right.
        expected: String,
        /// What it holds.
        found: String,
    },
    /// Bytes below the cut are no longer those that were loaded.
    #[error("the frozen part changed: {what} had digest {expected} when it was loaded and has {found} now")]
    FrozenChanged {
        /// Original tensors, or the copy that computes.
        what: &'static str,
        /// Digest at load.
        expected: String,
        /// Digest now.
        found: String,
    },
    /// The numbers of the other ranks did not come.
    #[error("the ranks did not bring the statistics of a batch together: {reason}")]
    NotExchanged {
        /// Why.
        reason: String,
    },
    /// libtorch refused an operation.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

/// One tensor of a weights file that is not as the architecture needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TensorProblem {
    /// No tensor under any accepted name.
    Missing {
        /// The name that was looked for first.
        key: String,
        /// Shape that is needed.
        expected: Vec<i64>,
        /// The name in the file that is most like it, of a tensor of this shape that has no other use.
        nearest: Option<String>,
    },
    /// Another shape than the architecture's.
    Shape {
        /// The name in the file.
        key: String,
        /// Shape that is needed.
        expected: Vec<i64>,
        /// Shape in the file.
        found: Vec<i64>,
    },
    /// Values that no computation can go on from.
    NotFinite {
        /// The name in the file.
        key: String,
        /// How many of its values are NaN or infinite.
        broken: i64,
    },
    /// A type that holds no real numbers.
    Kind {
        /// The name in the file.
        key: String,
        /// Type in the file.
        found: String,
    },
}

impl fmt::Display for TensorProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { key, expected, nearest } => {
                write!(formatter, "`{key}` of shape {expected:?} is missing")?;
                match nearest {
                    Some(nearest) => write!(formatter, " (is it `{nearest}`?)"),
                    None => Ok(()),
                }
            }
            Self::Shape { key, expected, found } => {
                write!(formatter, "`{key}`: expected shape {expected:?}, found {found:?}")
            }
            Self::NotFinite { key, broken } => {
                write!(
                    formatter,
                    "`{key}`: expected finite numbers, found {broken} that are NaN or infinite"
                )
            }
            Self::Kind { key, found } => write!(formatter, "`{key}`: expected F32, F16, BF16 or F64, found {found}"),
        }
    }
}

/// More than this many problems are counted, not spelled out; the error value still holds all of them.
pub(crate) const SPELLED_OUT: usize = 12;

/// The command that converts a pickle to safetensors beside it. Trainers keep the tensors under `state_dict` or `model`; tensors that share their
/// memory, as tied embeddings do, are copied, since safetensors refuses them.
fn conversion(path: &Path) -> String {
    let converted = match path.extension().is_some_and(|extension| extension == "safetensors") {
        true => path.with_extension("converted.safetensors"),
        false => path.with_extension("safetensors"),
    };
    let quoted = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
    format!(
        "python3 -c \"import sys, torch, safetensors.torch as s; \
         w = torch.load(sys.argv[1], map_location='cpu', weights_only=True); \
         w = next((w[k] for k in ('state_dict', 'model') if isinstance(w.get(k), dict)), w); \
         s.save_file({{k: v.clone().contiguous() for k, v in w.items() if torch.is_tensor(v)}}, sys.argv[2], {{'format': 'pt'}})\" {} {}",
        quoted(path),
        quoted(&converted),
    )
}

/// The first three names, and how many there are besides.
pub(crate) fn first_of(names: &[String]) -> String {
    let mut shown: Vec<String> = names.iter().take(3).map(|name| format!("`{name}`")).collect();
    if names.len() > 3 {
        shown.push(format!("and {} more", names.len() - 3));
    }
    shown.join(", ")
}

fn not_known(names: &[String], architecture: &str) -> String {
    match names {
        [] => String::new(),
        names => format!("it holds {}, which {architecture} does not know; ", first_of(names)),
    }
}

fn list(problems: &[TensorProblem]) -> String {
    let mut sentences: Vec<String> = problems.iter().take(SPELLED_OUT).map(ToString::to_string).collect();
    if problems.len() > SPELLED_OUT {
        sentences.push(format!("and {} more", problems.len() - SPELLED_OUT));
    }
    sentences.join("; ")
}
