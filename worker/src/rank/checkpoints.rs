//! Where checkpoints go and come from.
//!
//! The state that trains is usually tiny, and the coordinator keeps it. A larger one (when whole stages train) lies in the job's artifact
//! folder; the coordinator only commits its digest. Either way a checkpoint exists when the coordinator says so, and what is loaded is
//! checked against the digest.
//!
//! One is stored after each epoch, and within an epoch whenever the last one is older than the spec allows. The latter travels in the
//! background, one at a time, and only after the frozen part was proven there as well.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use firn_proto::v1alpha1::{self as wire, upload_header::Target};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinError;
use tracing::{info, warn};

use super::{adopt, client::Client, failure::RankFailure, halt::Halt, session::Session, whole_file};

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

/// Stores the present state; it exists when this returns.
pub(super) fn store(session: &mut Session) -> Result<(), Halt> {
    let bytes = adopt::encode(session)?;
    let coordinator = session.coordinator;
    // One on its way comes first: the coordinator takes no older one after a newer one.
    if let Some(task) = session.storing.take() {
        coordinator.wait(async { judge(task.await) })?;
    }
    if let Some(committer) = &mut session.committer {
        committer.flush(coordinator)?;
    }
    let stored = coordinator.wait(keep(Keeping::of(session), bytes));
    session.last_checkpoint = Instant::now();
    stored
}

/// Within an epoch: every rank proves its frozen part, and rank 0 stores the present state, if the last time was long enough ago. The state
/// is copied here; everything else happens while training goes on.
pub(super) fn store_if_due(session: &mut Session) -> Result<(), Halt> {
    let interval = Duration::from_millis(session.spec.training.checkpoint_interval_ms);
    if let Some(task) = session.storing.take_if(|task| task.is_finished()) {
        judge(session.coordinator.runtime().block_on(task))?;
    }
    if interval.is_zero() || session.storing.is_some() || session.last_checkpoint.elapsed() < interval {
        return Ok(());
    }
    session.last_checkpoint = Instant::now();
    // Nobody shall go back to a state that is broken.
    if session.model.not_finite()?.is_some() {
        return Ok(());
    }
    let frozen = session.model.frozen_tensors();
    let proof = in_background(move || Ok(frozen.verify()?));
    let kept = match &session.committer {
        Some(committer) => Some((committer.watch(), adopt::encode(session)?, Keeping::of(session))),
        None => None,
    };
    session.storing = Some(session.coordinator.runtime().spawn(async move {
        proof.await?;
        let Some((mut committed, bytes, keeping)) = kept else {
            return Ok(());
        };
        let steps_done = keeping.reference.steps_done;
        // The coordinator takes no checkpoint of steps that it does not know. When the ledger's writer ends, so does the generation.
        let is_known = committed.wait_for(|committed| *committed >= steps_done).await.is_ok();
        if is_known { keep(keeping, bytes).await } else { Ok(()) }
    }));
    Ok(())
}

/// What became of a checkpoint within an epoch. A refusal costs nothing but the checkpoint; a frozen part that has moved ends the job.
fn judge(ended: Result<Result<(), Halt>, JoinError>) -> Result<(), Halt> {
    match ended {
        Ok(Err(Halt::Failed(RankFailure::Model(error)))) => return Err(error.into()),
        Ok(Err(Halt::Failed(failure))) => warn!(%failure, "a checkpoint within the epoch was not stored"),
        Ok(ended) => return ended,
        Err(error) => warn!(%error, "a checkpoint within the epoch was not stored"),
    }
    Ok(())
}

/// Where a checkpoint goes, and what it is called.
struct Keeping {
    client: Client,
    folder: Option<PathBuf>,
    /// The process that writes.
    writer: String,
    /// Without its digest.
    reference: wire::CheckpointRef,
}

impl Keeping {
    fn of(session: &Session) -> Self {
        Self {
            client: session.coordinator.client(),
            folder: folder(session),
            writer: session.arguments.process_id.clone(),
            reference: wire::CheckpointRef {
                epochs_done: session.epochs_done(),
                steps_done: session.steps_done,
                ..wire::CheckpointRef::default()
            },
        }
    }
}

/// Stores the file of a checkpoint, and has it committed.
async fn keep(keeping: Keeping, bytes: Vec<u8>) -> Result<(), Halt> {
    let Keeping {
        client,
        folder,
        writer,
        mut reference,
    } = keeping;
    reference.size_bytes = bytes.len() as u64;
    reference.sha256 = hex::encode(Sha256::digest(&bytes));
    let (epochs, steps, size) = (reference.epochs_done, reference.steps_done, reference.size_bytes);
    match folder.filter(|_| size > COORDINATOR_LIMIT) {
        None => client.upload(Target::Checkpoint(reference), &bytes).await?,
        Some(folder) => {
            let (name, place) = (reference.sha256.clone(), folder.clone());
            let path = in_background(move || write(&place, &name, &writer, &bytes)).await?;
            reference.location = format!("file://{}", path.display());
            let kept = client.commit_checkpoint(reference).await?;
            in_background(move || remove_older(&folder, &path, &kept)).await?;
        }
    }
    info!(epochs, steps, bytes = size, "the checkpoint is stored");
    Ok(())
}

/// Disks are slow, and the thread that carries the calls must not wait for them.
async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RankFailure> + Send + 'static,
) -> Result<T, RankFailure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(RankFailure::Internal(format!("writing a checkpoint ended: {error}"))))
}

/// The bytes of a committed checkpoint.
///
/// # Errors
/// When a file is gone, or is not what was committed.
pub(super) fn fetch(session: &Session, reference: &wire::CheckpointRef) -> Result<Vec<u8>, Halt> {
    let bytes = match reference.location.strip_prefix("file://") {
        None => {
            let coordinator = session.coordinator;
            coordinator.wait(coordinator.client().fetch_checkpoint(reference))?
        }
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
        }
        .into());
    }
    Ok(bytes)
}

/// Removes the job's checkpoints, which are of no use once it has its artifacts.
pub(super) fn remove_all(session: &Session) -> Result<(), RankFailure> {
    let Some(folder) = folder(session).filter(|folder| folder.exists()) else {
        return Ok(());
    };
    remove_all_but(&folder, &[], |_| true)?;
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

fn write(folder: &Path, sha256: &str, writer: &str, bytes: &[u8]) -> Result<PathBuf, RankFailure> {
    fs::create_dir_all(folder).map_err(RankFailure::write(folder))?;
    let path = folder.join(format!("{sha256}.safetensors"));
    let written = whole_file::write(&path, writer, bytes).and_then(|()| whole_file::sync_folder(folder));
    written.map_err(RankFailure::write(&path))?;
    Ok(path)
}

/// Removes checkpoints that are not needed, as of the moment when `newest` was committed: a later one may be on its way to be committed, by
/// the rank 0 of another generation.
fn remove_older(folder: &Path, newest: &Path, kept: &[String]) -> Result<(), RankFailure> {
    let written = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    let committed = written(newest);
    remove_all_but(folder, kept, |path| written(path) <= committed)
}

/// Removes checkpoints, whole and partial ones, and no other file.
fn remove_all_but(folder: &Path, kept: &[String], is_old: impl Fn(&Path) -> bool) -> Result<(), RankFailure> {
    for entry in fs::read_dir(folder).map_err(RankFailure::write(folder))? {
        let path = entry.map_err(RankFailure::write(folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (name, rest) = name.split_once('.').unwrap_or((&name, ""));
        let is_digest = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_ours =
            is_digest && (rest == "safetensors" || path.extension().is_some_and(|end| end == whole_file::PARTIAL));
        if is_ours && !kept.iter().any(|kept| kept == name) && is_old(&path) {
            match fs::remove_file(&path) {
                // Another rank 0, of an earlier or a later generation, was faster.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed.map_err(RankFailure::write(&path))?,
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use firn_models::ModelError;

    use super::*;

    #[test]
    fn a_checkpoint_file_is_whole_and_only_those_that_are_needed_stay() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["a", "b", "c"].map(|letter| letter.repeat(64));
        let paths = names
            .each_ref()
            .map(|name| write(folder.path(), name, "p-1", name.as_bytes()).unwrap());
        let of_the_user = folder.path().join("best.safetensors");
        fs::write(&of_the_user, "precious").unwrap();
        assert_eq!(fs::read(&paths[1]).unwrap(), names[1].as_bytes());
        let torn = folder.path().join(format!("{}.safetensors", "d".repeat(64)));
        let half = whole_file::partial(&torn, "p-0");
        fs::write(&half, "ha").unwrap();
        remove_all_but(folder.path(), &names[1..2], |_| true).unwrap();
        assert!(!half.exists());
        assert_eq!(paths.map(|path| path.exists()), [false, true, false]);
        assert!(of_the_user.exists());
    }

    #[test]
    fn a_frozen_part_that_moved_ends_the_job_and_a_full_disk_costs_a_checkpoint() {
        let moved = ModelError::FrozenChanged {
            what: "the folded copies",
            expected: "a".to_owned(),
            found: "b".to_owned(),
        };
        let halt = judge(Ok(Err(RankFailure::from(moved).into()))).unwrap_err();
        assert!(matches!(halt, Halt::Failed(RankFailure::Model(_))), "{halt}");
        let full = RankFailure::write(Path::new("/data"))(std::io::ErrorKind::StorageFull.into());
        judge(Ok(Err(full.into()))).unwrap();
    }
}
