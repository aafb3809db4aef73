//! How a gang is formed anew in the processes that live, and when it is complete.
//!
//! A generation ends when a member is lost or leaves, and when a recruit is ready. The members that stay, and the recruits that are ready, are
//! ranked anew; each joins again with the steps that it has applied. When all have joined and the spec's fewest workers are there, the gang is
//! complete: the newest state among the ranks, or the newest checkpoint if that is newer, is what everyone goes on from.

use std::collections::BTreeMap;

use super::decision_builder::DecisionBuilder;
use super::processes;
use crate::identifiers::{JobId, ProcessId, WorkerName};
use crate::record::JobEvent;
use crate::stage::{self, Stage};
use crate::state::{CollectiveKind, DeviceKind, Gang, Job, Member, MemberState, Origin, Phase, State};

/// How ranks come to the next generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Formation {
    /// They finish their step first.
    pub(super) at_step_boundary: bool,
    /// They go back to the newest checkpoint.
    pub(super) rewind: bool,
}

impl Formation {
    /// A rank is lost: the step that is under way cannot be finished.
    pub(super) const AFTER_LOSS: Self = Self {
        at_step_boundary: false,
        rewind: false,
    };
    /// Ranks come or leave on purpose.
    pub(super) const IN_PEACE: Self = Self {
        at_step_boundary: true,
        rewind: false,
    };
    /// What the ranks hold is not to be trusted.
    pub(super) const REWIND: Self = Self {
        at_step_boundary: false,
        rewind: true,
    };
}

/// What the state of a gang calls for.
enum Move {
    FormAgain(Formation),
    Complete,
}

/// Makes every move that the gangs call for.
pub(super) fn settle(draft: &mut DecisionBuilder<'_>) {
    let open: Vec<JobId> = draft.state().jobs_with_gangs().map(|job| job.id.clone()).collect();
    for id in open {
        while let Some(step) = next_move(draft.state(), &id) {
            match step {
                Move::FormAgain(formation) => form_again(draft, &id, formation),
                Move::Complete => complete(draft, &id),
            }
        }
    }
}

fn next_move(state: &State, id: &JobId) -> Option<Move> {
    let job = state.job(id)?;
    let gang = job.gang()?;
    let again = Some(Move::FormAgain(Formation::IN_PEACE));
    if gang.living().next().is_none() || has_ready_recruits(gang) || someone_leaves_others(state, gang) {
        return again;
    }
    match &job.phase {
        Phase::Running(_) => {
            let all_left = gang
                .living()
                .all(|member| matches!(member.state, MemberState::Left { .. }));
            (all_left || someone_has_gone(state, job, gang)).then_some(Move::FormAgain(Formation::AFTER_LOSS))
        }
        Phase::Starting(_) => {
            // Where all leave with nothing to hand over, nobody is parted: they go one by one.
            let just_goes = job.is_released() && !hands_over(state, job);
            if !just_goes && gang.members.iter().any(|member| member.state == MemberState::Exited) {
                return again;
            }
            let all_joined = gang.members.iter().all(Member::has_joined);
            let is_of_use = match all_leave(state, gang) {
                true => hands_over(state, job),
                false => !job.is_short(),
            };
            (all_joined && is_of_use).then_some(Move::Complete)
        }
        _ => None,
    }
}

/// Whether all members are to leave.
fn all_leave(state: &State, gang: &Gang) -> bool {
    gang.living().all(|member| state.is_leaving(&member.process))
}

/// Whether all members are to leave, and hold steps that no checkpoint has: then rank 0 stores one first. A gang that has not formed yet is
/// formed for that, also with fewer workers than the spec asks for.
pub(crate) fn hands_over(state: &State, job: &Job) -> bool {
    let Some(gang) = job.gang().filter(|gang| all_leave(state, gang)) else {
        return false;
    };
    if matches!(job.phase, Phase::Running(_)) {
        return true;
    }
    let stored = job.run.resume().map_or(0, |checkpoint| checkpoint.steps_done);
    let has_more = |member: &Member| match member.has_joined() {
        true => member.steps_done > stored,
        // It is on its way from an earlier generation.
        false => {
            let pulse = state.soft.pulses.get(&member.process);
            pulse.is_some_and(|pulse| pulse.progress.steps_done > stored)
        }
    };
    let is_training = !matches!(Stage::of(&job.run), Stage::Test { .. } | Stage::Finish);
    is_training && !gang.rewind && gang.living().any(has_more)
}

/// Recruits that are ready, and with them all others on their worker.
fn has_ready_recruits(gang: &Gang) -> bool {
    ready_recruits(gang).next().is_some()
}

fn ready_recruits(gang: &Gang) -> impl Iterator<Item = &Member> {
    gang.recruits.iter().filter(|recruit| {
        let mut neighbours = gang.recruits.iter().filter(|other| other.worker == recruit.worker);
        neighbours.all(Member::has_joined)
    })
}

/// Whether members leave on purpose while others stay. Where all leave they are not parted: rank 0 stores a checkpoint first.
fn someone_leaves_others(state: &State, gang: &Gang) -> bool {
    let leaves = |member: &Member| state.is_leaving(&member.process);
    gang.living().any(leaves) && !all_leave(state, gang)
}

/// Whether a member has ended without a loss while others stay, and not because its work was done. Where all leave, they are not parted.
fn someone_has_gone(state: &State, job: &Job, gang: &Gang) -> bool {
    let has_gone = |member: &Member| member.state == MemberState::Exited;
    gang.members.iter().any(has_gone) && !all_leave(state, gang) && Stage::of(&job.run) != Stage::Finish
}

/// Members are gone that had left or were about to.
pub(super) fn let_go(draft: &mut DecisionBuilder<'_>, id: &JobId, gone: &[ProcessId]) {
    let grace = 0;
    for process in gone {
        draft.record_job(
            id,
            JobEvent::RankReleased {
                process: process.clone(),
            },
        );
        processes::request_stop(draft, process, grace);
    }
}

/// Forms the gang anew of those that live; if nobody does, the job waits to be placed again.
pub(super) fn form_again(draft: &mut DecisionBuilder<'_>, id: &JobId, formation: Formation) {
    let state = draft.state();
    let Some(job) = state.jobs.get(id).cloned() else { return };
    let Some(gang) = job.gang() else { return };
    let (members, recruits) = successors(state, &job, gang);
    if members.is_empty() {
        let now = draft.now();
        let not_before = job.retry_at.max(now);
        let cause = job
            .losses
            .last()
            .filter(|loss| loss.generation == job.generation)
            .map(|loss| loss.cause.clone());
        draft.record_job(id, JobEvent::RestartScheduled { cause, not_before });
        return;
    }
    // Those that have not come to this generation yet have to come to the next in the same way.
    let (in_peace, rewind) = match &job.phase {
        Phase::Starting(gang) => (gang.at_step_boundary, gang.rewind),
        _ => (true, false),
    };
    draft.record_job(
        id,
        JobEvent::GangFormed {
            generation: job.generation.next(),
            members: ranked(members),
            recruits,
            at_step_boundary: formation.at_step_boundary && in_peace,
            rewind: formation.rewind || rewind,
        },
    );
    draft.request_scores(id);
}

/// The members of the next generation in their order, and the recruits that are not ready.
fn successors(state: &State, job: &Job, gang: &Gang) -> (Vec<Member>, Vec<Member>) {
    let all_leave = all_leave(state, gang);
    let stays = |member: &&Member| all_leave || !state.is_leaving(&member.process);
    let mut members: Vec<Member> = gang.living().filter(stays).cloned().collect();
    // Who has the world of a complete gang has to join again; who still waits for it goes on waiting.
    if matches!(job.phase, Phase::Running(_)) {
        for member in &mut members {
            member.state = match &member.state {
                MemberState::Left { ring_address, .. } => MemberState::Joined {
                    ring_address: ring_address.clone(),
                },
                _ => MemberState::Starting,
            };
        }
    }
    let ready: Vec<ProcessId> = match members.is_empty() {
        true => gang.recruits.iter().map(|recruit| recruit.process.clone()).collect(),
        false => ready_recruits(gang).map(|recruit| recruit.process.clone()).collect(),
    };
    let (joining, recruits): (Vec<Member>, Vec<Member>) = gang
        .recruits
        .iter()
        .cloned()
        .partition(|recruit| ready.contains(&recruit.process));
    members.extend(joining);
    (members, recruits)
}

/// Numbers the ranks, over all and on each worker.
pub(super) fn ranked(mut members: Vec<Member>) -> Vec<Member> {
    let mut on_worker: BTreeMap<WorkerName, u32> = BTreeMap::new();
    for (rank, member) in (0u32..).zip(&mut members) {
        let local_rank = on_worker.entry(member.worker.clone()).or_default();
        member.rank = rank;
        member.local_rank = *local_rank;
        *local_rank += 1;
    }
    for member in &mut members {
        member.local_world_size = on_worker.get(&member.worker).copied().unwrap_or(1);
    }
    members
}

fn complete(draft: &mut DecisionBuilder<'_>, id: &JobId) {
    let Some(job) = draft.state().jobs.get(id).cloned() else {
        return;
    };
    let Some(gang) = job.gang() else { return };
    let kind = gang
        .members
        .first()
        .map_or(DeviceKind::Cpu, |first| DeviceKind::of(&first.device));
    let collective = CollectiveKind::choose(gang.members.len(), kind);
    let (origin, steps_done) = origin(&job, gang);
    let (steps_kept, epochs_kept) = match origin {
        Origin::Unneeded => (job.run.ledger.committed, u32::MAX),
        _ => {
            let epochs = steps_done.checked_div(stage::steps_per_epoch(&job)).unwrap_or_default();
            (
                job.run.ledger.committed.min(steps_done),
                u32::try_from(epochs).unwrap_or(u32::MAX),
            )
        }
    };
    draft.record_job(
        id,
        JobEvent::GangCompleted {
            collective,
            origin,
            steps_done,
            steps_kept,
            epochs_kept,
        },
    );
    draft.request_scores(id);
}

/// The newest state that there is: a rank's before the checkpoint of the same step, because it need not be loaded.
fn origin(job: &Job, gang: &Gang) -> (Origin, u64) {
    if matches!(Stage::of(&job.run), Stage::Test { .. } | Stage::Finish) {
        return (Origin::Unneeded, job.run.ledger.committed);
    }
    let newest = job.run.resume();
    let stored = newest.map_or(0, |checkpoint| checkpoint.steps_done);
    let ahead = gang
        .members
        .iter()
        .map(|member| member.steps_done)
        .max()
        .unwrap_or_default();
    if !gang.rewind && ahead > 0 && ahead >= stored {
        let root = gang.members.iter().find(|member| member.steps_done == ahead);
        return (Origin::Rank(root.map_or(0, |root| root.rank)), ahead);
    }
    match newest {
        Some(checkpoint) => (Origin::Checkpoint(checkpoint.clone()), stored),
        None => (Origin::Initial, 0),
    }
}
