//! What a journal that was restored says of the time since its backup was made: see [`Input::CoordinatorRestored`].

use std::path::Path;

use firn_core::{Input, Settings, decide};

use super::BackupError;
use crate::{
    artifacts::ArtifactStore,
    engine::{Clock, recover},
    journal::Journal,
    logs::Origins,
};

/// Records it in the journal of a folder that is held: all of it, or nothing.
pub(super) fn take_over(data: &Path) -> Result<(), BackupError> {
    let mut journal = Journal::open(data)?;
    let store = ArtifactStore::new(data.join("jobs"));
    let state = recover(&journal, &store, Settings::default(), &Origins::default())?.state;
    let now = Clock::start().now();
    let decision = decide(&state, now, Input::CoordinatorRestored).expect("a restore is not refused");
    let encoded: Result<Vec<_>, _> = decision.records.iter().map(Journal::encode).collect();
    journal.append(&encoded.expect("a record is JSON"))?;
    Ok(())
}
