//! Passes: shards are handed out, come back, and count once.

use super::decision_builder::DecisionBuilder;
use super::losses;
use super::members::{Caller, working};
use super::quarantine::set_aside;
use super::reports::{Examined, examine};
use crate::identifiers::RankIdentity;
use crate::input::ShardReport;
use crate::record::JobEvent;
use crate::reject::Reject;
use crate::reply::{Directive, Reply};
use crate::soft_change::SoftChange;
use crate::stage::{self, Stage};
use crate::state::{FailureReason, Job, Pass, Shard, ShardTable, SplitName, State};

pub(super) fn request_shard(
    draft: &mut DecisionBuilder<'_>,
    identity: &RankIdentity,
    pass: Pass,
    held: &[u32],
) -> Result<Reply, Reject> {
    let state = draft.base();
    let job = match working(state, identity) {
        Err(Reject::JobEnded { outcome, .. }) => return Ok(Reply::Complete(Directive::Stop { reason: outcome })),
        caller => caller?.job,
    };
    let pass = named(job, pass);
    if stage::is_complete(&job.run, pass) {
        return Ok(Reply::Complete(stage::directive(job, Some(pass))));
    }
    if is_evaluated(job, pass) {
        // Only the checkpoint is missing.
        return Ok(Reply::Wait);
    }
    let Some(shards) = open_shards(job, pass)? else {
        return Ok(Reply::Wait);
    };
    let Some(shard) = next_shard(state, identity, (pass, held), shards) else {
        return Ok(Reply::Wait);
    };
    let process = identity.process.clone();
    draft.change_soft(SoftChange::ShardLeased {
        job: identity.job.clone(),
        pass,
        shard: shard.index,
        process,
    });
    Ok(Reply::Shard(shard))
}

/// The pass that is meant: of test there is only one, that of the best epoch.
pub(crate) fn named(job: &Job, pass: Pass) -> Pass {
    match (pass, job.run.best_epoch) {
        (
            Pass::Evaluate {
                split: SplitName::Test, ..
            },
            Some(best),
        ) => Pass::test(best),
        (pass, _) => pass,
    }
}

/// The shards of a pass that may be worked on now; `None` if it has none.
fn open_shards(job: &Job, pass: Pass) -> Result<Option<ShardTable>, Reject> {
    let stage = Stage::of(&job.run);
    if stage.open_pass() != Some(pass) {
        return Err(Reject::OutOfOrder {
            expected: stage.describe(),
            found: format!("pass {pass}"),
        });
    }
    let registered = job.run.dataset.as_ref();
    Ok(registered.and_then(|registered| registered.shards.get(&pass.split()).copied()))
}

/// A shard that nobody has, or else one that is the caller's but that it does not hold: it missed the first answer.
fn next_shard(
    state: &State,
    identity: &RankIdentity,
    (pass, held): (Pass, &[u32]),
    shards: ShardTable,
) -> Option<Shard> {
    let progress = state.job(&identity.job)?.run.passes.get(&pass);
    let leases = state.soft.shard_leases.get(&(identity.job.clone(), pass));
    let mut own = None;
    for index in 0..shards.count() {
        if progress.is_some_and(|progress| progress.complete.contains_key(&index)) {
            continue;
        }
        match leases.and_then(|leases| leases.get(&index)) {
            // Its lease may have been forgotten with an earlier coordinator.
            None if held.contains(&index) => {}
            None => return shards.shard(index),
            Some(holder) if *holder == identity.process && !held.contains(&index) => own = own.or(Some(index)),
            Some(_) => {}
        }
    }
    own.and_then(|index| shards.shard(index))
}

pub(super) fn complete_shard(
    draft: &mut DecisionBuilder<'_>,
    identity: &RankIdentity,
    (pass, index): (Pass, u32),
    report: ShardReport,
) -> Result<Reply, Reject> {
    let caller = working(draft.base(), identity)?;
    let job = caller.job;
    let pass = named(job, pass);
    let progress = job.run.passes.get(&pass);
    if is_settled(job, pass, index) {
        return Ok(Reply::ShardRepeated);
    }
    let shards = open_shards(job, pass)?;
    let count = shards.map_or(0, |shards| shards.count());
    let (Some(shards), Some(shard)) = (shards, shards.and_then(|shards| shards.shard(index))) else {
        return Err(Reject::NoSuchShard {
            pass,
            shards: count,
            shard: index,
        });
    };
    let (outcome, corrupt) = match examine(job, pass, shard, report)? {
        Examined::Good(outcome, corrupt) => (outcome, corrupt),
        Examined::NotFinite => return Ok(fail_not_finite(draft, &caller, pass)),
    };
    if let Some(failure) = set_aside(draft, &caller, corrupt) {
        return Ok(Reply::JobFailed(failure));
    }
    let rank = caller.member.rank;
    draft.record_job(
        &job.id,
        JobEvent::ShardCompleted {
            pass,
            shards,
            shard: index,
            rank,
            generation: job.generation,
            outcome,
        },
    );
    let done = progress.map_or(0, |progress| progress.complete.len()) + 1;
    if done == count as usize && matches!(pass, Pass::Evaluate { .. }) {
        draft.request_scores(&job.id);
    }
    Ok(Reply::ShardCounted)
}

/// Whether a shard has been counted already, by itself or with its pass.
pub(crate) fn is_settled(job: &Job, pass: Pass, shard: u32) -> bool {
    let progress = job.run.passes.get(&pass);
    progress.is_some_and(|progress| progress.complete.contains_key(&shard))
        || stage::is_complete(&job.run, pass)
        || is_evaluated(job, pass)
}

pub(super) fn is_evaluated(job: &Job, pass: Pass) -> bool {
    matches!(pass, Pass::Evaluate { split, epoch } if job.run.evaluation(split, epoch).is_some())
}

fn fail_not_finite(draft: &mut DecisionBuilder<'_>, caller: &Caller<'_>, pass: Pass) -> Reply {
    let message = format!("the loss of pass {pass} is not finite");
    Reply::JobFailed(losses::fail_by(draft, caller, FailureReason::NumericalError, message))
}
