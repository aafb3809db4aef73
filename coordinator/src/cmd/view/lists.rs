//! The tables of `firn list`, `firn workers` and `firn download`.

use firn_core::metrics::watched;
use firn_proto::v1alpha1::{FineTuneJob, Worker};
use prost_types::Timestamp;

use super::{
    Format,
    failure::name,
    humanise::{age, bytes, metric},
    table::text_table,
};

/// Jobs, one a line, with their namespaces where there are several; [`Format::Wide`] adds model, placement, the best metric and what the newest condition says.
pub(crate) fn jobs(jobs: &[FineTuneJob], format: Format, now: Timestamp) -> String {
    let mut headers = vec!["NAME", "STATUS", "EPOCH", "STEP", "AGE"];
    let with_namespace = jobs.iter().any(|job| namespace(job) != namespace(&jobs[0]));
    if with_namespace {
        headers.insert(0, "NAMESPACE");
    }
    if format == Format::Wide {
        headers.extend(["RANKS", "RESTARTS", "MODEL", "BEST", "REASON", "MESSAGE"]);
    }
    let rows = jobs.iter().map(|job| {
        let mut row = job_row(job, now);
        if with_namespace {
            row.insert(0, namespace(job).to_owned());
        }
        if format == Format::Wide {
            row.extend(wide_job_row(job));
        }
        row
    });
    text_table(&headers, rows.collect())
}

fn namespace(job: &FineTuneJob) -> &str {
    job.metadata.as_ref().map_or("", |metadata| &metadata.namespace)
}

fn job_row(job: &FineTuneJob, now: Timestamp) -> Vec<String> {
    let status = job.status.as_ref();
    let progress = status.and_then(|status| status.progress.as_ref());
    let started = progress.filter(|progress| progress.total_steps > 0);
    vec![
        name(job).to_owned(),
        status.map(|status| status.summary.clone()).unwrap_or_default(),
        started.map_or_else(
            || "-".to_owned(),
            |progress| format!("{}/{}", (progress.epoch + 1).min(progress.epochs), progress.epochs),
        ),
        started.map_or_else(
            || "-".to_owned(),
            |progress| format!("{}/{}", progress.step, progress.total_steps),
        ),
        age(
            job.metadata.as_ref().and_then(|metadata| metadata.create_time.as_ref()),
            now,
        ),
    ]
}

fn wide_job_row(job: &FineTuneJob) -> Vec<String> {
    let status = job.status.clone().unwrap_or_default();
    let condition = status.conditions.last();
    vec![
        status.ranks.len().to_string(),
        status.restarts.to_string(),
        job.spec
            .as_ref()
            .and_then(|spec| spec.model.as_ref())
            .map(|model| model.architecture.clone())
            .unwrap_or_default(),
        best(job).unwrap_or_else(|| "-".to_owned()),
        condition.map_or_else(|| "-".to_owned(), |condition| condition.reason.clone()),
        condition.map_or_else(|| "-".to_owned(), |condition| condition.message.clone()),
    ]
}

/// `f1_macro 0.9123`: the metric that chooses the checkpoint, at the best epoch.
fn best(job: &FineTuneJob) -> Option<String> {
    let status = job.status.as_ref()?;
    let training = job.spec.as_ref()?.training.as_ref()?;
    let metric_path = watched::name(&training.best_metric, &training.best_metric_class);
    let wanted = metric_path.strip_prefix("validation/").unwrap_or(&metric_path);
    let evaluation = status
        .evaluations
        .iter()
        .find(|e| e.split == "validation" && Some(e.epoch) == status.best_epoch)?;
    evaluation
        .metrics
        .get(wanted)
        .map(|value| format!("{wanted} {}", metric(*value)))
}

/// Workers, one a line; [`Format::Wide`] has one line a slot.
pub(crate) fn workers(workers: &[Worker], format: Format, now: Timestamp) -> String {
    if format == Format::Wide {
        return slots(workers, now);
    }
    let rows = workers.iter().map(|worker| {
        let busy = worker.slots.iter().filter(|slot| !slot.job.is_empty()).count();
        vec![
            worker.name.clone(),
            worker.state.clone(),
            worker.host.clone(),
            format!("{busy}/{}", worker.slots.len()),
            devices(worker),
            serves(worker),
            age(worker.attach_time.as_ref(), now),
            worker.version.clone(),
        ]
    });
    text_table(
        &["NAME", "STATE", "HOST", "BUSY", "DEVICES", "SERVES", "AGE", "VERSION"],
        rows.collect(),
    )
}

fn slots(workers: &[Worker], now: Timestamp) -> String {
    let rows = workers.iter().flat_map(|worker| {
        worker.slots.iter().map(move |slot| {
            vec![
                worker.name.clone(),
                worker.state.clone(),
                worker.host.clone(),
                slot.index.to_string(),
                slot.device.clone(),
                slot.description.clone(),
                bytes(slot.memory_bytes),
                if slot.job.is_empty() {
                    "-".to_owned()
                } else {
                    slot.job.trim_start_matches("jobs/").to_owned()
                },
                serves(worker),
                labels(worker),
                age(worker.attach_time.as_ref(), now),
                worker.version.clone(),
            ]
        })
    });
    let headers = [
        "NAME",
        "STATE",
        "HOST",
        "SLOT",
        "DEVICE",
        "DESCRIPTION",
        "MEMORY",
        "JOB",
        "SERVES",
        "LABELS",
        "AGE",
        "VERSION",
    ];
    text_table(&headers, rows.collect())
}

/// Whom a worker is there for: `all`, `job NAME`, `namespace NAME`, or both.
fn serves(worker: &Worker) -> String {
    let job = worker.for_job.strip_prefix("jobs/").map(|job| format!("job {job}"));
    let namespace = Some(&worker.for_namespace).filter(|namespace| !namespace.is_empty());
    let namespace = namespace.map(|namespace| format!("namespace {namespace}"));
    let named: Vec<String> = job.into_iter().chain(namespace).collect();
    match named.is_empty() {
        true => "all".to_owned(),
        false => named.join(", "),
    }
}

/// `gpu=h100,zone=a`, or `-`.
fn labels(worker: &Worker) -> String {
    let labels: Vec<String> = worker
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    match labels.is_empty() {
        true => "-".to_owned(),
        false => labels.join(","),
    }
}

/// `cpu ×4`, or the devices by name.
fn devices(worker: &Worker) -> String {
    let cpus = worker.slots.iter().filter(|slot| slot.device == "cpu").count();
    let others = worker
        .slots
        .iter()
        .filter(|slot| slot.device != "cpu")
        .map(|slot| slot.device.clone());
    let mut names: Vec<String> = others.collect();
    match cpus {
        0 => {}
        1 => names.push("cpu".to_owned()),
        _ => names.push(format!("cpu x{cpus}")),
    }
    names.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::view::samples;

    #[test]
    fn jobs_are_listed_one_a_line() {
        let all = [samples::running(), samples::queued()];
        let expected = "\
NAME      STATUS    EPOCH   STEP    AGE
reviews   Running   2/2     20/30   1m30s
reviews   Queued    -       -       1m30s
";
        assert_eq!(jobs(&all, Format::Table, samples::after(90)), expected);
    }

    #[test]
    fn namespaces_are_shown_where_there_are_several() {
        let (mut first, second) = (samples::running(), samples::queued());
        first.metadata.as_mut().unwrap().namespace = "vision".to_owned();
        let expected = "\
NAMESPACE   NAME      STATUS    EPOCH   STEP    AGE
vision      reviews   Running   2/2     20/30   1m30s
default     reviews   Queued    -       -       1m30s
";
        assert_eq!(jobs(&[first, second], Format::Table, samples::after(90)), expected);
    }

    #[test]
    fn a_wide_list_says_why_a_job_waits_and_how_good_it_is() {
        let all = [samples::queued(), samples::succeeded()];
        let expected = "\
NAME      STATUS      EPOCH   STEP    AGE     RANKS   RESTARTS   MODEL   BEST              REASON              MESSAGE
reviews   Queued      -       -       1m30s   0       0          bert    -                 WaitingForSlots     needs 2 slots on 2 workers; 1 worker is attached
reviews   Succeeded   2/2     30/30   1m30s   2       0          bert    f1_macro 0.8992   TrainingCompleted   2 epochs
";
        assert_eq!(jobs(&all, Format::Wide, samples::after(90)), expected);
    }

    #[test]
    fn workers_are_listed_with_their_busy_slots() {
        let expected = "\
NAME      STATE   HOST     BUSY   DEVICES   SERVES   AGE   VERSION
local-0   Ready   host-a   1/2    cpu x2    all      5s    0.1.0
";
        assert_eq!(
            workers(&[samples::worker()], Format::Table, samples::after(5)),
            expected
        );
    }

    #[test]
    fn a_wide_list_of_workers_has_one_line_a_slot() {
        let expected = "\
NAME      STATE   HOST     SLOT   DEVICE   DESCRIPTION   MEMORY    JOB       SERVES   LABELS   AGE   VERSION
local-0   Ready   host-a   0      cpu      2 threads     8.0 GiB   reviews   all      zone=a   5s    0.1.0
local-0   Ready   host-a   1      cpu      2 threads     8.0 GiB   -         all      zone=a   5s    0.1.0
";
        assert_eq!(workers(&[samples::worker()], Format::Wide, samples::after(5)), expected);
    }
}
