//! The lines that stay on the screen while a job is followed: what it waits for, what it found, and each evaluation.
//!
//! Snapshots arrive at any rate and may be skipped, so a milestone is a difference between the snapshot now and what
//! was told already.

use std::collections::BTreeSet;

use firn_proto::v1alpha1::{DatasetSummary, Evaluation, FineTuneJob, JobStatus, Progress};

use super::humanise::{self, counted, metric, rate};

/// Metrics of an evaluation's line.
const SHOWN: [&str; 3] = ["loss", "accuracy", "f1_macro"];

/// What was told already.
#[derive(Debug, Default)]
pub(crate) struct Milestones {
    waiting: String,
    generation: u64,
    dataset_told: bool,
    model_told: bool,
    activity: String,
    evaluations: usize,
}

impl Milestones {
    /// The lines that `job` adds to those told before.
    pub(crate) fn new_lines(&mut self, job: &FineTuneJob) -> Vec<String> {
        let Some(status) = &job.status else { return Vec::new() };
        let mut lines = Vec::new();
        lines.extend(self.waiting(status));
        lines.extend(self.gang(status));
        lines.extend(self.model(status));
        lines.extend(self.dataset(status));
        for evaluation in status.evaluations.iter().skip(self.evaluations) {
            lines.push(evaluation_line(status, evaluation));
        }
        self.evaluations = status.evaluations.len();
        lines.extend(self.activity(status));
        lines
    }

    fn waiting(&mut self, status: &JobStatus) -> Option<String> {
        if status.summary != "Queued" {
            self.waiting.clear();
            return None;
        }
        let reason = status
            .conditions
            .last()
            .map(|condition| condition.message.clone())
            .unwrap_or_default();
        let line = if reason.is_empty() {
            "queued".to_owned()
        } else {
            format!("queued: {reason}")
        };
        (self.waiting != line).then(|| {
            self.waiting.clone_from(&line);
            line
        })
    }

    fn gang(&mut self, status: &JobStatus) -> Option<String> {
        if status.generation <= self.generation || status.ranks.is_empty() {
            return None;
        }
        let first = self.generation == 0 && status.restarts == 0;
        self.generation = status.generation;
        let workers: BTreeSet<&str> = status.ranks.iter().map(|rank| rank.worker.as_str()).collect();
        let named = if workers.len() <= 4 {
            workers.into_iter().collect::<Vec<_>>().join(", ")
        } else {
            counted(workers.len() as u64, "worker")
        };
        let ranks = counted(status.ranks.len() as u64, "rank");
        Some(if first {
            format!("starting {ranks} on {named}")
        } else {
            format!(
                "gang formed again: generation {}, {ranks} on {named}",
                status.generation
            )
        })
    }

    fn model(&mut self, status: &JobStatus) -> Option<String> {
        let model = status.model.as_ref().filter(|_| !self.model_told)?;
        self.model_told = true;
        let (frozen, trainable) = (
            humanise::count(model.frozen_parameters),
            humanise::count(model.trainable_parameters),
        );
        Some(format!(
            "model: {trainable} parameters train, {frozen} are frozen (cut: {})",
            model.cut
        ))
    }

    fn dataset(&mut self, status: &JobStatus) -> Vec<String> {
        let Some(dataset) = status.dataset.as_ref().filter(|_| !self.dataset_told) else {
            return Vec::new();
        };
        self.dataset_told = true;
        let mut lines = vec![format!("data: {}", dataset_line(dataset))];
        lines.extend(dataset.warnings.iter().map(|warning| format!("warning: {warning}")));
        lines
    }

    /// Training and validation have their own lines; the others are told when they begin.
    fn activity(&mut self, status: &JobStatus) -> Option<String> {
        let activity = &status.progress.as_ref()?.activity;
        if *activity == self.activity {
            return None;
        }
        self.activity.clone_from(activity);
        if Self::ended(status) {
            return None;
        }
        match activity.as_str() {
            "indexing" => Some("indexing the data set".to_owned()),
            "scanning" => Some("reading every sample once".to_owned()),
            "test" => Some("scoring the test split with the best checkpoint".to_owned()),
            "exporting" => Some("writing the artifacts".to_owned()),
            _ => None,
        }
    }

    fn ended(status: &JobStatus) -> bool {
        matches!(status.summary.as_str(), "Succeeded" | "Failed" | "Cancelled")
    }
}

/// `train 450, validation 60, test 60 samples; 3 classes`.
pub(crate) fn dataset_line(dataset: &DatasetSummary) -> String {
    let splits: Vec<String> = dataset
        .splits
        .iter()
        .map(|split| format!("{} {}", split.split, humanise::count(split.samples)))
        .collect();
    let classes = dataset.classes.len();
    let noun = if classes == 1 { "class" } else { "classes" };
    format!("{} samples; {classes} {noun}", splits.join(", "))
}

/// `epoch 2/10: step 20/150, 812 samples/s, loss 0.3121, 12s left`.
pub(crate) fn training_line(progress: &Progress) -> String {
    let mut parts = vec![format!("step {}/{}", progress.step, progress.total_steps)];
    if progress.samples_per_second > 0.0 {
        parts.push(format!("{} samples/s", rate(progress.samples_per_second)));
    }
    if progress.step > 0 {
        parts.push(format!("loss {}", metric(progress.loss)));
    }
    if let Some(eta) = progress.eta_seconds {
        parts.push(format!("{} left", humanise::seconds(eta)));
    }
    format!("epoch {}/{}: {}", progress.epoch + 1, progress.epochs, parts.join(", "))
}

fn evaluation_line(status: &JobStatus, evaluation: &Evaluation) -> String {
    let metrics: Vec<String> = SHOWN
        .iter()
        .filter_map(|name| {
            evaluation
                .metrics
                .get(*name)
                .map(|value| format!("{name} {}", metric(*value)))
        })
        .collect();
    let epochs = status.progress.as_ref().map_or(0, |progress| progress.epochs);
    let metrics = metrics.join(", ");
    if evaluation.split == "validation" {
        let best = if status.best_epoch == Some(evaluation.epoch) {
            " (best so far)"
        } else {
            ""
        };
        format!("epoch {}/{epochs}: validation {metrics}{best}", evaluation.epoch + 1)
    } else {
        format!(
            "{}: {metrics} (checkpoint of epoch {})",
            evaluation.split,
            evaluation.epoch + 1
        )
    }
}

/// The newest validation metrics, for the live line.
pub(crate) fn newest_validation(status: &JobStatus) -> Option<String> {
    let newest = status
        .evaluations
        .iter()
        .rfind(|evaluation| evaluation.split == "validation")?;
    let metrics: Vec<String> = SHOWN
        .iter()
        .filter_map(|name| {
            newest
                .metrics
                .get(*name)
                .map(|value| format!("{name} {}", metric(*value)))
        })
        .collect();
    Some(format!("validation {}", metrics.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::view::samples;

    #[test]
    fn a_job_tells_its_story_once_from_queue_to_test() {
        let mut milestones = Milestones::default();
        let mut story = Vec::new();
        for job in [
            samples::queued(),
            samples::queued(),
            samples::running(),
            samples::running(),
            samples::succeeded(),
        ] {
            story.extend(milestones.new_lines(&job));
        }
        let expected = [
            "queued: needs 2 slots on 2 workers; 1 worker is attached",
            "starting 2 ranks on local-0, local-1",
            "model: 770 parameters train, 22,565,376 are frozen (cut: all)",
            "data: train 450, validation 60, test 60 samples; 2 classes",
            "warning: class `neutral` has no validation sample",
            "epoch 1/2: validation loss 0.5210, accuracy 0.8500, f1_macro 0.8492 (best so far)",
            "epoch 2/2: validation loss 0.4310, accuracy 0.9000, f1_macro 0.8992 (best so far)",
            "test: loss 0.4502, accuracy 0.9167, f1_macro 0.9159 (checkpoint of epoch 2)",
        ];
        assert_eq!(story, expected);
    }

    #[test]
    fn a_gang_that_forms_again_is_told() {
        let mut milestones = Milestones::default();
        milestones.new_lines(&samples::running());
        let mut again = samples::running();
        let status = again.status.as_mut().unwrap();
        (status.generation, status.restarts) = (2, 1);
        assert_eq!(
            milestones.new_lines(&again),
            ["gang formed again: generation 2, 2 ranks on local-0, local-1"]
        );
    }

    #[test]
    fn the_training_line_holds_only_what_is_known() {
        let mut progress = samples::running().status.unwrap().progress.unwrap();
        assert_eq!(
            training_line(&progress),
            "epoch 2/2: step 20/30, 812 samples/s, loss 0.3121, 12s left"
        );
        progress.step = 0;
        progress.samples_per_second = 0.0;
        progress.eta_seconds = None;
        assert_eq!(training_line(&progress), "epoch 2/2: step 0/30");
    }
}
