//! What a job achieved: its metrics at the best epoch and on the test split, what its task tells beyond them, and what was set aside.

use std::collections::{BTreeMap, BTreeSet};

use firn_core::metrics::{METRICS, MetricName};
use firn_proto::v1alpha1::{Evaluation, FineTuneJob, JobStatus, MetricIntervals};

use super::{
    failure::name,
    humanise::{counted, duration, elapsed, metric},
    table::table,
    task,
};
use crate::cmd::{console::Paint, outcome::Outcome};

/// Quarantined samples that are listed one by one.
const SAMPLES_LISTED: usize = 20;

/// How a job ended, in one line.
pub(crate) fn headline(job: &FineTuneJob, paint: Paint) -> String {
    let status = job.status.as_ref();
    let word = match Outcome::of_job(job) {
        Some(Outcome::Success) => paint.good("succeeded"),
        Some(Outcome::Cancelled) => paint.warning("was cancelled"),
        Some(_) => paint.bad("failed"),
        None => status.map_or_else(|| "is unknown".to_owned(), |status| format!("is {}", status.summary)),
    };
    let mut line = format!("job {} {word}", name(job));
    if let Some(span) = time_taken(job) {
        line.push_str(&format!(" in {span}"));
    }
    let Some(status) = status else { return line + "\n" };
    if !status.ranks.is_empty() {
        let workers: BTreeSet<&str> = status.ranks.iter().map(|rank| rank.worker.as_str()).collect();
        let ranks = counted(status.ranks.len() as u64, "rank");
        line.push_str(&format!(", {ranks} on {}", counted(workers.len() as u64, "worker")));
    }
    if status.restarts > 0 {
        line.push_str(&format!(", {}", counted(u64::from(status.restarts), "restart")));
    }
    line + "\n"
}

/// Metrics of a job, and what its task tells beyond them; empty text if nothing was evaluated.
pub(crate) fn results(job: &FineTuneJob) -> String {
    let Some(status) = &job.status else {
        return String::new();
    };
    let (validation, test) = evaluations(status);
    let mut sections = Vec::new();
    if validation.is_some() || test.is_some() {
        sections.push(metrics_table(validation, test));
    }
    // The test split was held out: where there is one, its numbers are the ones to look at.
    if let Some(evaluation) = test.or(validation) {
        sections.extend(task::tables(status, evaluation));
    }
    sections.extend(quarantine(status));
    sections.join("\n")
}

fn time_taken(job: &FineTuneJob) -> Option<String> {
    let created = job.metadata.as_ref()?.create_time.as_ref()?;
    let ended = job
        .status
        .as_ref()?
        .conditions
        .iter()
        .rfind(|c| matches!(c.r#type.as_str(), "Succeeded" | "Failed") && c.status == "True")?;
    Some(duration(elapsed(created, ended.last_transition_time?)))
}

/// The validation of the best epoch (else the last one), and the test.
fn evaluations(status: &JobStatus) -> (Option<&Evaluation>, Option<&Evaluation>) {
    let of = |split: &'static str| {
        status
            .evaluations
            .iter()
            .filter(move |evaluation| evaluation.split == split)
    };
    let best = of("validation").rfind(|evaluation| Some(evaluation.epoch) == status.best_epoch);
    (best.or_else(|| of("validation").next_back()), of("test").next_back())
}

fn metrics_table(validation: Option<&Evaluation>, test: Option<&Evaluation>) -> String {
    let columns: Vec<&Evaluation> = validation.into_iter().chain(test).collect();
    let mut headers = vec!["METRIC".to_owned()];
    headers.extend(columns.iter().map(|evaluation| match evaluation.split.as_str() {
        "validation" => format!("VALIDATION (EPOCH {})", evaluation.epoch + 1),
        split => split.to_uppercase(),
    }));
    let names: BTreeSet<&str> = columns
        .iter()
        .flat_map(|evaluation| evaluation.metrics.keys().map(String::as_str))
        .collect();
    let known = METRICS
        .iter()
        .map(|known| known.name)
        .filter(|known| names.contains(known));
    let others = names.iter().copied().filter(|name| MetricName::find(name).is_none());
    let mut rows: Vec<Vec<String>> = known
        .chain(others)
        .map(|name| {
            let values = columns.iter().map(|evaluation| {
                evaluation
                    .metrics
                    .get(name)
                    .map_or_else(|| "-".to_owned(), |value| metric(*value))
            });
            std::iter::once(name.to_owned()).chain(values).collect()
        })
        .collect();
    rows.push(
        std::iter::once("samples".to_owned())
            .chain(columns.iter().map(|e| e.samples.to_string()))
            .collect(),
    );
    if let Some(intervals) = test.and_then(|test| test.intervals.as_ref()) {
        headers.push(format!("{}% INTERVAL", intervals.level * 100.0));
        rows.iter_mut().for_each(|row| row.push(interval(intervals, &row[0])));
    }
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    table(&headers, rows, 1) + &test.map_or_else(String::new, without_interval)
}

/// Why metrics of the test split have no interval: `no interval of roc_auc, roc_auc_ovo: …`, a line each reason.
fn without_interval(test: &Evaluation) -> String {
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, reason) in &test.without_interval {
        by_reason.entry(reason).or_default().push(name);
    }
    let are_all = |names: &[&str]| test.metrics.keys().all(|name| names.contains(&name.as_str()));
    let line = |(reason, names): (&str, Vec<&str>)| match are_all(&names) {
        true => format!("no intervals: {reason}\n"),
        false => format!("no interval of {}: {reason}\n", names.join(", ")),
    };
    by_reason.into_iter().map(line).collect()
}

/// Where a metric of the test split lies: `0.8952 to 0.9333`.
pub(super) fn interval(intervals: &MetricIntervals, name: &str) -> String {
    let known = intervals.metrics.get(name);
    known.map_or_else(
        || "-".to_owned(),
        |known| format!("{} to {}", metric(known.low), metric(known.high)),
    )
}

/// The samples that were set aside, if any.
pub(crate) fn quarantine(status: &JobStatus) -> Option<String> {
    if status.quarantined.is_empty() {
        return None;
    }
    let total = status
        .quarantined
        .len()
        .max(usize::try_from(status.quarantined_count).unwrap_or_default());
    let mut text = format!("{} set aside:\n", counted(total as u64, "sample"));
    let listed = status.quarantined.len().min(SAMPLES_LISTED);
    for sample in &status.quarantined[..listed] {
        text.push_str(&format!("  {} {}: {}\n", sample.split, sample.sample, sample.reason));
    }
    if total > listed {
        text.push_str(&format!("  and {} more (-o json lists all)\n", total - listed));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use firn_proto::v1alpha1::{MetricInterval, QuarantinedSample};

    use super::*;
    use crate::cmd::view::samples;

    #[test]
    fn the_headline_says_how_long_it_took_and_on_what() {
        assert_eq!(
            headline(&samples::succeeded(), Paint::default()),
            "job reviews succeeded in 42s, 2 ranks on 2 workers\n"
        );
        assert_eq!(
            headline(&samples::cancelled(), Paint::default()),
            "job reviews was cancelled in 9.0s, 2 ranks on 2 workers\n"
        );
    }

    #[test]
    fn results_show_the_best_validation_the_test_its_classes_and_its_confusion() {
        let expected = "\
METRIC     VALIDATION (EPOCH 2)     TEST
loss                     0.4310   0.4502
accuracy                 0.9000   0.9167
f1_macro                 0.8992   0.9159
samples                      60       60

CLASS (TEST)   PRECISION   RECALL       F1   SUPPORT
negative          0.9032   0.9333   0.9180        30
positive          0.9310   0.9000   0.9153        30

TRUE \\ PREDICTED   negative   positive
negative                 28          2
positive                  3         27
";
        assert_eq!(results(&samples::succeeded()), expected);
    }

    #[test]
    fn where_the_metrics_of_test_lie_stands_beside_them() {
        let mut job = samples::succeeded();
        let test = job.status.as_mut().unwrap().evaluations.last_mut().unwrap();
        let lies = MetricInterval {
            low: 0.85,
            high: 0.9667,
        };
        test.intervals = Some(MetricIntervals {
            resamples: 1000,
            seed: 7,
            level: 0.95,
            metrics: [("accuracy".to_owned(), lies)].into(),
        });
        let expected = "\
METRIC     VALIDATION (EPOCH 2)     TEST       95% INTERVAL
loss                     0.4310   0.4502                  -
accuracy                 0.9000   0.9167   0.8500 to 0.9667
f1_macro                 0.8992   0.9159                  -
samples                      60       60                  -

";
        assert!(results(&job).starts_with(expected), "{}", results(&job));
    }

    #[test]
    fn why_metrics_have_no_interval_stands_below() {
        let mut job = samples::succeeded();
        let test = job.status.as_mut().unwrap().evaluations.last_mut().unwrap();
        let reason = "2000000 samples are not drawn again, 1048576 at most".to_owned();
        let mut without = |names: &[&str]| {
            test.without_interval = names.iter().map(|name| ((*name).to_owned(), reason.clone())).collect();
            without_interval(test)
        };
        assert_eq!(
            without(&["f1_macro", "accuracy"]),
            "no interval of accuracy, f1_macro: 2000000 samples are not drawn again, 1048576 at most\n"
        );
        assert!(without(&["f1_macro", "accuracy", "loss"]).starts_with("no intervals: 2000000"));
        assert_eq!(without(&[]), "");
    }

    #[test]
    fn a_matrix_of_many_classes_is_left_out() {
        let mut job = samples::succeeded();
        job.status.as_mut().unwrap().dataset.as_mut().unwrap().classes =
            (0..13).map(|class| class.to_string()).collect();
        assert!(!results(&job).contains("PREDICTED"));
    }

    #[test]
    fn samples_that_were_set_aside_are_named_up_to_a_limit() {
        let mut status = samples::succeeded().status.unwrap();
        status.quarantined = (0..22)
            .map(|index| QuarantinedSample {
                split: "train".into(),
                index,
                sample: format!("ants/{index}.jpg"),
                reason: "empty file".into(),
            })
            .collect();
        let text = quarantine(&status).unwrap();
        assert!(
            text.starts_with("22 samples set aside:\n  train ants/0.jpg: empty file\n"),
            "{text}"
        );
        assert!(text.ends_with("  and 2 more (-o json lists all)\n"), "{text}");
    }

    #[test]
    fn a_job_without_evaluations_has_no_results() {
        assert_eq!(results(&samples::queued()), "");
    }
}
