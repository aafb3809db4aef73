//! Files beside their records: those that the coordinator keeps are hashed again, those that lie elsewhere if they can be read from here.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use firn_core::{
    audit::{Fate, Finding, Flaw, Receipt},
    state::{Artifact, Checkpoint, Outcome},
};
use sha2::{Digest as _, Sha256};

use crate::{
    artifacts::{ArtifactError, ArtifactStore, FileKind, StoredFile},
    location::{is_this_host, local_path},
};

/// A file that a record names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedFile {
    /// `checkpoint` or `artifact`.
    pub kind: &'static str,
    /// File name; of a checkpoint: `after step N`.
    pub name: String,
    /// As recorded.
    pub recorded: StoredFile,
    /// What it is found to be.
    pub state: FileState,
}

/// What a file is found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileState {
    /// It has the size and digest of its record.
    Verified,
    /// It is not where it has to be.
    Missing,
    /// It holds something else.
    Different {
        /// What it holds.
        found: StoredFile,
    },
    /// It could not be looked at.
    NotChecked {
        /// Why, for people.
        why: String,
    },
}

impl FileState {
    /// For programs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Missing => "missing",
            Self::Different { .. } => "different",
            Self::NotChecked { .. } => "not checked",
        }
    }

    /// For people; empty if there is nothing to say.
    pub fn detail(&self) -> String {
        match self {
            Self::Verified | Self::Missing => String::new(),
            Self::Different { found } => format!("holds {} bytes with SHA-256 {}", found.size, found.sha256),
            Self::NotChecked { why } => why.clone(),
        }
    }
}

impl CheckedFile {
    /// What is wrong with it, if anything is.
    pub(super) fn finding(&self) -> Option<Finding> {
        let message = match &self.state {
            FileState::Verified | FileState::NotChecked { .. } => return None,
            FileState::Missing => format!("the {} {} is gone", self.kind, self.name),
            FileState::Different { found } => format!(
                "the {} {}: expected {} bytes with SHA-256 {}, found {} bytes with SHA-256 {}",
                self.kind, self.name, self.recorded.size, self.recorded.sha256, found.size, found.sha256,
            ),
        };
        Some(Finding::new(Flaw::File, message))
    }
}

/// Checks the checkpoints that are kept and the files that the job left.
pub(super) fn check(store: &ArtifactStore, receipt: &Receipt) -> Vec<CheckedFile> {
    let job = receipt.job.as_str();
    let kept = receipt.checkpoints.iter().filter(|known| known.fate == Fate::Kept);
    let checkpoints = kept.map(|known| checkpoint(store, job, &known.checkpoint, receipt.outcome.as_ref()));
    let artifacts = receipt.artifacts.iter().map(|left| artifact(store, job, left));
    checkpoints.chain(artifacts).collect()
}

fn checkpoint(store: &ArtifactStore, job: &str, checkpoint: &Checkpoint, outcome: Option<&Outcome>) -> CheckedFile {
    let recorded = StoredFile {
        size: checkpoint.size_bytes,
        sha256: checkpoint.sha256.clone(),
    };
    let state = match &checkpoint.location {
        None => kept_here(store.open(job, &FileKind::Checkpoint, &recorded.sha256), &recorded),
        Some(location) => match elsewhere(location, &recorded) {
            FileState::Missing if outcome.is_some() => FileState::NotChecked {
                why: format!("lay at {location} until the end of the job"),
            },
            state => state,
        },
    };
    CheckedFile {
        kind: "checkpoint",
        name: format!("after step {}", checkpoint.steps_done),
        recorded,
        state,
    }
}

fn artifact(store: &ArtifactStore, job: &str, artifact: &Artifact) -> CheckedFile {
    let recorded = StoredFile {
        size: artifact.size_bytes,
        sha256: artifact.sha256.clone(),
    };
    let state = match local_path(&artifact.location) {
        None => {
            let kind = FileKind::Artifact(artifact.name.clone());
            kept_here(store.open(job, &kind, &recorded.sha256), &recorded)
        }
        Some(_) => elsewhere(&artifact.location, &recorded),
    };
    CheckedFile {
        kind: "artifact",
        name: artifact.name.clone(),
        recorded,
        state,
    }
}

fn kept_here(opened: Result<File, ArtifactError>, recorded: &StoredFile) -> FileState {
    match opened {
        Ok(file) => compare(file, recorded),
        Err(ArtifactError::Missing { .. }) => FileState::Missing,
        Err(error) => not_checked(&error),
    }
}

/// A file under the same path on another machine may be another one: only what is meant to lie here can be wrong. What lies on storage that
/// machines share is only meant to lie here if this machine has the folder.
fn elsewhere(location: &str, recorded: &StoredFile) -> FileState {
    let lies_at = || FileState::NotChecked {
        why: format!("lies at {location}"),
    };
    let path: PathBuf = local_path(location).unwrap_or_default();
    let state = match File::open(&path) {
        Ok(file) => compare(file, recorded),
        Err(error) if error.kind() == io::ErrorKind::NotFound => FileState::Missing,
        Err(error) => not_checked(&error),
    };
    match state {
        FileState::Missing | FileState::Different { .. } if !is_this_host(location) => lies_at(),
        FileState::Missing if !path.parent().is_some_and(Path::is_dir) => FileState::NotChecked {
            why: format!("lies at {location}, in a folder that is not there on this machine"),
        },
        state => state,
    }
}

fn compare(file: File, recorded: &StoredFile) -> FileState {
    match digest(file) {
        Ok(found) if found == *recorded => FileState::Verified,
        Ok(found) => FileState::Different { found },
        Err(error) => not_checked(&error),
    }
}

fn not_checked(error: &impl std::fmt::Display) -> FileState {
    FileState::NotChecked {
        why: format!("cannot be read: {error}"),
    }
}

fn digest(mut file: File) -> io::Result<StoredFile> {
    let mut hasher = Sha256::new();
    let size = io::copy(&mut file, &mut hasher)?;
    Ok(StoredFile {
        size,
        sha256: hex::encode(hasher.finalize()),
    })
}

/// Where a file that was verified can be read.
pub(super) fn open(store: &ArtifactStore, job: &str, kind: &FileKind, file: (&str, Option<&str>)) -> Option<File> {
    let (sha256, location) = file;
    match location.and_then(local_path) {
        Some(path) => File::open::<&Path>(path.as_ref()).ok(),
        None => store.open(job, kind, sha256).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_on_storage_that_this_machine_does_not_have_is_not_checked_and_not_missing() {
        let folder = tempfile::tempdir().unwrap();
        let recorded = StoredFile {
            size: 4,
            sha256: hex::encode(Sha256::digest("head")),
        };
        let state = |path: &Path| elsewhere(&format!("file://{}", path.display()), &recorded);
        let path = folder.path().join("head.safetensors");
        assert_eq!(state(&path), FileState::Missing);
        std::fs::write(&path, "head").unwrap();
        assert_eq!(state(&path), FileState::Verified);
        let unmounted = state(&folder.path().join("shared/head.safetensors"));
        assert!(
            unmounted
                .detail()
                .contains("a folder that is not there on this machine"),
            "{unmounted:?}"
        );
    }
}
