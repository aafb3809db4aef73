//! How a dataset lies on disk. A format lists the samples of one split: their ids, their labels as they are written, and where
//! their bytes are. It decides nothing about other splits, and opens no image. Each has a file here, and its line in [`list`].

mod conll;
mod delimited;
mod image_folder;
mod image_table;
mod json_lines;
mod passed_over;
mod rows;
mod separator;
mod word_lines;

use std::path::{Path, PathBuf};

pub use image_folder::{has_image_name, images_below};

use firn_core::compatibility::DataRules;
use firn_core::spec::{DataFormat, DataSpec, InputColumn, RowLayout};

use self::rows::Input;
use crate::{DataError, RowError, Source, SplitName};

/// Samples of one split before it is known what their labels mean.
pub(crate) struct Listing {
    pub(crate) split: SplitName,
    pub(crate) path: PathBuf,
    /// Class folders without a sample.
    pub(crate) empty_classes: Vec<EmptyClass>,
    /// In manifest order.
    pub(crate) samples: Vec<Listed>,
    /// Sentences on what was passed over.
    pub(crate) passed_over: Vec<String>,
}

/// A class folder without a sample.
pub(crate) struct EmptyClass {
    pub(crate) name: String,
    /// `; …` on images in it that are not read; empty if there are none.
    pub(crate) unread: String,
}

pub(crate) struct Listed {
    pub(crate) id: String,
    /// As they are written, in the order of the label columns; of a class folder its name; of a list its labels; of words their tags.
    pub(crate) labels: Vec<String>,
    pub(crate) source: Source,
}

/// Lists what lies at `path`.
pub(crate) fn list(data: &DataSpec, rules: DataRules, split: SplitName, path: &Path) -> Result<Listing, DataError> {
    let rows = match &data.format {
        DataFormat::ImageFolder => return image_folder::list(split, path, rules),
        DataFormat::Rows(rows) => rows,
    };
    let images;
    let source: &dyn Fn(&[&str]) -> Result<Source, RowError> = match &rows.input {
        // Lists of words are no fields: the format that has them makes their sources.
        InputColumn::Text(_) | InputColumn::TextPair(_) | InputColumn::Words(_) => &rows::texts,
        InputColumn::Image { root, .. } => {
            images = image_table::sources(path, root.as_deref());
            &images
        }
    };
    let input = Input {
        columns: rows.input.names(),
        role: rows.input.role(),
        source,
    };
    let labels = &rows.label;
    match rows.layout {
        RowLayout::Conll => conll::list(split, path, labels, data),
        RowLayout::JsonLines if data.format.has_words() => word_lines::list(split, path, (&input, labels), data),
        RowLayout::JsonLines => json_lines::list(split, path, (&input, labels), data),
        RowLayout::Delimited { delimiter, quoted } => {
            let layout = delimited::Layout {
                delimiter,
                quoted,
                input,
                labels,
                rules,
            };
            delimited::list(split, path, &layout, data)
        }
    }
}

/// The bytes of a file that is expected at `path`, without a byte order mark.
fn read_file(split: SplitName, path: &Path, format: &'static str) -> Result<Vec<u8>, DataError> {
    if is_folder(split, path)? {
        return Err(DataError::NotAFile {
            split,
            path: path.to_owned(),
            format,
        });
    }
    let mut bytes = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    Ok(bytes)
}

/// Whether a folder or a file is there.
fn is_folder(split: SplitName, path: &Path) -> Result<bool, DataError> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(metadata.is_dir()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(DataError::Missing {
            split,
            path: path.to_owned(),
        }),
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// The name of a file, for the ids of its rows.
fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

fn unreadable(path: &Path, error: &std::io::Error) -> DataError {
    DataError::Unreadable {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}
