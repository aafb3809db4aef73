//! Agents, their slots and their processes: wire <-> core.

use std::collections::{BTreeMap, BTreeSet};

use firn_core::{
    State, Welcome,
    compatibility::Revision,
    identifiers::{JobId, WorkerName},
    state::{Availability, Ending, LivingProcess, RankExit, Serves, Slot, Worker, WorkerDescription},
};
use firn_proto::v1alpha1 as proto;
use tonic::Status;

use super::{
    failure::last_lines,
    names::{job_id, job_name},
    time::timestamp,
};
use crate::{access::Caller, api::refusal::invalid};

/// Most slots of one worker.
const MOST_SLOTS: usize = 1024;
/// Most labels of one worker, and most bytes of a key or a value.
const MOST_LABELS: usize = 64;
const LONGEST_LABEL: usize = 253;

pub(crate) fn hello_from_wire(hello: proto::AgentHello) -> Result<(WorkerDescription, Vec<LivingProcess>), Status> {
    if hello.worker.is_empty() || hello.worker.len() > 253 {
        return Err(invalid(
            "hello.worker",
            format!("expected a name of 1 to 253 bytes, found {}", hello.worker.len()),
        ));
    }
    if hello.instance_id.is_empty() {
        return Err(invalid(
            "hello.instance_id",
            "expected an id that is new at every start, found none",
        ));
    }
    if hello.slots.len() > MOST_SLOTS {
        return Err(invalid(
            "hello.slots",
            format!("expected at most {MOST_SLOTS}, found {}", hello.slots.len()),
        ));
    }
    let indices: BTreeSet<u32> = hello.slots.iter().map(|slot| slot.index).collect();
    if indices.len() != hello.slots.len() {
        return Err(invalid("hello.slots", "expected a different index for each slot"));
    }
    check_labels(&hello.labels)?;
    let serves = Serves {
        job: match hello.for_job.as_str() {
            "" => None,
            job => Some(job_id("hello.for_job", job)?),
        },
        namespace: Some(hello.for_namespace).filter(|namespace| !namespace.is_empty()),
    };
    let slots = hello.slots.into_iter().map(|slot| Slot {
        index: slot.index,
        device: slot.device,
        description: slot.description,
        memory_bytes: slot.memory_bytes,
    });
    let description = WorkerDescription {
        name: WorkerName::from(hello.worker),
        host: hello.host,
        address: hello.address,
        slots: slots.collect(),
        version: hello.version,
        instance: hello.instance_id.into(),
        protocol: Revision::announced(hello.protocol),
        labels: hello.labels,
        serves,
    };
    let processes = hello.processes.into_iter().map(|process| LivingProcess {
        process: process.process_id.into(),
        pid: process.pid,
    });
    Ok((description, processes.collect()))
}

fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), Status> {
    if labels.len() > MOST_LABELS {
        let reason = format!("expected at most {MOST_LABELS}, found {}", labels.len());
        return Err(invalid("hello.labels", reason));
    }
    let is_sound =
        |key: &str, value: &str| !key.is_empty() && key.len() <= LONGEST_LABEL && value.len() <= LONGEST_LABEL;
    match labels.iter().find(|(key, value)| !is_sound(key, value)) {
        Some((key, value)) => Err(invalid(
            "hello.labels",
            format!(
                "expected a key of 1 to {LONGEST_LABEL} bytes and a value of at most as many, found {} and {}",
                key.len(),
                value.len()
            ),
        )),
        None => Ok(()),
    }
}

pub(crate) fn welcome_to_wire(welcome: &Welcome, coordinator_id: &str) -> proto::Welcome {
    let milliseconds = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    proto::Welcome {
        heartbeat_interval_ms: milliseconds(welcome.heartbeat_interval),
        lease_ms: milliseconds(welcome.lease),
        coordinator_epoch: welcome.coordinator_epoch,
        unwanted_processes: welcome.unwanted.iter().map(ToString::to_string).collect(),
        coordinator_id: coordinator_id.to_owned(),
        awaited_job: welcome.awaited_job.as_ref().map(job_name).unwrap_or_default(),
    }
}

pub(crate) fn exit_from_wire(exited: proto::RankExited) -> RankExit {
    let ending = match (exited.exit_code, exited.signal) {
        _ if !exited.start_error.is_empty() => Ending::NotStarted(exited.start_error),
        (Some(code), _) => Ending::Exited(code),
        (None, Some(signal)) => Ending::Killed(signal),
        (None, None) => Ending::Vanished,
    };
    RankExit {
        ending,
        last_log_lines: last_lines(exited.last_log_lines),
        out_of_memory: exited.out_of_memory,
    }
}

/// What is said of a slot whose job the caller may not see.
const ANOTHERS: &str = "jobs/-";

/// All workers that are known and may be given jobs that the caller sees, by name. Jobs that it may not see are not named.
pub(crate) fn workers_to_wire(state: &State, caller: &Caller) -> Vec<proto::Worker> {
    let mut busy = BTreeMap::new();
    let shown = |job: &JobId| match caller.sees_in(state, job) {
        true => job_name(job),
        false => ANOTHERS.to_owned(),
    };
    for process in state.processes.values() {
        busy.insert((&process.worker, process.slot), &process.job);
    }
    state
        .workers
        .iter()
        .filter(|(_, worker)| caller.may_be_served(state, &worker.description.serves))
        .map(|(name, worker)| worker_to_wire(worker, shown, |slot| busy.get(&(name, slot)).copied()))
        .collect()
}

fn state_of(worker: &Worker) -> &'static str {
    match worker.availability {
        _ if !worker.is_attached() => "Lost",
        Availability::Ready => "Ready",
        Availability::Drained | Availability::Preempted => "Draining",
        Availability::SetAside => "SetAside",
    }
}

fn worker_to_wire<'a>(
    worker: &Worker,
    shown: impl Fn(&JobId) -> String,
    job_of: impl Fn(u32) -> Option<&'a JobId>,
) -> proto::Worker {
    let description = &worker.description;
    let slots = description.slots.iter().map(|slot| proto::Slot {
        index: slot.index,
        device: slot.device.clone(),
        description: slot.description.clone(),
        memory_bytes: slot.memory_bytes,
        job: job_of(slot.index).map(&shown).unwrap_or_default(),
    });
    proto::Worker {
        name: description.name.to_string(),
        host: description.host.clone(),
        state: state_of(worker).to_owned(),
        slots: slots.collect(),
        attach_time: Some(timestamp(worker.attached_at)),
        version: description.version.clone(),
        reason: reason_of(description),
        labels: description.labels.clone(),
        for_job: description.serves.job.as_ref().map(shown).unwrap_or_default(),
        for_namespace: description.serves.namespace.clone().unwrap_or_default(),
    }
}

/// What a worker of an older program is not asked to do.
fn reason_of(description: &WorkerDescription) -> String {
    let (found, current) = (description.protocol, Revision::CURRENT);
    match found < current {
        true => format!(
            "speaks revision {} (build {}), the coordinator {}: it gets no jobs that need more",
            found.0, description.version, current.0
        ),
        false => String::new(),
    }
}
