//! What a user reads when a dataset cannot be used. Each message names the place and what was expected there.

use std::path::PathBuf;

use crate::SplitName;

/// Why a dataset cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    /// Nothing is there.
    #[error("{split}: {path} does not exist on this worker", path = path.display())]
    Missing {
        /// The split it should hold.
        split: SplitName,
        /// As the spec gives it.
        path: PathBuf,
    },
    /// The operating system refuses.
    #[error("cannot read {path}: {reason}", path = path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// An image folder was expected.
    #[error("{split}: {path} is a file; format imagefolder expects a folder that holds one folder for each class", path = path.display())]
    NotAFolder {
        /// The split.
        split: SplitName,
        /// As the spec gives it.
        path: PathBuf,
    },
    /// A table was expected.
    #[error("{split}: {path} is a folder; format {format} expects a file", path = path.display())]
    NotAFile {
        /// The split.
        split: SplitName,
        /// As the spec gives it.
        path: PathBuf,
        /// `csv`, `tsv` or `jsonl`.
        format: &'static str,
    },
    /// An image folder without class folders.
    #[error("{split}: {path} holds no class folders, expected one folder for each class{hint}", path = path.display())]
    NoClassFolders {
        /// The split.
        split: SplitName,
        /// The folder.
        path: PathBuf,
        /// What was found instead; empty if nothing.
        hint: String,
    },
    /// A class that cannot be learned.
    #[error("train: class `{class}` has no samples: {path} holds no images (.jpg, .jpeg, .png, .bmp, .ppm, .pgm, .webp)", path = path.display())]
    EmptyClass {
        /// The class.
        class: String,
        /// Its folder.
        path: PathBuf,
    },
    /// Nothing to tell apart.
    #[error("train: {path} has one class, `{class}`; a classifier needs at least two", path = path.display())]
    OneClass {
        /// The split's path.
        path: PathBuf,
        /// The class.
        class: String,
    },
    /// A class that the network has no output for.
    #[error("{split}: class `{class}` is not among the {count} classes of train ({known}); first seen at {sample}")]
    UnknownClass {
        /// The split that has it.
        split: SplitName,
        /// The class.
        class: String,
        /// Its first sample, by path or `file:line`; a class folder without samples: the folder.
        sample: String,
        /// Classes of train.
        count: usize,
        /// Their names, the first few.
        known: String,
    },
    /// A split without samples.
    #[error("{split}: {path} holds no samples{hint}", path = path.display())]
    EmptySplit {
        /// The split.
        split: SplitName,
        /// Its path.
        path: PathBuf,
        /// What was found instead; empty if nothing.
        hint: String,
    },
    /// A split drawn from train that would take a class's last training sample, or get none.
    #[error(
        "{split}: a fraction of {fraction} of train's {samples} samples is empty: no class has the two samples that a split needs"
    )]
    EmptyFraction {
        /// The split to be drawn.
        split: SplitName,
        /// Of train.
        fraction: String,
        /// Samples of train.
        samples: usize,
    },
    /// The fractions leave nothing to train on.
    #[error("validation and test together take {fraction} of train; their sum must be below 1")]
    FractionsTooLarge {
        /// Their sum.
        fraction: String,
    },
    /// A table without its header.
    #[error("{path} is empty, expected a header line", path = path.display())]
    NoHeader {
        /// The table.
        path: PathBuf,
    },
    /// A column that the spec names is not there.
    #[error("{path} has no column `{column}` for the {role}; found {found}{nearest}", path = path.display())]
    MissingColumn {
        /// The table.
        path: PathBuf,
        /// The name that the spec gives.
        column: String,
        /// `text` or `label`.
        role: &'static str,
        /// The columns of the header.
        found: String,
        /// A suggestion; empty if none is near.
        nearest: String,
    },
    /// A column name that does not say which.
    #[error("{path}: the header names column `{column}` twice, so it is not clear which holds the {role}", path = path.display())]
    AmbiguousColumn {
        /// The table.
        path: PathBuf,
        /// The name.
        column: String,
        /// `text` or `label`.
        role: &'static str,
    },
    /// A row with too few or too many fields.
    #[error("{path}:{line}: {found} field{s}, expected {expected} as in the header{hint}", path = path.display(), s = if *found == 1 { "" } else { "s" })]
    RaggedRow {
        /// The table.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// Fields of the header.
        expected: usize,
        /// Fields of the row.
        found: usize,
        /// A likely cause; empty if none is known.
        hint: String,
    },
    /// A quote that swallows the rest of the file.
    #[error("{path}:{line}: a quoted field that opens in this row is never closed; if quotes are plain text here, set quoting: none", path = path.display())]
    OpenQuote {
        /// The table.
        path: PathBuf,
        /// From 1.
        line: u64,
    },
    /// A sample without text or without label.
    #[error("{path}:{line}: the {role} (`{column}`) is empty", path = path.display())]
    EmptyField {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// `text` or `label`.
        role: &'static str,
        /// The column or field.
        column: String,
    },
    /// Bytes that are not text.
    #[error("{path}:{line}: not UTF-8 text", path = path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: u64,
    },
    /// A line that is not JSON.
    #[error("{path}:{line}:{column}: not JSON: {reason}", path = path.display())]
    NotJson {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// Byte within the line, from 1.
        column: usize,
        /// The parser's words.
        reason: String,
    },
    /// A JSON value of another kind.
    #[error("{path}:{line}: {what} is {found}, expected {expected}", path = path.display())]
    WrongJson {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// `the line`, or the field.
        what: String,
        /// What it holds.
        found: &'static str,
        /// What it must hold.
        expected: String,
    },
    /// A JSON object without a field that the spec names.
    #[error("{path}:{line}: no field `{field}` for the {role}; found {found}{nearest}", path = path.display())]
    MissingField {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// The name that the spec gives.
        field: String,
        /// `text` or `label`.
        role: &'static str,
        /// The object's fields.
        found: String,
        /// A suggestion; empty if none is near.
        nearest: String,
    },
    /// A text model without its tokenizer.
    #[error("cannot load the tokenizer {path}: {reason}", path = path.display())]
    Tokenizer {
        /// Path of the `tokenizer.json`.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Settings that no sample can satisfy.
    #[error("preprocessing: {reason}")]
    Preprocessing {
        /// What is wrong with them.
        reason: String,
    },
}
