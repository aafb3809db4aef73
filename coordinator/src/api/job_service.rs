//! `JobService`: what people and their programs call.

use std::{mem, pin::Pin, time::Duration};

use async_stream::try_stream;
use firn_core::{
    Input, Reject, Reply, State,
    identifiers::{JobId, WorkerName},
    state::Scope,
};
use firn_proto::v1alpha1::{self as proto, job_service_server::JobService};
use futures::Stream;
use tokio::time::Instant;
use tonic::{Request, Response, Status};
use tracing::info;

use super::{
    chunks::{self, ChunkStream},
    context::{Context, called},
    listing,
    log_lines::{self, LogStream},
    quotas,
    refusal::{invalid, rejected, stopping, unexpected},
    requests::mark,
    submission,
    wire::{
        self,
        checkpoint::artifact_to_wire,
        job_changes::job_changes,
        job_status::{self, Detail},
        names::job_id,
        step::step_to_wire,
        verification_to_wire,
        worker::workers_to_wire,
    },
};
use crate::verification;

/// A watcher gets at most ten snapshots a second, and always the last.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);
/// Processes may take their time to end; the deletion of their job is answered by then, well within the deadline of a call.
const LONGEST_ERASURE: Duration = Duration::from_secs(15);
const DEFAULT_STEPS: usize = 1_000;
const MOST_STEPS: usize = 10_000;

/// For people and their programs.
#[derive(Clone)]
pub struct Jobs {
    context: Context,
}

impl Jobs {
    /// Over the engine and the stores.
    pub fn new(context: Context) -> Self {
        Self { context }
    }

    /// A mutation, and the job that its reply names, as it is then.
    async fn mutate(
        &self,
        mutation: Input,
        named: impl FnOnce(Reply) -> Result<JobId, Reply> + Send + 'static,
    ) -> Result<proto::FineTuneJob, Status> {
        let look = |reply, state: &State| named(reply).map(|job| (job_status::snapshot(state, &job), job));
        let looked = self.context.engine.tell_and_look(mutation, look).await?;
        let (snapshot, job) = looked.map_err(|other| unexpected(&other))?;
        let snapshot = match snapshot {
            Some(snapshot) => snapshot,
            None => self.context.snapshot(&job).await?,
        };
        Ok(job_status::job_to_wire(
            &snapshot,
            Detail::Snapshot,
            self.context.clock.now(),
        ))
    }

    /// A mutation of a job, and the job as it is then.
    async fn change(&self, job: &JobId, mutation: Input) -> Result<proto::FineTuneJob, Status> {
        let id = job.clone();
        let named = |reply| match reply {
            Reply::Done => Ok(id),
            other => Err(other),
        };
        self.mutate(mutation, named).await
    }

    async fn show(&self, job: &JobId, detail: Detail) -> Result<proto::FineTuneJob, Status> {
        let (_, shown) = show(&self.context, job, detail).await?;
        Ok(shown)
    }
}

/// Whether a job has ended, and how it is shown. It is rendered off the engine, where only cheap copies are made; nothing of the state is
/// held on to, so that the next change need not copy it.
async fn show(context: &Context, job: &JobId, detail: Detail) -> Result<(bool, proto::FineTuneJob), Status> {
    let snapshot = context.snapshot(job).await?;
    let shown = job_status::job_to_wire(&snapshot, detail, context.clock.now());
    Ok((snapshot.job.outcome().is_some(), shown))
}

#[tonic::async_trait]
impl JobService for Jobs {
    async fn create_job(
        &self,
        request: Request<proto::CreateJobRequest>,
    ) -> Result<Response<proto::FineTuneJob>, Status> {
        self.context.ending.takes_jobs()?;
        let (caller, mut request) = called(request)?;
        submission::claim(&caller, request.job.as_mut())?;
        let mark = mark("CreateJob", mem::take(&mut request.request_id), &request)?;
        let job = request
            .job
            .ok_or_else(|| invalid("job", "expected a job, found none"))?;
        let job = submission::with_its_folder(job).await?;
        let spec = wire::job_spec(&job).map_err(|violations| wire::invalid_job(&violations))?;
        let spec = spec.into();
        let submit = mark.on(match request.suspended {
            true => Input::SubmitSuspended { spec },
            false => Input::Submit { spec },
        });
        let stored = self.mutate(submit, |reply| match reply {
            Reply::Submitted(job) => Ok(job),
            other => Err(other),
        });
        let stored = stored.await?;
        info!(
            job = stored.metadata.as_ref().map_or("", |job| &job.resource_name),
            "a job was submitted"
        );
        Ok(Response::new(stored))
    }

    async fn get_job(&self, request: Request<proto::GetJobRequest>) -> Result<Response<proto::FineTuneJob>, Status> {
        let (caller, request) = called(request)?;
        let job = job_id("name", &request.name)?;
        self.context.may_see(&caller, &job).await?;
        let detail = match request.view.as_str() {
            "" => Detail::Whole,
            "full" => Detail::Full,
            other => return Err(invalid("view", format!("expected nothing or `full`, found `{other}`"))),
        };
        let mut shown = self.show(&job, detail).await?;
        let status = shown.status.get_or_insert_default();
        status.jobs_ahead = quotas::jobs_ahead(&self.context, job).await?;
        Ok(Response::new(shown))
    }

    async fn list_jobs(
        &self,
        request: Request<proto::ListJobsRequest>,
    ) -> Result<Response<proto::ListJobsResponse>, Status> {
        let (caller, request) = called(request)?;
        listing::list(&self.context, caller, &request).await.map(Response::new)
    }

    type WatchJobStream = Pin<Box<dyn Stream<Item = Result<proto::FineTuneJob, Status>> + Send>>;

    async fn watch_job(
        &self,
        request: Request<proto::WatchJobRequest>,
    ) -> Result<Response<Self::WatchJobStream>, Status> {
        let (caller, request) = called(request)?;
        let job = job_id("name", &request.name)?;
        self.context.may_see(&caller, &job).await?;
        let context = self.context.clone();
        let mut changes = context.engine.changes(&job);
        // So that a job that does not exist is refused, not streamed.
        let (mut has_ended, mut shown) = show(&context, &job, Detail::Snapshot).await?;
        Ok(Response::new(Box::pin(try_stream! {
            loop {
                let sent = Instant::now();
                yield shown;
                if has_ended {
                    break;
                }
                let next = async {
                    changes.changed().await.map_err(|_| stopping())?;
                    tokio::time::sleep_until(sent + WATCH_INTERVAL).await;
                    changes.borrow_and_update();
                    Ok(())
                };
                context.unless_ending(next).await?;
                (has_ended, shown) = show(&context, &job, Detail::Snapshot).await?;
            }
        })))
    }

    async fn cancel_job(
        &self,
        request: Request<proto::CancelJobRequest>,
    ) -> Result<Response<proto::FineTuneJob>, Status> {
        let (caller, mut request) = called(request)?;
        let mark = mark("CancelJob", mem::take(&mut request.request_id), &request)?;
        let job = job_id("name", &request.name)?;
        self.context.may_see(&caller, &job).await?;
        let cancelled = self.change(&job, mark.on(Input::Cancel { job: job.clone() })).await?;
        info!(%job, "a job was cancelled");
        Ok(Response::new(cancelled))
    }

    async fn suspend_job(
        &self,
        request: Request<proto::SuspendJobRequest>,
    ) -> Result<Response<proto::FineTuneJob>, Status> {
        let (caller, mut request) = called(request)?;
        let mark = mark("SuspendJob", mem::take(&mut request.request_id), &request)?;
        let job = job_id("name", &request.name)?;
        self.context.may_see(&caller, &job).await?;
        let suspended = self.change(&job, mark.on(Input::Suspend { job: job.clone() })).await?;
        info!(%job, "a job is suspended");
        Ok(Response::new(suspended))
    }

    async fn resume_job(
        &self,
        request: Request<proto::ResumeJobRequest>,
    ) -> Result<Response<proto::FineTuneJob>, Status> {
        let (caller, mut request) = called(request)?;
        let mark = mark("ResumeJob", mem::take(&mut request.request_id), &request)?;
        let job = job_id("name", &request.name)?;
        self.context.may_see(&caller, &job).await?;
        let resumed = self.change(&job, mark.on(Input::Resume { job: job.clone() })).await?;
        info!(%job, "a job is resumed");
        Ok(Response::new(resumed))
    }

    async fn update_job(
        &self,
        request: Request<proto::UpdateJobRequest>,
    ) -> Result<Response<proto::FineTuneJob>, Status> {
        let (caller, mut request) = called(request)?;
        let mark = mark("UpdateJob", mem::take(&mut request.request_id), &request)?;
        let job = job_id("name", &request.name)?;
        self.context.may_see(&caller, &job).await?;
        let changes = job_changes(&request)?;
        let update = Input::Update {
            job: job.clone(),
            changes,
        };
        let updated = self.change(&job, mark.on(update)).await?;
        info!(%job, ?changes, "a job is changed");
        Ok(Response::new(updated))
    }

    async fn delete_job(
        &self,
        request: Request<proto::DeleteJobRequest>,
    ) -> Result<Response<proto::DeleteJobResponse>, Status> {
        let (caller, mut request) = called(request)?;
        let mark = mark("DeleteJob", mem::take(&mut request.request_id), &request)?;
        let job = job_id("name", &request.name)?;
        self.context.may_see(&caller, &job).await?;
        let mut changes = self.context.engine.changes(&job);
        let told = self.context.engine.tell(mark.on(Input::Delete { job: job.clone() }));
        match told.await? {
            Reply::Done => {}
            other => return Err(unexpected(&other)),
        }
        let engine = &self.context.engine;
        let erased = async {
            loop {
                changes.borrow_and_update();
                let asked = job.clone();
                if !engine.ask(move |state| state.erasing.contains(&asked)).await? {
                    return Ok(());
                }
                changes.changed().await.map_err(|_| stopping())?;
            }
        };
        let waited = tokio::time::timeout(LONGEST_ERASURE, self.context.unless_ending(erased)).await;
        // What is recorded will be done.
        waited.unwrap_or(Ok(()))?;
        Ok(Response::new(proto::DeleteJobResponse {}))
    }

    type StreamLogsStream = LogStream;

    async fn stream_logs(
        &self,
        request: Request<proto::StreamLogsRequest>,
    ) -> Result<Response<Self::StreamLogsStream>, Status> {
        let (caller, request) = called(request)?;
        self.context.may_see(&caller, &job_id("name", &request.name)?).await?;
        log_lines::stream(&self.context, request).await.map(Response::new)
    }

    async fn list_steps(
        &self,
        request: Request<proto::ListStepsRequest>,
    ) -> Result<Response<proto::ListStepsResponse>, Status> {
        let (caller, request) = called(request)?;
        let id = job_id("name", &request.name)?;
        self.context.may_see(&caller, &id).await?;
        let job = self.context.job(&id).await?;
        let size = match request.page_size as usize {
            0 => DEFAULT_STEPS,
            size => size.min(MOST_STEPS),
        };
        let steps = job.run.ledger.from_step(request.first_step).take(size);
        Ok(Response::new(proto::ListStepsResponse {
            steps: steps.map(|committed| step_to_wire(&committed.step)).collect(),
        }))
    }

    async fn list_artifacts(
        &self,
        request: Request<proto::ListArtifactsRequest>,
    ) -> Result<Response<proto::ListArtifactsResponse>, Status> {
        let (caller, request) = called(request)?;
        let id = job_id("name", &request.name)?;
        self.context.may_see(&caller, &id).await?;
        let job = self.context.job(&id).await?;
        Ok(Response::new(proto::ListArtifactsResponse {
            artifacts: job.run.artifacts.iter().map(artifact_to_wire).collect(),
        }))
    }

    type DownloadArtifactStream = ChunkStream;

    async fn download_artifact(
        &self,
        request: Request<proto::DownloadArtifactRequest>,
    ) -> Result<Response<Self::DownloadArtifactStream>, Status> {
        let (caller, request) = called(request)?;
        self.context.may_see(&caller, &job_id("name", &request.name)?).await?;
        chunks::artifact(&self.context, &request.name, &request.artifact)
            .await
            .map(Response::new)
    }

    async fn verify_job(
        &self,
        request: Request<proto::VerifyJobRequest>,
    ) -> Result<Response<proto::VerificationReceipt>, Status> {
        let (caller, request) = called(request)?;
        let job = job_id("name", &request.name)?;
        self.context.may_see(&caller, &job).await?;
        // So that a job that does not exist is refused, not proven.
        self.context.job(&job).await?;
        let Context { journal, store, .. } = self.context.clone();
        let coordinator_epoch = self.context.engine.ask(|state| state.coordinator_epoch).await?;
        let scope = verification::Scope::Job { coordinator_epoch };
        let verified = tokio::task::spawn_blocking(move || verification::verify(scope, &journal, &store, &job))
            .await
            .expect("verifying does not panic");
        Ok(Response::new(verification_to_wire(&verified)))
    }

    async fn list_workers(
        &self,
        request: Request<proto::ListWorkersRequest>,
    ) -> Result<Response<proto::ListWorkersResponse>, Status> {
        let (caller, _) = called(request)?;
        let asked = caller.clone();
        let mut workers = self
            .context
            .engine
            .ask(move |state| workers_to_wire(state, &asked))
            .await?;
        // What refused agents would serve is not known.
        if caller.scope == Scope::All {
            workers.extend(self.context.refused.beside(&workers));
        }
        Ok(Response::new(proto::ListWorkersResponse { workers }))
    }

    async fn set_quota(
        &self,
        request: Request<proto::SetQuotaRequest>,
    ) -> Result<Response<proto::NamespaceUse>, Status> {
        let (caller, request) = called(request)?;
        quotas::set(&self.context, &caller, request).await.map(Response::new)
    }

    async fn list_quotas(
        &self,
        request: Request<proto::ListQuotasRequest>,
    ) -> Result<Response<proto::ListQuotasResponse>, Status> {
        let (caller, _) = called(request)?;
        quotas::list(&self.context, caller).await.map(Response::new)
    }

    async fn drain_worker(
        &self,
        request: Request<proto::DrainWorkerRequest>,
    ) -> Result<Response<proto::Worker>, Status> {
        let (caller, mut request) = called(request)?;
        caller.may_do_everywhere("DrainWorker")?;
        let mark = mark("DrainWorker", mem::take(&mut request.request_id), &request)?;
        let (name, undo) = (request.name, request.undo);
        let worker = WorkerName::from(name.as_str());
        let drain = mark.on(Input::DrainWorker { worker, undo });
        match self.context.engine.tell(drain).await? {
            Reply::Done => info!(worker = name, undo, "a worker is drained, or taken back into use"),
            other => return Err(unexpected(&other)),
        }
        let workers = self
            .context
            .engine
            .ask(move |state| workers_to_wire(state, &caller))
            .await?;
        let shown = workers.into_iter().find(|worker| worker.name == name);
        shown
            .map(Response::new)
            .ok_or_else(|| rejected(&Reject::WorkerNotFound { worker: name.into() }))
    }
}
