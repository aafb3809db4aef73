//! Who may speak for a gang: a living member of its newest formation.

use crate::identifiers::RankIdentity;
use crate::reject::Reject;
use crate::state::{Gang, Job, Member, MemberState, Outcome, Phase, State};

/// A rank whose membership has been checked.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub(crate) job: &'a Job,
    pub(crate) gang: &'a Gang,
    pub(crate) member: &'a Member,
}

/// Checks that the rank is a living member of the newest formation, complete or not.
pub(crate) fn caller<'a>(state: &'a State, identity: &RankIdentity) -> Result<Caller<'a>, Reject> {
    let id = &identity.job;
    let job = state.job(id).ok_or_else(|| Reject::JobNotFound { job: id.clone() })?;
    if job.generation != identity.generation {
        return Err(Reject::StaleGeneration {
            job: id.clone(),
            expected: job.generation,
            found: identity.generation,
        });
    }
    let not_a_member = || Reject::NotAMember {
        job: id.clone(),
        process: identity.process.clone(),
    };
    let gang = match &job.phase {
        Phase::Ended(ended) => {
            return Err(Reject::JobEnded {
                job: id.clone(),
                outcome: describe(&ended.outcome),
            });
        }
        Phase::Restarting(restart) => {
            return Err(Reject::GangBroken {
                job: id.clone(),
                cause: restart.cause.failure.message.clone(),
            });
        }
        _ => job.gang().ok_or_else(not_a_member)?,
    };
    let member = gang.member(&identity.process).ok_or_else(not_a_member)?;
    if member.state == MemberState::Exited {
        return Err(not_a_member());
    }
    Ok(Caller { job, gang, member })
}

/// Checks the same, and that the gang is or was complete. A gang that comes down may still deliver: no other one can have been formed.
pub(crate) fn working<'a>(state: &'a State, identity: &RankIdentity) -> Result<Caller<'a>, Reject> {
    let caller = caller(state, identity)?;
    let joined = caller
        .gang
        .members
        .iter()
        .filter(|member| member.state != MemberState::Starting)
        .count();
    let world_size = caller.gang.members.len();
    if joined < world_size || matches!(caller.job.phase, Phase::Starting(_)) {
        return Err(Reject::GangIncomplete {
            job: identity.job.clone(),
            joined,
            world_size,
        });
    }
    Ok(caller)
}

/// Checks the same, and that it is rank 0.
pub(crate) fn working_rank_zero<'a>(state: &'a State, identity: &RankIdentity) -> Result<Caller<'a>, Reject> {
    let caller = working(state, identity)?;
    match caller.member.rank {
        0 => Ok(caller),
        rank => Err(Reject::NotRankZero { rank }),
    }
}

/// An outcome in a few words.
pub(crate) fn describe(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Succeeded => "it succeeded".to_owned(),
        Outcome::Cancelled => "it was cancelled".to_owned(),
        Outcome::Failed(failure) => format!("it failed ({}): {}", failure.reason.as_str(), failure.message),
    }
}
