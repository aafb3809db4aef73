//! The lines that stay on the screen while a job is followed: what it waits for, what it found, and each evaluation.
//!
//! Snapshots arrive at any rate and may be skipped, so a milestone is a difference between the snapshot now and what
//! was told already.

use std::collections::{BTreeMap, BTreeSet};

use firn_proto::v1alpha1::{Condition, DatasetSummary, Evaluation, FineTuneJob, JobStatus, Loss, Progress};
use prost_types::Timestamp;

use super::{
    humanise::{self, counted, has_diverged, metric, rate},
    task,
};

/// Metrics of an evaluation's line.
const SHOWN: usize = 3;

/// What was told already.
#[derive(Debug, Default)]
pub(crate) struct Milestones {
    waiting: String,
    suspension: String,
    generation: u64,
    /// Generation and time of the loss that was told last.
    loss: Option<(u64, Option<Timestamp>)>,
    dataset_told: bool,
    model_told: bool,
    activity: String,
    /// Split, epoch and metrics of those that were told. Of many a snapshot has only the newest, so a place in its list means nothing.
    evaluations: Vec<(String, u32, BTreeMap<String, f64>)>,
}

impl Milestones {
    /// The lines that `job` adds to those told before.
    pub(crate) fn new_lines(&mut self, job: &FineTuneJob) -> Vec<String> {
        let Some(status) = &job.status else { return Vec::new() };
        let mut lines = Vec::new();
        lines.extend(self.suspension(status));
        lines.extend(self.waiting(status));
        lines.extend(self.losses_and_gang(status));
        lines.extend(self.model(status));
        lines.extend(self.dataset(status));
        lines.extend(self.evaluations(status));
        lines.extend(self.activity(status));
        lines
    }

    fn evaluations(&mut self, status: &JobStatus) -> Vec<String> {
        let key = |evaluation: &Evaluation| (evaluation.split.clone(), evaluation.epoch, evaluation.metrics.clone());
        let is_new = |evaluation: &&Evaluation| !self.evaluations.contains(&key(evaluation));
        let new: Vec<&Evaluation> = status.evaluations.iter().filter(is_new).collect();
        let lines = new
            .iter()
            .map(|evaluation| evaluation_line(status, evaluation))
            .collect();
        self.evaluations = status.evaluations.iter().map(key).collect();
        lines
    }

    fn waiting(&mut self, status: &JobStatus) -> Option<String> {
        let reason = condition(status, "Queued").map_or("", |queued| &queued.message);
        let warm = condition(status, "Running").filter(|running| running.reason == "WaitingForWorkers");
        let line = match (status.summary.as_str(), warm) {
            ("Queued", _) if reason.is_empty() => "queued".to_owned(),
            ("Queued", _) => format!("queued: {reason}"),
            (_, Some(running)) if !Self::ended(status) => format!("waits: {}", running.message),
            _ => {
                self.waiting.clear();
                return None;
            }
        };
        (self.waiting != line).then(|| {
            self.waiting.clone_from(&line);
            line
        })
    }

    /// That a job gives its slots back, that it has, and that it goes on.
    fn suspension(&mut self, status: &JobStatus) -> Option<String> {
        let suspended = condition(status, "Suspended").filter(|_| !Self::ended(status))?;
        let line = match suspended.reason.as_str() {
            // Whoever begins to watch later needs no history.
            "Resumed" if self.suspension.is_empty() => return None,
            reason => format!("{}: {}", reason.to_lowercase(), suspended.message),
        };
        (self.suspension != line).then(|| {
            self.suspension.clone_from(&line);
            line
        })
    }

    /// Each loss once, and how the job goes on; in one line if both are new.
    fn losses_and_gang(&mut self, status: &JobStatus) -> Vec<String> {
        let mut lines = self.losses(status);
        let Some(gang) = self.gang(status) else { return lines };
        match lines.last_mut() {
            Some(loss) => *loss = format!("{loss}; {gang}"),
            None => lines.push(gang),
        }
        lines
    }

    fn losses(&mut self, status: &JobStatus) -> Vec<String> {
        let told = self.loss;
        let mark = |loss: &Loss| Some((loss.generation, loss.time));
        // The list is cut at its beginning, so a place in it means nothing.
        let known = status
            .losses
            .iter()
            .rposition(|loss| told.is_some() && mark(loss) == told);
        let new = &status.losses[known.map_or(0, |known| known + 1)..];
        self.loss = status.losses.last().and_then(mark).or(told);
        if Self::ended(status) {
            // The failure is told at the end.
            return Vec::new();
        }
        let message = |loss: &Loss| loss.failure.as_ref().map(|failure| failure.message.clone());
        let mut messages: Vec<String> = new.iter().filter_map(message).collect();
        // Whoever begins to watch late needs no history.
        if self.generation == 0 && messages.len() > 1 {
            let (losses, newest) = (messages.len() as u64, messages.pop().unwrap_or_default());
            messages = vec![format!(
                "{} losses so far, the newest: {newest}",
                humanise::count(losses)
            )];
        }
        messages
    }

    /// The first formation is told when it starts, later ones when they work.
    fn gang(&mut self, status: &JobStatus) -> Option<String> {
        if status.generation <= self.generation || status.ranks.is_empty() {
            return None;
        }
        let newest = status
            .conditions
            .iter()
            .rfind(|condition| condition.r#type == "Running");
        let works = newest.filter(|running| running.status == "True");
        let is_first = self.generation == 0 && status.generation == 1;
        if works.is_none() && !is_first {
            return None;
        }
        self.generation = status.generation;
        let ranks = ranks_on_workers(status);
        if is_first {
            return Some(format!("starting {ranks}"));
        }
        // The coordinator adds where the ranks go on, unless it is where they are.
        let whence = works
            .and_then(|works| works.message.split_once("; "))
            .map(|(_, whence)| whence);
        let step = status.progress.as_ref().map_or(0, |progress| progress.step);
        Some(match whence {
            Some(whence) => format!("{whence}, with {ranks}"),
            None => format!("goes on with {ranks} at step {step}"),
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
        lines.extend(task::label_line(dataset));
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

fn condition<'a>(status: &'a JobStatus, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|condition| condition.r#type == kind)
}

/// `2 ranks on local-0, local-1`.
fn ranks_on_workers(status: &JobStatus) -> String {
    let workers: BTreeSet<&str> = status.ranks.iter().map(|rank| rank.worker.as_str()).collect();
    let named = match workers.len() {
        ..=4 => workers.into_iter().collect::<Vec<_>>().join(", "),
        many => counted(many as u64, "worker"),
    };
    format!("{} on {named}", counted(status.ranks.len() as u64, "rank"))
}

/// `train 450, validation 60, test 60 samples; 3 classes`.
pub(crate) fn dataset_line(dataset: &DatasetSummary) -> String {
    let splits: Vec<String> = dataset
        .splits
        .iter()
        .map(|split| format!("{} {}", split.split, humanise::count(split.samples)))
        .collect();
    format!("{} samples; {}", splits.join(", "), task::labels(dataset))
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
    let epochs = status.progress.as_ref().map_or(0, |progress| progress.epochs);
    let mut metrics = headlines(status, evaluation).join(", ");
    if evaluation.metrics.get("loss").is_some_and(|loss| has_diverged(*loss)) {
        metrics.push_str("; the training has diverged: a lower learningRate or a maxGradientNorm may help");
    }
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
    Some(format!("validation {}", headlines(status, newest).join(" ")))
}

/// The first few metrics of an evaluation: `loss 0.5210`.
fn headlines(status: &JobStatus, evaluation: &Evaluation) -> Vec<String> {
    let shown = task::headlines(status).into_iter().take(SHOWN);
    let line = |name: &str| Some(format!("{name} {}", metric(*evaluation.metrics.get(name)?)));
    shown.filter_map(line).collect()
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
            "classes: negative 225/30/30, positive 225/30/30 (train/validation/test)",
            "warning: class `neutral` has no validation sample",
            "epoch 1/2: validation loss 0.5210, accuracy 0.8500, f1_macro 0.8492 (best so far)",
            "epoch 2/2: validation loss 0.4310, accuracy 0.9000, f1_macro 0.8992 (best so far)",
            "test: loss 0.4502, accuracy 0.9167, f1_macro 0.9159 (checkpoint of epoch 2)",
        ];
        assert_eq!(story, expected);
    }

    #[test]
    fn of_many_classes_the_first_are_named_and_a_name_stays_on_its_line() {
        let mut dataset = samples::running().status.unwrap().dataset.unwrap();
        dataset.classes = (0..256).map(|class| format!("n{class:08}")).collect();
        dataset.class_count = 21_841;
        dataset.classes[0] = "a\nb".to_owned();
        dataset.classes[1] = "é".repeat(60);
        for split in &mut dataset.splits {
            split.class_counts = vec![1500; 256];
        }
        let line = task::label_line(&dataset).unwrap();
        assert!(
            line.starts_with(&format!("classes: a\\nb 1,500/1,500/1,500, {}… 1,500/", "é".repeat(40))),
            "{line}"
        );
        assert!(
            line.ends_with("n00000019 1,500/1,500/1,500, and 21,821 more (train/validation/test)"),
            "{line}"
        );
    }

    const LOSS: &str = "rank 1 on host-a was killed by signal 9 (SIGKILL)";

    /// The job of `samples::recovered`, before its gang works again.
    fn recovering(reason: &str, message: &str) -> FineTuneJob {
        let mut job = samples::recovered();
        let running = job.status.as_mut().unwrap().conditions.last_mut().unwrap();
        running.status = "False".to_owned();
        (running.reason, running.message) = (reason.to_owned(), message.to_owned());
        job
    }

    #[test]
    fn a_loss_and_how_the_job_goes_on_are_told_in_one_line_if_both_are_new() {
        let mut milestones = Milestones::default();
        milestones.new_lines(&samples::running());
        let lines = milestones.new_lines(&samples::recovered());
        assert_eq!(lines, [format!("{LOSS}; goes on with 1 rank on local-0 at step 20")]);
        assert!(milestones.new_lines(&samples::recovered()).is_empty());
    }

    #[test]
    fn a_loss_is_told_at_once_and_the_recovery_when_it_is_there() {
        let mut milestones = Milestones::default();
        milestones.new_lines(&samples::running());
        let waits = "needs 2 workers, 1 is left; the ranks that are left stay warm";
        let lines = milestones.new_lines(&recovering("Rendezvous", "waits for the ranks that are left to join"));
        assert_eq!(lines, [LOSS]);
        for expected in [&[format!("waits: {waits}")][..], &[]] {
            assert_eq!(milestones.new_lines(&recovering("WaitingForWorkers", waits)), expected);
        }
        let mut again = samples::recovered();
        let status = again.status.as_mut().unwrap();
        status.generation = 3;
        status.conditions.last_mut().unwrap().message =
            "1 rank joined in generation 3 (solo); goes on from the checkpoint after step 15".to_owned();
        let lines = milestones.new_lines(&again);
        assert_eq!(
            lines,
            ["goes on from the checkpoint after step 15, with 1 rank on local-0"]
        );
    }

    #[test]
    fn whoever_watches_late_is_told_the_newest_loss_alone() {
        let mut job = samples::recovered();
        let losses = &mut job.status.as_mut().unwrap().losses;
        let mut newer = losses[0].clone();
        newer.generation = 2;
        newer.failure.as_mut().unwrap().message = "worker b was shut down".to_owned();
        losses.push(newer);
        let lines = Milestones::default().new_lines(&job);
        let expected = "2 losses so far, the newest: worker b was shut down; goes on with 1 rank on local-0 at step 20";
        assert_eq!(lines[0], expected);
    }

    #[test]
    fn a_worker_that_joins_is_told_without_a_loss() {
        let mut milestones = Milestones::default();
        milestones.new_lines(&samples::recovered());
        let mut grown = samples::running();
        let status = grown.status.as_mut().unwrap();
        status.generation = 3;
        status.losses = samples::recovered().status.unwrap().losses;
        let lines = milestones.new_lines(&grown);
        assert_eq!(lines, ["goes on with 2 ranks on local-0, local-1 at step 20"]);
    }

    #[test]
    fn a_suspension_and_its_end_are_told_once() {
        let mut milestones = Milestones::default();
        milestones.new_lines(&samples::running());
        let mut lines = Vec::new();
        for (summary, status, reason, message) in [
            ("Suspending", "True", "Suspending", "its ranks hand over and leave"),
            ("Suspending", "True", "Suspending", "its ranks hand over and leave"),
            ("Suspended", "True", "Suspended", "holds no slots until it is resumed"),
            ("Starting", "False", "Resumed", "a person resumed it"),
            ("Running", "False", "Resumed", "a person resumed it"),
        ] {
            let mut job = samples::running();
            let shown = job.status.as_mut().unwrap();
            shown.summary = summary.to_owned();
            shown.conditions.push(Condition {
                r#type: "Suspended".to_owned(),
                status: status.to_owned(),
                reason: reason.to_owned(),
                message: message.to_owned(),
                last_transition_time: None,
            });
            lines.extend(milestones.new_lines(&job));
        }
        let expected = [
            "suspending: its ranks hand over and leave",
            "suspended: holds no slots until it is resumed",
            "resumed: a person resumed it",
        ];
        assert_eq!(lines, expected);
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
