//! What the pods of a resource come to, in one condition: they run, they start, or what hinders them; and what became of the pod of a worker
//! that was lost.

use k8s_openapi::{
    api::{
        batch::v1::Job,
        core::v1::{ContainerStatus, Event, Pod},
    },
    jiff::Timestamp,
};
use kube::ResourceExt as _;

use super::plan::queue_of;
use super::pods::PodsSeen;
use super::waiting::Outlook;
use crate::resource::{FineTuneJob, Loss, ResourceStatus, StatusCondition};

/// Type of the condition.
pub(super) const PODS_READY: &str = "PodsReady";
/// Reason for which pods do not run yet that nothing hinders.
const PODS_STARTING: &str = "PodsStarting";
/// Annotation in which the Job controller writes a pod's index.
const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// A worker is missed for so long at most before its loss is decided, and its pod may end a little later.
const AROUND_LOSS_SECONDS: i64 = 120;

/// Type of the condition that is there while the operator cannot do what it should.
pub(super) const RECONCILED: &str = "Reconciled";
/// Reason for which there is no node: a volume is a claim that is not there.
const MISSING_CLAIM: &str = "MissingClaim";
/// The API server does not take what the operator would make for a resource: a policy, or a patch of its own, is against it.
pub(super) const CLUSTER_REFUSED: &str = "ClusterRefused";
/// The patch of the pods gives no pods.
pub(super) const INVALID_TEMPLATE: &str = "InvalidTemplate";

/// Reasons for which waiting is vain: nobody but a person can help.
const VAIN: [&str; 12] = [
    CLUSTER_REFUSED,
    INVALID_TEMPLATE,
    MISSING_CLAIM,
    "FailedCreate",
    "FailedMount",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
];

/// The condition of the pods; `None` without a Job.
pub(super) fn condition(resource: &FineTuneJob, job: Option<&Job>, seen: &PodsSeen) -> Option<StatusCondition> {
    let job = job?;
    let spec = job.spec.clone().unwrap_or_default();
    let wanted = usize::try_from(spec.parallelism.unwrap_or(0)).unwrap_or(0);
    let of =
        |is_ready: bool, reason: &str, message: &str| Some(StatusCondition::new(PODS_READY, is_ready, reason, message));
    if spec.suspend.unwrap_or(false) {
        let queue = queue_of(resource, job).map(|queue| format!("queue {queue}"));
        // A queue may take in Jobs that name none.
        let queue = queue.or_else(|| seen.workload.as_ref().map(|_| "the queue".to_owned()));
        return match queue.filter(|_| !resource.spec.cluster.suspend) {
            Some(queue) => {
                let said = seen.workload.as_ref().and_then(|workload| workload.hindrance());
                let said = said.unwrap_or_else(|| "has not let the pods in".to_owned());
                of(false, "WaitingForQueue", &format!("{queue} {said}"))
            }
            None => of(false, "Suspended", "the job is suspended and has no pods"),
        };
    }
    let living: Vec<&Pod> = seen
        .pods
        .iter()
        .map(AsRef::as_ref)
        .filter(|pod| is_living(pod))
        .collect();
    let running = living.iter().filter(|pod| is_running(pod)).count();
    if running >= wanted {
        return of(true, "PodsRunning", &format!("{running} of {wanted} pods run"));
    }
    let waiting = living.iter().filter(|pod| !is_running(pod));
    let mut found = waiting.filter_map(|pod| hindered(pod, seen));
    let (reason, message) = found
        .next()
        .or_else(|| (living.len() < wanted).then(|| refused(job, seen)).flatten())
        .unwrap_or_else(|| (PODS_STARTING.to_owned(), "pods are starting".to_owned()));
    of(false, &reason, &format!("{running} of {wanted} pods run; {message}"))
}

/// Whether only a person can help.
pub(super) fn is_vain(condition: &StatusCondition) -> bool {
    let is_own = [PODS_READY, RECONCILED].contains(&condition.r#type.as_str());
    is_own && condition.status == "False" && VAIN.contains(&condition.reason.as_str())
}

/// What makes waiting vain, if anything does.
pub(super) fn vain(status: &ResourceStatus) -> Option<&StatusCondition> {
    status.conditions.iter().find(|condition| is_vain(condition))
}

/// What may come of the pods.
pub(super) fn outlook(status: &ResourceStatus) -> Outlook {
    match status.condition(PODS_READY) {
        Some(condition) if is_vain(condition) => Outlook::Vain,
        Some(condition) if condition.reason == PODS_STARTING => Outlook::Starting,
        _ => Outlook::Open,
    }
}

/// What the cluster says of the pod of a lost worker: `OOMKilled`, `Evicted`, `DeletionByTaintManager`, …
pub(super) fn cause(loss: &Loss, seen: &PodsSeen) -> Option<String> {
    let (_, index) = loss.worker.as_deref()?.rsplit_once('-')?;
    let of_index = seen.pods.iter().filter(|pod| index_of(pod) == Some(index));
    let ended = of_index.filter_map(|pod| {
        let (at, cause) = ending(pod)?;
        let apart = (at.as_second() - loss.time.0.as_second()).abs();
        (apart <= AROUND_LOSS_SECONDS).then_some((apart, cause))
    });
    ended.min_by_key(|(apart, _)| *apart).map(|(_, cause)| cause)
}

fn index_of(pod: &Pod) -> Option<&str> {
    pod.annotations()
        .get(INDEX)
        .or_else(|| pod.labels().get(INDEX))
        .map(String::as_str)
}

fn phase(pod: &Pod) -> &str {
    let status = pod.status.as_ref();
    status.and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

fn is_living(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none() && matches!(phase(pod), "Pending" | "Running")
}

fn is_running(pod: &Pod) -> bool {
    phase(pod) == "Running" && containers(pod).iter().all(|container| container.ready)
}

fn containers(pod: &Pod) -> &[ContainerStatus] {
    let status = pod.status.as_ref();
    status
        .and_then(|status| status.container_statuses.as_deref())
        .unwrap_or_default()
}

/// Why a pod does not run, if that is known.
fn hindered(pod: &Pod, seen: &PodsSeen) -> Option<(String, String)> {
    let name = pod.name_any();
    let said = |reason: &str, message: &str| {
        let text = match message.is_empty() {
            true => format!("pod {name}: {reason}"),
            false => format!("pod {name}: {message}"),
        };
        Some((reason.to_owned(), text))
    };
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    let unplaced = conditions
        .iter()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    if let Some(condition) = unplaced {
        let message = condition.message.as_deref().unwrap_or_default();
        return match lacks_claim(message) {
            true => said(MISSING_CLAIM, message),
            false => said(condition.reason.as_deref().unwrap_or("Unschedulable"), message),
        };
    }
    let waiting = containers(pod)
        .iter()
        .find_map(|container| container.state.as_ref()?.waiting.clone());
    if let Some(waiting) = waiting
        && let Some(reason) = waiting
            .reason
            .filter(|reason| reason != "ContainerCreating" && reason != "PodInitializing")
    {
        return said(&reason, waiting.message.as_deref().unwrap_or_default());
    }
    let event = seen
        .hindrances
        .iter()
        .find(|event| event.involved_object.uid == pod.uid())?;
    said(
        event.reason.as_deref().unwrap_or("FailedMount"),
        event.message.as_deref().unwrap_or_default(),
    )
}

/// Whether a claim is not there, in the scheduler's words: it has no reason of its own for that, and a node would not help.
fn lacks_claim(message: &str) -> bool {
    let claims = message.split("persistentvolumeclaim \"").skip(1);
    claims
        .filter_map(|rest| rest.split_once('"'))
        .any(|(_, rest)| rest.trim_start().starts_with("not found"))
}

/// Why a Job has too few pods: what was said last, if no pod has come since.
fn refused(job: &Job, seen: &PodsSeen) -> Option<(String, String)> {
    let of_job = seen
        .hindrances
        .iter()
        .filter(|event| event.involved_object.uid == job.uid());
    let newest = of_job.max_by_key(|event| said_at(event))?;
    let last_pod = seen
        .pods
        .iter()
        .filter_map(|pod| pod.creation_timestamp())
        .map(|time| time.0)
        .max();
    if last_pod.is_some_and(|created| said_at(newest).is_some_and(|said| said < created)) {
        return None;
    }
    let message = newest.message.clone().unwrap_or_default();
    Some((newest.reason.clone().unwrap_or_default(), message))
}

fn said_at(event: &Event) -> Option<Timestamp> {
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    last.or_else(|| event.event_time.as_ref().map(|time| time.0))
}

/// When and of what a pod ended.
fn ending(pod: &Pod) -> Option<(Timestamp, String)> {
    let status = pod.status.as_ref()?;
    let disrupted = status.conditions.iter().flatten();
    let disrupted = disrupted
        .filter(|condition| condition.type_ == "DisruptionTarget" && condition.status == "True")
        .find_map(|condition| condition.reason.clone().zip(condition.last_transition_time.clone()));
    if let Some((reason, at)) = disrupted {
        return Some((at.0, reason));
    }
    let terminated = containers(pod)
        .iter()
        .find_map(|container| container.state.as_ref()?.terminated.clone())?;
    let at = terminated.finished_at?.0;
    let reason = status
        .reason
        .clone()
        .or(terminated.reason)
        .unwrap_or_else(|| "Error".to_owned());
    Some((
        at,
        match reason.as_str() {
            "Error" => format!("Error: status {}", terminated.exit_code),
            _ => reason,
        },
    ))
}
