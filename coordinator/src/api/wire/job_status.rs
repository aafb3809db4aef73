//! A job as people see it: core -> wire.

use std::sync::Arc;

use firn_core::{
    Now, State,
    identifiers::JobId,
    queries,
    state::{Condition, Evaluation, Job, Loss, Member, Outcome, SplitName},
};
use firn_proto::v1alpha1 as proto;

use super::{
    checkpoint::artifact_to_wire,
    dataset::{dataset_to_wire, model_to_wire, quarantined_to_wire},
    failure::failure_to_wire,
    names::job_name,
    stored_job,
    time::timestamp,
};

/// Confusion matrices of up to so many classes are shown for every epoch; larger ones only for the best epoch and for test.
const SMALL_MATRIX: usize = 32;

/// What the status of a job is made of; cheap to take out of the state.
pub(crate) struct Glance {
    pub(crate) job: Arc<Job>,
    conditions: Vec<Condition>,
}

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// All of it.
    Whole,
    /// For lists: without confusion matrices, per-class metrics and quarantined samples.
    Overview,
}

/// Takes what is needed of a job; `None` if there is no such job.
pub(crate) fn glance(state: &State, id: &JobId) -> Option<Glance> {
    let job = state.jobs.get(id)?;
    Some(Glance {
        job: Arc::clone(job),
        conditions: queries::conditions(state, job),
    })
}

/// The stored job with its status at `now`.
pub(crate) fn job_to_wire(glance: &Glance, detail: Detail, now: Now) -> proto::FineTuneJob {
    let job = &*glance.job;
    let mut shown = stored_job(&job.spec);
    let metadata = shown.metadata.get_or_insert_default();
    metadata.resource_name = job_name(&job.id);
    metadata.create_time = Some(timestamp(job.created_at));
    shown.status = Some(status(glance, detail, now));
    shown
}

fn status(glance: &Glance, detail: Detail, now: Now) -> proto::JobStatus {
    let job = &*glance.job;
    let run = &job.run;
    let quarantined = match detail {
        Detail::Whole => run.quarantined.iter().map(quarantined_to_wire).collect(),
        Detail::Overview => Vec::new(),
    };
    proto::JobStatus {
        conditions: glance.conditions.iter().map(condition_to_wire).collect(),
        summary: queries::summary(job).as_str().to_owned(),
        progress: Some(progress(job, now)),
        evaluations: run
            .evaluations
            .iter()
            .map(|evaluation| evaluation_to_wire(job, evaluation, detail))
            .collect(),
        best_epoch: run.best_epoch,
        ranks: job.members().iter().map(rank_to_wire).collect(),
        generation: job.generation.0,
        restarts: job.restarts,
        failure: failure(job),
        quarantined,
        dataset: run
            .dataset
            .as_ref()
            .map(|registered| dataset_to_wire(&registered.dataset)),
        artifacts: run.artifacts.iter().map(artifact_to_wire).collect(),
        model: run.model.as_ref().map(|registered| model_to_wire(&registered.model)),
        losses: job.losses.iter().map(loss_to_wire).collect(),
    }
}

fn loss_to_wire(loss: &Loss) -> proto::Loss {
    proto::Loss {
        generation: loss.generation.0,
        time: Some(timestamp(loss.cause.at)),
        failure: Some(failure_to_wire(&loss.cause.failure)),
    }
}

fn condition_to_wire(condition: &Condition) -> proto::Condition {
    proto::Condition {
        r#type: condition.kind.as_str().to_owned(),
        status: condition.status.as_str().to_owned(),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
        last_transition_time: Some(timestamp(condition.last_transition)),
    }
}

fn progress(job: &Job, now: Now) -> proto::Progress {
    let progress = queries::progress(job, now);
    proto::Progress {
        epoch: progress.epoch,
        epochs: progress.epochs,
        step: progress.step,
        total_steps: progress.total_steps,
        samples_per_second: progress.samples_per_second,
        loss: progress.loss.unwrap_or_default(),
        learning_rate: progress.learning_rate.unwrap_or_default(),
        eta_seconds: progress.eta_seconds,
        activity: progress.activity.as_str().to_owned(),
    }
}

fn evaluation_to_wire(job: &Job, evaluation: &Evaluation, detail: Detail) -> proto::Evaluation {
    let classes: &[String] = job
        .run
        .dataset
        .as_ref()
        .map_or(&[], |registered| &registered.dataset.classes);
    let metrics = &evaluation.metrics;
    let is_chosen = evaluation.split == SplitName::Test || Some(evaluation.epoch) == job.run.best_epoch;
    let is_detailed = detail == Detail::Whole && (is_chosen || classes.len() <= SMALL_MATRIX);
    let per_class = classes
        .iter()
        .zip(&metrics.per_class)
        .map(|(class, of)| proto::ClassMetrics {
            class: class.clone(),
            precision: of.precision,
            recall: of.recall,
            f1: of.f1,
            support: of.support,
        });
    proto::Evaluation {
        split: evaluation.split.as_str().to_owned(),
        epoch: evaluation.epoch,
        samples: metrics.samples,
        metrics: metrics.named(),
        confusion: if is_detailed {
            metrics.confusion.clone()
        } else {
            Vec::new()
        },
        per_class: if is_detailed { per_class.collect() } else { Vec::new() },
    }
}

fn rank_to_wire(member: &Member) -> proto::RankPlacement {
    proto::RankPlacement {
        rank: member.rank,
        worker: member.worker.to_string(),
        host: member.host.clone(),
        slot: member.slot,
        device: member.device.clone(),
        state: member.state.as_str().to_owned(),
    }
}

fn failure(job: &Job) -> Option<proto::Failure> {
    match job.outcome()? {
        Outcome::Succeeded => None,
        Outcome::Failed(failure) => Some(failure_to_wire(failure)),
        Outcome::Cancelled => Some(proto::Failure {
            reason: firn_core::state::FailureReason::Cancelled.as_str().to_owned(),
            message: "cancelled by a person".to_owned(),
            ..proto::Failure::default()
        }),
    }
}
