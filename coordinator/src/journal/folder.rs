//! The data folder belongs to one coordinator at a time.
//!
//! redb locks its own file too; this lock covers the artifacts and logs beside it, and knows who holds it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{ErrorKind, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use uuid::Uuid;

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

    /// Who the coordinator of this folder is, for its agents: made at its first start, and the same ever after, also in a copy of the folder.
    /// Empty, and told to nobody, as long as the disk has no room for it.
    ///
    /// # Errors
    /// When the file cannot be read or written, or holds something else.
    pub fn coordinator_id(&self) -> Result<String, JournalError> {
        let path = self.folder.join("coordinator-id");
        let io = |source| JournalError::Io {
            path: path.clone(),
            source,
        };
        match fs::read_to_string(&path) {
            Ok(found) if Uuid::try_parse(found.trim()).is_ok() => return Ok(found.trim().to_owned()),
            Ok(found) => {
                let what = format!("expected the id of a coordinator, found {found:?}");
                return Err(io(std::io::Error::new(ErrorKind::InvalidData, what)));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(io(error)),
        }
        let id = Uuid::new_v4().to_string();
        match self.write_whole(&path, &id) {
            Err(error) if is_full(&error) => Ok(String::new()),
            written => written.map(|()| id).map_err(io),
        }
    }

    /// So that it is there whole or not at all.
    fn write_whole(&self, path: &Path, text: &str) -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        writeln!(file, "{text}")?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        File::open(&self.folder)?.sync_all()
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
        Err(error) if is_full(&error) => Ok(()),
        written => written,
    }
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Specs, predictions and logs can be private: the folder is made for its owner alone.
fn create_private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_says_the_same_of_its_coordinator_at_every_start_and_no_two_say_the_same() {
        let id_of = |folder: &Path| FolderLock::acquire(folder).unwrap().coordinator_id().unwrap();
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let id = id_of(one.path());
        assert_eq!(id_of(one.path()), id);
        assert_ne!(id_of(other.path()), id);
        assert_eq!(id.len(), 36);
    }

    #[test]
    fn an_id_that_is_damaged_is_an_error_since_agents_would_take_another_for_another_coordinator() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("coordinator-id"), "seven\n").unwrap();
        let error = FolderLock::acquire(folder.path())
            .unwrap()
            .coordinator_id()
            .unwrap_err();
        let error = format!("{error} {:?}", std::error::Error::source(&error));
        assert!(error.contains("coordinator-id"), "{error}");
        assert!(error.contains("expected the id of a coordinator, found"), "{error}");
    }
}
