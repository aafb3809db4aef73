//! Signs of life: ranks pulse all the time, and hear from the coordinator what has changed. Nothing delays them but a cut link; the
//! late copies come from [`Outside::repeat`].

use firn_core::identifiers::{JobId, ProcessId};
use firn_core::state::*;
use firn_core::{Input, Leave, News, Reject, Reply, queries};

use super::Outside;
use super::ranks::{Doing, LEFT, Rank, STOPPED};

/// How long the coordinator holds a pulse without news.
const HOLD: u64 = 2_000;
/// How long a rank waits to be told how to leave.
const LEAVE_WITHIN: u64 = 1_000;

impl Outside {
    fn pulse_of(&self, rank: &Rank) -> Input {
        let activity = match &rank.doing {
            _ if rank.prepares() => rank_activity::PREPARING,
            Doing::Train { .. } => rank_activity::TRAINING,
            Doing::Walk(walk) if walk.waits() => rank_activity::WAITING,
            Doing::Walk(_) => rank_activity::IN_A_PASS,
            Doing::Join { .. } => rank_activity::JOINING,
            _ => rank_activity::STORING,
        };
        let operation = match rank.waits_in_collective {
            true => "all-reduce",
            false => "",
        };
        Input::RankPulsed {
            identity: rank.identity(),
            progress: Progress {
                generation: rank.generation,
                activity: activity.into(),
                steps_done: rank.learned.steps(),
                sequence: rank.sequence,
                operation: operation.into(),
                ticks: rank.ticks,
            },
            hashes: rank.hashes.clone(),
            leaving: rank.terminated.is_some(),
        }
    }

    /// The coordinator is told at once where the rank is now. What it answers, the rank hears with its next pulse.
    pub(super) fn show(&mut self, rank: &Rank) {
        if !self.machines[rank.machine].is_cut_off {
            let input = self.pulse_of(rank);
            self.remember(&input);
            self.tell(input);
        }
    }

    /// Every rank that can pulses.
    pub(super) fn beat_all(&mut self) {
        let processes: Vec<ProcessId> = self.ranks.keys().cloned().collect();
        for process in processes {
            self.beat(&process);
        }
    }

    fn beat(&mut self, process: &ProcessId) {
        let Some(rank) = self.ranks.get(process) else { return };
        if rank.is_frozen {
            return;
        }
        let is_late = rank
            .terminated
            .is_some_and(|at| self.core.now.since(at) >= LEAVE_WITHIN);
        if is_late && rank.told.leave.is_none() {
            let order = Leave {
                store_checkpoint: false,
            };
            self.order_to_leave(process, order);
        }
        let Some(rank) = self.ranks.get(process) else { return };
        if self.machines[rank.machine].is_cut_off {
            return;
        }
        let input = self.pulse_of(rank);
        let told = rank.hashes.len();
        self.remember(&input);
        let answer = self.tell(input.clone());
        if let (Some(Ok(_)), Some(rank)) = (&answer, self.ranks.get_mut(process)) {
            rank.hashes.drain(..told.min(rank.hashes.len()));
        }
        self.heed(process, answer);
    }

    /// Ranks of a job hear at once what has changed.
    pub(super) fn hear(&mut self, job: &JobId) {
        let processes: Vec<ProcessId> = self
            .ranks
            .values()
            .filter(|rank| rank.job == *job)
            .map(|rank| rank.process.clone())
            .collect();
        for process in processes {
            let rank = &self.ranks[&process];
            if rank.is_frozen || self.machines[rank.machine].is_cut_off {
                continue;
            }
            let news = queries::news(&self.core.state, &rank.identity());
            self.heed(&process, Some(news.map(|news| news.map_or(Reply::Wait, Reply::News))));
        }
    }

    fn heed(&mut self, process: &ProcessId, answer: Option<Result<Reply, Reject>>) {
        let news = match answer {
            None | Some(Err(Reject::StaleCoordinator { .. })) => return,
            Some(Err(_)) => return self.stop(process),
            Some(Ok(Reply::News(news))) => news,
            // Held for a while, then answered with how things are.
            Some(Ok(_)) => {
                let Some(rank) = self.ranks.get(process) else { return };
                match queries::latest(&self.core.state, &rank.identity()) {
                    Ok(news) => news,
                    Err(_) => return,
                }
            }
        };
        self.heed_news(process, &news);
    }

    fn heed_news(&mut self, process: &ProcessId, news: &News) {
        let Some(rank) = self.ranks.get_mut(process) else {
            return;
        };
        rank.epoch = rank.epoch.max(news.coordinator_epoch);
        if news.generation > rank.told.newest {
            rank.told.newest = news.generation;
        }
        if !news.at_step_boundary {
            rank.told.urgent = rank.told.urgent.max(news.generation);
        }
        if news.generation == rank.generation {
            rank.told.steps_committed = news.steps_committed;
        }
        if news.stop.is_some() {
            return self.stop(process);
        }
        if let Some(leave) = news.leave {
            self.order_to_leave(process, leave);
        }
    }

    fn order_to_leave(&mut self, process: &ProcessId, leave: Leave) {
        let Some(rank) = self.ranks.get_mut(process) else {
            return;
        };
        rank.told.leave = Some(leave);
        if rank.prepares() {
            self.end_rank(process, Ending::Exited(LEFT));
        }
    }

    fn stop(&mut self, process: &ProcessId) {
        if self.ranks.get(process).is_some_and(|rank| !rank.is_finishing()) {
            self.end_rank(process, Ending::Exited(STOPPED));
        }
    }

    /// Long polls do not last: who waits for a shard asks again after a while, as in the shell.
    pub(super) fn end_long_polls(&mut self) {
        let now = self.core.now.0;
        self.held.retain(|held| {
            let caller_is_gone =
                super::network::caller(&held.input).is_none_or(|process| !self.ranks.contains_key(process));
            !caller_is_gone || now < held.since + HOLD
        });
    }
}
