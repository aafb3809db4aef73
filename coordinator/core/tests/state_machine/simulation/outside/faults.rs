//! What befalls ranks, their states and their checkpoints.

use firn_core::identifiers::ProcessId;
use firn_core::state::*;
use firn_core::{Input, Leave};

use super::super::actions::Action;
use super::ranks::{Doing, Rank};
use super::{Outside, STEPS, pick};

impl Outside {
    /// A fault of a rank, a job or a file.
    pub(super) fn afflict(&mut self, fault: Action) {
        match fault {
            Action::End { rank, how } => self.end_some(rank, how),
            Action::Freeze(choice) => self.change_rank(choice, |rank| !rank.is_frozen, |rank| rank.is_frozen = true),
            Action::Thaw(choice) => self.change_rank(choice, |rank| rank.is_frozen, |rank| rank.is_frozen = false),
            Action::Hang(choice) => {
                // The others wait for it in a collective, now or in the next step.
                let is_waited_for = |rank: &Rank| match rank.doing {
                    Doing::Train { epoch } => {
                        rank.addresses.len() > 1 && rank.learned.steps() + 1 < STEPS * (u64::from(epoch) + 1)
                    }
                    _ => false,
                };
                self.change_rank(choice, is_waited_for, |rank| rank.hangs = true);
            }
            Action::TerminateRank(choice) => {
                let now = self.core.now;
                self.change_rank(
                    choice,
                    |_| true,
                    |rank| {
                        rank.terminated.get_or_insert(now);
                    },
                );
            }
            Action::Fail { rank, why } => self.report_failure(rank, why),
            Action::Corrupt(choice) => {
                let trains = |rank: &Rank| matches!(rank.doing, Doing::Train { .. });
                self.change_rank(choice, trains, |rank| rank.learned.corrupt(u64::from(choice)));
            }
            Action::Poison(choice) => {
                if let Some(id) = pick(self.plans.keys().cloned().collect(), choice)
                    && let Some(generation) = self.core.state.job(&id).map(|job| job.generation)
                    && let Some(plan) = self.plans.get_mut(&id)
                {
                    plan.poisoned = Some(generation);
                }
            }
            Action::Spoil(choice) => {
                if let Some(key) = pick(self.files.keys().cloned().collect(), choice)
                    && let Some(file) = self.files.get_mut(&key)
                {
                    file.is_damaged = true;
                }
            }
            _ => {}
        }
    }

    fn change_rank(&mut self, choice: u8, is_meant: impl Fn(&Rank) -> bool, change: impl FnOnce(&mut Rank)) {
        let meant = self.ranks.values().filter(|rank| is_meant(rank));
        let processes: Vec<ProcessId> = meant.map(|rank| rank.process.clone()).collect();
        if let Some(rank) = pick(processes, choice).and_then(|process| self.ranks.get_mut(&process)) {
            change(rank);
        }
    }

    fn end_some(&mut self, choice: u8, how: u8) {
        let ending = match how {
            0 => Ending::Killed(11),
            1 => Ending::Exited(0),
            2 | 3 => Ending::Exited(1),
            4 if choice.is_multiple_of(4) => Ending::Exited(10 + i32::from(choice % 2)),
            5 => Ending::Exited(13),
            _ => Ending::Killed(9),
        };
        if let Some(process) = self.some_rank(choice) {
            self.witness.deserters.insert(process.clone());
            self.end_rank(&process, ending);
        }
    }

    fn report_failure(&mut self, choice: u8, why: u8) {
        let Some(process) = self.some_rank(choice).filter(|process| !self.ranks[process].is_frozen) else {
            return;
        };
        let reasons = [
            FailureReason::NodeFailures,
            FailureReason::InternalError,
            FailureReason::OutOfMemory,
            FailureReason::BadData,
        ];
        let failure = Failure {
            reason: reasons[usize::from(why / 2) % reasons.len()],
            message: "it went wrong".to_owned(),
            rank: None,
            host: String::new(),
            last_log_lines: Vec::new(),
        };
        let identity = self.ranks[&process].identity();
        self.tell(Input::RankFailed { identity, failure });
        // Some never come to exit.
        if why.is_multiple_of(2) {
            self.end_rank(&process, Ending::Exited(1));
        } else if let Some(rank) = self.ranks.get_mut(&process) {
            rank.hangs = true;
            rank.told.leave.get_or_insert(Leave {
                store_checkpoint: false,
            });
        }
    }
}
