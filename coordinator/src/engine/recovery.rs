//! From the journal to a state that can go on, and the files beside it in line with it.

use firn_core::{Settings, State, identifiers::JobId, state::Soft};
use tracing::{info, warn};

use super::{
    EngineError,
    upkeep::{Image, Upkeep},
};
use crate::{
    artifacts::{ArtifactStore, FileKind},
    journal::{Journal, JournalError, Position, Replayed, Snapshot, SnapshotStore},
    logs::Origins,
};

/// What the engine begins with.
pub struct Recovered {
    /// The fold of the journal, with no timer in it: the first input must be [`firn_core::Input::CoordinatorStarted`].
    pub state: State,
    pub(super) upkeep: Upkeep,
    /// Whether records before a snapshot were not looked at.
    pub(super) is_from_snapshot: bool,
}

/// Loads the newest snapshot that can be used and folds the records after it, or all records, into a state. Tells `origins` of all
/// processes there ever were, and removes the files that no record names.
///
/// # Errors
/// When a record that is read is damaged, or a file cannot be removed.
pub fn recover(
    journal: &Journal,
    store: &ArtifactStore,
    settings: Settings,
    origins: &Origins,
) -> Result<Recovered, EngineError> {
    let snapshots = SnapshotStore::new(journal.folder());
    snapshots.sweep();
    let snapshot = load(journal, &snapshots)?;
    let is_from_snapshot = snapshot.is_some();
    let mut upkeep = Upkeep::new(snapshots, snapshot.as_ref().map_or(0, |snapshot| snapshot.bytes));
    let mut state = State::new(settings.clone());
    let mut from = None;
    if let Some(Snapshot {
        place, state: image, ..
    }) = snapshot
    {
        from = Some(place);
        origins.extend(image.processes);
        state = State {
            settings,
            ..image.state
        };
    }
    let end = journal.reader().replay_all(from, |_, replayed| match replayed {
        Replayed::Record(record) => {
            origins.learn(&record);
            firn_core::apply(&mut state, &record);
            upkeep.recorded([&record], 0);
        }
        Replayed::RemovedJob => firn_core::pass_over_job(&mut state),
    })?;
    // Nothing is due before the new coordinator has given everybody time to come back: the timers of the old one have run out long ago.
    state.soft = Soft::default();
    let removed = remove_unnamed(store, &state)?;
    info!(
        records = end.sequence,
        from_snapshot = from.map(|place: Position| place.sequence),
        jobs = state.jobs.len() + state.past.len(),
        removed_files = removed,
        head = %journal.head(),
        "the state has been recovered"
    );
    Ok(Recovered {
        state,
        upkeep,
        is_from_snapshot,
    })
}

/// The newest snapshot that belongs to this journal.
fn load(journal: &Journal, snapshots: &SnapshotStore) -> Result<Option<Snapshot<Image>>, JournalError> {
    for snapshot in snapshots.newest_first::<Image>() {
        match snapshot {
            Ok(snapshot) if journal.reader().has(snapshot.place)? => return Ok(Some(snapshot)),
            Ok(snapshot) => {
                warn!(records = snapshot.place.sequence, head = %snapshot.place.hash, "a snapshot of another history is not used");
            }
            Err(error) => warn!(%error, "a snapshot is not used"),
        }
    }
    Ok(None)
}

fn remove_unnamed(store: &ArtifactStore, state: &State) -> Result<usize, EngineError> {
    let mut removed = store.sweep_partial(|job| state.past.contains_key(&JobId::from(job)))?;
    for (id, job) in &state.jobs {
        let checkpoints = job
            .run
            .checkpoints
            .iter()
            .map(|checkpoint| (FileKind::Checkpoint, checkpoint.sha256.clone()));
        let artifacts = job.run.artifacts.iter();
        let artifacts = artifacts.map(|artifact| (FileKind::Artifact(artifact.name.clone()), artifact.sha256.clone()));
        removed += store.keep(id.as_str(), &checkpoints.chain(artifacts).collect::<Vec<_>>())?;
    }
    Ok(removed)
}
