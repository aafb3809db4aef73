//! Looking at a resource, deciding, and doing it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use firn_core::spec::JobSpec;
use firn_proto::v1alpha1 as wire;
use k8s_openapi::{api::batch::v1::Job, jiff::Timestamp};
use kube::{
    Client, Resource as _, ResourceExt as _,
    runtime::{controller::Action, events::Recorder, reflector::ObjectRef},
};
use tonic::Status;
use tracing::{info, warn};

use super::coordinator::{Coordinator, CoordinatorError};
use super::followed::Jobs;
use super::let_go::LetGo;
use super::plan::{Observed, Plan, Remote, Step, plan};
use super::pods::Pods;
use super::sweep;
use super::tokens::Known;
use super::waiting::Waiting;
use crate::resource::FineTuneJob;
use crate::workers::identity::SharedFiles;
use crate::workers::{PatchError, WorkerSettings};

/// Name under which the operator writes.
pub(crate) const FIELD_MANAGER: &str = "firn-operator";
/// Before a look that failed is repeated: the first time, and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// For so long a look at a resource that is to go waits for answers.
const LONGEST_FAREWELL_LOOK: Duration = Duration::from_secs(5);
/// Between two looks at a resource of which nothing was heard: what nobody tells of, such as a renewed certificate, is seen then.
const LOOK_INTERVAL: Duration = Duration::from_secs(300);

/// Why a look did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReconcileError {
    /// The API server refused, or could not be reached.
    #[error("the API server: {}", told(.0))]
    Cluster(#[from] kube::Error),
    /// The coordinator refused, or could not be reached.
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
    /// The resource asks for pods that cannot be.
    #[error(transparent)]
    Pods(#[from] PatchError),
    /// A file of the operator that workers are to have cannot be read.
    #[error("{0:#}")]
    Files(anyhow::Error),
    /// A Job of that name belongs to somebody else.
    #[error("Job {name} exists and does not belong to this FineTuneJob: it is waited for until that is gone")]
    NameTaken {
        /// Of the Job.
        name: String,
    },
}

impl ReconcileError {
    /// Whether the API server, or the patch of the pods itself, is against what the resource asks for, so that only a person can help.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Pods(_) => true,
            // Neither credentials that are being replaced, nor what is gone, somebody else's write or too many calls are a refusal.
            Self::Cluster(kube::Error::Api(answer)) => {
                (400..500).contains(&answer.code) && ![401, 404, 408, 409, 429].contains(&answer.code)
            }
            _ => false,
        }
    }
}

/// What all looks share.
pub(super) struct Operator {
    /// The API server.
    pub(super) client: Client,
    /// The coordinator.
    pub(super) coordinator: Coordinator,
    /// What the coordinator has told.
    pub(super) jobs: Jobs,
    /// The pods, and the Jobs that hold them.
    pub(super) pods: Pods,
    /// Settings of the pods.
    pub(super) workers: WorkerSettings,
    /// For events.
    pub(super) recorder: Recorder,
    /// The uid of the lease under which this operator works.
    pub(super) lease: String,
    /// Resources of which the coordinator has not been told that they are gone.
    pub(super) let_go: LetGo,
    /// What is remembered of each resource, by uid.
    pub(super) memory: Mutex<HashMap<String, Memory>>,
}

/// What is remembered of a resource between two looks. Nothing depends on it but how often something is done.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// When its status was written last.
    pub(super) written: Option<Instant>,
    /// Looks that have failed since one came to its end.
    failures: u32,
    /// Since when waiting has been vain.
    waiting: Waiting,
    /// The token of its pods.
    pub(super) token: Option<Known>,
}

/// Looks at a resource once.
///
/// # Errors
/// See [`ReconcileError`]; what was done stays, and the next look goes on from there.
pub(super) async fn reconcile(resource: Arc<FineTuneJob>, operator: Arc<Operator>) -> Result<Action, ReconcileError> {
    let look = operator.look(&resource);
    let looked = match resource.meta().deletion_timestamp.is_some() {
        false => look.await,
        // Somebody waits for the resource to go: a call that is not answered soon is one to a coordinator that is down.
        true => match tokio::time::timeout(LONGEST_FAREWELL_LOOK, look).await {
            Ok(looked) => looked,
            Err(_) => Err(CoordinatorError::Refused(Status::unavailable("it does not answer")).into()),
        },
    };
    match looked {
        Ok(action) => Ok(action),
        Err(error) => {
            operator.tell(&resource, &error).await?;
            Err(error)
        }
    }
}

/// When to look again after an error: later each time.
pub(super) fn after_error(resource: Arc<FineTuneJob>, error: &ReconcileError, operator: Arc<Operator>) -> Action {
    let uid = resource.uid().unwrap_or_default();
    let mut memory = operator.lock();
    let failures = &mut memory.entry(uid).or_default().failures;
    let pause = match resource.meta().deletion_timestamp.is_some() {
        true => RETRY.0,
        false => RETRY.0.saturating_mul(1 << (*failures).min(8)).min(RETRY.1),
    };
    *failures = failures.saturating_add(1);
    warn!(resource = resource.name_any(), %error, again_in_seconds = pause.as_secs(), "this look failed");
    Action::requeue(pause)
}

impl Operator {
    async fn look(&self, resource: &FineTuneJob) -> Result<Action, ReconcileError> {
        let uid = resource.uid().unwrap_or_default();
        let files = SharedFiles::read(&self.workers).map_err(ReconcileError::Files)?;
        let workers = self.pods.workers_of(resource);
        let remote = self.jobs.get(&uid);
        let is_open =
            remote.as_ref().is_some_and(|remote| !remote.has_ended) && resource.meta().deletion_timestamp.is_none();
        let has_lost_token = is_open && self.has_lost_token(resource, workers.as_deref()).await?;
        let waiting = self.lock().get(&uid).map(|memory| memory.waiting);
        let plan = plan(&Observed {
            resource,
            remote: remote.as_ref(),
            silence: self.jobs.silence(&uid).as_ref(),
            workers: workers.as_deref(),
            pods: &self.pods.of(workers.as_deref()),
            identity: &files.digest(),
            has_lost_token,
            start_deadline: Some(self.workers.start_deadline_seconds).filter(|seconds| *seconds > 0),
            waited: waiting.unwrap_or_default().so_far(),
            now: Timestamp::now(),
        });
        if !plan.is_final {
            self.lock()
                .entry(uid.clone())
                .or_default()
                .waiting
                .note_pods(plan.outlook);
        }
        let next = self.carry_out(&plan, resource, remote.as_ref(), &files).await?;
        if plan.follow {
            self.jobs.follow(&uid, ObjectRef::from_obj(resource), &self.coordinator);
        }
        if let Some(memory) = self.lock().get_mut(&uid) {
            memory.failures = 0;
        }
        Ok(match next {
            Some(wait) => Action::requeue(wait),
            None if plan.look_in.is_some_and(|seconds| seconds > 0) => {
                Action::requeue(LOOK_INTERVAL.min(Duration::from_secs(plan.look_in.unwrap_or_default().into())))
            }
            None if plan.is_final => Action::await_change(),
            // Somebody waits for the resource to go.
            None if resource.meta().deletion_timestamp.is_some() => Action::requeue(Duration::from_secs(1)),
            None => Action::requeue(LOOK_INTERVAL),
        })
    }

    /// Takes the steps of a plan. Returns in how long to look again, if that is known already.
    async fn carry_out(
        &self,
        plan: &Plan,
        resource: &FineTuneJob,
        remote: Option<&Remote>,
        files: &SharedFiles,
    ) -> Result<Option<Duration>, ReconcileError> {
        let uid = resource.uid().unwrap_or_default();
        let name = format!("jobs/{}", remote.map(|remote| remote.id.as_str()).unwrap_or_default());
        let mut next = None;
        for step in &plan.steps {
            if !matches!(step, Step::WriteStatus(_)) {
                info!(
                    resource = resource.name_any(),
                    namespace = resource.namespace(),
                    step = step.name(),
                    "next step"
                );
            }
            let answer = match step {
                Step::AddFinalizer => self.set_finalizer(resource, true).await.map(|()| None)?,
                Step::RemoveFinalizer => self.forget(resource, remote).await.map(|()| None)?,
                Step::Submit { suspended } => {
                    // What cannot be a job is not submitted: the plan says so.
                    let Ok(spec) = resource.job() else { continue };
                    Some(self.submit(spec, &uid, *suspended).await?)
                }
                Step::Discover => {
                    // A resource that is no job was never submitted: the plan says so.
                    let Ok(spec) = resource.job() else { continue };
                    match self.submit(spec, &uid, true).await {
                        Err(error) if error.is_refusal() => {
                            self.forget(resource, None).await?;
                            None
                        }
                        answer => Some(answer?),
                    }
                }
                Step::Cancel => Some(self.coordinator.cancel(name.clone()).await?),
                Step::Suspend => Some(self.coordinator.set_suspended(name.clone(), true).await?),
                Step::Resume => Some(self.coordinator.set_suspended(name.clone(), false).await?),
                Step::Update { workers, priority } => {
                    Some(self.coordinator.update(name.clone(), *workers, *priority).await?)
                }
                Step::CreateWorkers => match self.try_workers(plan, resource, remote, files).await? {
                    true => None,
                    false => Some(self.coordinator.cancel(name.clone()).await?),
                },
                Step::RefreshIdentity => self.refresh_identity(resource, &name, files).await.map(|()| None)?,
                Step::DeleteWorkers => self.delete_workers(resource).await.map(|()| None)?,
                Step::SuspendWorkers(suspend) => self.suspend_workers(resource, *suspend).await.map(|()| None)?,
                Step::ScaleWorkers(count) => self.scale_workers(resource, *count).await.map(|()| None)?,
                Step::WriteStatus(status) => {
                    if let Some(wait) = self.write_status(resource, status).await? {
                        next.get_or_insert(wait);
                    }
                    None
                }
            };
            if let Some(job) = answer {
                let is_news = self.jobs.learn(&uid, Remote::of(&job));
                // What was decided is decided again from what is known now: the stream may have nothing new to tell.
                next = next.or(is_news.then_some(Duration::ZERO));
            }
        }
        Ok(next)
    }

    /// Makes the Job of the pods. Returns false if it was refused at the last try.
    async fn try_workers(
        &self,
        plan: &Plan,
        resource: &FineTuneJob,
        remote: Option<&Remote>,
        files: &SharedFiles,
    ) -> Result<bool, ReconcileError> {
        let uid = resource.uid().unwrap_or_default();
        let created = self.create_workers(resource, remote, files).await;
        let is_refused = created.as_ref().is_err_and(ReconcileError::is_refusal);
        self.lock().entry(uid).or_default().waiting.note_job(is_refused);
        match is_refused && plan.is_last_try {
            true => Ok(false),
            false => created.map(|()| true),
        }
    }

    async fn submit(
        &self,
        mut spec: JobSpec,
        uid: &str,
        suspended: bool,
    ) -> Result<wire::FineTuneJob, CoordinatorError> {
        sweep::label(&mut spec, uid, &self.lease);
        match self.coordinator.submit(&spec, uid, suspended).await {
            // The resource may have changed since it was submitted: then this is no repeat of that call.
            Err(error) if error.is_of_another_call() => match self.submitted(uid, &spec.metadata.namespace).await? {
                Some(job) => Ok(job),
                None => Err(error),
            },
            answer => answer,
        }
    }

    /// Lets a resource go, with all that is remembered of it.
    async fn forget(&self, resource: &FineTuneJob, remote: Option<&Remote>) -> Result<(), ReconcileError> {
        let uid = resource.uid().unwrap_or_default();
        if let Some(remote) = remote
            && let Err(error) = self.coordinator.revoke_tokens(&format!("jobs/{}", remote.id)).await
        {
            // They reach a job that is over, and end with it.
            warn!(resource = resource.name_any(), %error, "the tokens of its workers were not revoked");
        }
        self.set_finalizer(resource, false).await?;
        if !remote.is_some_and(|remote| remote.has_ended) {
            self.let_go.add(uid.clone());
        }
        self.jobs.forget(&uid);
        self.lock().remove(&uid);
        Ok(())
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<String, Memory>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a Job was made for this resource, and not for one that had its name.
pub(super) fn owns(resource: &FineTuneJob, job: &Job) -> bool {
    let owners = job.metadata.owner_references.as_deref().unwrap_or_default();
    owners
        .iter()
        .any(|owner| Some(&owner.uid) == resource.metadata.uid.as_ref())
}

/// The API server's own sentence, where it has answered.
fn told(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(answer) => answer.message.clone(),
        error => error.to_string(),
    }
}
