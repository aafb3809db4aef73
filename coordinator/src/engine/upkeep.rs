//! Upkeep of the journal: snapshots and compactions, beside the engine.
//!
//! A snapshot is due after so many records, and no sooner than the records since the last one weigh a quarter of what that one did: so
//! snapshots cost a bounded part of what the journal itself costs, and a start replays a bounded part of what it loads. A compaction is
//! looked for right after a snapshot, once many records of workers' comings and goings have come together.

use std::future;

use firn_core::{Record, State};
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, task::JoinHandle};
use tracing::{error, info, warn};

use super::compaction::{self, Prunable};
use crate::{
    journal::{Journal, JournalReader, Position, Recordable as _, SnapshotStore},
    logs::{Origins, Processes},
};

/// How often what is done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Records from one snapshot to the next.
    pub(super) snapshot: u64,
    /// Records that can become idle from one compaction to the next.
    pub(super) compaction: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            snapshot: 10_000,
            compaction: 10_000,
        }
    }
}

/// What a snapshot holds.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Image {
    pub(super) state: State,
    /// Which rank each process was.
    pub(super) processes: Processes,
}

/// When the next snapshot is due, and the one that is being written.
pub(super) struct Upkeep {
    snapshots: SnapshotStore,
    pub(super) pace: Pace,
    /// Since the last snapshot.
    records: u64,
    bytes: u64,
    /// Of the last snapshot.
    last_bytes: u64,
    /// Records since the last compaction that can become idle.
    idle_records: u64,
    running: Option<JoinHandle<Done>>,
    /// Records in the newest snapshot that this engine wrote.
    written: watch::Sender<u64>,
}

/// What came of a piece of upkeep.
#[derive(Default)]
struct Done {
    /// The snapshot that was written: its records and its size.
    snapshot: Option<(u64, u64)>,
    prunable: Prunable,
}

impl Upkeep {
    pub(super) fn new(snapshots: SnapshotStore, last_bytes: u64) -> Self {
        Self {
            snapshots,
            pace: Pace::default(),
            records: 0,
            bytes: 0,
            last_bytes,
            idle_records: 0,
            running: None,
            written: watch::Sender::new(0),
        }
    }

    #[cfg(test)]
    pub(super) fn written(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    /// Records were appended, or found after the snapshot that was loaded.
    pub(super) fn recorded<'a>(&mut self, records: impl IntoIterator<Item = &'a Record>, bytes: u64) {
        for record in records {
            self.records += 1;
            self.idle_records += u64::from(record.may_be_compacted());
        }
        self.bytes += bytes;
    }

    /// Begins a snapshot of `durable`, the state at the end of the journal, if one is due.
    pub(super) fn begin_if_due(&mut self, journal: &Journal, durable: &State, origins: &Origins) {
        if self.running.is_some() || self.records < self.pace.snapshot || self.bytes < self.last_bytes / 4 {
            return;
        }
        (self.records, self.bytes) = (0, 0);
        let looks_for_more = self.idle_records >= self.pace.compaction;
        if looks_for_more {
            self.idle_records = 0;
        }
        let image = Image {
            state: durable.clone(),
            processes: origins.all(),
        };
        let (place, reader, snapshots) = (journal.end(), journal.reader(), self.snapshots.clone());
        self.running = Some(tokio::task::spawn_blocking(move || {
            work(&snapshots, place, &image, looks_for_more.then_some(&reader))
        }));
    }

    /// Waits for what is running to be done; for ever if nothing is. What it found is then to be dropped from the journal.
    pub(super) async fn done(&mut self) -> Prunable {
        let Some(running) = &mut self.running else {
            return future::pending().await;
        };
        let done = running.await;
        self.running = None;
        let done = done.unwrap_or_else(|panic| {
            error!(%panic, "the upkeep of the journal failed");
            Done::default()
        });
        if let Some((records, bytes)) = done.snapshot {
            self.last_bytes = bytes;
            self.written.send_replace(records);
        }
        done.prunable
    }

    /// Waits for a snapshot that is being written.
    pub(super) async fn finish(&mut self) {
        if self.running.is_some() {
            self.done().await;
        }
    }
}

fn work(snapshots: &SnapshotStore, place: Position, image: &Image, reader: Option<&JournalReader>) -> Done {
    let mut done = Done::default();
    match snapshots.write(place, image) {
        Ok(bytes) => {
            info!(records = place.sequence, bytes, "a snapshot was written");
            done.snapshot = Some((place.sequence, bytes));
        }
        Err(error) => {
            warn!(%error, "a snapshot could not be written; the journal has everything, and a later one is tried");
            return done;
        }
    }
    match reader.map(|reader| compaction::find(reader, place, &image.state)) {
        None => {}
        Some(Ok(prunable)) => done.prunable = prunable,
        Some(Err(error)) => error!(%error, "the journal cannot be read"),
    }
    done
}

/// Follows the whole chain beside everything else, so that damage in records that a start from a snapshot passes over does not stay unseen.
pub(super) fn read_everything(reader: JournalReader) {
    tokio::task::spawn_blocking(move || match reader.verify_chain() {
        Ok(chain) => {
            info!(records = chain.records, compacted = chain.compacted, head = %chain.head, "the whole journal is sound")
        }
        Err(failure) => {
            error!(%failure, "the journal is damaged in records that a snapshot stands for: the state is right, but these records prove nothing any more")
        }
    });
}
