//! A gang gives its slots back on purpose, and no step is lost.
//!
//! It goes as on a drained worker, for all ranks at once: they finish their step, rank 0 stores a checkpoint, all leave, and the job waits again. What is
//! let go of at once is what has nothing to hand over: recruits, and ranks that have never worked. Losses meanwhile do not count, for nobody would be
//! started in their place. A rank that does not move is killed like any other that was let go; if that was rank 0, the others form a gang
//! for what it was to store.

use super::decision_builder::DecisionBuilder;
use super::{gangs, hangs, processes};
use crate::identifiers::{JobId, ProcessId};
use crate::now::Now;
use crate::record::JobEvent;
use crate::state::{Ending, Gang, Job, Member, Phase, Process, RankExit, Release, State, rank_activity};

/// Lets the gang of a job give its slots back; whether it does so now or did already. It does not where there is none, and where rank 0 writes
/// the artifacts: that end is near, and would have to be made again.
pub(super) fn begin(draft: &mut DecisionBuilder<'_>, id: &JobId, reason: Release) -> bool {
    let Some(job) = draft.state().jobs.get(id).cloned() else {
        return false;
    };
    let Some(gang) = job.gang().filter(|_| !job.is_finishing()) else {
        return false;
    };
    if job.is_released() {
        return true;
    }
    draft.record_job(id, JobEvent::ReleaseRequested { reason });
    let grace = draft.base().settings.stop_grace;
    for recruit in &gang.recruits {
        let process = recruit.process.clone();
        draft.record_job(id, JobEvent::RankReleased { process });
        processes::request_stop(draft, &recruit.process, grace);
    }
    if has_nothing(draft.state(), id) {
        for member in gang.living() {
            processes::request_stop(draft, &member.process, grace);
        }
    }
    true
}

/// Whether no rank of a gang that has not begun to work holds a step that must be stored: all have told what they have, or have only just
/// been started.
fn has_nothing(state: &State, id: &JobId) -> bool {
    let Some(job) = state.job(id) else { return false };
    let Phase::Starting(gang) = &job.phase else {
        return false;
    };
    let is_new = |member: &Member| {
        let process = state.processes.get(&member.process);
        process.is_none_or(|process| process.asked_in == gang.generation)
    };
    gang.living().all(|member| member.has_joined() || is_new(member)) && !gangs::hands_over(state, job)
}

/// Lets go of the gangs of suspended jobs: also of one that was suspended while rank 0 wrote the artifacts, and that has lost it since.
pub(super) fn settle(draft: &mut DecisionBuilder<'_>) {
    let is_due = |job: &Job| job.suspended && !job.is_released() && !job.is_finishing();
    let due = draft.state().jobs_with_gangs().filter(|job| is_due(job));
    let due: Vec<JobId> = due.map(|job| job.id.clone()).collect();
    for id in due {
        begin(draft, &id, Release::Suspended);
    }
}

/// Whether the end of this process, without a loss, leaves others with steps that it was to store.
pub(super) fn leaves_steps_behind(state: &State, id: &ProcessId, exit: &RankExit) -> bool {
    let job = state.processes.get(id).and_then(|process| state.job(&process.job));
    let Some((job, gang)) = job.and_then(|job| Some((job, job.gang()?))) else {
        return false;
    };
    let was_to_store = gang.living().any(|member| member.rank == 0 && member.process == *id);
    let has_others = gang.living().any(|member| member.process != *id);
    let left = matches!(exit.ending, Ending::Exited(0) | Ending::Exited(super::causes::LEFT));
    job.is_released()
        && matches!(job.phase, Phase::Running(_))
        && was_to_store
        && has_others
        && !left
        && gangs::hands_over(state, job)
}

/// When a rank of a gang that is released is killed, if it does not move until then; `None`: its gang is not.
pub(super) fn patience_end(state: &State, id: &ProcessId, process: &Process) -> Option<Now> {
    let job = state.job(&process.job).filter(|job| job.is_released())?;
    let begun = job.releasing.as_ref()?.at.max(state.soft.started_at);
    let pulse = state.soft.pulses.get(id);
    let moved_at = pulse.map_or(begun, |pulse| pulse.since.max(begun));
    // Nothing moves while a large checkpoint is written, or while data and model are loaded.
    let is_seen_moving = pulse.is_some_and(|pulse| {
        let activity = &*pulse.progress.activity;
        [
            rank_activity::TRAINING,
            rank_activity::IN_A_PASS,
            rank_activity::WAITING,
        ]
        .contains(&activity)
    });
    let patience = match is_seen_moving {
        true => hangs::patience(state, living(job.gang()?)),
        false => state.settings.start_timeout,
    };
    Some(moved_at + patience)
}

fn living(gang: &Gang) -> impl Iterator<Item = &ProcessId> {
    gang.living().map(|member| &member.process)
}
