//! The evaluation reports of a pass, shard by shard, as long as the job may want the predictions in them.
//!
//! A report is written before the core is told of it, under the name of its sender; the record that counts the shard names the sender
//! too, and so the one file that counts. Others of the same shard are ignored, and go when the pass is scored.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

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
        read(&self.path(key))
    }

    /// Removes the reports that do not count, so that one of each shard is left.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn keep(&self, counted: impl IntoIterator<Item = ReportKey>) -> Result<(), ArtifactError> {
        let counted: BTreeSet<PathBuf> = counted.into_iter().map(|key| self.path(key)).collect();
        for path in files_in(&self.folder)? {
            if !counted.contains(&path) {
                fs::remove_file(&path).map_err(|source| ArtifactError::Io { path, source })?;
            }
        }
        Ok(())
    }

    /// The reports that [`keep`](Self::keep) left, in the order of the shards; each is read when it is asked for.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn reports(&self) -> Result<impl Iterator<Item = Result<EvaluationReport, ArtifactError>>, ArtifactError> {
        Ok(files_in(&self.folder)?.into_iter().map(|path| read(&path)))
    }

    fn path(&self, key: ReportKey) -> PathBuf {
        self.folder
            .join(format!("{:08}-g{}-r{}.report", key.shard, key.generation, key.rank))
    }
}

fn read(path: &Path) -> Result<EvaluationReport, ArtifactError> {
    let bytes = fs::read(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => ArtifactError::Missing { path: path.to_owned() },
        _ => ArtifactError::Io {
            path: path.to_owned(),
            source,
        },
    })?;
    EvaluationReport::decode(bytes.as_slice()).map_err(|error| ArtifactError::Report {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}
