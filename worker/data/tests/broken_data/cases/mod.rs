//! The table: files, and the sentence beside them.

mod folders;
mod json_lines;
mod pairs;
mod tables;
mod words;

pub(crate) use folders::FOLDERS;
pub(crate) use json_lines::JSON_LINES;
pub(crate) use pairs::PAIRS;
pub(crate) use tables::{IMAGE_TABLES, TABLES};
pub(crate) use words::WORDS;

pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Paths and contents; a path that ends with `/` is an empty folder.
    pub(crate) files: &'static [(&'static str, &'static [u8])],
    pub(crate) format: Format,
    pub(crate) validation: Option<Validation>,
    pub(crate) message: &'static str,
}

pub(crate) enum Format {
    Folder,
    Csv,
    PlainCsv,
    Tsv,
    JsonLines,
    /// A table of pairs of texts.
    Pairs,
    /// JSON lines of pairs of texts.
    PairLines,
    /// JSON lines of words and tags.
    WordLines,
    /// A word and its tag a line.
    Conll,
    /// A table of image paths.
    Images,
    /// JSON lines of image paths.
    ImageLines,
}

pub(crate) enum Validation {
    Path(&'static str),
    Fraction(f64),
}

pub(crate) const VALIDATION: Option<Validation> = Some(Validation::Path("val"));
