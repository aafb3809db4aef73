//! The coordinator, as a rank meets it: the calls of the main thread, and the pulse beside them.
//!
//! Each call waits for its answer on the runtime that also carries the pulse and the commits. What an answer other than success means is told
//! in [`client`].

pub(crate) mod client;
pub(crate) mod heartbeat;
pub(crate) mod orders;
pub(crate) mod pulse;
pub(crate) mod status;
mod transfers;

use std::{future::Future, sync::Arc, time::Duration};

use firn_core::compatibility::Revision;
use firn_proto::v1alpha1 as wire;
use tokio::{runtime::Runtime, time::timeout};
use tonic::{Response, Status};
use tracing::warn;

use self::{
    client::{Client, Scope, Service},
    heartbeat::Heartbeat,
    status::reason_of,
};
use super::{failure::RankFailure, stop_reason::StopReason};

/// For the last words of a rank.
const REPORT_WITHIN: Duration = Duration::from_secs(5);

/// The coordinator, as the main thread sees it.
pub(crate) struct Coordinator<'a> {
    runtime: &'a Runtime,
    process: Client,
    heartbeat: Arc<Heartbeat>,
}

impl<'a> Coordinator<'a> {
    /// `process`: a client of any generation.
    pub(crate) fn new(runtime: &'a Runtime, process: Client, heartbeat: Arc<Heartbeat>) -> Self {
        Self {
            runtime,
            process,
            heartbeat,
        }
    }

    /// For tasks that belong to the present generation.
    pub(crate) fn client(&self) -> Client {
        self.process.in_present_generation()
    }

    /// The runtime that carries the calls.
    pub(crate) fn runtime(&self) -> &Runtime {
        self.runtime
    }

    /// What the pulse tells and hears.
    pub(crate) fn heartbeat(&self) -> &Heartbeat {
        &self.heartbeat
    }

    /// The first call: gets the stored spec.
    pub(crate) fn enrol(&self) -> Result<wire::EnrolResponse, StopReason> {
        let request = wire::EnrolRequest {
            identity: self.identity(),
            protocol: Revision::CURRENT.0,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let response = self.process_call("Enrol", request, |mut service, request| async move {
            service.enrol(request).await
        })?;
        self.heartbeat.hear_epoch(response.coordinator_epoch);
        Ok(response)
    }

    /// Enters the newest generation, and waits for the whole gang; an order to leave at once ends the wait. Where something is to be stored
    /// first, the gang is formed for that.
    pub(crate) fn join(&self, request: wire::JoinRequest) -> Result<wire::World, StopReason> {
        let client = self.client();
        let request = wire::JoinRequest {
            identity: client.identity(),
            ..request
        };
        let world = self.wait(
            client.call(Scope::Process, "Join", request, |mut service, request| async move {
                service.join(request).await
            }),
        )?;
        self.heartbeat.hear_epoch(world.coordinator_epoch);
        Ok(world)
    }

    /// Gives (rank 0) or gets the NCCL unique id.
    pub(crate) fn share_collective_id(&self, collective_id: Vec<u8>) -> Result<Vec<u8>, StopReason> {
        let client = self.client();
        let request = wire::ShareCollectiveIdRequest {
            identity: client.identity(),
            collective_id,
        };
        let call = client.call(
            Scope::Generation,
            "ShareCollectiveId",
            request,
            |mut service, request| async move { service.share_collective_id(request).await },
        );
        Ok(self.wait(call)?.collective_id)
    }

    /// The committed checkpoint cannot be used: the gang goes on from the one before.
    pub(crate) fn reject_checkpoint(&self, sha256: &str, reason: &str) -> Result<(), StopReason> {
        let request = wire::RejectCheckpointRequest {
            identity: self.identity(),
            sha256: sha256.to_owned(),
            reason: reason.to_owned(),
        };
        self.member_call("RejectCheckpoint", request, |mut service, request| async move {
            service.reject_checkpoint(request).await
        })?;
        Ok(())
    }

    /// The numbers are broken: the gang goes back to its newest checkpoint.
    pub(crate) fn request_rollback(&self, reason: &str) -> Result<(), StopReason> {
        let request = wire::RequestRollbackRequest {
            identity: self.identity(),
            reason: reason.to_owned(),
        };
        self.member_call("RequestRollback", request, |mut service, request| async move {
            service.request_rollback(request).await
        })?;
        Ok(())
    }

    /// Tells what was indexed.
    pub(crate) fn register_dataset(
        &self,
        dataset: wire::DatasetSummary,
    ) -> Result<wire::RegisterDatasetResponse, StopReason> {
        let request = wire::RegisterDatasetRequest {
            identity: self.identity(),
            dataset: Some(dataset),
        };
        self.process_call("RegisterDataset", request, |mut service, request| async move {
            service.register_dataset(request).await
        })
    }

    /// Tells what was loaded.
    pub(crate) fn register_model(&self, model: wire::ModelSummary) -> Result<(), StopReason> {
        let request = wire::RegisterModelRequest {
            identity: self.identity(),
            model: Some(model),
        };
        self.process_call("RegisterModel", request, |mut service, request| async move {
            service.register_model(request).await
        })?;
        Ok(())
    }

    /// Delivers what a shard gave.
    pub(crate) fn complete_shard(&self, report: wire::CompleteShardRequest) -> Result<(), StopReason> {
        let request = wire::CompleteShardRequest {
            identity: self.identity(),
            ..report
        };
        self.member_call("CompleteShard", request, |mut service, request| async move {
            service.complete_shard(request).await
        })?;
        Ok(())
    }

    /// Sets a corrupt sample aside; fails when the spec's limit is reached.
    pub(crate) fn quarantine(&self, sample: wire::QuarantinedSample) -> Result<(), StopReason> {
        let request = wire::QuarantineSampleRequest {
            identity: self.identity(),
            sample: Some(sample.clone()),
        };
        let answer = self.member_call("QuarantineSample", request, |mut service, request| async move {
            service.quarantine_sample(request).await
        });
        match answer {
            Err(StopReason::Failed(RankFailure::Call { status, .. })) if reason_of(&status) == "JOB_FAILED" => {
                let refusal = status.message().to_owned();
                Err(RankFailure::TooManyCorrupt { sample, refusal }.into())
            }
            answer => answer.map(|_| ()),
        }
    }

    /// Stores an artifact file at the coordinator.
    pub(crate) fn upload_artifact(&self, artifact: wire::Artifact, bytes: &[u8]) -> Result<(), StopReason> {
        let target = wire::upload_header::Target::Artifact(artifact);
        self.wait(self.client().upload(target, bytes))
    }

    /// Records an artifact that lies elsewhere.
    pub(crate) fn record_artifact(&self, artifact: wire::Artifact) -> Result<(), StopReason> {
        let request = wire::RecordArtifactRequest {
            identity: self.identity(),
            artifact: Some(artifact),
        };
        self.member_call("RecordArtifact", request, |mut service, request| async move {
            service.record_artifact(request).await
        })?;
        Ok(())
    }

    /// All artifacts are stored: the job has succeeded.
    pub(crate) fn finish_job(&self) -> Result<(), StopReason> {
        let client = self.client();
        let request = wire::FinishJobRequest {
            identity: client.identity(),
        };
        // Whoever leaves now leaves a job behind that may have ended, so the answer is waited for.
        self.runtime.block_on(client.call(
            Scope::Generation,
            "FinishJob",
            request,
            |mut service, request| async move { service.finish_job(request).await },
        ))?;
        Ok(())
    }

    /// Says why this rank gives up. Failing to say so changes nothing: the agent reports the exit as well.
    pub(crate) fn report_failure(&self, failure: &RankFailure) {
        let request = wire::ReportFailureRequest {
            identity: self.identity(),
            failure: Some(failure.to_wire()),
        };
        let client = self.client();
        let call = client.call(
            Scope::Process,
            "ReportFailure",
            request,
            |mut service, request| async move { service.report_failure(request).await },
        );
        match self.runtime.block_on(async { timeout(REPORT_WITHIN, call).await }) {
            Ok(Ok(_)) => {}
            Ok(Err(refusal)) => warn!(%refusal, "the failure could not be reported"),
            Err(_) => warn!("the failure could not be reported within {REPORT_WITHIN:?}"),
        }
    }

    fn identity(&self) -> Option<wire::RankIdentity> {
        self.client().identity()
    }

    /// A call of this process, in whatever generation.
    fn process_call<R, T, F>(
        &self,
        name: &'static str,
        request: R,
        call: impl Fn(Service, R) -> F,
    ) -> Result<T, StopReason>
    where
        R: Clone,
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.wait(self.process.call(Scope::Process, name, request, call))
    }

    /// A call of a member of the present generation.
    fn member_call<R, T, F>(
        &self,
        name: &'static str,
        request: R,
        call: impl Fn(Service, R) -> F,
    ) -> Result<T, StopReason>
    where
        R: Clone,
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.wait(self.process.call(Scope::Generation, name, request, call))
    }

    /// Waits for what the coordinator alone decides; an order to leave at once ends the wait, which may be long when it is away.
    pub(crate) fn wait<T>(&self, call: impl Future<Output = Result<T, StopReason>>) -> Result<T, StopReason> {
        self.wait_unless(self.heartbeat.told_to_leave_at_once(), call)
    }

    /// Waits for what depends on other ranks; any order to leave ends the wait.
    pub(crate) fn wait_for_others<T>(
        &self,
        call: impl Future<Output = Result<T, StopReason>>,
    ) -> Result<T, StopReason> {
        self.wait_unless(self.heartbeat.told_to_leave(), call)
    }

    fn wait_unless<T>(
        &self,
        leaving: impl Future<Output = ()>,
        call: impl Future<Output = Result<T, StopReason>>,
    ) -> Result<T, StopReason> {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                answer = call => answer,
                () = leaving => Err(StopReason::Left),
            }
        })
    }
}
