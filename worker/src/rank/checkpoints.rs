//! Where checkpoints go and come from.
//!
//! The state that trains is usually tiny, and the coordinator keeps it. A larger one (when whole stages train) lies in the job's artifact
//! folder; the coordinator only commits its digest. Either way a checkpoint exists when the coordinator says so, and what is loaded is
//! checked against the digest.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use firn_models::checkpoint::{self, Checkpoint};
use firn_proto::v1alpha1 as wire;
use sha2::{Digest as _, Sha256};
use tracing::info;

use super::{failure::RankFailure, session::Session};

/// The coordinator keeps no larger checkpoint, in bytes.
const COORDINATOR_LIMIT: u64 = 16 * 1024 * 1024;
/// Above the tensors: names, shapes and the header.
const HEADER_ALLOWANCE: u64 = 64 * 1024;

/// Refuses, before anything is trained, a job whose checkpoints have no place.
pub(super) fn check_place(session: &Session) -> Result<(), RankFailure> {
    let tensors = session.model.trainable_state();
    let optimizer = session.optimizer.state().tensors;
    let numbers: u64 = tensors
        .iter()
        .chain(&optimizer)
        .map(|(_, tensor)| tensor.numel() as u64)
        .sum();
    let bytes = 4 * numbers + HEADER_ALLOWANCE;
    if session.spec.artifacts.folder.is_some() || bytes <= COORDINATOR_LIMIT {
        return Ok(());
    }
    Err(RankFailure::Spec(format!(
        "spec.artifacts.uri: a checkpoint of this job has about {} MiB, and the coordinator keeps at most 16 MiB; name a folder that all workers \
         can write, or freeze more",
        bytes >> 20
    )))
}

/// Stores what has been learned after `epochs` epochs.
pub(super) fn store(session: &Session, epochs: u32) -> Result<(), RankFailure> {
    let bytes = checkpoint::encode(&Checkpoint {
        step: session.steps_done,
        epochs,
        spec_digest: session.spec_digest.clone(),
        frozen_digest: session.model.frozen_digest(),
        model: session.model.trainable_state(),
        optimizer: session.optimizer.state(),
    })?;
    let mut reference = wire::CheckpointRef {
        epochs_done: epochs,
        steps_done: session.steps_done,
        sha256: hex::encode(Sha256::digest(&bytes)),
        size_bytes: bytes.len() as u64,
        location: String::new(),
    };
    match folder(session).filter(|_| reference.size_bytes > COORDINATOR_LIMIT) {
        None => session.coordinator.upload_checkpoint(reference, &bytes)?,
        Some(folder) => {
            let path = write(&folder, &reference.sha256, &bytes)?;
            reference.location = format!("file://{}", path.display());
            let kept = session.coordinator.commit_checkpoint(reference)?;
            remove_all_but(&folder, &kept)?;
        }
    }
    info!(epochs, bytes = bytes.len(), "the checkpoint is stored");
    Ok(())
}

/// The bytes of a committed checkpoint.
///
/// # Errors
/// When a file is gone, or is not what was committed.
pub(super) fn fetch(session: &Session, reference: &wire::CheckpointRef) -> Result<Vec<u8>, RankFailure> {
    let bytes = match reference.location.strip_prefix("file://") {
        None => session.coordinator.fetch_checkpoint(reference)?,
        Some(path) => fs::read(path).map_err(|source| RankFailure::Read {
            path: path.to_owned(),
            source,
        })?,
    };
    let found = hex::encode(Sha256::digest(&bytes));
    if found != reference.sha256 {
        let place = if reference.location.is_empty() {
            "the coordinator"
        } else {
            &reference.location
        };
        return Err(RankFailure::DamagedCheckpoint {
            place: place.to_owned(),
            expected: reference.sha256.clone(),
            found,
        });
    }
    Ok(bytes)
}

/// Removes what is of no use once the job has its artifacts.
pub(super) fn remove_folder(session: &Session) -> Result<(), RankFailure> {
    match folder(session) {
        Some(folder) if folder.exists() => fs::remove_dir_all(&folder).map_err(RankFailure::write(&folder)),
        _ => Ok(()),
    }
}

fn folder(session: &Session) -> Option<PathBuf> {
    session
        .spec
        .artifacts
        .folder
        .as_ref()
        .map(|folder| Path::new(folder).join("checkpoints"))
}

/// Temporary name, sync, rename, sync of the folder: the file is whole, or is not there.
fn write(folder: &Path, sha256: &str, bytes: &[u8]) -> Result<PathBuf, RankFailure> {
    fs::create_dir_all(folder).map_err(RankFailure::write(folder))?;
    let path = folder.join(format!("{sha256}.safetensors"));
    let partial = path.with_extension("partial");
    let written = fs::File::create(&partial).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, &path)?;
        fs::File::open(folder)?.sync_all()
    });
    written.map_err(RankFailure::write(&path))?;
    Ok(path)
}

fn remove_all_but(folder: &Path, kept: &[String]) -> Result<(), RankFailure> {
    for entry in fs::read_dir(folder).map_err(RankFailure::write(folder))? {
        let path = entry.map_err(RankFailure::write(folder))?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if !kept.contains(&name) {
            fs::remove_file(&path).map_err(RankFailure::write(&path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_file_is_whole_and_only_those_that_are_needed_stay() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a", "b", "c"].map(|name| write(folder.path(), name, name.as_bytes()).unwrap());
        assert_eq!(fs::read(&paths[1]).unwrap(), b"b");
        remove_all_but(folder.path(), &["b".to_owned()]).unwrap();
        assert_eq!(paths.map(|path| path.exists()), [false, true, false]);
    }
}
