//! From the journal to a state that can go on, and the files beside it in line with it.

use firn_core::{Record, Settings, State};
use tracing::info;

use super::EngineError;
use crate::{
    artifacts::{ArtifactStore, FileKind},
    journal::Journal,
};

/// Folds the journal into a state, `seen` by whoever else keeps something of it, and removes the files that no record names.
///
/// # Errors
/// When the journal is damaged or a file cannot be removed.
pub fn recover(
    journal: &Journal,
    store: &ArtifactStore,
    settings: Settings,
    mut seen: impl FnMut(&Record),
) -> Result<State, EngineError> {
    let mut state = State::new(settings);
    let records = journal.replay(|record: Record| {
        seen(&record);
        firn_core::apply(&mut state, &record);
    })?;
    let mut removed = store.sweep_partial()?;
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
    info!(records, jobs = state.jobs.len(), removed_files = removed, head = %journal.head(), "the journal has been replayed");
    Ok(state)
}
