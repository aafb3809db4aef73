//! Who may speak for a gang: any process that is wanted may enrol, join and pulse; only members of the newest generation, once it is complete,
//! may change what the job has achieved.

use crate::identifiers::{JobId, RankIdentity};
use crate::reject::Reject;
use crate::state::{Gang, Job, Member, MemberState, Outcome, Phase, State};

/// A rank whose membership has been checked.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub(crate) job: &'a Job,
    pub(crate) gang: &'a Gang,
    pub(crate) member: &'a Member,
}

/// Checks that no newer coordinator has taken over.
pub(crate) fn check_epoch(state: &State, identity: &RankIdentity) -> Result<(), Reject> {
    let (ours, theirs) = (state.coordinator_epoch, identity.coordinator_epoch);
    if theirs > ours {
        return Err(Reject::StaleCoordinator { ours, theirs });
    }
    Ok(())
}

/// A job that goes on.
///
/// # Errors
/// [`Reject`], if there is none or it is over.
pub(crate) fn unfinished<'a>(state: &'a State, id: &JobId) -> Result<&'a Job, Reject> {
    let Some(job) = state.job(id) else {
        return Err(match state.past.contains_key(id) {
            true => Reject::JobOver { job: id.clone() },
            false => Reject::JobNotFound { job: id.clone() },
        });
    };
    match job.outcome() {
        Some(outcome) => Err(Reject::JobEnded {
            job: id.clone(),
            outcome: describe(outcome),
        }),
        None => Ok(job),
    }
}

/// Checks that the process is a living member or a recruit, whatever generation it knows.
pub(crate) fn wanted<'a>(state: &'a State, identity: &RankIdentity) -> Result<Caller<'a>, Reject> {
    check_epoch(state, identity)?;
    let id = &identity.job;
    let job = state.job(id).ok_or_else(|| Reject::JobNotFound { job: id.clone() })?;
    if let Phase::Ended(ended) = &job.phase {
        return Err(Reject::JobEnded {
            job: id.clone(),
            outcome: describe(&ended.outcome),
        });
    }
    let unwanted = |reason: &str| Reject::Unwanted {
        job: id.clone(),
        process: identity.process.clone(),
        reason: reason.to_owned(),
    };
    let gang = job.gang().ok_or_else(|| unwanted("the job has no gang at present"))?;
    if state
        .processes
        .get(&identity.process)
        .is_some_and(|process| process.stop.is_some())
    {
        return Err(unwanted("it was told to end"));
    }
    let living = |member: &&Member| member.state != MemberState::Exited;
    let member = gang
        .member(&identity.process)
        .filter(living)
        .or_else(|| gang.recruit(&identity.process));
    let member = member.ok_or_else(|| unwanted("the gang has gone on without it"))?;
    Ok(Caller { job, gang, member })
}

/// Checks that the rank is a living member of the newest generation, and that this one is complete.
pub(crate) fn working<'a>(state: &'a State, identity: &RankIdentity) -> Result<Caller<'a>, Reject> {
    check_epoch(state, identity)?;
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
    let caller = match wanted(state, identity) {
        Err(Reject::Unwanted { .. }) => return Err(not_a_member()),
        caller => caller?,
    };
    if caller.gang.member(&identity.process).is_none() {
        return Err(not_a_member());
    }
    let joined = caller.gang.members.iter().filter(|member| member.has_joined()).count();
    if matches!(caller.job.phase, Phase::Starting(_)) {
        return Err(Reject::GangIncomplete {
            job: id.clone(),
            joined,
            world_size: caller.gang.members.len(),
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
