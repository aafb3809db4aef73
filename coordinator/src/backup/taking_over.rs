//! What a journal that was restored says of the time since its backup was made.
//!
//! Agents and ranks follow no coordinator from which another has taken over. This one has taken over from all that have started since the backup was
//! made, however many: so a start is recorded with an epoch that none of them can have had.
//!
//! Ranks that still train are ahead of what the journal knows, and no later record can be laid to the steps between. So all workers count as lost,
//! with the ranks on them: jobs go on from the newest checkpoint that the backup has, on the same workers as soon as these attach again.

use std::path::Path;

use firn_core::{Event, Input, Now, Record, Settings, decide, enact};

use super::BackupError;
use crate::{
    artifacts::ArtifactStore,
    engine::{Clock, recover},
    journal::Journal,
    logs::Origins,
};

/// Nobody is waited for.
const AT_ONCE: u64 = 1;

/// Records it in the journal of a folder that is held: all of it, or nothing.
pub(super) fn take_over(data: &Path) -> Result<(), BackupError> {
    let mut journal = Journal::open(data)?;
    let settings = Settings {
        lease: AT_ONCE,
        return_limit: 0,
        ..Settings::default()
    };
    let store = ArtifactStore::new(data.join("jobs"));
    let mut state = recover(&journal, &store, settings, &Origins::default())?.state;
    let now = Clock::start().now().max(state.latest);
    let mut records: Vec<Record> = Vec::new();
    // Two leases after the start, nobody has come back.
    for (at, input) in [(now, Input::CoordinatorStarted), (now + 3 * AT_ONCE, Input::Tick)] {
        let mut decision = decide(&state, at, input).expect("the passing of time is not refused");
        decision.records.iter_mut().for_each(|record| raise_epoch(record, now));
        enact(&mut state, &decision);
        records.append(&mut decision.records);
    }
    let encoded: Result<Vec<_>, _> = records.iter().map(Journal::encode).collect();
    journal.append(&encoded.expect("a record is JSON"))?;
    Ok(())
}

/// To the seconds since 1970, which whoever had another copy of the journal cannot have reached by starting.
fn raise_epoch(record: &mut Record, now: Now) {
    if let Event::CoordinatorStarted { epoch } = &mut record.event {
        *epoch = (*epoch).max(now.0 / 1000);
    }
}
