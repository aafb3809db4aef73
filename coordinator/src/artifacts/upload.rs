//! A file on its way in.

use std::{fs, io::Write as _, path::PathBuf};

use sha2::{Digest as _, Sha256};

use super::{ArtifactError, StoredFile, TEMPORARY, persist};

/// Takes the bytes of one file. Dropped before `finish`, it leaves nothing behind.
#[derive(Debug)]
pub struct Upload {
    target: PathBuf,
    announced: StoredFile,
    file: tempfile::NamedTempFile,
    hasher: Sha256,
    written: u64,
}

impl Upload {
    pub(super) fn begin(target: PathBuf, announced: StoredFile) -> Result<Self, ArtifactError> {
        let folder = target.parent().expect("a stored file lies in a folder").to_owned();
        let io = |source| ArtifactError::Io {
            path: target.clone(),
            source,
        };
        fs::create_dir_all(&folder).map_err(io)?;
        let file = tempfile::Builder::new()
            .prefix(TEMPORARY)
            .tempfile_in(&folder)
            .map_err(io)?;
        Ok(Self {
            target,
            announced,
            file,
            hasher: Sha256::new(),
            written: 0,
        })
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// When more come than were announced, or the disk fails.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ArtifactError> {
        self.written += bytes.len() as u64;
        if self.written > self.announced.size {
            return Err(ArtifactError::Size {
                expected: self.announced.size,
                found: self.written,
            });
        }
        self.hasher.update(bytes);
        self.file.write_all(bytes).map_err(|source| ArtifactError::Io {
            path: self.target.clone(),
            source,
        })
    }

    /// Makes the file exist, if it is what was announced.
    ///
    /// # Errors
    /// When size or digest differ, or the disk fails.
    pub fn finish(self) -> Result<StoredFile, ArtifactError> {
        if self.written != self.announced.size {
            return Err(ArtifactError::Size {
                expected: self.announced.size,
                found: self.written,
            });
        }
        let found = hex::encode(self.hasher.finalize());
        if found != self.announced.sha256 {
            return Err(ArtifactError::Content {
                expected: self.announced.sha256,
                found,
            });
        }
        persist(self.file, &self.target)?;
        Ok(self.announced)
    }
}
