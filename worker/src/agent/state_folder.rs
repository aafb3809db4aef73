//! The agent's folder on disk.
//!
//! ```text
//! lock                 held by the agent that uses the folder
//! epoch                the newest coordinator that was met (see `epochs`)
//! suffix               makes the default worker name unique
//! coordinators/{id}/   what belongs to one coordinator (see `coordinator_folder`)
//! ranks/, scratch/     the same of coordinators that did not say who they are
//! ```

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use super::{
    coordinator_folder::CoordinatorFolder,
    epochs::Epochs,
    files::{file_name, replace},
};

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateFolderError {
    /// Another agent runs on it.
    #[error("another agent already uses the state folder {}: give each agent on this machine its own --state-dir", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The system refused something.
    #[error("cannot use the state folder: {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The folder, locked for as long as this lives.
#[derive(Debug)]
pub(crate) struct StateFolder {
    path: PathBuf,
    _lock: Flock<File>,
}

impl StateFolder {
    /// Creates and locks the folder.
    pub(crate) fn open(path: &Path) -> Result<Self, StateFolderError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| StateFolderError::Io { path, source }
        };
        fs::create_dir_all(path.join("ranks")).map_err(failed(path))?;
        let path = path.canonicalize().map_err(failed(path))?;
        let lock_file = path.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_file)
            .map_err(failed(&lock_file))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self { path, _lock: lock }),
            Err((_, Errno::EWOULDBLOCK)) => Err(StateFolderError::InUse { path }),
            Err((_, error)) => Err(StateFolderError::Io {
                path: lock_file,
                source: error.into(),
            }),
        }
    }

    /// Six letters that tell this agent from others on the same host, the same at every start.
    pub(crate) fn suffix(&self) -> io::Result<String> {
        let path = self.path.join("suffix");
        if let Ok(found) = fs::read_to_string(&path)
            && found.len() == 6
        {
            return Ok(found);
        }
        let suffix = uuid::Uuid::new_v4().simple().to_string()[..6].to_owned();
        replace(&path, suffix.as_bytes())?;
        Ok(suffix)
    }

    /// What belongs to the coordinator of this id; empty: one that does not say.
    pub(crate) fn of_coordinator(&self, id: &str) -> CoordinatorFolder {
        CoordinatorFolder::new(match id {
            "" => self.path.clone(),
            id => self.path.join("coordinators").join(file_name(id)),
        })
    }

    /// What is known of the coordinator at a URL.
    pub(crate) fn epochs(&self, coordinator: &str) -> Epochs {
        Epochs::open(self.path.join("epoch"), coordinator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_use_is_refused_until_its_agent_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateFolder::open(folder.path()).unwrap();
        assert!(matches!(
            StateFolder::open(folder.path()),
            Err(StateFolderError::InUse { .. })
        ));
        drop(first);
        StateFolder::open(folder.path()).unwrap();
    }

    #[test]
    fn the_suffix_stays_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        assert_eq!(state.suffix().unwrap(), state.suffix().unwrap());
    }
}
