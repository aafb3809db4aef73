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

/// Takes the artifact folder for this job, so that no two jobs write over each other's files.
///
/// # Errors
/// When another job has taken it.
pub(super) fn claim_artifact_folder(session: &Session) -> Result<(), RankFailure> {
    match &session.spec.artifacts.folder {
        Some(folder) => claim(Path::new(folder), &session.arguments.job),
        None => Ok(()),
    }
}

fn claim(folder: &Path, job: &str) -> Result<(), RankFailure> {
    fs::create_dir_all(folder).map_err(RankFailure::write(folder))?;
    let path = folder.join(".firn-job");
    match fs::read_to_string(&path) {
        Ok(owner) if owner.trim() == job => Ok(()),
        Ok(owner) => Err(RankFailure::Spec(format!(
            "spec.artifacts.uri: {} holds the files of {}; name another folder, or remove it",
            folder.display(),
            owner.trim()
        ))),
        Err(_) => fs::write(&path, format!("{job}\n")).map_err(RankFailure::write(&path)),
    }
}

/// Removes the job's checkpoints, which are of no use once it has its artifacts.
pub(super) fn remove_all(session: &Session) -> Result<(), RankFailure> {
    let Some(folder) = folder(session).filter(|folder| folder.exists()) else {
        return Ok(());
    };
    remove_all_but(&folder, &[])?;
    // Whatever else someone has put there stays, and keeps the folders.
    let is_empty = fs::remove_dir(&folder).is_ok();
    if let Some(parent) = folder.parent().filter(|_| is_empty) {
        let _ = fs::remove_dir(parent);
    }
    Ok(())
}

/// Of this job alone, and under a name that nobody chooses by accident.
fn folder(session: &Session) -> Option<PathBuf> {
    let job = session.arguments.job.trim_start_matches("jobs/");
    let folder = session.spec.artifacts.folder.as_ref()?;
    Some(Path::new(folder).join(".firn-checkpoints").join(job))
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

/// Removes checkpoints, whole and partial ones, and no other file.
fn remove_all_but(folder: &Path, kept: &[String]) -> Result<(), RankFailure> {
    for entry in fs::read_dir(folder).map_err(RankFailure::write(folder))? {
        let path = entry.map_err(RankFailure::write(folder))?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let is_digest = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_ours = is_digest
            && path
                .extension()
                .is_some_and(|end| end == "safetensors" || end == "partial");
        if is_ours && !kept.contains(&name) {
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
        let names = ["a", "b", "c"].map(|letter| letter.repeat(64));
        let paths = names
            .each_ref()
            .map(|name| write(folder.path(), name, name.as_bytes()).unwrap());
        let of_the_user = folder.path().join("best.safetensors");
        fs::write(&of_the_user, "precious").unwrap();
        assert_eq!(fs::read(&paths[1]).unwrap(), names[1].as_bytes());
        remove_all_but(folder.path(), &names[1..2]).unwrap();
        assert_eq!(paths.map(|path| path.exists()), [false, true, false]);
        assert!(of_the_user.exists());
    }

    #[test]
    fn a_folder_of_artifacts_belongs_to_one_job() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("artifacts");
        claim(&folder, "jobs/a").unwrap();
        claim(&folder, "jobs/a").unwrap();
        let refused = claim(&folder, "jobs/a-2").unwrap_err().to_string();
        assert!(refused.contains("holds the files of jobs/a;"), "{refused}");
    }
}
