//! Ranks that pulse and no longer move, while others wait for them: in a collective, for shards of a pass, or at the door of the next
//! generation.
//!
//! Who stands still is told by what ranks count; who of them is to blame, by how many collective operations they have begun: the others
//! wait for the one that has begun the fewest.
//!
//! Slow is not still: where ranks were seen to compute for a long time between two movements, they are given longer.

use super::decision_builder::DecisionBuilder;
use super::gangs::Formation;
use super::{causes, losses, settle};
use crate::identifiers::{Generation, ProcessId, RankIdentity};
use crate::now::Now;
use crate::state::{Cause, Gang, Job, Member, Phase, Pulse, State, rank_activity};

/// A computation may take so many times as long as the longest that was seen in the gang.
const SLOWER: u64 = 3;

/// Breaks a gang in which ranks wait and nothing moves.
pub(super) fn break_hang(draft: &mut DecisionBuilder<'_>, identity: &RankIdentity) {
    let now = draft.now();
    let Some(Hang { lost, cause }) = find_hang(draft.state(), identity, now) else {
        return;
    };
    losses::lose_ranks(draft, &identity.job, &lost, cause, Formation::AFTER_LOSS);
    settle(draft);
}

struct Hang {
    /// The laggards; empty if all ranks wait in the same operation.
    lost: Vec<ProcessId>,
    cause: Cause,
}

/// A rank that may hang, and its newest sign of life.
type Peer<'a> = (&'a Member, &'a Pulse);

fn find_hang(state: &State, identity: &RankIdentity, now: Now) -> Option<Hang> {
    let job = state.job(&identity.job)?;
    let watch = Watch::of(state, job, now)?;
    match &job.phase {
        Phase::Running(running) => watch
            .in_a_collective(&running.gang, identity)
            .or_else(|| watch.in_a_pass(&running.gang, identity)),
        Phase::Starting(gang) => watch.at_the_door(gang),
        _ => None,
    }
}

/// Milliseconds without a movement after which one of these processes, which work together, hangs.
pub(super) fn patience<'a>(state: &State, processes: impl Iterator<Item = &'a ProcessId>) -> u64 {
    let pulses = processes.filter_map(|process| state.soft.pulses.get(process));
    let slowest = pulses.map(|pulse| pulse.slowest).max();
    state.settings.hang_timeout.max(SLOWER * slowest.unwrap_or(0))
}

struct Watch<'a> {
    state: &'a State,
    job: &'a Job,
    now: Now,
    /// Milliseconds without a movement after which a rank hangs.
    patience: u64,
}

impl<'a> Watch<'a> {
    fn of(state: &'a State, job: &'a Job, now: Now) -> Option<Self> {
        let members = job.gang()?.living();
        Some(Self {
            state,
            job,
            now,
            patience: patience(state, members.map(|member| &member.process)),
        })
    }

    /// What it did while nobody was heard is not held against it.
    fn stands_still(&self, pulse: &Pulse) -> bool {
        self.now >= pulse.since.max(self.state.soft.started_at) + self.patience
    }

    fn seconds(&self) -> f64 {
        self.patience as f64 / 1000.0
    }

    /// Members whose newest pulse came from a generation that fits.
    fn peers(&self, gang: &'a Gang, fits: impl Fn(&Member, Generation) -> bool) -> Vec<Peer<'a>> {
        let pulses = &self.state.soft.pulses;
        let peer = |member: &'a Member| {
            let pulse = pulses.get(&member.process)?;
            fits(member, pulse.progress.generation).then_some((member, pulse))
        };
        gang.living().filter_map(peer).collect()
    }

    fn lost(&self, laggards: &[&Peer<'_>], (first, message): (&Member, String)) -> Hang {
        Hang {
            lost: laggards.iter().map(|(member, _)| member.process.clone()).collect(),
            cause: causes::primary(first, message, self.now),
        }
    }

    /// A rank of a working gang waits in a collective for others that do not come.
    fn in_a_collective(&self, gang: &'a Gang, identity: &RankIdentity) -> Option<Hang> {
        let peers = self.peers(gang, |_, generation| generation == self.job.generation);
        let (own, waiting) = *peers.iter().find(|(member, _)| member.process == identity.process)?;
        if waiting.progress.operation.is_empty() || !self.stands_still(waiting) {
            return None;
        }
        let behind = behind(&peers);
        // Somebody is late and still works: that is slow, and no hang.
        if behind.iter().any(|(_, pulse)| !self.stands_still(pulse)) {
            return None;
        }
        let progress = &waiting.progress;
        let where_at = format!(
            "{} #{} of step {}",
            progress.operation, progress.sequence, progress.steps_done
        );
        let blamed = match behind.first() {
            Some((laggard, pulse)) => {
                let waits = format!("rank {} waits for it in {where_at}", own.rank);
                (*laggard, self.describe(laggard, pulse, &waits))
            }
            None if peers.iter().all(|(_, pulse)| self.stands_still(pulse)) => {
                let seconds = self.seconds();
                (
                    own,
                    format!("all ranks hang: each has waited in {where_at} for {seconds} s"),
                )
            }
            None => return None,
        };
        Some(self.lost(&behind, blamed))
    }

    /// A rank has done its part of a pass, and waits for shards that do not come back.
    fn in_a_pass(&self, gang: &'a Gang, identity: &RankIdentity) -> Option<Hang> {
        let peers = self.peers(gang, |_, generation| generation == self.job.generation);
        let (own, waiting) = *peers.iter().find(|(member, _)| member.process == identity.process)?;
        if &*waiting.progress.activity != rank_activity::WAITING || !self.stands_still(waiting) {
            return None;
        }
        let hangs = |(_, pulse): &&Peer<'_>| pulse.progress.computes() && self.stands_still(pulse);
        let hanging: Vec<_> = peers.iter().filter(hangs).collect();
        let (laggard, pulse) = *hanging.first()?;
        let waits = format!("rank {} waits for its shards", own.rank);
        Some(self.lost(&hanging, (laggard, self.describe(laggard, pulse, &waits))))
    }

    /// Ranks of an earlier generation do not come to the next one, and none of them moves. Those that still prepare have never been in one.
    fn at_the_door(&self, gang: &'a Gang) -> Option<Hang> {
        let is_late = |member: &Member, generation: Generation| !member.has_joined() && generation > Generation(0);
        let late = self.peers(gang, is_late);
        let (witness, waiting) = *late.first()?;
        // They have stood still since before the gang was formed, perhaps; but only now they are to come.
        let is_patience_over = self.now >= gang.formed_at + self.patience;
        if !is_patience_over || self.is_held_up() || late.iter().any(|(_, pulse)| !self.stands_still(pulse)) {
            return None;
        }
        let mut laggards = behind(&late);
        // All wait in the same operation, and were told to give it up: what they do not do.
        if laggards.is_empty() && !gang.at_step_boundary {
            laggards = late.iter().collect();
        }
        let blamed = match laggards.first() {
            Some((laggard, pulse)) => {
                let waits = format!("generation {} waits for it", gang.generation);
                (*laggard, self.describe(laggard, pulse, &waits))
            }
            None => {
                let Pulse { progress, .. } = waiting;
                let message = format!(
                    "all ranks of generation {} hang: each has waited in {} #{} of step {} for {} s",
                    progress.generation,
                    progress.operation,
                    progress.sequence,
                    progress.steps_done,
                    self.seconds(),
                );
                (witness, message)
            }
        };
        Some(self.lost(&laggards, blamed))
    }

    /// Whether the ranks may wait for one that was let go and takes part in their step. If it does not move it is killed, and they learn that.
    fn is_held_up(&self) -> bool {
        let mut processes = self.state.processes.values();
        processes.any(|process| {
            let is_there = process
                .stop
                .is_none_or(|stop| self.now < stop.at + self.state.settings.disconnect_grace);
            let may_take_part = process.job == self.job.id && process.let_go_at.is_some();
            may_take_part && is_there && self.state.is_connected(&process.worker)
        })
    }

    fn describe(&self, laggard: &Member, pulse: &Pulse, waits: &str) -> String {
        format!(
            "rank {} on {} hangs: it has not moved for {} s while {} (step {}, {} collective operations begun), and {waits}",
            laggard.rank,
            laggard.host,
            self.seconds(),
            pulse.progress.activity,
            pulse.progress.steps_done,
            pulse.progress.sequence,
        )
    }
}

/// Those that are not in the operation that the furthest are in.
fn behind<'a, 'b>(peers: &'b [Peer<'a>]) -> Vec<&'b Peer<'a>> {
    let place = |pulse: &Pulse| (pulse.progress.generation, pulse.progress.sequence);
    let furthest = peers.iter().map(|(_, pulse)| place(pulse)).max();
    let is_behind = |(_, pulse): &&Peer<'_>| pulse.progress.operation.is_empty() || Some(place(pulse)) < furthest;
    peers.iter().filter(is_behind).collect()
}
