//! A job that is followed, on the screen: a bar on a terminal, sparse lines elsewhere.
//!
//! Both tell the same milestones; they differ in how they show the steps between. All of it is talk and goes to
//! standard error.

use std::time::{Duration, Instant};

use firn_proto::v1alpha1::{FineTuneJob, JobStatus, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{
    humanise::{self, metric, rate},
    milestones::{Milestones, newest_validation, training_line},
};
use crate::cmd::console::Console;

/// Time between two lines about steps where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Shows the snapshots of one job.
pub(crate) struct ProgressView {
    milestones: Milestones,
    steps: Steps,
}

enum Steps {
    Bar(ProgressBar),
    Lines(SparseLines),
    /// `-o json` and `-o yaml`: the snapshots themselves are the output.
    Silent,
}

impl ProgressView {
    /// A bar if talk reaches a terminal, else lines.
    pub(crate) fn new(console: &Console) -> Self {
        let steps = if console.live {
            Steps::Bar(new_bar())
        } else {
            Steps::Lines(SparseLines::default())
        };
        Self {
            milestones: Milestones::default(),
            steps,
        }
    }

    /// Shows nothing.
    pub(crate) fn silent() -> Self {
        Self {
            milestones: Milestones::default(),
            steps: Steps::Silent,
        }
    }

    /// Shows what is new in `job`.
    pub(crate) fn show(&mut self, job: &FineTuneJob, console: &mut Console) {
        let lines = self.milestones.new_lines(job);
        for line in lines {
            self.note(&line, console);
        }
        let Some(status) = &job.status else { return };
        match &mut self.steps {
            Steps::Bar(bar) => draw(bar, status),
            Steps::Lines(sparse) => {
                if let Some(line) = sparse.line(status, Instant::now()) {
                    console.say(&line);
                }
            }
            Steps::Silent => {}
        }
    }

    /// Says something above the bar.
    pub(crate) fn note(&self, line: &str, console: &mut Console) {
        match &self.steps {
            Steps::Bar(bar) => bar.suspend(|| console.say(line)),
            Steps::Lines(_) => console.say(line),
            Steps::Silent => {}
        }
    }

    /// Takes the bar off the screen.
    pub(crate) fn finish(&self) {
        if let Steps::Bar(bar) = &self.steps {
            bar.finish_and_clear();
        }
    }
}

impl Drop for ProgressView {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Lines about steps, not more often than people want to read them.
#[derive(Debug, Default)]
struct SparseLines {
    last: Option<(Instant, u64)>,
}

impl SparseLines {
    fn line(&mut self, status: &JobStatus, now: Instant) -> Option<String> {
        let progress = status.progress.as_ref()?;
        if status.summary != "Running" || progress.activity != "training" {
            return None;
        }
        let due = self
            .last
            .is_none_or(|(at, step)| now.duration_since(at) >= LINE_INTERVAL && step != progress.step);
        due.then(|| {
            self.last = Some((now, progress.step));
            training_line(progress)
        })
    }
}

fn new_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(waiting_style());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn draw(bar: &ProgressBar, status: &JobStatus) {
    match status.progress.as_ref().filter(|progress| is_under_way(progress)) {
        Some(progress) => {
            bar.set_style(training_style());
            bar.set_length(progress.total_steps);
            bar.set_position(progress.step);
            bar.set_prefix(bar_prefix(progress));
            bar.set_message(bar_message(status, progress));
        }
        None => {
            let activity = status
                .progress
                .as_ref()
                .map(|progress| progress.activity.as_str())
                .filter(|activity| !activity.is_empty());
            bar.set_style(waiting_style());
            bar.set_message(activity.map_or_else(|| status.summary.to_lowercase(), str::to_owned));
        }
    }
}

/// Before the first step there is no bar to fill, but an activity to name.
fn is_under_way(progress: &Progress) -> bool {
    progress.total_steps > 0 && (progress.step > 0 || progress.activity == "training")
}

fn bar_prefix(progress: &Progress) -> String {
    let epoch = format!("epoch {}/{}", progress.epoch + 1, progress.epochs);
    if progress.activity == "training" {
        epoch
    } else {
        format!("{epoch} {}", progress.activity)
    }
}

fn bar_message(status: &JobStatus, progress: &Progress) -> String {
    let mut parts = Vec::new();
    if progress.samples_per_second > 0.0 {
        parts.push(format!("{} samples/s", rate(progress.samples_per_second)));
    }
    if let Some(eta) = progress.eta_seconds {
        parts.push(format!("{} left", humanise::seconds(eta)));
    }
    if progress.step > 0 {
        parts.push(format!("loss {}", metric(progress.loss)));
    }
    parts.extend(newest_validation(status));
    parts.join(" · ")
}

fn waiting_style() -> ProgressStyle {
    style("{spinner:.cyan} {wide_msg}")
}

fn training_style() -> ProgressStyle {
    style("{spinner:.cyan} {prefix} {bar:24.cyan/dim} {pos}/{len} {wide_msg}").progress_chars("━╸─")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates of this module are valid")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::view::samples;

    #[test]
    fn the_bar_shows_epoch_speed_time_left_loss_and_the_newest_validation() {
        let status = samples::running().status.unwrap();
        let progress = status.progress.clone().unwrap();
        assert_eq!(bar_prefix(&progress), "epoch 2/2");
        assert_eq!(
            bar_message(&status, &progress),
            "812 samples/s · 12s left · loss 0.3121 · validation loss 0.5210 accuracy 0.8500 f1_macro 0.8492"
        );
    }

    #[test]
    fn there_is_no_bar_before_the_first_step() {
        let progress = |activity: &str, step| Progress {
            activity: activity.into(),
            step,
            total_steps: 30,
            ..Default::default()
        };
        assert!(!is_under_way(&progress("scanning", 0)));
        assert!(is_under_way(&progress("training", 0)));
        assert!(is_under_way(&progress("validation", 8)));
    }

    #[test]
    fn lines_about_steps_come_at_most_every_ten_seconds() {
        let mut sparse = SparseLines::default();
        let mut status = samples::running().status.unwrap();
        let start = Instant::now();
        assert!(sparse.line(&status, start).is_some());
        status.progress.as_mut().unwrap().step += 1;
        assert!(sparse.line(&status, start + Duration::from_secs(9)).is_none());
        assert!(sparse.line(&status, start + Duration::from_secs(10)).is_some());
        assert!(
            sparse.line(&status, start + Duration::from_secs(60)).is_none(),
            "nothing new to say"
        );
    }

    #[test]
    fn the_templates_of_the_bar_are_valid() {
        waiting_style();
        training_style();
    }
}
