//! The evaluation reports of a pass, shard by shard, as long as the job may want the predictions in them.
//!
//! A report is written before the core is told of it, under the name of its sender; the record that counts the shard names the sender
//! too, and so the one file that counts. When the pass is scored, the files that count move to a folder of their own, and the others go:
//! a report that comes late, when nobody looks at its folder any more, cannot be taken for one that counts.

use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use firn_core::identifiers::Generation;
use firn_proto::v1alpha1::EvaluationReport;
use prost::Message as _;

use super::{ArtifactError, files_in, open, remove_folder, write_whole};

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
    /// Where reports come in.
    incoming: PathBuf,
    /// Where those that count are, once the pass is scored.
    scored: PathBuf,
}

impl Spool {
    pub(super) fn new(incoming: PathBuf, scored: PathBuf) -> Self {
        Self { incoming, scored }
    }

    /// Stores a report; on disk when it returns. The first of its name stays: a repeated call sends the same.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn write(&self, key: ReportKey, report: &EvaluationReport) -> Result<(), ArtifactError> {
        let path = self.incoming.join(key.file_name());
        if path.exists() {
            return Ok(());
        }
        write_whole(&path, &report.encode_to_vec())
    }

    /// Reads a report, wherever it is.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn read(&self, key: ReportKey) -> Result<EvaluationReport, ArtifactError> {
        match read(&self.incoming.join(key.file_name())) {
            Err(ArtifactError::Missing { .. }) => read(&self.scored.join(key.file_name())),
            found => found,
        }
    }

    /// Keeps these reports, one of each shard, and removes all others. It can be interrupted and done again.
    ///
    /// # Errors
    /// When one of them is missing, or the disk fails.
    pub fn settle(&self, counted: impl IntoIterator<Item = ReportKey>) -> Result<(), ArtifactError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| ArtifactError::Io { path, source }
        };
        fs::create_dir_all(&self.scored).map_err(io(&self.scored))?;
        let mut kept = BTreeSet::new();
        for key in counted {
            let (from, to) = (self.incoming.join(key.file_name()), self.scored.join(key.file_name()));
            match fs::rename(&from, &to) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound || !to.exists() => {
                    return Err(ArtifactError::Io { path: from, source });
                }
                _ => kept.insert(to),
            };
        }
        fs::File::open(&self.scored)
            .and_then(|folder| folder.sync_all())
            .map_err(io(&self.scored))?;
        for path in files_in(&self.scored)? {
            if !kept.contains(&path) {
                fs::remove_file(&path).map_err(io(&path))?;
            }
        }
        remove_folder(&self.incoming)
    }

    /// The reports that [`settle`](Self::settle) kept, in the order of the shards; each is read when it is asked for.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn settled(&self) -> Result<impl Iterator<Item = Result<EvaluationReport, ArtifactError>>, ArtifactError> {
        Ok(files_in(&self.scored)?.into_iter().map(|path| read(&path)))
    }
}

impl ReportKey {
    /// Names are in the order of the shards.
    fn file_name(self) -> String {
        format!("{:08}-g{}-r{}.report", self.shard, self.generation, self.rank)
    }
}

fn read(path: &Path) -> Result<EvaluationReport, ArtifactError> {
    let mut bytes = Vec::new();
    open(path)?
        .read_to_end(&mut bytes)
        .map_err(|source| ArtifactError::Io {
            path: path.to_owned(),
            source,
        })?;
    EvaluationReport::decode(bytes.as_slice()).map_err(|error| ArtifactError::Report {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}
