//! The files of passes: reports of shards, and the predictions that are made of them when the job leaves its files.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::PathBuf,
};

use firn_core::{
    state::Pass,
    task::{Schema, Task},
};
use sha2::{Digest as _, Sha256};

use super::{
    ArtifactError, ArtifactStore, FileKind, Spool, StoredFile, TEMPORARY, check_name, files_in, open, persist,
    predictions::PredictionsWriter, remove_folder,
};

impl ArtifactStore {
    /// The reports of one pass of one job.
    ///
    /// # Errors
    /// When the job's name is unfit.
    pub fn spool(&self, job: &str, pass: Pass) -> Result<Spool, ArtifactError> {
        check_name(job)?;
        let [incoming, scored] = self.spools(job);
        Ok(Spool::new(
            incoming.join(pass.to_string()),
            scored.join(pass.to_string()),
        ))
    }

    /// Removes the reports of all passes of a job that has ended, and the predictions that an earlier build made of them.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn clear_spools(&self, job: &str) -> Result<(), ArtifactError> {
        check_name(job)?;
        for folder in self.spools(job) {
            remove_folder(&folder)?;
        }
        remove_folder(&self.root.join(job).join("predictions"))
    }

    /// Removes the reports of the validations of all other epochs.
    ///
    /// # Errors
    /// When a folder cannot be read or removed.
    pub fn keep_validations(&self, job: &str, epochs: &[u32]) -> Result<(), ArtifactError> {
        check_name(job)?;
        for folder in self.spools(job) {
            let spool = |epoch: u32| folder.join(Pass::validation(epoch).to_string());
            let kept: Vec<PathBuf> = epochs.iter().map(|&epoch| spool(epoch)).collect();
            let validations = spool(0);
            for path in files_in(validations.parent().expect("an epoch stands below its split"))? {
                if !kept.contains(&path) {
                    remove_folder(&path)?;
                }
            }
        }
        Ok(())
    }

    /// Makes the predictions of a pass that was scored an artifact of this name. Its reports are read one at a time.
    ///
    /// # Errors
    /// When there are none, or the disk fails.
    pub fn publish_predictions(
        &self,
        job: &str,
        pass: Pass,
        (task, schema): (Task, Schema<'_>),
        name: &str,
    ) -> Result<StoredFile, ArtifactError> {
        let spool = self.spool(job, pass)?;
        let mut reports = spool.settled()?.peekable();
        if reports.peek().is_none() {
            return self.publish_written_predictions(job, pass, name);
        }
        self.stream_artifact(job, name, |out| {
            let mut writer = PredictionsWriter::new(out, task, schema)?;
            for report in reports {
                writer.write(&report?)?;
            }
            writer.finish()
        })
    }

    /// The same of a pass that an earlier build scored: it wrote them out at once.
    fn publish_written_predictions(&self, job: &str, pass: Pass, name: &str) -> Result<StoredFile, ArtifactError> {
        let epoch = pass.round().unwrap_or_default();
        let folder = self.root.join(job).join("predictions");
        let path = folder.join(format!("{}-{epoch:06}.csv", pass.split()));
        let mut file = open(&path)?;
        self.stream_artifact(job, name, |out| match std::io::copy(&mut file, out) {
            Ok(_) => Ok(()),
            Err(source) => Err(ArtifactError::Io { path, source }),
        })
    }

    /// Writes a file that the coordinator itself makes, in parts.
    fn stream_artifact(
        &self,
        job: &str,
        name: &str,
        write: impl FnOnce(&mut BufWriter<HashingWriter<'_>>) -> Result<(), ArtifactError>,
    ) -> Result<StoredFile, ArtifactError> {
        let folder = self.root.join(job).join("artifacts");
        let io = |source| ArtifactError::Io {
            path: folder.clone(),
            source,
        };
        fs::create_dir_all(&folder).map_err(io)?;
        let file = tempfile::Builder::new()
            .prefix(TEMPORARY)
            .tempfile_in(&folder)
            .map_err(io)?;
        let mut out = BufWriter::new(HashingWriter {
            file: file.as_file(),
            hasher: Sha256::new(),
            size: 0,
        });
        write(&mut out)?;
        let written = out.into_inner().map_err(|error| io(error.into_error()))?;
        let (size, sha256) = (written.size, hex::encode(written.hasher.finalize()));
        persist(file, &self.path(job, &FileKind::Artifact(name.to_owned()), &sha256)?)?;
        Ok(StoredFile { size, sha256 })
    }

    /// Where the reports of a job's passes come in, and where those that count are once their pass is scored.
    fn spools(&self, job: &str) -> [PathBuf; 2] {
        ["passes", "scored"].map(|name| self.root.join(job).join(name))
    }
}

/// Writes through and hashes on the way.
struct HashingWriter<'a> {
    file: &'a File,
    hasher: Sha256,
    /// Bytes so far.
    size: u64,
}

impl Write for HashingWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}
