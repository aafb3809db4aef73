//! The sums of an evaluation become metrics, once the shell has computed what only the predictions can tell.

use std::collections::BTreeMap;

use super::decision_builder::DecisionBuilder;
use super::members::describe;
use super::{losses, passes, settle, training};
use crate::identifiers::{Generation, JobId};
use crate::metrics::bootstrap::Intervals;
use crate::record::JobEvent;
use crate::reject::Reject;
use crate::reply::Reply;
use crate::state::{Failure, FailureReason, Job, Pass, PassProgress, ShardOutcome, State};
use crate::task::Statistics;

/// The metrics of an evaluation whose shards are all in.
pub(super) fn score(
    draft: &mut DecisionBuilder<'_>,
    id: &JobId,
    (generation, pass): (Generation, Pass),
    (from_predictions, intervals, thresholds): (&BTreeMap<String, f64>, Option<Intervals>, Vec<f64>),
) -> Result<Reply, Reject> {
    let job = open_job(draft.base(), id, generation)?;
    let Pass::Evaluate { split, epoch } = pass else {
        return Err(Reject::OutOfOrder {
            expected: "an evaluation".to_owned(),
            found: format!("pass {pass}"),
        });
    };
    if passes::is_evaluated(job, pass) {
        return Ok(Reply::Done);
    }
    let Some(progress) = job.run.passes.get(&pass).filter(|progress| progress.is_complete()) else {
        return Err(Reject::OutOfOrder {
            expected: "a pass whose shards are all complete".to_owned(),
            found: format!("pass {pass}"),
        });
    };
    let schema = job.run.dataset.as_ref().map(|known| known.dataset.schema());
    let metrics = merge(progress).zip(schema);
    match metrics.and_then(|(sum, schema)| sum.evaluate(schema, from_predictions)) {
        Some(metrics) => {
            let metrics = metrics.within(intervals).with_thresholds(thresholds);
            draft.record_job(
                id,
                JobEvent::EvaluationCompleted {
                    split,
                    epoch,
                    metrics: Box::new(metrics),
                },
            );
            training::conclude_epoch(draft, id);
        }
        None => {
            let message = format!("split {split} has no sample that can be read");
            fail(draft, id, FailureReason::BadData, message);
        }
    }
    Ok(Reply::Done)
}

/// Without its scores an evaluation has no metrics, and computing them again would fail again: the job ends. No rank is to blame.
pub(super) fn give_up(
    draft: &mut DecisionBuilder<'_>,
    id: &JobId,
    (generation, pass): (Generation, Pass),
    reason: &str,
) -> Result<Reply, Reject> {
    let job = open_job(draft.base(), id, generation)?;
    if !passes::is_evaluated(job, pass) {
        let message = format!("the coordinator cannot score the pass {pass}: {reason}");
        fail(draft, id, FailureReason::InternalError, message);
    }
    Ok(Reply::Done)
}

/// The job, if it goes on in the formation whose pass is scored.
fn open_job<'a>(state: &'a State, id: &JobId, generation: Generation) -> Result<&'a Job, Reject> {
    let job = state.job(id).ok_or_else(|| Reject::JobNotFound { job: id.clone() })?;
    if let Some(outcome) = job.outcome() {
        return Err(Reject::JobEnded {
            job: id.clone(),
            outcome: describe(outcome),
        });
    }
    if job.generation != generation {
        return Err(Reject::StaleGeneration {
            job: id.clone(),
            expected: job.generation,
            found: generation,
        });
    }
    Ok(job)
}

fn fail(draft: &mut DecisionBuilder<'_>, id: &JobId, reason: FailureReason, message: String) {
    losses::fail_job(draft, id, Failure::of_no_rank(reason, message));
    settle(draft);
}

/// Adds up in shard order, so that the sums do not depend on who was faster.
fn merge(progress: &PassProgress) -> Option<Statistics> {
    let parts = progress.complete.values().filter_map(|shard| match &shard.outcome {
        ShardOutcome::Evaluated(statistics) => Some(statistics),
        ShardOutcome::Scanned { .. } => None,
    });
    Statistics::merged(parts)
}
