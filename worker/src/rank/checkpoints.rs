//! When checkpoints are stored, and where they go and come from.
//!
//! The state that trains is usually tiny, and the coordinator keeps it. A larger one (when whole stages train) lies in the job's artifact
//! folder; the coordinator only commits its digest. Either way a checkpoint exists when the coordinator says so, and what is loaded is
//! checked against the digest.
//!
//! One is stored after each epoch, and within an epoch whenever the last one is older than the spec allows. Both travel in the background,
//! one at a time, and only after the frozen part was proven there: that of an epoch while its validation is computed, which changes no
//! tensor. How it ended is known before the rank goes on to anything else.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use firn_core::spec::JobSpec;
use firn_proto::v1alpha1::{self as wire, upload_header::Target};
use sha2::{Digest as _, Sha256};
use tokio::task::{JoinError, JoinHandle};
use tracing::{info, warn};

use super::{
    coordinator::{Coordinator, client::Client},
    failure::RankFailure,
    files::checkpoint_folder,
    learner::Learner,
    membership::Membership,
    settings::RankArguments,
    stop_reason::StopReason,
};

/// The coordinator keeps no larger checkpoint, in bytes.
const COORDINATOR_LIMIT: u64 = 16 * 1024 * 1024;

/// The checkpoints of a job, as this process stores them.
pub(crate) struct Checkpoints {
    /// For those that are too large for the coordinator, if the job has a place for them.
    folder: Option<PathBuf>,
    /// The process that writes.
    writer: String,
    /// Between two within an epoch; zero: there are none.
    interval: Duration,
    /// When this process last knew the state, or almost the state, to be stored.
    last: Instant,
    /// One on its way.
    storing: Option<Storing>,
}

/// A checkpoint on its way, or, where another rank stores it, the proof alone.
struct Storing {
    task: JoinHandle<Result<(), StopReason>>,
    /// The job cannot go on without it.
    ends_epoch: bool,
}

impl Storing {
    /// Waits for its end. May be dropped and called again.
    async fn end(&mut self) -> Result<(), StopReason> {
        let ended = (&mut self.task).await;
        match (self.ends_epoch, ended) {
            (false, ended) => judge(ended),
            (true, Ok(ended)) => ended,
            (true, Err(error)) => Err(RankFailure::Internal(format!("storing a checkpoint ended: {error}")).into()),
        }
    }
}

impl Checkpoints {
    /// Where and when the spec wants them. Refuses, before anything is trained, a job whose checkpoints have no place.
    pub(crate) fn new(spec: &JobSpec, arguments: &RankArguments, learner: &Learner) -> Result<Self, RankFailure> {
        let folder = spec.artifacts.folder.as_ref();
        let folder = folder.map(|folder| checkpoint_folder::of_job(Path::new(folder), &arguments.job));
        let bytes = learner.encoded_size();
        if folder.is_none() && bytes > COORDINATOR_LIMIT {
            return Err(RankFailure::Spec(format!(
                "spec.artifacts.uri: a checkpoint of this job has about {} MiB, and the coordinator keeps at most 16 MiB; name a folder that \
                 all workers can write, or freeze more",
                bytes >> 20
            )));
        }
        Ok(Self {
            folder,
            writer: arguments.process_id.clone(),
            interval: Duration::from_millis(spec.training.checkpoint_interval_ms),
            last: Instant::now(),
            storing: None,
        })
    }

    /// One on its way is of a generation that is over.
    pub(crate) fn begin_generation(&mut self) {
        self.storing = None;
    }

    /// The state in this process is one that was stored.
    pub(crate) fn is_stored(&mut self) {
        self.last = Instant::now();
    }

    /// Stores the present state; it exists when this returns.
    pub(crate) fn store(&mut self, learner: &Learner, membership: &mut Membership<'_>) -> Result<(), StopReason> {
        let bytes = learner.encode()?;
        let coordinator = membership.coordinator;
        // One on its way comes first: the coordinator takes no older one after a newer one.
        self.settle(coordinator)?;
        membership.flush_ledger()?;
        let stored = coordinator.wait(keep(self.keeping(coordinator, learner), bytes));
        self.last = Instant::now();
        stored
    }

    /// After an epoch: every rank proves its frozen part, and rank 0 stores the present state. The state is copied here; everything else
    /// happens while the epoch is evaluated. [`Checkpoints::settle`] tells how it ended.
    pub(crate) fn store_epoch(&mut self, learner: &Learner, membership: &mut Membership<'_>) -> Result<(), StopReason> {
        let coordinator = membership.coordinator;
        let frozen = learner.model().frozen_tensors();
        let proof = in_background(move || Ok(frozen.verify()?));
        let kept = match membership.ledger() {
            Some(_) => Some((learner.encode()?, self.keeping(coordinator, learner))),
            None => None,
        };
        // The coordinator takes no checkpoint of steps that it does not know.
        membership.flush_ledger()?;
        self.last = Instant::now();
        let before = self.storing.take();
        let task = coordinator.runtime().spawn(async move {
            if let Some(mut before) = before {
                before.end().await?;
            }
            proof.await?;
            match kept {
                Some((bytes, keeping)) => keep(keeping, bytes).await,
                None => Ok(()),
            }
        });
        self.storing = Some(Storing { task, ends_epoch: true });
        Ok(())
    }

    /// Whether none is on its way, and how the last one ended has been told.
    pub(crate) fn is_settled(&self) -> bool {
        self.storing.is_none()
    }

    /// Whether one is on its way.
    fn is_storing(&self) -> bool {
        self.storing.as_ref().is_some_and(|storing| !storing.task.is_finished())
    }

    /// Ends as soon as none is on its way. May be dropped and called again.
    ///
    /// # Errors
    /// A frozen part that has moved; for the checkpoint of an epoch, whatever kept it from being stored.
    pub(crate) async fn stored(&mut self) -> Result<(), StopReason> {
        let Some(storing) = &mut self.storing else {
            return Ok(());
        };
        let ended = storing.end().await;
        self.storing = None;
        ended
    }

    /// Waits until none is on its way.
    ///
    /// # Errors
    /// Those of [`Checkpoints::stored`].
    pub(crate) fn settle(&mut self, coordinator: &Coordinator<'_>) -> Result<(), StopReason> {
        coordinator.wait(self.stored())
    }

    /// Within an epoch: every rank proves its frozen part, and rank 0 stores the present state, if the last time was long enough ago. The
    /// state is copied here; everything else happens while training goes on.
    pub(crate) fn store_if_due(&mut self, learner: &Learner, membership: &Membership<'_>) -> Result<(), StopReason> {
        let coordinator = membership.coordinator;
        if !self.is_storing() {
            coordinator.runtime().block_on(self.stored())?;
        }
        if self.interval.is_zero() || self.storing.is_some() || self.last.elapsed() < self.interval {
            return Ok(());
        }
        self.last = Instant::now();
        // Nobody shall go back to a state that is broken.
        if learner.model().not_finite()?.is_some() {
            return Ok(());
        }
        let frozen = learner.model().frozen_tensors();
        let proof = in_background(move || Ok(frozen.verify()?));
        let kept = match membership.ledger() {
            Some(ledger) => Some((ledger.watch(), learner.encode()?, self.keeping(coordinator, learner))),
            None => None,
        };
        let task = coordinator.runtime().spawn(async move {
            proof.await?;
            let Some((mut committed, bytes, keeping)) = kept else {
                return Ok(());
            };
            let steps_done = keeping.reference.steps_done;
            // The coordinator takes no checkpoint of steps that it does not know. When the ledger's writer ends, so does the generation.
            let is_known = committed.wait_for(|committed| *committed >= steps_done).await.is_ok();
            if is_known { keep(keeping, bytes).await } else { Ok(()) }
        });
        self.storing = Some(Storing {
            task,
            ends_epoch: false,
        });
        Ok(())
    }

    /// Removes the job's checkpoints, which are of no use once it has its artifacts.
    pub(crate) fn remove_all(&self) -> Result<(), RankFailure> {
        self.folder.as_deref().map_or(Ok(()), checkpoint_folder::remove_all)
    }

    fn keeping(&self, coordinator: &Coordinator<'_>, learner: &Learner) -> Keeping {
        Keeping {
            client: coordinator.client(),
            folder: self.folder.clone(),
            writer: self.writer.clone(),
            reference: wire::CheckpointRef {
                epochs_done: learner.epochs_done(),
                steps_done: learner.steps_done(),
                ..wire::CheckpointRef::default()
            },
        }
    }
}

/// What became of a checkpoint within an epoch. A refusal costs nothing but the checkpoint; a frozen part that has moved ends the job.
fn judge(ended: Result<Result<(), StopReason>, JoinError>) -> Result<(), StopReason> {
    match ended {
        Ok(Err(StopReason::Failed(RankFailure::Model(error)))) => return Err(error.into()),
        Ok(Err(StopReason::Failed(failure))) => warn!(%failure, "a checkpoint within the epoch was not stored"),
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

/// Stores the file of a checkpoint, and has it committed.
async fn keep(keeping: Keeping, bytes: Vec<u8>) -> Result<(), StopReason> {
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
            let path = in_background(move || checkpoint_folder::write(&place, &name, &writer, &bytes)).await?;
            reference.location = format!("file://{}", path.display());
            let kept = client.commit_checkpoint(reference).await?;
            in_background(move || checkpoint_folder::remove_older(&folder, &path, &kept)).await?;
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
pub(crate) fn fetch(coordinator: &Coordinator<'_>, reference: &wire::CheckpointRef) -> Result<Vec<u8>, StopReason> {
    let bytes = match reference.location.strip_prefix("file://") {
        None => coordinator.wait(coordinator.client().fetch_checkpoint(reference))?,
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use firn_models::ModelError;

    use super::*;

    fn moved() -> Result<(), StopReason> {
        let moved = ModelError::FrozenChanged {
            what: "the loaded tensors",
            expected: "a".to_owned(),
            found: "b".to_owned(),
        };
        Err(RankFailure::from(moved).into())
    }

    /// A checkpoint on its way that ends with this.
    fn on_its_way(ended: Result<(), StopReason>, ends_epoch: bool) -> Checkpoints {
        Checkpoints {
            folder: None,
            writer: "p1".to_owned(),
            interval: Duration::ZERO,
            last: Instant::now(),
            storing: Some(Storing {
                task: tokio::spawn(async { ended }),
                ends_epoch,
            }),
        }
    }

    #[tokio::test]
    async fn an_epoch_ends_with_its_checkpoint_and_its_proof_or_not_at_all() {
        let full = || RankFailure::write(Path::new("/data"))(std::io::ErrorKind::StorageFull.into());
        for ends_epoch in [false, true] {
            let mut checkpoints = on_its_way(moved(), ends_epoch);
            while checkpoints.is_storing() {
                tokio::task::yield_now().await;
            }
            assert!(!checkpoints.is_settled(), "how it ended has to be told");
            let reason = checkpoints.stored().await.unwrap_err();
            assert!(matches!(reason, StopReason::Failed(RankFailure::Model(_))), "{reason}");
            assert!(checkpoints.is_settled());
            let lost = on_its_way(Err(full().into()), ends_epoch).stored().await;
            assert_eq!(
                lost.is_err(),
                ends_epoch,
                "within an epoch a full disk costs only a checkpoint"
            );
        }
        let mut checkpoints = on_its_way(Ok(()), true);
        checkpoints.stored().await.unwrap();
        checkpoints.stored().await.unwrap();
    }

    #[test]
    fn a_frozen_part_that_moved_ends_the_job_and_a_full_disk_costs_a_checkpoint() {
        let reason = judge(Ok(moved())).unwrap_err();
        assert!(matches!(reason, StopReason::Failed(RankFailure::Model(_))), "{reason}");
        let full = RankFailure::write(Path::new("/data"))(std::io::ErrorKind::StorageFull.into());
        judge(Ok(Err(full.into()))).unwrap();
    }
}
