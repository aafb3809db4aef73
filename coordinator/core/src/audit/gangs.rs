//! Formations: each follows the one before, works from the moment when all have joined until the next is formed, and goes on from the newest
//! state that there is. Only what comes from the one at work may count.

use std::collections::BTreeMap;

use super::receipt::{GenerationReceipt, LossReceipt};
use super::{Auditor, Finding, Flaw};
use crate::identifiers::{Generation, ProcessId};
use crate::record::{JobEvent, Source};
use crate::state::{Checkpoint, Member, Origin};

/// Formations so far.
#[derive(Default)]
pub(super) struct Gangs {
    newest: Generation,
    members: Vec<Member>,
    rewind: bool,
    phase: GangPhase,
    /// Steps that each process had applied when it was last heard of at a rendezvous.
    steps: BTreeMap<ProcessId, u64>,
    /// Commits of steps name the process.
    names_committers: bool,
    /// Whatever a rank stores names it.
    names_sources: bool,
    pub(super) formed: Vec<GenerationReceipt>,
    pub(super) losses: Vec<LossReceipt>,
}

/// How far the newest formation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum GangPhase {
    /// There is none, or it is gone.
    #[default]
    Absent,
    Forming,
    Working,
}

impl Gangs {
    /// A program that has named who something was taken from does so always.
    pub(super) fn expect_sources(&mut self, event: &JobEvent) {
        match event {
            JobEvent::StepsCommitted { process, .. } => self.names_committers |= process.is_some(),
            JobEvent::CheckpointCommitted { source, .. } | JobEvent::ArtifactStored { source, .. } => {
                self.names_sources |= source.is_some();
                self.names_committers |= source.is_some();
            }
            _ => {}
        }
    }

    /// Whether the program that wrote the records is known to do so.
    pub(super) fn names_sources(&self) -> bool {
        self.names_sources
    }

    /// The program that wrote the records does so.
    pub(super) fn name_sources(&mut self) {
        (self.names_sources, self.names_committers) = (true, true);
    }
}

impl Auditor {
    /// Formations, and how ranks come and go.
    pub(super) fn see_gang(&mut self, event: &JobEvent) {
        match event {
            JobEvent::GangFormed {
                generation,
                members,
                rewind,
                ..
            } => self.form(*generation, members, *rewind),
            JobEvent::GangCompleted {
                origin,
                steps_done,
                steps_kept,
                epochs_kept,
                ..
            } => {
                self.complete(origin, *steps_done);
                self.check_kept((origin, *steps_done), (*steps_kept, *epochs_kept));
                self.roll_back(*steps_kept, *epochs_kept);
            }
            JobEvent::RankJoined {
                process, steps_done, ..
            }
            | JobEvent::RankLeft {
                process, steps_done, ..
            } => {
                self.gangs.steps.insert(process.clone(), *steps_done);
            }
            JobEvent::RestartScheduled { .. } => self.disband(),
            JobEvent::RanksLost { cause, .. } => {
                let loss = LossReceipt {
                    generation: self.gangs.newest,
                    at: cause.at,
                    failure: cause.failure.clone(),
                };
                self.gangs.losses.push(loss);
            }
            _ => {}
        }
    }

    fn form(&mut self, generation: Generation, members: &[Member], rewind: bool) {
        let expected = self.gangs.newest.next();
        if generation != expected {
            self.find(Finding::new(
                Flaw::Generation,
                format!("expected generation {expected} to be formed, found {generation}"),
            ));
        }
        let is_ranked = (0u32..).zip(members).all(|(rank, member)| member.rank == rank);
        if members.is_empty() || !is_ranked {
            let ranks: Vec<u32> = members.iter().map(|member| member.rank).collect();
            self.find(Finding::new(
                Flaw::Generation,
                format!("expected ranks 0, 1, … in generation {generation}, found {ranks:?}"),
            ));
        }
        for member in members {
            self.gangs.steps.insert(member.process.clone(), member.steps_done);
        }
        let gangs = &mut self.gangs;
        gangs.newest = gangs.newest.max(generation);
        gangs.members = members.to_vec();
        gangs.rewind = rewind;
        gangs.phase = GangPhase::Forming;
        gangs.formed.push(GenerationReceipt {
            generation,
            at: self.now,
            record: self.record,
            ranks: members.iter().map(|member| member.worker.clone()).collect(),
            rank_zero: members.first().map(|member| member.process.clone()),
            origin: None,
            steps_done: 0,
            steps_committed: 0,
        });
    }

    fn complete(&mut self, origin: &Origin, steps_done: u64) {
        if self.gangs.phase != GangPhase::Forming {
            let message = format!(
                "generation {} was completed without having been formed",
                self.gangs.newest
            );
            self.find(Finding::new(Flaw::Generation, message));
        }
        self.gangs.phase = GangPhase::Working;
        if let Some(newest) = self.gangs.formed.last_mut() {
            newest.origin = Some(origin.clone());
            newest.steps_done = steps_done;
        }
        if let Err(message) = self.check_origin(origin, steps_done) {
            let message = format!("generation {} {message}", self.gangs.newest);
            self.find(Finding::new(Flaw::Origin, message).at_step(steps_done));
        }
    }

    /// A state may only be gone on from if there is no newer one.
    fn check_origin(&self, origin: &Origin, steps_done: u64) -> Result<(), String> {
        let stored = self.checkpoints.newest();
        let stored_steps = stored.map_or(0, |checkpoint| checkpoint.steps_done);
        let describe = |checkpoint: Option<&Checkpoint>| match checkpoint {
            Some(checkpoint) => format!("checkpoint {} after step {}", checkpoint.sha256, checkpoint.steps_done),
            None => "no checkpoint".to_owned(),
        };
        match origin {
            Origin::Initial if stored.is_some() || steps_done > 0 => Err(format!(
                "began at step {steps_done} with untrained weights, although there was {}",
                describe(stored)
            )),
            Origin::Initial => Ok(()),
            Origin::Checkpoint(checkpoint) if stored != Some(checkpoint) || steps_done != stored_steps => Err(format!(
                "went on at step {steps_done} from {}, although the newest was {}",
                describe(Some(checkpoint)),
                describe(stored)
            )),
            Origin::Checkpoint(_) => Ok(()),
            Origin::Rank(rank) => {
                let root = self.gangs.members.get(*rank as usize);
                let held = root.and_then(|member| self.gangs.steps.get(&member.process)).copied();
                if held != Some(steps_done) {
                    let held =
                        held.map_or_else(|| "is none of its ranks".to_owned(), |held| format!("held step {held}"));
                    return Err(format!("went on at step {steps_done} from rank {rank}, which {held}"));
                }
                if self.gangs.rewind || steps_done < stored_steps {
                    let stored = describe(stored);
                    return Err(format!(
                        "went on at step {steps_done} from rank {rank} and not from {stored}"
                    ));
                }
                Ok(())
            }
            Origin::Unneeded if self.training_end.is_none() => {
                Err("took no state over, although training had not ended".to_owned())
            }
            Origin::Unneeded => Ok(()),
        }
    }

    /// Nothing more is taken back than what the state does not hold.
    fn check_kept(&mut self, (origin, steps_done): (&Origin, u64), kept: (u64, u32)) {
        let committed = self.steps.committed();
        let expected = match origin {
            Origin::Unneeded => (committed, u32::MAX),
            _ => {
                let epochs = steps_done.checked_div(self.steps_per_epoch()).unwrap_or_default();
                (committed.min(steps_done), u32::try_from(epochs).unwrap_or(u32::MAX))
            }
        };
        if kept != expected {
            let message = format!(
                "expected {} steps and {} epochs to be kept of {committed} committed steps and a state of step {steps_done}, found {} and {}",
                expected.0, expected.1, kept.0, kept.1,
            );
            self.find(Finding::new(Flaw::Origin, message).at_step(kept.0));
        }
    }

    /// No formation works any more.
    pub(super) fn disband(&mut self) {
        self.gangs.phase = GangPhase::Absent;
    }

    /// Whether something may be taken now: from the formation `found`, if the record names it, and from a rank of it.
    pub(super) fn is_at_work(&mut self, what: &str, found: Option<Generation>, rank: Option<u32>) -> bool {
        let Gangs {
            newest, members, phase, ..
        } = &self.gangs;
        let problem = match (phase, found) {
            (_, Some(found)) if found != *newest => Some(format!(
                "{what} was taken from generation {found}, although generation {newest} was formed"
            )),
            (GangPhase::Forming, _) => Some(format!("{what} was taken before generation {newest} was complete")),
            (GangPhase::Absent, _) => Some(format!("{what} was taken while no generation was at work")),
            (GangPhase::Working, _) => rank.filter(|rank| *rank as usize >= members.len()).map(|rank| {
                format!(
                    "{what} was taken from rank {rank} of {} in generation {newest}",
                    members.len()
                )
            }),
        };
        let Some(message) = problem else { return true };
        self.find(Finding::new(Flaw::StaleGeneration, message));
        false
    }

    /// Only rank 0 commits steps. An earlier program did not record who did.
    pub(super) fn check_committer(&mut self, process: Option<&ProcessId>) {
        let is_named = process.is_some() || !self.gangs.names_committers;
        self.check_process("a commit of steps", process, is_named, |members| {
            &members[..members.len().min(1)]
        });
    }

    /// Only rank 0 stores checkpoints.
    pub(super) fn check_rank_zero(&mut self, what: &str, source: Option<&Source>) {
        let is_named = source.is_some() || !self.gangs.names_sources;
        let process = source.map(|source| &source.process);
        self.check_process(what, process, is_named, |members| &members[..members.len().min(1)]);
    }

    /// Any rank may leave a file.
    pub(super) fn check_member(&mut self, what: &str, source: Option<&Source>) {
        let is_named = source.is_some() || !self.gangs.names_sources;
        let process = source.map(|source| &source.process);
        self.check_process(what, process, is_named, |members| members);
    }

    fn check_process(
        &mut self,
        what: &str,
        process: Option<&ProcessId>,
        is_named: bool,
        may: impl Fn(&[Member]) -> &[Member],
    ) {
        let generation = self.gangs.newest;
        let allowed = may(&self.gangs.members);
        let problem = match process {
            Some(found) if !allowed.iter().any(|member| member.process == *found) => Some(match allowed {
                [rank_zero] => format!(
                    "expected {what} by {}, rank 0 of generation {generation}, found {found}",
                    rank_zero.process
                ),
                _ => format!("expected {what} by a rank of generation {generation}, found {found}"),
            }),
            None if !is_named => Some(format!(
                "expected the process that {what} was taken from, as earlier records name it, found none"
            )),
            _ => None,
        };
        if let Some(message) = problem {
            self.find(Finding::new(Flaw::StaleGeneration, message));
        }
    }

    /// The newest formation has committed so many more steps.
    pub(super) fn count_commits(&mut self, steps: u64) {
        if let Some(newest) = self.gangs.formed.last_mut() {
            newest.steps_committed += steps;
        }
    }
}
