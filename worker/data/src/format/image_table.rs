//! A table, or JSON lines, with a column of paths of images. Samples are in the order of the rows, whatever the paths are.
//!
//! A relative path begins at the folder of the table, or at `data.root`. It may lead out of it by `..`: whoever may name absolute paths
//! could name those files too. Only that a file is there is asked here; the scan opens it.

use std::path::{Path, PathBuf};

use firn_core::spec::uri;

use crate::Source;
use crate::error::RowError;

/// From the field of a row to the file that it names.
pub(super) fn sources(table: &Path, root: Option<&str>) -> impl Fn(&[&str]) -> Result<Source, RowError> {
    let beside = table.parent().unwrap_or(Path::new("")).to_owned();
    let root = root.map_or(beside, PathBuf::from);
    move |fields| {
        let written = fields.concat();
        let written = written.trim();
        let refused = |path: &Path, reason: String| RowError::NoImage {
            path: path.to_owned(),
            reason,
        };
        let path = match written.contains("://") {
            true => uri::path(written)
                .map(PathBuf::from)
                .map_err(|reason| refused(Path::new(written), reason))?,
            false => root.join(written),
        };
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => Ok(Source::File {
                size: metadata.len(),
                path,
            }),
            Ok(_) => Err(refused(&path, "is no file".to_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(refused(&path, "does not exist".to_owned()))
            }
            Err(error) => Err(refused(&path, format!("cannot be read: {error}"))),
        }
    }
}
