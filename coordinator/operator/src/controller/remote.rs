//! What the coordinator says of a job → what is decided from, and what the resource says of it.

use firn_core::metrics::watched;
use firn_proto::v1alpha1 as wire;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::plan::Remote;
use crate::resource::{BestMetric, Loss, ResourceStatus, StatusCondition, TrainingProgress, WorkerCounts};

/// Losses that a resource lists.
const MOST_LOSSES: usize = 5;

impl Remote {
    /// Of the job as the coordinator tells it.
    pub fn of(job: &wire::FineTuneJob) -> Self {
        let status = job.status.clone().unwrap_or_default();
        let spec = job.spec.clone().unwrap_or_default();
        let workers = spec
            .resources
            .and_then(|resources| resources.workers)
            .unwrap_or_default();
        let (min, max) = (workers.min.unwrap_or(1), workers.max.unwrap_or(1));
        let summary = status.summary.as_str();
        let is_true = |kind: &str| {
            let mut conditions = status.conditions.iter();
            conditions.any(|condition| condition.r#type == kind && condition.status == "True")
        };
        let training = spec.training.unwrap_or_default();
        let metric = watched::name(&training.best_metric, &training.best_metric_class);
        let has_ended = is_end(summary);
        let living = status.ranks.iter().filter(|rank| rank.state != "Exited");
        let mut names: Vec<&str> = living.map(|rank| rank.worker.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let works = matches!(summary, "Starting" | "Running" | "Suspending" | "Finishing");
        let living = if works { names.len() as u32 } else { 0 };
        let metadata = job.metadata.clone().unwrap_or_default();
        Self {
            id: metadata.resource_name.trim_start_matches("jobs/").to_owned(),
            run: metadata
                .create_time
                .map(|time| format!("{}.{:09}", time.seconds, time.nanos))
                .unwrap_or_default(),
            workers: (min, max),
            priority: spec.scheduling.and_then(|scheduling| scheduling.priority).unwrap_or(0),
            is_suspended: is_true("Suspended"),
            is_at_rest: !works,
            has_ended,
            living,
            status: ResourceStatus {
                observed_generation: None,
                summary: Some(summary.to_owned()),
                job: Some(metadata.resource_name.trim_start_matches("jobs/").to_owned()),
                conditions: status.conditions.iter().map(condition).collect(),
                progress: status.progress.as_ref().map(progress),
                best: best(&status, &metric),
                workers: Some(WorkerCounts {
                    ready: i64::from(living),
                    min: i64::from(min),
                    max: i64::from(max),
                    text: format!("{living}/{max}"),
                }),
                restarts: Some(i64::from(status.restarts)),
                losses: losses(&status),
                artifacts: artifacts(&status),
                start_time: since(&status, "Running"),
                completion_time: since(&status, "Succeeded")
                    .or_else(|| since(&status, "Failed"))
                    .filter(|_| has_ended),
            },
        }
    }
}

/// Whether a job of this summary is over.
pub(super) fn is_end(summary: &str) -> bool {
    matches!(summary, "Succeeded" | "Failed" | "Cancelled")
}

/// Whole seconds: the API server keeps no more.
fn time(time: Option<&prost_types::Timestamp>) -> Time {
    let second = time.map_or(0, |time| time.seconds);
    Time(Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH))
}

fn condition(condition: &wire::Condition) -> StatusCondition {
    StatusCondition {
        r#type: condition.r#type.clone(),
        status: condition.status.clone(),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
        last_transition_time: time(condition.last_transition_time.as_ref()),
        observed_generation: None,
    }
}

fn since(status: &wire::JobStatus, kind: &str) -> Option<Time> {
    let mut conditions = status.conditions.iter();
    let found = conditions.find(|condition| condition.r#type == kind && condition.status == "True")?;
    Some(time(found.last_transition_time.as_ref()))
}

fn progress(progress: &wire::Progress) -> TrainingProgress {
    TrainingProgress {
        epoch: i64::from(progress.epoch),
        epochs: i64::from(progress.epochs),
        step: progress.step as i64,
        steps: progress.total_steps as i64,
        loss: Some(progress.loss).filter(|loss| loss.is_finite() && progress.step > 0),
    }
}

/// The metric that chooses the best checkpoint, of the best epoch.
fn best(status: &wire::JobStatus, metric: &str) -> Option<BestMetric> {
    let epoch = status.best_epoch?;
    let (split, name) = metric.split_once('/')?;
    let of_best = |evaluation: &&wire::Evaluation| evaluation.split == split && evaluation.epoch == epoch;
    let evaluation = status.evaluations.iter().find(of_best)?;
    let value = *evaluation.metrics.get(name).filter(|value| value.is_finite())?;
    Some(BestMetric {
        name: metric.to_owned(),
        value,
        text: format!("{name} {value:.4}"),
        epoch: i64::from(epoch) + 1,
    })
}

fn losses(status: &wire::JobStatus) -> Vec<Loss> {
    let newest = status.losses.len().saturating_sub(MOST_LOSSES);
    let loss = |loss: &wire::Loss| {
        let failure = loss.failure.clone().unwrap_or_default();
        Loss {
            time: time(loss.time.as_ref()),
            reason: failure.reason,
            message: failure.message,
            worker: Some(failure.host).filter(|host| !host.is_empty()),
            cause: None,
        }
    };
    status.losses[newest..].iter().map(loss).collect()
}

/// The folder of the files, or `coordinator`.
fn artifacts(status: &wire::JobStatus) -> Option<String> {
    let location = &status.artifacts.first()?.location;
    let folder = location
        .rsplit_once('/')
        .map_or(location.as_str(), |(folder, _)| folder);
    Some(folder.to_owned())
}
