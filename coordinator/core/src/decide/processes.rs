//! What agents are asked to do with processes: start one, end one. An agent that is away is told when it is back.

use super::decision_builder::DecisionBuilder;
use crate::effect::{Effect, StartRank};
use crate::identifiers::ProcessId;
use crate::record::JobEvent;
use crate::soft_change::SoftChange;
use crate::state::{Job, State, StopRequest};

/// The id of a process that is new. After a restore, names go on where the backup ended, and agents may know processes that have got the same ones in
/// the history that was lost: since then each says which history it is of.
pub(super) fn new_id(state: &State, name: String) -> ProcessId {
    match state.restored_in {
        None => ProcessId::from(name),
        Some(epoch) => ProcessId::from(format!("{name}-e{epoch}")),
    }
}

/// Asks for a process of a formed gang, for the first time or once more.
pub(super) fn request_start(draft: &mut DecisionBuilder<'_>, id: &ProcessId) {
    let state = draft.state();
    let Some(process) = state.processes.get(id) else { return };
    let Some(gang) = state.job(&process.job).and_then(Job::gang) else {
        return;
    };
    let Some(member) = gang.everyone().find(|member| member.process == *id) else {
        return;
    };
    let start = StartRank {
        worker: process.worker.clone(),
        process: id.clone(),
        job: process.job.clone(),
        generation: process.generation,
        rank: member.rank,
        world_size: u32::try_from(gang.living().count() + gang.recruits.len()).unwrap_or(u32::MAX),
        local_rank: member.local_rank,
        local_world_size: member.local_world_size,
        slot: member.slot,
    };
    draft.effect(Effect::StartRank(start));
}

/// Asks for the end of a process; `grace` milliseconds after SIGTERM it is killed.
pub(super) fn request_stop(draft: &mut DecisionBuilder<'_>, id: &ProcessId, grace: u64) {
    let now = draft.now();
    let Some(job) = draft.state().processes.get(id).map(|process| process.job.clone()) else {
        return;
    };
    let stop = StopRequest { at: now, grace };
    draft.record_job(
        &job,
        JobEvent::RankStopRequested {
            process: id.clone(),
            stop,
        },
    );
    send_stop(draft, id);
}

/// Tells the agent of a process that was asked to end; if the agent is away, it is told when it is back.
pub(super) fn send_stop(draft: &mut DecisionBuilder<'_>, id: &ProcessId) {
    let now = draft.now();
    let state = draft.state();
    let Some(process) = state.processes.get(id) else { return };
    let Some(stop) = process.stop else { return };
    let worker = process.worker.clone();
    if state.is_connected(&worker) {
        draft.effect(Effect::StopRank {
            worker,
            process: id.clone(),
            grace: stop.grace,
        });
        draft.change_soft(SoftChange::StopSent {
            process: id.clone(),
            at: now,
        });
    }
}
