//! The evaluation reports of a pass, shard by shard, until the pass is complete and its predictions have been written out.
//!
//! A report is written before the core is told of it, under the name of its sender; the record that counts the shard names the sender
//! too, and so the one file that counts. Others of the same shard are ignored and go with the pass.

use std::{fs, path::PathBuf};

use firn_core::identifiers::Generation;
use firn_proto::v1alpha1::EvaluationReport;
use prost::Message as _;

use super::{ArtifactError, files_in, write_whole};

/// Which report: of this shard, from this rank of this formation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReportKey {
    /// Position in the split's shard table.
    pub shard: u32,
    /// The sender's formation.
    pub generation: Generation,
    /// The sender.
    pub rank: u32,
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

    /// Stores a report; on disk when it returns. The first of its name stays: a repeated call sends the same.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn write(&self, key: ReportKey, report: &EvaluationReport) -> Result<(), ArtifactError> {
        let path = self.path(key);
        if path.exists() {
            return Ok(());
        }
        write_whole(&path, &report.encode_to_vec())
    }

    /// Reads a report.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn read(&self, key: ReportKey) -> Result<EvaluationReport, ArtifactError> {
        let path = self.path(key);
        let bytes = fs::read(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => ArtifactError::Missing { path: path.clone() },
            _ => ArtifactError::Io {
                path: path.clone(),
                source,
            },
        })?;
        EvaluationReport::decode(bytes.as_slice()).map_err(|error| ArtifactError::Report {
            path,
            reason: error.to_string(),
        })
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
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(ArtifactError::Io {
                path: self.folder.clone(),
                source,
            }),
            _ => Ok(()),
        }
    }

    fn path(&self, key: ReportKey) -> PathBuf {
        self.folder
            .join(format!("{:08}-g{}-r{}.report", key.shard, key.generation, key.rank))
    }
}
