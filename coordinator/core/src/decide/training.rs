//! Training: steps are committed, checkpoints come to exist, epochs end, and rank 0 finishes the job.

use std::collections::BTreeSet;

use super::decision_builder::DecisionBuilder;
use super::members::{Caller, working, working_rank_zero};
use super::{losses, settle};
use crate::effect::Effect;
use crate::identifiers::{JobId, RankIdentity};
use crate::metrics::Watched;
use crate::order;
use crate::range_test::RangeTest;
use crate::record::{JobEvent, Source};
use crate::reject::Reject;
use crate::reply::Reply;
use crate::selection;
use crate::stage::{self, Stage};
use crate::state::{Artifact, Checkpoint, FailureReason, Job, Outcome, Run, SplitName, Step};

/// Files that one job may leave.
const MOST_ARTIFACTS: usize = 1_000;
/// Newest checkpoints that are kept, beside the best one.
const KEPT_CHECKPOINTS: usize = 2;

pub(super) fn commit_steps(
    draft: &mut DecisionBuilder<'_>,
    identity: &RankIdentity,
    steps: &[Step],
) -> Result<Reply, Reject> {
    let caller = working_rank_zero(draft.base(), identity)?;
    let job = caller.job;
    let committed = job.run.ledger.committed;
    let mut next = committed;
    let fresh: Vec<Step> = steps.iter().filter(|step| step.step >= committed).copied().collect();
    for step in &fresh {
        check_step(job, step, next)?;
        if !step.loss.is_finite() || !step.gradient_norm.is_finite() || !step.learning_rate.is_finite() {
            return Ok(fail_not_finite(draft, &caller, step));
        }
        next += 1;
    }
    if !fresh.is_empty() {
        draft.record_job(
            &job.id,
            JobEvent::StepsCommitted {
                generation: job.generation,
                process: Some(identity.process.clone()),
                steps: fresh,
            },
        );
        end_range_test(draft, &job.id);
    }
    Ok(Reply::StepsCommitted(next))
}

/// A range test is over with its last step, and has nothing to leave.
fn end_range_test(draft: &mut DecisionBuilder<'_>, id: &JobId) {
    let test = draft.state().jobs.get(id).and_then(|job| RangeTest::of_job(job));
    if test.is_some_and(|test| test.end().is_some()) {
        losses::end_job(draft, id, Outcome::Cancelled);
        settle(draft);
    }
}

fn source(job: &Job, identity: &RankIdentity) -> Option<Source> {
    Some(Source {
        generation: job.generation,
        process: identity.process.clone(),
    })
}

fn check_step(job: &Job, step: &Step, next: u64) -> Result<(), Reject> {
    let epoch = match Stage::of(&job.run) {
        Stage::Train { epoch } | Stage::Validate { epoch } => epoch,
        Stage::Test { .. } | Stage::Finish => job.run.epochs_concluded.saturating_sub(1),
        stage @ (Stage::Index | Stage::Prepare(_)) => {
            return Err(Reject::OutOfOrder {
                expected: stage.describe(),
                found: format!("step {}", step.step),
            });
        }
    };
    if step.step != next {
        return Err(Reject::StepGap {
            expected: next,
            found: step.step,
        });
    }
    let end = stage::steps_per_epoch(job) * (u64::from(epoch) + 1);
    if step.step >= end {
        return Err(Reject::StepBeyondEpoch {
            epoch,
            end,
            found: step.step,
        });
    }
    if step.epoch != epoch {
        let reason = format!("expected epoch {epoch} of step {}, found {}", step.step, step.epoch);
        return Err(Reject::Invalid {
            field: "steps.epoch",
            reason,
        });
    }
    check_positions(job, step)
}

/// The step is that of its global batch, and no more samples took part than there are.
fn check_positions(job: &Job, step: &Step) -> Result<(), Reject> {
    let samples = stage::train_samples(job);
    let in_epoch = step.step - stage::steps_per_epoch(job) * u64::from(step.epoch);
    let batch = order::global_batch(in_epoch, job.spec.training.batch_size, samples);
    if (step.first_position, step.end_position) != (batch.start, batch.end) {
        let reason = format!(
            "expected positions [{}, {}) in step {}, found [{}, {})",
            batch.start, batch.end, step.step, step.first_position, step.end_position
        );
        return Err(Reject::Invalid {
            field: "steps.first_position",
            reason,
        });
    }
    let most = batch.end - batch.start;
    if u64::from(step.samples) > most {
        let reason = format!("expected at most {most} in step {}, found {}", step.step, step.samples);
        return Err(Reject::Invalid {
            field: "steps.samples",
            reason,
        });
    }
    Ok(())
}

fn fail_not_finite(draft: &mut DecisionBuilder<'_>, caller: &Caller<'_>, step: &Step) -> Reply {
    let message = format!(
        "step {} of epoch {} is not finite: loss {}, gradient norm {}, learning rate {}",
        step.step, step.epoch, step.loss, step.gradient_norm, step.learning_rate,
    );
    Reply::JobFailed(losses::fail_by(draft, caller, FailureReason::NumericalError, message))
}

pub(super) fn store_checkpoint(
    draft: &mut DecisionBuilder<'_>,
    identity: &RankIdentity,
    checkpoint: Checkpoint,
) -> Result<Reply, Reject> {
    let job = working_rank_zero(draft.base(), identity)?.job;
    check_digest(&checkpoint.sha256)?;
    let checkpoint = Checkpoint {
        ends_epoch: checkpoint.steps_done == stage::steps_per_epoch(job) * u64::from(checkpoint.epochs_done),
        ..checkpoint
    };
    if job.run.checkpoints.contains(&checkpoint) {
        return Ok(Reply::Done);
    }
    check_checkpoint(job, &checkpoint)?;
    let id = job.id.clone();
    let ends_epoch = checkpoint.ends_epoch;
    let source = source(job, identity);
    draft.record_job(&id, JobEvent::CheckpointCommitted { checkpoint, source });
    conclude_epoch(draft, &id);
    if let Some(job) = draft.state().jobs.get(&id).cloned().filter(|_| !ends_epoch) {
        drop_checkpoints(draft, &id, &job.run, job.run.best_epoch);
    }
    Ok(Reply::Done)
}

fn check_digest(sha256: &str) -> Result<(), Reject> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if sha256.len() != 64 || !sha256.bytes().all(is_hex) {
        let reason = format!("expected 64 lower-case hexadecimal digits, found `{sha256}`");
        return Err(Reject::Invalid {
            field: "sha256",
            reason,
        });
    }
    Ok(())
}

fn check_checkpoint(job: &Job, checkpoint: &Checkpoint) -> Result<(), Reject> {
    let stage = Stage::of(&job.run);
    let found = format!("a checkpoint after step {}", checkpoint.steps_done);
    if !matches!(stage, Stage::Train { .. }) {
        return Err(Reject::OutOfOrder {
            expected: stage.describe(),
            found,
        });
    }
    let committed = job.run.ledger.committed;
    let newest = job.run.resume().map(|newest| newest.steps_done);
    if checkpoint.steps_done > committed || newest.is_some_and(|newest| checkpoint.steps_done <= newest) {
        let expected = match newest {
            Some(newest) => {
                format!("a checkpoint after step {newest} and not after step {committed}, the last committed one")
            }
            None => format!("a checkpoint not after step {committed}, the last committed one"),
        };
        return Err(Reject::OutOfOrder { expected, found });
    }
    let epochs = checkpoint.steps_done / stage::steps_per_epoch(job).max(1);
    if u64::from(checkpoint.epochs_done) != epochs {
        let reason = format!(
            "expected {epochs} complete epochs after {} steps, found {}",
            checkpoint.steps_done, checkpoint.epochs_done,
        );
        return Err(Reject::Invalid {
            field: "epochs_done",
            reason,
        });
    }
    Ok(())
}

/// Ends the present epoch if its checkpoint exists and its evaluation, if there is one, is complete.
pub(super) fn conclude_epoch(draft: &mut DecisionBuilder<'_>, id: &JobId) {
    let Some(job) = draft.state().jobs.get(id).cloned() else {
        return;
    };
    let run = &job.run;
    let epoch = run.epochs_concluded;
    let is_evaluated = !stage::has_validation(run) || run.evaluation(SplitName::Validation, epoch).is_some();
    if run.training_end.is_some() || run.checkpoint_of_epoch(epoch).is_none() || !is_evaluated {
        return;
    }
    let training = &job.spec.training;
    let best_epoch = match stage::has_validation(run) {
        true => selection::best_stored(run, training.watched_for_best(), epoch),
        false => epoch,
    };
    draft.record_job(id, JobEvent::EpochConcluded { epoch, best_epoch });
    let value = |watched: Watched<'_>, epoch| selection::value(run, watched, epoch);
    if let Some(end) = selection::training_end(training, stage::has_validation(run), epoch, value) {
        draft.record_job(id, JobEvent::TrainingEnded { end });
    }
    drop_checkpoints(draft, id, run, Some(best_epoch));
}

/// Drops all checkpoints but the newest ones and the best one.
fn drop_checkpoints(draft: &mut DecisionBuilder<'_>, id: &JobId, run: &Run, best_epoch: Option<u32>) {
    let older = run.checkpoints.len().saturating_sub(KEPT_CHECKPOINTS);
    let best = best_epoch.and_then(|epoch| run.checkpoint_of_epoch(epoch));
    let is_kept = |position: usize, checkpoint: &Checkpoint| position >= older || Some(checkpoint) == best;
    let (kept, dropped): (Vec<_>, Vec<_>) = run
        .checkpoints
        .iter()
        .enumerate()
        .partition(|(position, checkpoint)| is_kept(*position, checkpoint));
    let kept: BTreeSet<&str> = kept
        .into_iter()
        .map(|(_, checkpoint)| checkpoint.sha256.as_str())
        .collect();
    let dropped: Vec<String> = dropped
        .into_iter()
        .map(|(_, checkpoint)| checkpoint.sha256.clone())
        .filter(|sha256| !kept.contains(sha256.as_str()))
        .collect();
    if dropped.is_empty() {
        return;
    }
    draft.record_job(
        id,
        JobEvent::CheckpointsDropped {
            sha256: dropped.clone(),
        },
    );
    for sha256 in dropped {
        draft.effect(Effect::DeleteCheckpoint {
            job: id.clone(),
            sha256,
        });
    }
}

/// A file name, which may stand in one folder.
fn is_artifact_name(name: &str) -> bool {
    let is_plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0']);
    name.len() <= 255 && name.split('/').count() <= 2 && name.split('/').all(is_plain)
}

pub(super) fn store_artifact(
    draft: &mut DecisionBuilder<'_>,
    identity: &RankIdentity,
    artifact: Artifact,
) -> Result<Reply, Reject> {
    let job = working(draft.base(), identity)?.job;
    check_digest(&artifact.sha256)?;
    if !is_artifact_name(&artifact.name) {
        let reason = format!(
            "expected a plain file name, or one in a folder, found `{}`",
            artifact.name
        );
        return Err(Reject::Invalid {
            field: "artifact.name",
            reason,
        });
    }
    let artifacts = &job.run.artifacts;
    if artifacts.contains(&artifact) {
        return Ok(Reply::Done);
    }
    let replaces = artifacts.iter().any(|other| other.name == artifact.name);
    if artifacts.len() >= MOST_ARTIFACTS && !replaces {
        return Err(Reject::LimitReached {
            what: "artifacts of one job",
            limit: MOST_ARTIFACTS,
        });
    }
    let source = source(job, identity);
    draft.record_job(&job.id, JobEvent::ArtifactStored { artifact, source });
    Ok(Reply::Done)
}

pub(super) fn finish(draft: &mut DecisionBuilder<'_>, identity: &RankIdentity) -> Result<Reply, Reject> {
    let state = draft.base();
    if let Some(job) = state.job(&identity.job)
        && job.generation == identity.generation
        && job.outcome() == Some(&Outcome::Succeeded)
    {
        return Ok(Reply::Done);
    }
    let job = working_rank_zero(state, identity)?.job;
    let stage = Stage::of(&job.run);
    if stage != Stage::Finish {
        return Err(Reject::OutOfOrder {
            expected: stage.describe(),
            found: "the end of the job".to_owned(),
        });
    }
    losses::end_job(draft, &job.id, Outcome::Succeeded);
    settle(draft);
    Ok(Reply::Done)
}
