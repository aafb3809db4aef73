//! Jobs and workers for programs: the stable shapes of `-o json` and `-o yaml`.
//!
//! A job is its YAML (`apiVersion`, `kind`, `metadata`, `spec`, camelCase, fields that are not set left out) with
//! `metadata.resourceName`, `metadata.createTime` and `status`. In `status` every field is always there: absent values
//! are `null`, lists may be empty. Times are RFC 3339 in UTC. Epochs, ranks and steps count from 0. A confusion matrix
//! is a list of rows (true class) of counts (predicted class). Numbers that JSON cannot say (NaN, infinities) are
//! `null`. A list of jobs is `{"jobs": [job, …]}`, of workers `{"workers": [worker, …]}`, of quotas `{"quotas": [namespace, …]}`, of artifacts `{"artifacts":
//! [artifact, …]}`.

use firn_proto::v1alpha1::{
    Artifact, Condition, DatasetSummary, Evaluation, Failure, FineTuneJob, JobStatus, LogLine, Loss, MetricIntervals,
    Progress, QuarantinedSample, RankPlacement, Slot, Worker,
};
use prost_types::Timestamp;
use serde_json::{Map, Value, json};

use super::Format;
use super::task;
use crate::cmd::error::CommandError;

/// Prints `value` in `format`; [`Format::Json`] as one indented document, [`Format::Yaml`] as YAML.
pub(crate) fn render(value: &Value, format: Format) -> Result<String, CommandError> {
    let text = match format {
        Format::Yaml => serde_yaml_ng::to_string(value).map_err(|error| error.to_string()),
        _ => serde_json::to_string_pretty(value).map_err(|error| error.to_string()),
    };
    text.map_err(|error| CommandError::Local(format!("the answer cannot be written: {error}")))
}

/// Prints `value` as one of many: JSON on one line, YAML behind `---`.
pub(crate) fn render_next(value: &Value, format: Format) -> Result<String, CommandError> {
    match format {
        Format::Yaml => Ok(format!("---\n{}", render(value, format)?)),
        _ => Ok(value.to_string()),
    }
}

/// A job with its status.
pub(crate) fn job(job: &FineTuneJob) -> Value {
    // The spec messages hold strings, numbers, lists and maps with string keys: what JSON can say.
    let mut document = serde_json::to_value(job).expect("a spec message is representable as JSON");
    prune(&mut document);
    let Value::Object(document) = &mut document else {
        unreachable!("a message is an object")
    };
    // A job that no coordinator has seen has neither.
    if let Some(metadata) = job
        .metadata
        .as_ref()
        .filter(|metadata| !metadata.resource_name.is_empty())
    {
        let entry = document.entry("metadata").or_insert_with(|| json!({}));
        entry["resourceName"] = json!(metadata.resource_name);
        entry["createTime"] = time(metadata.create_time.as_ref());
    }
    if let Some(status) = &job.status {
        document.insert("status".to_owned(), job_status(status));
    }
    Value::Object(std::mem::take(document))
}

/// Any number of jobs.
pub(crate) fn jobs(jobs: &[FineTuneJob]) -> Value {
    json!({"jobs": jobs.iter().map(job).collect::<Vec<_>>()})
}

/// The workers of a coordinator.
pub(crate) fn workers(workers: &[Worker]) -> Value {
    let worker = |worker: &Worker| {
        json!({
            "name": worker.name,
            "host": worker.host,
            "state": worker.state,
            "attachTime": time(worker.attach_time.as_ref()),
            "version": worker.version,
            "reason": worker.reason,
            "labels": worker.labels,
            "forJob": worker.for_job.trim_start_matches("jobs/"),
            "forNamespace": worker.for_namespace,
            "slots": worker.slots.iter().map(slot).collect::<Vec<_>>(),
        })
    };
    json!({"workers": workers.iter().map(worker).collect::<Vec<_>>()})
}

/// One file that a job left.
pub(crate) fn artifact(artifact: &Artifact) -> Value {
    json!({
        "name": artifact.name,
        "sizeBytes": artifact.size_bytes,
        "sha256": artifact.sha256,
        "location": artifact.location,
    })
}

/// One line of a rank.
pub(crate) fn log_line(line: &LogLine) -> Value {
    json!({
        "time": time(line.time.as_ref()),
        "generation": line.generation,
        "rank": line.rank,
        "sequence": line.sequence,
        "stream": line.stream,
        "text": line.text,
    })
}

fn job_status(status: &JobStatus) -> Value {
    json!({
        "summary": status.summary,
        "conditions": status.conditions.iter().map(condition).collect::<Vec<_>>(),
        "progress": status.progress.as_ref().map(progress),
        "evaluations": status.evaluations.iter().map(evaluation).collect::<Vec<_>>(),
        "bestEpoch": status.best_epoch,
        "generation": status.generation,
        "restarts": status.restarts,
        "jobsAhead": status.jobs_ahead,
        "ranks": status.ranks.iter().map(placement).collect::<Vec<_>>(),
        "failure": status.failure.as_ref().map(failure),
        "losses": status.losses.iter().map(loss).collect::<Vec<_>>(),
        "quarantined": status.quarantined.iter().map(quarantined).collect::<Vec<_>>(),
        "dataset": status.dataset.as_ref().map(dataset),
        "model": status.model.as_ref().map(|model| json!({
            "frozenParameters": model.frozen_parameters,
            "trainableParameters": model.trainable_parameters,
            "cut": model.cut,
            "frozenDigest": model.frozen_digest,
        })),
        "artifacts": status.artifacts.iter().map(artifact).collect::<Vec<_>>(),
    })
}

fn condition(condition: &Condition) -> Value {
    json!({
        "type": condition.r#type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": time(condition.last_transition_time.as_ref()),
    })
}

fn progress(progress: &Progress) -> Value {
    json!({
        "activity": progress.activity,
        "epoch": progress.epoch,
        "epochs": progress.epochs,
        "step": progress.step,
        "totalSteps": progress.total_steps,
        "samplesPerSecond": progress.samples_per_second,
        "loss": progress.loss,
        "learningRate": progress.learning_rate,
        "etaSeconds": progress.eta_seconds,
    })
}

fn evaluation(evaluation: &Evaluation) -> Value {
    let mut document = json!({
        "split": evaluation.split,
        "epoch": evaluation.epoch,
        "samples": evaluation.samples,
        "metrics": evaluation.metrics,
        "intervals": evaluation.intervals.as_ref().map(intervals),
    });
    if !evaluation.without_interval.is_empty() {
        document["withoutInterval"] = json!(evaluation.without_interval);
    }
    let fields = document.as_object_mut().expect("it was made as an object");
    fields.extend(task::document(evaluation));
    document
}

fn intervals(intervals: &MetricIntervals) -> Value {
    let by_name = intervals.metrics.iter();
    let by_name: Map<String, Value> = by_name
        .map(|(name, interval)| (name.clone(), json!([interval.low, interval.high])))
        .collect();
    json!({
        "method": "percentile bootstrap",
        "level": intervals.level,
        "resamples": intervals.resamples,
        "seed": intervals.seed,
        "metrics": by_name,
    })
}

fn placement(rank: &RankPlacement) -> Value {
    json!({
        "rank": rank.rank,
        "worker": rank.worker,
        "host": rank.host,
        "slot": rank.slot,
        "device": rank.device,
        "state": rank.state,
    })
}

fn failure(failure: &Failure) -> Value {
    json!({
        "reason": failure.reason,
        "message": failure.message,
        "rank": failure.rank,
        "host": failure.host,
        "lastLogLines": failure.last_log_lines,
    })
}

fn loss(loss: &Loss) -> Value {
    json!({
        "generation": loss.generation,
        "time": time(loss.time.as_ref()),
        "failure": loss.failure.as_ref().map(failure),
    })
}

fn quarantined(sample: &QuarantinedSample) -> Value {
    json!({"split": sample.split, "index": sample.index, "sample": sample.sample, "reason": sample.reason})
}

fn dataset(dataset: &DatasetSummary) -> Value {
    let splits = dataset.splits.iter().map(|split| {
        json!({"split": split.split, "samples": split.samples, "classCounts": split.class_counts, "digest": split.digest})
    });
    let mut document = task::label_document(dataset);
    document.insert("splits".to_owned(), splits.collect());
    document.insert("warnings".to_owned(), json!(dataset.warnings));
    document.into()
}

fn slot(slot: &Slot) -> Value {
    json!({
        "index": slot.index,
        "device": slot.device,
        "description": slot.description,
        "memoryBytes": slot.memory_bytes,
        "job": Some(&slot.job).filter(|job| !job.is_empty()),
    })
}

pub(super) fn time(time: Option<&Timestamp>) -> Value {
    time.map_or(Value::Null, |time| Value::String(time.to_string()))
}

/// Leaves out what a person would not have written: fields that are not set.
fn prune(value: &mut Value) {
    let Value::Object(fields) = value else { return };
    for field in fields.values_mut() {
        prune(field);
    }
    fields.retain(|_, field| !is_empty(field));
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => Map::is_empty(fields),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::view::samples;

    #[test]
    fn a_job_is_its_yaml_with_status() {
        let document = job(&samples::succeeded());
        let keys: Vec<&String> = document.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["apiVersion", "kind", "metadata", "spec", "status"]);
        assert_eq!(document["metadata"]["resourceName"], "jobs/reviews");
        assert_eq!(document["metadata"]["createTime"], "2026-01-02T03:04:05Z");
        assert_eq!(document["spec"]["training"]["batchSize"], 32);
        assert_eq!(
            document["spec"]["model"].get("tokenizer"),
            None,
            "fields that are not set are left out"
        );
        assert_eq!(document["status"]["summary"], "Succeeded");
        assert_eq!(document["status"]["failure"], Value::Null);
        assert_eq!(document["status"]["losses"], json!([]));
        let lost = job(&samples::recovered());
        assert_eq!(lost["status"]["losses"][0]["generation"], 1);
        assert_eq!(lost["status"]["losses"][0]["failure"]["rank"], 1);
        assert_eq!(document["status"]["bestEpoch"], 1);
    }

    #[test]
    fn a_confusion_matrix_is_a_list_of_rows() {
        let document = job(&samples::succeeded());
        assert_eq!(
            document["status"]["evaluations"][2]["confusion"],
            json!([[28, 2], [3, 27]])
        );
    }

    #[test]
    fn a_number_that_json_cannot_say_is_null() {
        let mut running = samples::running();
        running.status.as_mut().unwrap().progress.as_mut().unwrap().loss = f64::NAN;
        assert_eq!(job(&running)["status"]["progress"]["loss"], Value::Null);
    }

    #[test]
    fn one_of_many_documents_stays_on_one_line_as_json_and_behind_dashes_as_yaml() {
        let value = json!({"a": 1, "b": [true]});
        assert_eq!(render_next(&value, Format::Json).unwrap(), "{\"a\":1,\"b\":[true]}");
        assert_eq!(render_next(&value, Format::Yaml).unwrap(), "---\na: 1\nb:\n- true\n");
    }
}
