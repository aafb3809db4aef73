//! The data folder belongs to one coordinator at a time.
//!
//! redb locks its own file too; this lock covers the artifacts and logs beside it, and knows who holds it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{ErrorKind, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use super::JournalError;

/// Holds the data folder until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct FolderLock {
    /// Never read: the lock lives as long as the file is open.
    _file: File,
    folder: PathBuf,
}

impl FolderLock {
    /// Creates the folder, readable only by its owner, if it is missing, and locks it.
    ///
    /// # Errors
    /// [`JournalError::Held`] when another process has it.
    pub fn acquire(folder: &Path) -> Result<Self, JournalError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| JournalError::Io { path, source }
        };
        create_private(folder).map_err(io(folder))?;
        let path = folder.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                return Err(JournalError::Held {
                    folder: folder.to_owned(),
                    process: holder.trim().parse().ok(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(JournalError::Io { path, source }),
        }
        sign(&mut file).map_err(io(&path))?;
        Ok(Self {
            _file: file,
            folder: folder.to_owned(),
        })
    }

    /// The folder that is held.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Writes the process id over the one before, never shortening the file, so that it works on a full disk too.
fn sign(file: &mut File) -> std::io::Result<()> {
    file.rewind()?;
    match writeln!(file, "{:<20}", std::process::id()) {
        // The lock holds without it; only the message to a second coordinator is poorer.
        Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => Ok(()),
        written => written,
    }
}

/// Specs, predictions and logs can be private: the folder is made for its owner alone.
fn create_private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}
