//! The newest coordinator that this agent has met.
//!
//! Every start of a coordinator raises its epoch. If two of them ever live at once (one was cut off, and another was started on a copy of its
//! folder), only the newer may give orders; so the agent remembers the highest epoch it was told, also over its own restart. Another URL is
//! another coordinator with epochs of its own.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::files::replace;

/// As it is kept on disk.
#[derive(Debug, Serialize, Deserialize)]
struct Met {
    /// URL of the coordinator.
    coordinator: String,
    epoch: u64,
}

/// Epochs of the coordinator at one URL.
#[derive(Debug)]
pub(crate) struct Epochs {
    file: PathBuf,
    met: Met,
}

impl Epochs {
    /// Reads what was met. A file that cannot be understood counts as none.
    pub(crate) fn open(file: PathBuf, coordinator: &str) -> Self {
        let epoch = match read(&file) {
            Ok(met) if met.coordinator == coordinator => met.epoch,
            Ok(_) => 0,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => {
                warn!(file = %file.display(), %error, "the newest coordinator that was met is forgotten, the file cannot be read");
                0
            }
        };
        let met = Met {
            coordinator: coordinator.to_owned(),
            epoch,
        };
        Self { file, met }
    }

    /// The highest that was met; 0: none.
    pub(crate) fn newest(&self) -> u64 {
        self.met.epoch
    }

    /// Where it is kept.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// True if another coordinator has taken over from the one that says this. 0 stands for one that does not say.
    pub(crate) fn is_outdated(&self, epoch: u64) -> bool {
        epoch != 0 && epoch < self.met.epoch
    }

    /// Remembers an epoch, if it is the highest.
    pub(crate) fn meet(&mut self, epoch: u64) {
        if epoch <= self.met.epoch {
            return;
        }
        self.met.epoch = epoch;
        let bytes = serde_json::to_vec(&self.met).expect("a text and a number are JSON");
        if let Err(error) = replace(&self.file, &bytes) {
            warn!(file = %self.file.display(), %error, "the coordinator's epoch is only in memory, the state folder cannot take it");
        }
    }
}

fn read(file: &Path) -> io::Result<Met> {
    Ok(serde_json::from_slice(&fs::read(file)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_epoch_is_remembered_over_a_restart_for_the_same_coordinator() {
        let folder = tempfile::tempdir().unwrap();
        let open = |url: &str| Epochs::open(folder.path().join("epoch"), url);
        let mut epochs = open("http://a:1");
        assert_eq!(epochs.newest(), 0);
        epochs.meet(7);
        epochs.meet(3);
        let epochs = open("http://a:1");
        assert_eq!(epochs.newest(), 7);
        assert!(epochs.is_outdated(6));
        assert!(!epochs.is_outdated(7) && !epochs.is_outdated(8));
        assert!(!epochs.is_outdated(0), "a coordinator that does not say");
        assert_eq!(open("http://b:1").newest(), 0);
    }

    #[test]
    fn a_file_that_cannot_be_read_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("epoch");
        fs::write(&file, "seven").unwrap();
        assert_eq!(Epochs::open(file, "http://a:1").newest(), 0);
    }
}
