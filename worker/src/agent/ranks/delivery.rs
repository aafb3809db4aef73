//! What the coordinator still has to hear of the ranks.
//!
//! Nothing is queued for sending. Each rank knows what it has to tell (that it started, its lines, how it ended) and how much of that was sent
//! on the present stream and acknowledged; [`Ranks::next_message`] derives the next message from it. A new stream simply starts again from
//! what is acknowledged, so nothing is lost, and memory stays bounded because lines wait on disk.

use std::sync::atomic::Ordering;

use firn_proto::v1alpha1::{self as wire, agent_message::Message};
use tracing::{error, warn};

use super::Ranks;
use crate::agent::rank::Rank;

/// Lines in one batch, and about how many bytes; a batch must fit the coordinator's limit of 1 MiB.
const BATCH_LINES: usize = 500;
const BATCH_BYTES: usize = 256 << 10;
/// Processes that are remembered after everything about them was delivered, so that a late repeat does not start them again.
const REMEMBERED: usize = 1000;

impl Ranks {
    /// A new stream begins: what was not acknowledged is sent again.
    pub(crate) fn begin_stream(&mut self) {
        for rank in self.ranks.values_mut() {
            rank.reader.seek(rank.lines_acknowledged);
            rank.start_sent = false;
            rank.exit_sent = false;
        }
    }

    /// True if there is something to send.
    pub(crate) fn has_messages(&self) -> bool {
        self.ranks
            .values()
            .any(|rank| rank.must_send_start() || rank.must_send_exit() || rank.may_send_lines())
    }

    /// True if all that can be sent was sent, acknowledged or not.
    pub(crate) fn all_sent(&self) -> bool {
        !self.has_messages() && self.ranks.values().all(|rank| rank.unsent_lines() == 0)
    }

    /// The next message: starts and exits before lines.
    pub(crate) fn next_message(&mut self) -> Option<Message> {
        for rank in self.ranks.values_mut() {
            if rank.must_send_start() {
                rank.start_sent = true;
                let pid = rank.pid.unwrap_or(0);
                return Some(Message::RankStarted(wire::RankStarted {
                    process_id: rank.record.process_id.clone(),
                    pid,
                }));
            }
            if rank.must_send_exit() {
                rank.exit_sent = true;
                return rank.exit.clone().map(Message::RankExited);
            }
        }
        // The rank that is furthest behind acknowledged lines goes first, so that one talkative rank does not silence the others.
        let rank = self
            .ranks
            .values_mut()
            .filter(|rank| rank.may_send_lines())
            .min_by_key(|rank| rank.reader.position() - rank.lines_acknowledged)?;
        let end = rank.lines.load(Ordering::Acquire);
        let first_sequence = rank.reader.position();
        match rank.reader.read(end, BATCH_LINES, BATCH_BYTES) {
            Ok(lines) if !lines.is_empty() => Some(Message::Logs(wire::LogBatch {
                process_id: rank.record.process_id.clone(),
                first_sequence,
                lines,
            })),
            outcome => {
                let reason = outcome
                    .err()
                    .map_or_else(|| "the file ends early".to_owned(), |error| error.to_string());
                error!(
                    process = rank.record.process_id,
                    first_sequence, end, reason, "lines of a rank's log are lost"
                );
                rank.reader.seek(end);
                rank.lines_acknowledged = end;
                None
            }
        }
    }

    /// Lines below `next_sequence` are stored at the coordinator.
    pub(crate) fn acknowledge_lines(&mut self, process_id: &str, next_sequence: u64) {
        let Some(rank) = self.ranks.get_mut(process_id) else {
            return;
        };
        let written = rank.lines.load(Ordering::Acquire);
        rank.lines_acknowledged = rank.lines_acknowledged.max(next_sequence.min(written));
        if rank.reader.position() < rank.lines_acknowledged {
            rank.reader.seek(rank.lines_acknowledged);
        }
        if let Err(error) = rank.reader.release(rank.lines_acknowledged) {
            warn!(process = process_id, %error, "acknowledged lines cannot be deleted");
        }
        self.forget_if_delivered(process_id);
    }

    /// The exit is recorded at the coordinator.
    pub(crate) fn acknowledge_exit(&mut self, process_id: &str) {
        if let Some(rank) = self.ranks.get_mut(process_id).filter(|rank| rank.exit.is_some()) {
            rank.exit_acknowledged = true;
            self.forget_if_delivered(process_id);
        }
    }

    fn forget_if_delivered(&mut self, process_id: &str) {
        if !self.ranks.get(process_id).is_some_and(Rank::is_delivered) {
            return;
        }
        let Some(forgotten) = self.ranks.remove(process_id) else {
            return;
        };
        if let Err(error) = forgotten.folder.forget(process_id) {
            warn!(process = process_id, %error, "files of a finished rank cannot be deleted");
        }
        let job = forgotten.record.job;
        if !self.ranks.values().any(|rank| rank.record.job == job) {
            forgotten.folder.tidy_scratch(&job);
        }
        if self.finished.len() == REMEMBERED {
            self.finished.pop_front();
        }
        self.finished.push_back(process_id.to_owned());
    }
}
