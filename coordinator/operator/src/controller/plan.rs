//! The next steps for a resource.
//!
//! The coordinator decides about the job; the operator carries a person's wishes there, and pods to where they are wanted. The order of
//! steps is such that pods are there before a job needs them, and go only when their ranks have left.

use std::collections::BTreeMap;

use firn_core::spec::JobSpec;
use k8s_openapi::{api::batch::v1::Job, jiff::Timestamp};
use kube::ResourceExt as _;

use super::hindrance;
use super::pods::PodsSeen;
use super::status;
use super::waiting::{Outlook, Waited};
use super::{FINALIZER, MANAGER};
use crate::resource::{FineTuneJob, ResourceStatus};
use crate::workers::{IDENTITY_ANNOTATION, QUEUE_LABEL, RUN_ANNOTATION, SUSPENDED_ANNOTATION};

/// A coordinator that cannot be reached is waited for so long before a resource is let go without it; it is told as soon as it can be.
const LONGEST_FAREWELL_SECONDS: i64 = 10;

/// What is seen.
#[derive(Debug, Clone)]
pub struct Observed<'a> {
    /// The resource.
    pub resource: &'a FineTuneJob,
    /// Its job, if the coordinator has told of it.
    pub remote: Option<&'a Remote>,
    /// Why nothing is heard of the job now.
    pub silence: Option<&'a Silence>,
    /// The Job that holds its pods, if there is one.
    pub workers: Option<&'a Job>,
    /// The pods.
    pub pods: &'a PodsSeen,
    /// Digest of what all workers are given to show who they are.
    pub identity: &'a str,
    /// Whether the coordinator, when it was asked, did not know the token of the pods.
    pub has_lost_token: bool,
    /// Seconds that pods may be hindered from starting where waiting is vain; `None`: for ever.
    pub start_deadline: Option<u32>,
    /// For how long that has been so.
    pub waited: Waited,
    /// The time.
    pub now: Timestamp,
}

/// Why the coordinator says nothing of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// CamelCase, for programs.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// What the coordinator says of a job.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Remote {
    /// Its id.
    pub id: String,
    /// When the coordinator took it in: another time is another job, also under the same id.
    pub run: String,
    /// Fewest and most workers that it takes.
    pub workers: (u32, u32),
    /// Where it stands among others.
    pub priority: u32,
    /// Whether a person has suspended it.
    pub is_suspended: bool,
    /// Whether its ranks are gone: it waits, or is over.
    pub is_at_rest: bool,
    /// Whether it is over.
    pub has_ended: bool,
    /// Workers on which its ranks live.
    pub living: u32,
    /// What the resource is to say of it.
    pub status: ResourceStatus,
}

impl Remote {
    /// Whether nothing but the progress of training is different.
    pub(super) fn differs_by_progress_alone(&self, other: &Self) -> bool {
        let with_status = Self {
            status: other.status.clone(),
            ..self.clone()
        };
        with_status == *other && self.status.differs_by_progress_alone(&other.status)
    }
}

/// One thing to do. They are done in order; after a failure the rest is left to the next look.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Hold the resource.
    AddFinalizer,
    /// Let the resource go.
    RemoveFinalizer,
    /// Give the job to the coordinator; a repeat gives none a second time.
    Submit {
        /// It is not placed until it is resumed.
        suspended: bool,
    },
    /// End the job.
    Cancel,
    /// Let the job give its slots back.
    Suspend,
    /// Let it go on.
    Resume,
    /// Change how many workers the job takes, and how urgent it is.
    Update {
        /// Fewest and most workers.
        workers: (u32, u32),
        /// Where it stands among others.
        priority: u32,
    },
    /// Find out whether the coordinator has the job, and let the resource go if it has not.
    Discover,
    /// Make the Job that holds the pods.
    CreateWorkers,
    /// Give the workers the files that have changed.
    RefreshIdentity,
    /// Take away the Job, and with it its pods.
    DeleteWorkers,
    /// Let the Job have its pods, or take them from it.
    SuspendWorkers(bool),
    /// So many pods.
    ScaleWorkers(u32),
    /// Write the status.
    WriteStatus(Box<ResourceStatus>),
}

impl Step {
    /// For logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AddFinalizer => "AddFinalizer",
            Self::RemoveFinalizer => "RemoveFinalizer",
            Self::Submit { .. } => "Submit",
            Self::Cancel => "Cancel",
            Self::Suspend => "Suspend",
            Self::Resume => "Resume",
            Self::Update { .. } => "Update",
            Self::Discover => "Discover",
            Self::CreateWorkers => "CreateWorkers",
            Self::RefreshIdentity => "RefreshIdentity",
            Self::DeleteWorkers => "DeleteWorkers",
            Self::SuspendWorkers(_) => "SuspendWorkers",
            Self::ScaleWorkers(_) => "ScaleWorkers",
            Self::WriteStatus(_) => "WriteStatus",
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// In order.
    pub steps: Vec<Step>,
    /// Whether the job is to be followed at the coordinator.
    pub follow: bool,
    /// Whether nothing will come any more, unless somebody changes the resource.
    pub is_final: bool,
    /// Seconds after which to look again, whatever is heard.
    pub look_in: Option<u32>,
    /// What may come of the pods.
    pub outlook: Outlook,
    /// If the API server refuses the Job of the pods once more, the job is ended.
    pub is_last_try: bool,
}

impl Plan {
    fn of(steps: impl Into<Vec<Step>>) -> Self {
        Self {
            steps: steps.into(),
            ..Self::default()
        }
    }
}

/// The next steps; none: everything is as it should be.
pub fn plan(seen: &Observed<'_>) -> Plan {
    let resource = seen.resource;
    let manager = resource.spec.cluster.managed_by.as_deref();
    if manager.is_some_and(|manager| manager != MANAGER) {
        return Plan {
            is_final: true,
            ..Plan::default()
        };
    }
    if let Some(deleted) = &resource.metadata.deletion_timestamp {
        return farewell(seen, seen.now.as_second() - deleted.0.as_second());
    }
    if has_ended(resource) {
        return ended(seen);
    }
    if !is_held(resource) {
        return Plan::of([Step::AddFinalizer]);
    }
    let spec = match resource.job() {
        Ok(spec) => spec,
        Err(violations) => {
            let refused = ResourceStatus::refused(resource, &violations, seen.now);
            return Plan {
                is_final: true,
                ..Plan::of(write(resource, refused))
            };
        }
    };
    let Some(remote) = seen.remote else {
        // Also when the job was given to the coordinator and that is not known: it tells what it has taken in.
        let suspended = resource.spec.cluster.suspend;
        return Plan::of([Step::Submit { suspended }]);
    };
    alive(seen, &spec, remote)
}

/// The steps for a job that the coordinator has.
fn alive(seen: &Observed<'_>, spec: &JobSpec, remote: &Remote) -> Plan {
    let suspended = seen.resource.spec.cluster.suspend;
    let mut steps = Vec::new();
    let status = status::of(seen, remote);
    let outlook = hindrance::outlook(&status);
    let mut look_in = None;
    if !remote.has_ended {
        let wanted = (spec.resources.workers.min, spec.resources.workers.max);
        workers(seen, remote, wanted.1, &mut steps);
        let priority = spec.scheduling.priority;
        if remote.workers != wanted || remote.priority != priority {
            let update = Step::Update {
                workers: wanted,
                priority,
            };
            // Pods come before they are needed, and go after.
            match steps.iter().position(|step| matches!(step, Step::ScaleWorkers(_))) {
                Some(place) if wanted.1 < remote.workers.1 => steps.insert(place, update),
                _ => steps.push(update),
            }
        }
        if suspended != remote.is_suspended {
            steps.push(if suspended { Step::Suspend } else { Step::Resume });
        }
        look_in = given_up_in(seen, remote, outlook);
        if look_in == Some(0) {
            steps.push(Step::Cancel);
        }
    }
    steps.extend(write(seen.resource, status));
    Plan {
        steps,
        follow: !remote.has_ended,
        is_final: false,
        look_in,
        outlook,
        is_last_try: deadline(seen, remote).is_some_and(|deadline| seen.waited.for_job >= Some(deadline)),
    }
}

/// Seconds after which a job is given up that waits in vain; `None`: it is not, since it has worked already, or nobody wants it to.
fn deadline(seen: &Observed<'_>, remote: &Remote) -> Option<u32> {
    let has_worked = remote.living > 0 || remote.status.start_time.is_some();
    let is_wanted = !has_worked && !remote.has_ended && !seen.resource.spec.cluster.suspend;
    seen.start_deadline.filter(|_| is_wanted)
}

/// Seconds after which a job whose pods cannot start is given up: not before the reason stands on the resource.
fn given_up_in(seen: &Observed<'_>, remote: &Remote, outlook: Outlook) -> Option<u32> {
    let deadline = deadline(seen, remote).filter(|_| outlook == Outlook::Vain)?;
    let left = deadline.saturating_sub(seen.waited.for_pods.unwrap_or(0));
    let before = seen.resource.status.as_ref().map(hindrance::outlook);
    Some(if before == Some(Outlook::Vain) {
        left
    } else {
        left.max(1)
    })
}

/// The Job of the pods: as wide as it should be, and without pods while the job is suspended. Where a queue governs it, how wide it is and
/// whether it has pods is the queue's to say; one that nobody needs is not there, since the queue would count it, and start it again. A queue may
/// take in every Job, which shows only when it is there: so it is made when it is needed, and one that others hold back is left to them.
fn workers(seen: &Observed<'_>, remote: &Remote, most: u32, steps: &mut Vec<Step>) {
    let suspended = seen.resource.spec.cluster.suspend;
    let Some(job) = seen.workers else {
        if !suspended {
            steps.push(Step::CreateWorkers);
        }
        return;
    };
    if seen.has_lost_token || is_of_another_run(remote, job) {
        steps.push(Step::DeleteWorkers);
        return;
    }
    let is_queued = queue_of(seen.resource, job).is_some() || seen.pods.workload.is_some();
    let spec = job.spec.clone().unwrap_or_default();
    if spec.suspend == Some(true) && remote.is_at_rest && is_in_another_queue(seen.resource, job) {
        steps.push(Step::DeleteWorkers);
        return;
    }
    if job.annotations().get(IDENTITY_ANNOTATION).map(String::as_str) != Some(seen.identity) {
        steps.push(Step::RefreshIdentity);
    }
    let has_pods = !spec.suspend.unwrap_or(false);
    if suspended && remote.is_suspended && remote.is_at_rest {
        match is_queued {
            true => steps.push(Step::DeleteWorkers),
            false if has_pods => steps.push(Step::SuspendWorkers(true)),
            false => {}
        }
    }
    let is_held_by_us = remote.is_suspended || job.annotations().contains_key(SUSPENDED_ANNOTATION);
    if !has_pods && !suspended && !is_queued && is_held_by_us {
        steps.push(Step::SuspendWorkers(false));
    }
    let width = u32::try_from(spec.parallelism.unwrap_or(0)).unwrap_or(0);
    let is_wanted = most > width || (most < width && remote.workers.1 <= most && remote.living <= most);
    if !is_queued && width != most && is_wanted {
        steps.push(Step::ScaleWorkers(most));
    }
}

/// The job is over: what the coordinator said last stands on the resource, and stays.
fn ended(seen: &Observed<'_>) -> Plan {
    let steps = seen.remote.map(|remote| write(seen.resource, status::of(seen, remote)));
    Plan {
        steps: steps.unwrap_or_default(),
        is_final: true,
        ..Plan::default()
    }
}

/// A resource that is to go takes its job with it. Its pods go with it by themselves: it owns them.
fn farewell(seen: &Observed<'_>, seconds: i64) -> Plan {
    if !is_held(seen.resource) {
        return Plan {
            is_final: true,
            ..Plan::default()
        };
    }
    let is_over = has_ended(seen.resource) || seen.remote.is_some_and(|remote| remote.has_ended);
    let was_refused = seen.resource.job().is_err();
    if is_over || was_refused || seconds >= LONGEST_FAREWELL_SECONDS {
        return Plan::of([Step::RemoveFinalizer]);
    }
    match seen.remote {
        // It may have been given to the coordinator by an operator that did not live to note it.
        None => Plan::of([Step::Discover]),
        Some(_) => Plan {
            follow: true,
            ..Plan::of([Step::Cancel])
        },
    }
}

/// Writes a status that is new.
fn write(resource: &FineTuneJob, new: ResourceStatus) -> Vec<Step> {
    match resource.status.as_ref() == Some(&new) {
        true => Vec::new(),
        false => vec![Step::WriteStatus(Box::new(new))],
    }
}

fn is_held(resource: &FineTuneJob) -> bool {
    let finalizers = resource.metadata.finalizers.as_deref().unwrap_or_default();
    finalizers.iter().any(|finalizer| finalizer == FINALIZER)
}

/// Whether the pods were made for a job that the coordinator has lost, as one that was restored from a backup has.
fn is_of_another_run(remote: &Remote, job: &Job) -> bool {
    let made_for = job.annotations().get(RUN_ANNOTATION);
    made_for.is_some_and(|run| *run != remote.run)
}

/// Whether the resource names a queue that the Job was not made for.
fn is_in_another_queue(resource: &FineTuneJob, job: &Job) -> bool {
    let wanted = resource.labels().get(QUEUE_LABEL);
    wanted.is_some() && wanted != job.labels().get(QUEUE_LABEL)
}

/// The queue of Kueue that governs the pods, by the resource's own wish or by that of the namespace.
pub(super) fn queue_of<'a>(resource: &'a FineTuneJob, job: &'a Job) -> Option<&'a str> {
    let label = |labels: &'a BTreeMap<String, String>| labels.get(QUEUE_LABEL);
    let queue = label(resource.labels()).or_else(|| label(job.labels()));
    queue.map(String::as_str)
}

/// Whether the resource says that its job is over.
pub(super) fn has_ended(resource: &FineTuneJob) -> bool {
    let summary = resource.status.as_ref().and_then(|status| status.summary.as_deref());
    summary.is_some_and(super::remote::is_end)
}
