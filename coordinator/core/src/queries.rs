//! Questions about the state, for those who wait and for those who look.
//!
//! A call that was answered with `Wait` is asked again here after each change of the state, so that the shell need not know what the
//! caller waits for.

mod progress;

pub use progress::{Activity, Progress, progress};

use crate::decide::members::{caller, working};
use crate::identifiers::{JobId, RankIdentity, WorkerName};
use crate::reject::Reject;
use crate::reply::{Directive, World};
use crate::stage::{self, Stage};
use crate::state::{Condition, ConditionKind, Job, MemberState, Outcome, Phase, State, Summary};

/// Whether a rank may deliver for its gang now: for those who have work to do before they can tell the core.
///
/// # Errors
/// Why it may not, as the core would say.
pub fn may_deliver(state: &State, identity: &RankIdentity) -> Result<(), Reject> {
    working(state, identity).map(drop)
}

/// The world of a rank; `None` until its whole gang has joined.
///
/// # Errors
/// If the rank does not, or no longer, belong to the gang.
pub fn world(state: &State, identity: &RankIdentity) -> Result<Option<World>, Reject> {
    let caller = caller(state, identity)?;
    let running = match &caller.job.phase {
        Phase::Running(running) => running,
        Phase::Collapsing(collapsing) => {
            let cause = collapsing
                .first_cause()
                .map(|cause| cause.failure.message.clone())
                .unwrap_or_default();
            return Err(Reject::GangBroken {
                job: identity.job.clone(),
                cause,
            });
        }
        _ => return Ok(None),
    };
    let address = |state: &MemberState| match state {
        MemberState::Joined { ring_address } => ring_address.clone(),
        MemberState::Starting | MemberState::Exited => String::new(),
    };
    let run = &caller.job.run;
    Ok(Some(World {
        generation: caller.job.generation,
        rank: caller.member.rank,
        ring_addresses: running
            .gang
            .members
            .iter()
            .map(|member| address(&member.state))
            .collect(),
        spec: caller.job.spec.clone(),
        resume: run.resume().cloned(),
        collective: running.collective,
        next: stage::directive(run, None),
    }))
}

/// Rank 0's unique id for NCCL; `None` until it is there.
///
/// # Errors
/// If the rank does not, or no longer, belong to the gang.
pub fn collective_id(state: &State, identity: &RankIdentity) -> Result<Option<Vec<u8>>, Reject> {
    let caller = working(state, identity)?;
    match &caller.job.phase {
        Phase::Running(running) => Ok(running.collective_id.clone()),
        Phase::Collapsing(collapsing) => {
            let cause = collapsing
                .first_cause()
                .map(|cause| cause.failure.message.clone())
                .unwrap_or_default();
            Err(Reject::GangBroken {
                job: identity.job.clone(),
                cause,
            })
        }
        _ => Ok(None),
    }
}

/// What a gang that is formed now does first.
pub fn next_directive(job: &Job) -> Directive {
    stage::directive(&job.run, None)
}

/// Where the job is on its way.
pub fn stage(job: &Job) -> Stage {
    Stage::of(&job.run)
}

/// One word for tables.
pub fn summary(job: &Job) -> Summary {
    match &job.phase {
        Phase::Queued => Summary::Queued,
        Phase::Starting(_) | Phase::Collapsing(_) | Phase::Restarting(_) => Summary::Starting,
        Phase::Running(_) if Stage::of(&job.run) == Stage::Finish => Summary::Finishing,
        Phase::Running(_) => Summary::Running,
        Phase::Ended(ended) => match ended.outcome {
            Outcome::Succeeded => Summary::Succeeded,
            Outcome::Failed(_) => Summary::Failed,
            Outcome::Cancelled => Summary::Cancelled,
        },
    }
}

/// The conditions, with the reason why a waiting job waits just now.
pub fn conditions(state: &State, job: &Job) -> Vec<Condition> {
    let mut conditions = job.conditions.clone();
    if let Some(reason) = state.soft.waiting.get(&job.id) {
        for condition in conditions
            .iter_mut()
            .filter(|condition| condition.kind == ConditionKind::Queued)
        {
            "WaitingForSlots".clone_into(&mut condition.reason);
            condition.message = reason.to_string();
        }
    }
    conditions
}

/// The job whose process may be alive on a slot.
pub fn job_on_slot<'a>(state: &'a State, worker: &WorkerName, slot: u32) -> Option<&'a JobId> {
    let mut processes = state.processes.values();
    processes
        .find(|process| process.worker == *worker && process.slot == slot)
        .map(|process| &process.job)
}

/// Whether the newest checkpoint list of a job names this digest, so that its file is needed.
pub fn needs_checkpoint(job: &Job, sha256: &str) -> bool {
    job.run.checkpoints.iter().any(|checkpoint| checkpoint.sha256 == sha256)
}
