//! The files of passes: reports while shards come in, predictions once the pass is complete.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::PathBuf,
};

use firn_core::state::{Pass, SplitName};
use sha2::{Digest as _, Sha256};

use super::{
    ArtifactError, ArtifactStore, FileKind, Spool, StoredFile, TEMPORARY, check_name, files_in, open, persist,
};

impl ArtifactStore {
    /// The reports of one pass of one job.
    ///
    /// # Errors
    /// When the job's name is unfit.
    pub fn spool(&self, job: &str, pass: Pass) -> Result<Spool, ArtifactError> {
        check_name(job)?;
        Ok(Spool::new(self.root.join(job).join("passes").join(pass.to_string())))
    }

    /// Removes the reports of all passes of a job that has ended.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn clear_spools(&self, job: &str) -> Result<(), ArtifactError> {
        check_name(job)?;
        let path = self.root.join(job).join("passes");
        match fs::remove_dir_all(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(ArtifactError::Io { path, source }),
            _ => Ok(()),
        }
    }

    /// Writes the predictions of a complete pass, whole or not at all.
    ///
    /// # Errors
    /// When the disk fails, or `write` does.
    pub fn write_predictions(
        &self,
        job: &str,
        pass: Pass,
        write: impl FnOnce(&mut BufWriter<&File>) -> Result<(), ArtifactError>,
    ) -> Result<(), ArtifactError> {
        let target = self.predictions_path(job, pass)?;
        let folder = target.parent().expect("a stored file lies in a folder");
        let io = |source| ArtifactError::Io {
            path: target.clone(),
            source,
        };
        fs::create_dir_all(folder).map_err(io)?;
        let file = tempfile::Builder::new()
            .prefix(TEMPORARY)
            .tempfile_in(folder)
            .map_err(io)?;
        let mut buffer = BufWriter::new(file.as_file());
        write(&mut buffer)?;
        buffer.flush().map_err(io)?;
        drop(buffer);
        persist(file, &target)
    }

    /// Makes the predictions of a complete pass an artifact of this name.
    ///
    /// # Errors
    /// When there are none, or the disk fails.
    pub fn publish_predictions(&self, job: &str, pass: Pass, name: &str) -> Result<StoredFile, ArtifactError> {
        let mut file = open(&self.predictions_path(job, pass)?)?;
        let folder = self.root.join(job).join("artifacts");
        let io = |source| ArtifactError::Io {
            path: folder.clone(),
            source,
        };
        fs::create_dir_all(&folder).map_err(io)?;
        let copy = tempfile::Builder::new()
            .prefix(TEMPORARY)
            .tempfile_in(&folder)
            .map_err(io)?;
        let mut hashing = HashingWriter {
            file: copy.as_file(),
            hasher: Sha256::new(),
        };
        let size = std::io::copy(&mut file, &mut hashing).map_err(io)?;
        let sha256 = hex::encode(hashing.hasher.finalize());
        persist(copy, &self.path(job, &FileKind::Artifact(name.to_owned()), &sha256)?)?;
        Ok(StoredFile { size, sha256 })
    }

    /// Removes the validation predictions of all other epochs.
    ///
    /// # Errors
    /// When the folder cannot be read or a file not removed.
    pub fn keep_predictions(&self, job: &str, epochs: &[u32]) -> Result<(), ArtifactError> {
        check_name(job)?;
        let kept: Vec<PathBuf> = epochs
            .iter()
            .map(|epoch| self.predictions_path(job, Pass::validation(*epoch)))
            .collect::<Result<_, _>>()?;
        for path in files_in(&self.root.join(job).join("predictions"))? {
            let is_validation = path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(SplitName::Validation.as_str()));
            if is_validation && !kept.contains(&path) {
                fs::remove_file(&path).map_err(|source| ArtifactError::Io { path, source })?;
            }
        }
        Ok(())
    }

    fn predictions_path(&self, job: &str, pass: Pass) -> Result<PathBuf, ArtifactError> {
        check_name(job)?;
        let epoch = pass.round().unwrap_or_default();
        Ok(self
            .root
            .join(job)
            .join("predictions")
            .join(format!("{}-{epoch:06}.csv", pass.split())))
    }
}

/// Writes through and hashes on the way.
struct HashingWriter<'a> {
    file: &'a File,
    hasher: Sha256,
}

impl Write for HashingWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}
