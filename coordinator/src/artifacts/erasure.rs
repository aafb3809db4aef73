//! A job's whole folder goes: checkpoints, artifacts, predictions, reports of passes and the log.

use std::{fs, io, path::Path};

use super::{ArtifactError, ArtifactStore, check_name, files_in};

impl ArtifactStore {
    /// Removes every file of a job, on disk when it returns, and gives their bytes. A crash in between leaves some of them: call it again.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn erase(&self, job: &str) -> Result<u64, ArtifactError> {
        // A name that was recorded by an older program and would be refused now can have no file.
        if check_name(job).is_err() {
            return Ok(0);
        }
        let folder = self.root.join(job);
        let bytes = bytes_below(&folder)?;
        let io = |source| ArtifactError::Io {
            path: folder.clone(),
            source,
        };
        match fs::remove_dir_all(&folder) {
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(0),
            removed => removed.map_err(io)?,
        }
        fs::File::open(&self.root)
            .and_then(|root| root.sync_all())
            .map_err(io)?;
        Ok(bytes)
    }
}

fn bytes_below(folder: &Path) -> Result<u64, ArtifactError> {
    let mut bytes = 0;
    for path in files_in(folder)? {
        bytes += match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => bytes_below(&path)?,
            Ok(found) => found.len(),
            // It went since the folder was read.
            Err(_) => 0,
        };
    }
    Ok(bytes)
}
