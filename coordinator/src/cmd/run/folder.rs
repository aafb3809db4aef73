//! Where a run keeps its journal, states and logs: a temporary folder that goes when all went well, or one that the
//! user names.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::cmd::error::CommandError;

/// The folder of a run.
pub(super) enum RunFolder {
    /// Goes with this value, unless it is kept.
    Temporary(TempDir),
    /// Stays.
    Named(PathBuf),
}

impl RunFolder {
    /// `--keep-data`, or a temporary folder.
    pub(super) fn create(named: Option<&Path>) -> Result<Self, CommandError> {
        match named {
            Some(path) => {
                fs::create_dir_all(path).map_err(CommandError::file("create", path))?;
                let path = fs::canonicalize(path).map_err(CommandError::file("find", path))?;
                Ok(Self::Named(path))
            }
            None => {
                let folder = tempfile::Builder::new().prefix("firn-run-").tempdir();
                Ok(Self::Temporary(folder.map_err(CommandError::file(
                    "create a folder in",
                    std::env::temp_dir(),
                ))?))
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Named(path) => path,
        }
    }

    /// Leaves the folder where it is and says where that is.
    pub(super) fn keep(self) -> PathBuf {
        match self {
            Self::Temporary(folder) => folder.keep(),
            Self::Named(path) => path,
        }
    }
}
