//! What a user reads when a dataset cannot be used. Each message names the place and what was expected there.

use std::path::{Path, PathBuf};

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
        /// `csv`, `tsv`, `jsonl` or `conll`.
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
    #[error("train: class `{class}` has no samples: {path} holds no images (.jpg, .jpeg, .png, .bmp, .ppm, .pgm, .webp){hint}", path = path.display())]
    EmptyClass {
        /// The class.
        class: String,
        /// Its folder.
        path: PathBuf,
        /// What lies in it instead; empty if nothing is known to help.
        hint: String,
    },
    /// Two names that cannot be told apart in text.
    #[error("{split}: two files or folders of {path} are both shown as {name}, because the name of one is not UTF-8; rename one", path = path.display())]
    SameName {
        /// The split.
        split: SplitName,
        /// Its folder.
        path: PathBuf,
        /// The name.
        name: String,
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
    #[error(
        "{split}: class `{class}` is not among the {count} classes of train ({known}); first seen at {sample}{hint}"
    )]
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
        /// One of them that it looks like; empty if none does.
        hint: String,
    },
    /// A class that the spec names and train lacks.
    #[error("data.classes: no sample of train is of class `{class}`; it has {known}{hint}")]
    AbsentClass {
        /// The class.
        class: String,
        /// Those of train, the first few.
        known: String,
        /// One of them that it looks like; empty if none does.
        hint: String,
    },
    /// A class of train that the spec does not name among the others.
    #[error("train: class `{class}` is not among data.classes; first seen at {sample}{hint}")]
    UnlistedClass {
        /// The class.
        class: String,
        /// Its first sample.
        sample: String,
        /// A named one that it looks like; empty if none does.
        hint: String,
    },
    /// A label that the network has no output for.
    #[error(
        "{split}: label `{label}` is not among the {count} labels of train ({known}); first seen at {sample}{hint}"
    )]
    UnknownLabel {
        /// The split that has it.
        split: SplitName,
        /// The label.
        label: String,
        /// Its first sample, by `file:line`.
        sample: String,
        /// Labels of train.
        count: usize,
        /// Their names, the first few.
        known: String,
        /// One of them that it looks like; empty if none does.
        hint: String,
    },
    /// A tag that the network has no output for.
    #[error(
        "{split}: tag `{tag}` (`{column}`) is not among the {count} tags of train ({known}); first seen at {sample}{hint}"
    )]
    UnknownTag {
        /// The split that has it.
        split: SplitName,
        /// The column or field.
        column: Box<str>,
        /// The tag.
        tag: String,
        /// Its first sample, by `file:line`.
        sample: Box<str>,
        /// Tags of train.
        count: usize,
        /// Their names, the first few.
        known: Box<str>,
        /// One of them that it looks like; empty if none does.
        hint: Box<str>,
    },
    /// Probably another field than the one with the tags.
    #[error("train: {path}: `{column}` has {count} tags, more than {most}: does it hold the tags of the words?", path = path.display())]
    TooManyTags {
        /// The split's path.
        path: PathBuf,
        /// The column or field.
        column: String,
        /// Tags of all words.
        count: usize,
        /// As many as there may be.
        most: usize,
    },
    /// Lists of labels that are all empty.
    #[error("train: {path}: no sample has a label in `{column}`", path = path.display())]
    NoLabels {
        /// The split's path.
        path: PathBuf,
        /// The column or field.
        column: String,
    },
    /// Probably a separator that is another one.
    #[error("train: {path}: `{column}` has {count} labels, more than {most}: is data.columns.separator the character between them?", path = path.display())]
    TooManyLabels {
        /// The split's path.
        path: PathBuf,
        /// The column or field.
        column: String,
        /// Labels in all lists.
        count: usize,
        /// As many as there may be.
        most: usize,
    },
    /// A label that says neither yes nor no.
    #[error("{split}: {sample}: expected 0 or 1, or false or true, in `{column}`, found `{found}`")]
    NotAFlag {
        /// The split that has it.
        split: SplitName,
        /// Its first sample, `file:line`.
        sample: String,
        /// The column or field.
        column: String,
        /// What stands there.
        found: String,
    },
    /// A label that says the same of all training samples.
    #[error("train: {having} sample of {samples} has the label `{label}`, so there is nothing to learn of it")]
    ConstantLabel {
        /// The label.
        label: String,
        /// `no` or `each`.
        having: &'static str,
        /// Samples of train.
        samples: u64,
    },
    /// A target that is no number.
    #[error("{split}: {sample}: expected a number within ±1e100 in `{column}`, found `{found}`{more}")]
    NotANumber {
        /// The split that has it.
        split: SplitName,
        /// Its first sample, `file:line`.
        sample: String,
        /// The column or field.
        column: String,
        /// What stands there.
        found: String,
        /// `; 3 of 200 values are none`; empty of one.
        more: String,
    },
    /// A target that is the same for all training samples.
    #[error("train: `{column}` is {value} for each of {samples} samples, so there is nothing to learn of it")]
    ConstantTarget {
        /// The column or field.
        column: String,
        /// Samples that are trained on.
        samples: usize,
        /// What it is.
        value: String,
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
        /// `text`, `image` or `label`.
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
    /// Rows that cannot be used.
    #[error("{}", sentence(path, faults, *count, *rows, *allowed))]
    Rows {
        /// The table, or the file of JSON lines.
        path: PathBuf,
        /// The first of them.
        faults: Vec<RowFault>,
        /// How many there are.
        count: u64,
        /// Among so many rows.
        rows: u64,
        /// `data.quarantine.maxSamples`, if it is what they are too many for.
        allowed: Option<u64>,
    },
    /// A text model without its tokenizer.
    #[error("cannot load the tokenizer {path}: {reason}", path = path.display())]
    Tokenizer {
        /// Path of the `tokenizer.json`.
        path: PathBuf,
        /// What the tokenizer library says.
        reason: String,
    },
    /// Settings that no sample can satisfy.
    #[error("preprocessing: {reason}")]
    Preprocessing {
        /// What is wrong with them.
        reason: String,
    },
}

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowFault {
    /// On which the row starts, from 1.
    pub line: u64,
    /// Byte within the line, from 1, where it is known.
    pub column: Option<usize>,
    /// What is wrong.
    pub error: RowError,
}

/// Why a row gives no sample.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// Too few or too many fields.
    #[error("{found} field{s}, expected {expected} as in the header{hint}", s = if *found == 1 { "" } else { "s" })]
    Ragged {
        /// Fields of the header.
        expected: usize,
        /// Fields of the row.
        found: usize,
        /// A likely cause; empty if none is known.
        hint: String,
    },
    /// A quote that swallows the rest of the file.
    #[error("a quoted field that opens in this row is never closed; if quotes are plain text here, set quoting: none")]
    OpenQuote,
    /// No text or no label.
    #[error("the {role} (`{column}`) is empty")]
    Empty {
        /// `text` or `label`.
        role: &'static str,
        /// The column or field.
        column: String,
    },
    /// A word for no value in place of a label.
    #[error("the label (`{column}`) is `{value}`, a missing value")]
    MissingLabel {
        /// The column or field.
        column: String,
        /// As it is written.
        value: String,
    },
    /// A path that leads to no image.
    #[error("the image {path} {reason}", path = path.display())]
    NoImage {
        /// The path, or the URI as it is written.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Bytes that are not text.
    #[error("not UTF-8 text")]
    NotUtf8,
    /// A line that is not JSON.
    #[error("not JSON: {reason}")]
    NotJson {
        /// The parser's words, and a likely cause.
        reason: String,
    },
    /// A JSON value of another kind.
    #[error("{what} is {found}, expected {expected}")]
    WrongJson {
        /// `the line`, or the field.
        what: String,
        /// What it holds.
        found: &'static str,
        /// What it must hold.
        expected: String,
    },
    /// Tags that are more or fewer than the words.
    #[error("{words} words in `{words_field}` and {tags} tags in `{tags_field}`: each word needs one tag")]
    Uneven {
        /// Number of words.
        words: usize,
        /// The field that holds them.
        words_field: String,
        /// Number of tags.
        tags: usize,
        /// The field that holds them.
        tags_field: String,
    },
    /// A JSON object without a field that the spec names.
    #[error("no field `{field}` for the {role}; found {found}{nearest}")]
    MissingField {
        /// The name that the spec gives.
        field: String,
        /// `text` or `label`.
        role: &'static str,
        /// The object's fields.
        found: String,
        /// A suggestion; empty if none is near.
        nearest: String,
    },
}

impl RowError {
    /// Whether it says that the field of this role (`text`, `image` or `label`) is not there.
    pub fn is_missing_field(&self, role: &str) -> bool {
        matches!(self, Self::MissingField { role: missing, .. } if *missing == role)
    }

    /// Whether it says that a row has no label.
    pub fn is_missing_label(&self) -> bool {
        self.is_missing_field("label") || matches!(self, Self::Empty { role: "label", .. } | Self::MissingLabel { .. })
    }
}

/// One is named with its place alone; of several the first are listed.
fn sentence(path: &Path, faults: &[RowFault], count: u64, rows: u64, allowed: Option<u64>) -> String {
    let path = path.display();
    let limit = allowed.map_or(String::new(), |allowed| {
        format!(" (data.quarantine.maxSamples is {allowed})")
    });
    let is_missing = |fault: &RowFault| matches!(fault.error, RowError::MissingLabel { .. });
    let advice = match faults.iter().any(is_missing) {
        true => "; data.missingLabels can leave such rows out (drop) or take the word for a class (keep)",
        false => "",
    };
    if let ([fault], 1) = (faults, count) {
        let column = fault.column.map_or(String::new(), |column| format!("{column}:"));
        return format!("{path}:{}:{column} {}{limit}{advice}", fault.line, fault.error);
    }
    let listed = faults
        .iter()
        .map(|fault| format!("line {}: {}", fault.line, fault.error));
    let listed = listed.collect::<Vec<_>>().join("; ");
    let more = match count - faults.len() as u64 {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    format!("{path}: {count} of {rows} rows cannot be used{limit}: {listed}{more}{advice}")
}
