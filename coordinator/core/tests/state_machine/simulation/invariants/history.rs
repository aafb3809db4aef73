//! What the records say, one after the other.

use firn_core::identifiers::{JobId, ProcessId};
use firn_core::state::*;
use firn_core::{Event, JobEvent, Record};

use super::super::outside::agree;
use super::{Verdict, Witness, hold, tally};

/// Exit status of a rank that handed over and left.
const LEFT: i32 = 13;

impl Witness {
    /// Takes the records of one decision in; `caller`: the rank process whose call it was.
    pub(crate) fn learn(&mut self, records: &[Record], caller: Option<&ProcessId>) -> Verdict {
        let fenced = caller.filter(|caller| self.fenced.contains(*caller));
        hold(
            fenced.is_none() || records.is_empty(),
            "a process that was lost or told to end changes nothing",
            || format!("{fenced:?}: {records:?}"),
        )?;
        for record in records {
            tally::count(&mut self.tally, record);
            match &record.event {
                Event::Job { job, event } => {
                    self.learn_release(job, event)?;
                    self.learn_job(job, event)?;
                }
                Event::RequestAnswered { request, .. } => {
                    let fresh = self.requests.insert(request.id.clone());
                    hold(fresh, "a marked call acts once", || request.id.to_string())?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn learn_release(&mut self, job: &JobId, event: &JobEvent) -> Verdict {
        match event {
            JobEvent::ReleaseRequested { .. } => _ = self.releasing.insert(job.clone()),
            JobEvent::RestartScheduled { .. } | JobEvent::Ended { .. } => _ = self.releasing.remove(job),
            _ => {}
        }
        let is_charged = matches!(event, JobEvent::RanksLost { counts: true, .. });
        hold(
            !(is_charged && self.releasing.contains(job)),
            "who gives its slots up is charged with no loss",
            || job.to_string(),
        )
    }

    fn learn_job(&mut self, job: &JobId, event: &JobEvent) -> Verdict {
        self.follow_release(job, event)?;
        match event {
            JobEvent::GangFormed { members, .. } => self.see_processes(members),
            JobEvent::RanksRecruited { recruits, .. } => {
                let known = recruits
                    .iter()
                    .find(|recruit| self.processes.contains(&recruit.process));
                hold(known.is_none(), "a process is never named as an earlier one", || {
                    format!("{known:?}")
                })?;
                self.see_processes(recruits)
            }
            JobEvent::GangCompleted {
                steps_kept,
                epochs_kept,
                ..
            } => {
                if self.next_step.insert(job.clone(), *steps_kept) > Some(*steps_kept) {
                    *self.tally.entry("steps are taken back").or_default() += 1;
                }
                self.counted
                    .retain(|(counted, pass), _| counted != job || pass.is_kept(*epochs_kept));
                Ok(())
            }
            JobEvent::ShardCompleted {
                pass, shard, outcome, ..
            } => self.learn_shard(job, *pass, (*shard, outcome)),
            JobEvent::StepsCommitted { steps, .. } => {
                let next = self.next_step.entry(job.clone()).or_default();
                for step in steps {
                    hold(step.step == *next, "steps are committed in order, each once", || {
                        format!("expected {next}, found {} of {job}", step.step)
                    })?;
                    *next += 1;
                }
                Ok(())
            }
            JobEvent::RanksLost { processes, .. } => {
                self.fenced.extend(processes.iter().cloned());
                self.gone.extend(processes.iter().cloned());
                Ok(())
            }
            JobEvent::RankStopRequested { process, .. } => {
                self.fenced.insert(process.clone());
                Ok(())
            }
            JobEvent::RankReleased { process } | JobEvent::RankExited { process, .. } => {
                self.fenced.insert(process.clone());
                self.gone.insert(process.clone());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Where all ranks leave as they are told, what is stored is what was committed.
    fn follow_release(&mut self, job: &JobId, event: &JobEvent) -> Verdict {
        match event {
            JobEvent::ReleaseRequested { .. } => {
                self.released.insert(job.clone());
            }
            JobEvent::CheckpointCommitted { checkpoint, .. } => {
                self.stored.insert(job.clone(), checkpoint.steps_done);
            }
            JobEvent::RankExited { process, exit }
                if exit.ending == Ending::Exited(LEFT) && !self.deserters.contains(process) => {}
            JobEvent::RestartScheduled { .. } if self.released.remove(job) => {
                *self
                    .tally
                    .entry("a gang gives all its slots back without a loss")
                    .or_default() += 1;
                let (stored, next) = (self.stored.get(job), self.next_step.get(job));
                let (stored, next) = (stored.copied().unwrap_or_default(), next.copied().unwrap_or_default());
                return hold(stored >= next, "no step is lost by a release", || {
                    format!("{stored} of {next} steps of {job} are stored")
                });
            }
            JobEvent::RankExited { .. }
            | JobEvent::RanksLost { .. }
            | JobEvent::RankReleased { .. }
            | JobEvent::RankStopRequested { .. }
            | JobEvent::RankFailureReported { .. }
            | JobEvent::RollbackRequested { .. }
            | JobEvent::CheckpointRejected { .. }
            | JobEvent::GangFormed { .. }
            | JobEvent::Ended { .. } => {
                self.released.remove(job);
            }
            _ => {}
        }
        Ok(())
    }

    fn see_processes(&mut self, members: &[Member]) -> Verdict {
        for member in members {
            hold(
                !self.gone.contains(&member.process),
                "a process that was lost is in no later gang",
                || member.process.to_string(),
            )?;
            self.processes.insert(member.process.clone());
        }
        Ok(())
    }

    fn learn_shard(&mut self, job: &JobId, pass: Pass, (shard, outcome): (u32, &ShardOutcome)) -> Verdict {
        let state = match outcome {
            ShardOutcome::Scanned { .. } => 0,
            ShardOutcome::Evaluated(statistics) => statistics.loss_sum() as u64,
        };
        let counted = self.counted.entry((job.clone(), pass)).or_default();
        hold(
            counted.insert(shard, state).is_none(),
            "every shard counts once",
            || format!("shard {shard} of {pass} of {job}"),
        )?;
        let differs = counted.values().find(|other| !agree(**other, state));
        hold(
            differs.is_none(),
            "all shards of an evaluation are scored with one state",
            || format!("shard {shard} of {pass} of {job}: {state:x} beside {differs:x?}"),
        )
    }

    /// The state that scored a pass, if any shard of it counts.
    pub(super) fn state_that_scored(&self, job: &JobId, pass: Pass) -> Option<u64> {
        let counted = self.counted.get(&(job.clone(), pass))?;
        counted.values().next().copied()
    }
}
