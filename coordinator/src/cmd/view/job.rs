//! One job in full, for a person: `firn get`.

use firn_core::metrics::watched;
use firn_proto::v1alpha1::{FineTuneJob, JobSpec, JobStatus, Progress, TrainingSpec};
use prost_types::Timestamp;

use super::{
    Format, document,
    failure::{failure, name},
    humanise::{age, bytes, count, counted, metric},
    losses::losses,
    milestones::{dataset_line, training_line},
    report::quarantine,
    table::{indent, text_table},
    task,
};
use crate::cmd::{console::Paint, error::CommandError, outcome::Outcome};

/// Everything there is to know; [`Format::Wide`] adds digests and the stored spec.
pub(crate) fn describe(
    job: &FineTuneJob,
    format: Format,
    paint: Paint,
    now: Timestamp,
) -> Result<String, CommandError> {
    let status = job.status.clone().unwrap_or_default();
    let wide = format == Format::Wide;
    let mut text = facts(job, &status, paint, now, wide);
    let mut section = |title: &str, body: String| {
        if !body.is_empty() {
            text.push_str(&format!("\n{}\n{}", paint.bold(title), indent(&body, "  ")));
        }
    };
    section("Conditions", conditions(&status, now));
    section("Placement", placement(&status));
    section("Data", dataset(&status, wide));
    section("Evaluations", evaluations(&status));
    section("Set aside", quarantine(&status).unwrap_or_default());
    section("Losses", losses(&status, now, wide));
    section("Failure", failure(job, paint));
    section("Artifacts", artifacts(&status, wide));
    if wide {
        section("Spec", document::render(&document::job(job)["spec"], Format::Yaml)?);
    }
    Ok(text)
}

fn facts(job: &FineTuneJob, status: &JobStatus, paint: Paint, now: Timestamp, wide: bool) -> String {
    let mut lines: Vec<(&str, String)> = vec![
        ("Name", name(job).to_owned()),
        ("Status", status_word(job, status, paint)),
    ];
    lines.extend(queueing(job, status));
    if let Some(metadata) = &job.metadata {
        if !metadata.labels.is_empty() {
            let labels: Vec<String> = metadata
                .labels
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            lines.push(("Labels", labels.join(", ")));
        }
        if let Some(created) = &metadata.create_time {
            let second = Timestamp { nanos: 0, ..*created };
            lines.push(("Created", format!("{second} ({} ago)", age(Some(created), now))));
        }
    }
    if let Some(spec) = &job.spec {
        lines.push(("Model", model(spec, status)));
        lines.extend(
            spec.training
                .as_ref()
                .map(|training| ("Training", training_plan(training))),
        );
    }
    if let Some(progress) = status.progress.clone().filter(|progress| progress.total_steps > 0) {
        lines.push(match Outcome::of_job(job) {
            None => (
                "Progress",
                format!("{}, {}", progress.activity, training_line(&progress)),
            ),
            Some(_) => (
                "Progress",
                training_line(&Progress {
                    eta_seconds: None,
                    ..progress
                }),
            ),
        });
    }
    if status.generation > 0 {
        lines.push((
            "Gang",
            format!("generation {}, restarts {}", status.generation, status.restarts),
        ));
    }
    if let Some(model) = status.model.as_ref().filter(|_| wide) {
        lines.push(("Frozen digest", model.frozen_digest.clone()));
    }
    let width = lines.iter().map(|(title, _)| title.len()).max().unwrap_or(0) + 3;
    lines
        .iter()
        .map(|(title, value)| format!("{:<width$}{value}\n", format!("{title}:")))
        .collect()
}

/// Whose it is, and where it stands in the queue.
fn queueing(job: &FineTuneJob, status: &JobStatus) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let namespace = job.metadata.as_ref().map(|metadata| metadata.namespace.clone());
    lines.extend(
        namespace
            .filter(|name| !name.is_empty())
            .map(|name| ("Namespace", name)),
    );
    let scheduling = job.spec.as_ref().and_then(|spec| spec.scheduling.as_ref());
    let priority = scheduling.and_then(|scheduling| scheduling.priority);
    lines.extend(priority.map(|priority| ("Priority", priority.to_string())));
    lines.extend(status.jobs_ahead.map(|ahead| {
        let before = match ahead {
            0 => "the next to get slots".to_owned(),
            ahead => format!("{} before it", counted(ahead, "job")),
        };
        ("Queue", before)
    }));
    lines
}

fn status_word(job: &FineTuneJob, status: &JobStatus, paint: Paint) -> String {
    let word = match Outcome::of_job(job) {
        Some(Outcome::Success) => paint.good(&status.summary),
        Some(Outcome::Cancelled) => paint.warning(&status.summary),
        Some(_) => paint.bad(&status.summary),
        None => paint.bold(&status.summary),
    };
    match status.conditions.last() {
        Some(condition) if !condition.message.is_empty() => format!("{word} ({})", condition.message),
        _ => word,
    }
}

fn model(spec: &JobSpec, status: &JobStatus) -> String {
    let model = spec.model.clone().unwrap_or_default();
    let weights = if model.weights.is_empty() {
        "random weights".to_owned()
    } else {
        model.weights
    };
    let mut line = format!("{} ({weights})", model.architecture);
    if let Some(summary) = &status.model {
        let (trainable, frozen) = (count(summary.trainable_parameters), count(summary.frozen_parameters));
        line.push_str(&format!(
            ", cut {}: {trainable} parameters train, {frozen} are frozen",
            summary.cut
        ));
    }
    line
}

fn training_plan(training: &TrainingSpec) -> String {
    let mut parts = Vec::new();
    parts.extend(training.epochs.map(|epochs| format!("{epochs} epochs")));
    parts.extend(training.batch_size.map(|size| format!("global batch {size}")));
    if let Some(optimizer) = &training.optimizer {
        let rate = optimizer
            .learning_rate
            .map(|rate| format!(" {rate}"))
            .unwrap_or_default();
        parts.push(format!("{}{rate}", optimizer.r#type));
    }
    parts.extend(
        training
            .schedule
            .as_ref()
            .map(|schedule| format!("{} schedule", schedule.r#type)),
    );
    parts.extend(training.seed.map(|seed| format!("seed {seed}")));
    if !training.best_metric.is_empty() {
        let best = watched::name(&training.best_metric, &training.best_metric_class);
        parts.push(format!("best by {best}"));
    }
    parts.join(", ")
}

fn conditions(status: &JobStatus, now: Timestamp) -> String {
    if status.conditions.is_empty() {
        return String::new();
    }
    let rows = status.conditions.iter().map(|condition| {
        vec![
            condition.r#type.clone(),
            condition.status.clone(),
            condition.reason.clone(),
            age(condition.last_transition_time.as_ref(), now),
            condition.message.clone(),
        ]
    });
    text_table(&["TYPE", "STATUS", "REASON", "AGE", "MESSAGE"], rows.collect())
}

fn placement(status: &JobStatus) -> String {
    if status.ranks.is_empty() {
        return String::new();
    }
    let rows = status.ranks.iter().map(|rank| {
        vec![
            rank.rank.to_string(),
            rank.worker.clone(),
            rank.host.clone(),
            rank.slot.to_string(),
            rank.device.clone(),
            rank.state.clone(),
        ]
    });
    text_table(&["RANK", "WORKER", "HOST", "SLOT", "DEVICE", "STATE"], rows.collect())
}

fn dataset(status: &JobStatus, wide: bool) -> String {
    let Some(dataset) = &status.dataset else {
        return String::new();
    };
    let mut text = format!("{}\n{}", dataset_line(dataset), task::label_table(dataset));
    for warning in &dataset.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    for split in dataset.splits.iter().filter(|_| wide) {
        text.push_str(&format!("digest of {}: {}\n", split.split, split.digest));
    }
    text
}

fn evaluations(status: &JobStatus) -> String {
    if status.evaluations.is_empty() {
        return String::new();
    }
    let shown = task::headlines(status);
    let rows = status.evaluations.iter().map(|evaluation| {
        let best = evaluation.split == "validation" && status.best_epoch == Some(evaluation.epoch);
        let mut row = vec![
            evaluation.split.clone(),
            format!("{}{}", evaluation.epoch + 1, if best { "*" } else { "" }),
            count(evaluation.samples),
        ];
        row.extend(shown.iter().map(|name| {
            evaluation
                .metrics
                .get(*name)
                .map_or_else(|| "-".to_owned(), |value| metric(*value))
        }));
        row
    });
    let names: Vec<String> = shown.iter().map(|name| name.to_uppercase()).collect();
    let headers = ["SPLIT", "EPOCH", "SAMPLES"].into_iter();
    let headers: Vec<&str> = headers.chain(names.iter().map(String::as_str)).collect();
    text_table(&headers, rows.collect())
}

fn artifacts(status: &JobStatus, wide: bool) -> String {
    if status.artifacts.is_empty() {
        return String::new();
    }
    let mut headers = vec!["NAME", "SIZE", "LOCATION"];
    if wide {
        headers.push("SHA256");
    }
    let rows = status.artifacts.iter().map(|artifact| {
        let mut row = vec![
            artifact.name.clone(),
            bytes(artifact.size_bytes),
            artifact.location.clone(),
        ];
        if wide {
            row.push(artifact.sha256.clone());
        }
        row
    });
    text_table(&headers, rows.collect())
}

#[cfg(test)]
mod tests {
    use firn_proto::v1alpha1::Loss;

    use super::*;
    use crate::cmd::view::samples;

    #[test]
    fn a_succeeded_job_is_described_in_full() {
        let expected = "\
Name:       reviews
Status:     Succeeded (2 epochs)
Namespace:  default
Labels:     team=text
Created:    2026-01-02T03:04:05Z (2m00s ago)
Model:      bert (file:///data/minilm/model.safetensors), cut all: 770 parameters train, 22,565,376 are frozen
Training:   2 epochs, global batch 32, best by validation/f1_macro
Progress:   epoch 2/2: step 30/30, 812 samples/s, loss 0.3121
Gang:       generation 1, restarts 0

Conditions
  TYPE        STATUS   REASON              AGE     MESSAGE
  Queued      True     WaitingForSlots     2m00s   needs 2 slots on 2 workers; 1 worker is attached
  Admitted    True     GangStarted         1m58s   2 ranks on 2 workers
  Running     True     Training            1m57s   all ranks have joined
  Succeeded   True     TrainingCompleted   1m18s   2 epochs

Placement
  RANK   WORKER    HOST     SLOT   DEVICE   STATE
  0      local-0   host-a   0      cpu      Joined
  1      local-1   host-a   0      cpu      Joined

Data
  train 450, validation 60, test 60 samples; 2 classes
  CLASS      TRAIN   VALIDATION   TEST
  negative     225           30     30
  positive     225           30     30
  warning: class `neutral` has no validation sample

Evaluations
  SPLIT        EPOCH   SAMPLES   LOSS     ACCURACY   F1_MACRO   ROC_AUC
  validation   1       60        0.5210   0.8500     0.8492     -
  validation   2*      60        0.4310   0.9000     0.8992     -
  test         2       60        0.4502   0.9167     0.9159     -

Artifacts
  NAME                SIZE       LOCATION
  head.safetensors    3.1 KiB    coordinator
  model.safetensors   90.3 MiB   file://host-a/data/out/model.safetensors
";
        let text = describe(
            &samples::succeeded(),
            Format::Table,
            Paint::default(),
            samples::after(120),
        )
        .unwrap();
        assert_eq!(text, expected);
    }

    #[test]
    fn a_waiting_job_says_what_it_waits_for() {
        let text = describe(&samples::queued(), Format::Table, Paint::default(), samples::after(5)).unwrap();
        assert!(
            text.contains("Status:     Queued (needs 2 slots on 2 workers; 1 worker is attached)\n"),
            "{text}"
        );
        assert!(!text.contains("Placement"), "{text}");
    }

    #[test]
    fn losses_are_told_with_the_last_words_of_the_newest() {
        let mut job = samples::recovered();
        let text = describe(&job, Format::Table, Paint::default(), samples::after(40)).unwrap();
        let expected = "
Losses
  GENERATION   AGE   REASON         RANK   HOST     MESSAGE
  1            10s   NodeFailures   1      host-a   rank 1 on host-a was killed by signal 9 (SIGKILL)
  last log lines of rank 1 in generation 1:
    | epoch 1 step 19
    | epoch 1 step 20
";
        assert!(text.contains(expected), "{text}");
        let losses = &mut job.status.as_mut().unwrap().losses;
        for generation in 2..=12 {
            let loss = Loss {
                generation,
                ..losses[0].clone()
            };
            losses.push(loss);
        }
        let text = describe(&job, Format::Table, Paint::default(), samples::after(40)).unwrap();
        assert!(text.contains("  and 2 before these\n"), "{text}");
        assert_eq!(text.matches("last log lines").count(), 1, "{text}");
        let text = describe(&job, Format::Wide, Paint::default(), samples::after(40)).unwrap();
        assert_eq!(text.matches("last log lines").count(), 12, "{text}");
    }

    #[test]
    fn a_job_that_waits_for_workers_says_so() {
        let mut job = samples::recovered();
        let waiting = job.status.as_mut().unwrap().conditions.last_mut().unwrap();
        waiting.status = "False".to_owned();
        waiting.reason = "WaitingForWorkers".to_owned();
        waiting.message = "needs 2 workers, 1 is left; the ranks that are left stay warm".to_owned();
        let text = describe(&job, Format::Table, Paint::default(), samples::after(40)).unwrap();
        let expected = "Status:     Running (needs 2 workers, 1 is left; the ranks that are left stay warm)\n";
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("Running    False    WaitingForWorkers"), "{text}");
    }

    #[test]
    fn a_wide_description_ends_with_the_stored_spec() {
        let text = describe(&samples::failed(), Format::Wide, Paint::default(), samples::after(5)).unwrap();
        assert!(text.contains("\nFailure\n  job reviews failed: BadData\n"), "{text}");
        assert!(text.contains("Frozen digest:"), "{text}");
        assert!(text.contains("\nSpec\n  model:\n    architecture: bert\n"), "{text}");
    }
}
