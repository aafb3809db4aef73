//! One rank process as the agent sees it: what it has to tell the coordinator, and how much of that has arrived.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use firn_proto::v1alpha1::RankExited;
use nix::sys::signal::Signal;

use super::{
    coordinator_folder::{CoordinatorFolder, ProcessRecord},
    process::Hold,
    spool::SpoolReader,
};

/// Lines of one rank that may be on their way without an acknowledgement.
const WINDOW_LINES: u64 = 4000;

/// One rank process, from its order until everything about it is delivered.
#[derive(Debug)]
pub(super) struct Rank {
    pub(super) record: ProcessRecord,
    /// Of the coordinator that asked for it.
    pub(super) folder: CoordinatorFolder,
    pub(super) slot: Option<u32>,
    pub(super) pid: Option<u32>,
    pub(super) hold: Hold,
    /// Number of lines that the spool holds or has held.
    pub(super) lines: Arc<AtomicU64>,
    /// Its position is the number of lines sent on this stream.
    pub(super) reader: SpoolReader,
    pub(super) lines_acknowledged: u64,
    pub(super) start_sent: bool,
    pub(super) exit: Option<RankExited>,
    pub(super) exit_sent: bool,
    pub(super) exit_acknowledged: bool,
    /// When SIGKILL follows SIGTERM.
    pub(super) kill_at: Option<Instant>,
    /// SIGKILL was sent, or will be as soon as the process is there.
    pub(super) killed: bool,
}

impl Rank {
    pub(super) fn new(
        (record, folder): (ProcessRecord, CoordinatorFolder),
        slot: Option<u32>,
        lines: Arc<AtomicU64>,
        reader: SpoolReader,
    ) -> Self {
        Self {
            record,
            folder,
            slot,
            pid: None,
            hold: Hold::default(),
            lines,
            lines_acknowledged: reader.position(),
            reader,
            start_sent: false,
            exit: None,
            exit_sent: false,
            exit_acknowledged: false,
            kill_at: None,
            killed: false,
        }
    }

    pub(super) fn unsent_lines(&self) -> u64 {
        self.lines
            .load(Ordering::Acquire)
            .saturating_sub(self.reader.position())
    }

    pub(super) fn unacknowledged_lines(&self) -> u64 {
        self.lines
            .load(Ordering::Acquire)
            .saturating_sub(self.lines_acknowledged)
    }

    pub(super) fn may_send_lines(&self) -> bool {
        self.unsent_lines() > 0 && self.reader.position() < self.lines_acknowledged + WINDOW_LINES
    }

    pub(super) fn must_send_start(&self) -> bool {
        self.pid.is_some() && !self.start_sent && self.exit.is_none()
    }

    pub(super) fn must_send_exit(&self) -> bool {
        self.exit.is_some() && !self.exit_sent && !self.exit_acknowledged
    }

    pub(super) fn is_delivered(&self) -> bool {
        self.exit_acknowledged && self.lines_acknowledged >= self.lines.load(Ordering::Acquire)
    }

    pub(super) fn kill(&mut self) {
        self.killed = true;
        self.kill_at = None;
        self.hold.signal(Signal::SIGKILL);
    }

    pub(super) fn is_alive(&self) -> bool {
        self.exit.is_none()
    }
}
