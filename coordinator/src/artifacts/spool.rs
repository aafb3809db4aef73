//! The evaluation reports of a pass, shard by shard, until the pass is complete and its predictions have been written out.

use std::{fs, path::PathBuf};

use firn_proto::v1alpha1::EvaluationReport;
use prost::Message as _;

use super::{ArtifactError, files_in, write_whole};

/// One walk over a split, as a folder name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PassKey {
    /// `validation` or `test`.
    pub split: &'static str,
    /// The epoch after which the model is evaluated, from 0.
    pub epoch: u32,
}

impl PassKey {
    pub(super) fn folder_name(&self) -> String {
        format!("{}-{:06}", self.split, self.epoch)
    }
}

/// The reports of one pass.
#[derive(Debug, Clone)]
pub struct Spool {
    folder: PathBuf,
}

impl Spool {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Stores the report of a shard; on disk when it returns. A report of the same shard is replaced.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn write(&self, shard: u32, report: &EvaluationReport) -> Result<(), ArtifactError> {
        write_whole(&self.path(shard), &report.encode_to_vec())
    }

    /// Reads the report of one shard.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn read(&self, shard: u32) -> Result<EvaluationReport, ArtifactError> {
        let path = self.path(shard);
        let bytes = fs::read(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => ArtifactError::Missing { path: path.clone() },
            _ => ArtifactError::Io { path: path.clone(), source },
        })?;
        EvaluationReport::decode(bytes.as_slice())
            .map_err(|error| ArtifactError::Report { path, reason: error.to_string() })
    }

    /// Removes all reports.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn clear(&self) -> Result<(), ArtifactError> {
        for path in files_in(&self.folder)? {
            fs::remove_file(&path).map_err(|source| ArtifactError::Io { path, source })?;
        }
        match fs::remove_dir(&self.folder) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(ArtifactError::Io { path: self.folder.clone(), source })
            }
            _ => Ok(()),
        }
    }

    fn path(&self, shard: u32) -> PathBuf {
        self.folder.join(format!("{shard:08}.report"))
    }
}
