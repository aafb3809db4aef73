//! Calls to the coordinator that survive its restart.
//!
//! Every call of `RankService` can be repeated, so a call that finds nobody is tried again until the coordinator is back or patience
//! ends. Each attempt has a deadline; a call that waits for other ranks is told to ask again well before that. A refusal is final: an
//! older generation (`ABORTED`) in particular means that this rank is no longer wanted.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use firn_proto::v1alpha1::{self as wire, rank_service_client::RankServiceClient};
use tokio::{runtime::Runtime, time::timeout};
use tonic::{Code, Status};
use tracing::warn;

use super::{failure::RankFailure, settings::RankArguments};
use crate::connection::{self, AuthorizedChannel};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// For one attempt, with a file in it or not: longer than the coordinator keeps a call waiting (30 s), and shorter than it works on one
/// (120 s), so that one that is stuck does not pass for one that answers.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(90);
/// Bytes in one message of an upload; the coordinator takes at most 1 MiB.
const CHUNK: usize = 512 * 1024;
/// Evaluation reports hold predictions and fetched chunks hold weights.
const MESSAGE_LIMIT: usize = 16 * 1024 * 1024;

/// The coordinator, as one rank sees it.
pub(super) struct Coordinator<'a> {
    runtime: &'a Runtime,
    client: Client,
}

/// The same for tasks on the runtime.
#[derive(Clone)]
pub(super) struct Client {
    service: RankServiceClient<AuthorizedChannel>,
    identity: wire::RankIdentity,
    patience: Duration,
}

impl<'a> Coordinator<'a> {
    /// Prepares the connection; it is made at the first call.
    pub(super) fn connect(runtime: &'a Runtime, arguments: &RankArguments) -> anyhow::Result<Self> {
        let _in_runtime = runtime.enter();
        let channel = connection::channel(&arguments.connection)?;
        let service = RankServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT);
        let patience = Duration::from_secs(arguments.coordinator_patience);
        Ok(Self {
            runtime,
            client: Client {
                service,
                identity: arguments.identity(),
                patience,
            },
        })
    }

    /// For tasks on the runtime.
    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    /// The runtime that carries the calls.
    pub(super) fn runtime(&self) -> &Runtime {
        self.runtime
    }

    /// Announces this rank and waits for the whole gang.
    pub(super) fn join(&self, ring_address: &str, device: &str) -> Result<wire::World, RankFailure> {
        let request = wire::JoinRequest {
            identity: self.identity(),
            ring_address: ring_address.to_owned(),
            device: device.to_owned(),
        };
        self.wait(self.client.call("Join", |mut service| {
            let request = request.clone();
            async move { service.join(request).await }
        }))
    }

    /// Gives (rank 0) or gets the NCCL unique id.
    pub(super) fn share_collective_id(&self, collective_id: Vec<u8>) -> Result<Vec<u8>, RankFailure> {
        let request = wire::ShareCollectiveIdRequest {
            identity: self.identity(),
            collective_id,
        };
        let response = self.wait(self.client.call("ShareCollectiveId", |mut service| {
            let request = request.clone();
            async move { service.share_collective_id(request).await }
        }))?;
        Ok(response.collective_id)
    }

    /// Tells what was indexed.
    pub(super) fn register_dataset(
        &self,
        dataset: wire::DatasetSummary,
    ) -> Result<wire::RegisterDatasetResponse, RankFailure> {
        let request = wire::RegisterDatasetRequest {
            identity: self.identity(),
            dataset: Some(dataset),
        };
        self.wait(self.client.call("RegisterDataset", |mut service| {
            let request = request.clone();
            async move { service.register_dataset(request).await }
        }))
    }

    /// Tells what was loaded.
    pub(super) fn register_model(&self, model: wire::ModelSummary) -> Result<(), RankFailure> {
        let request = wire::RegisterModelRequest {
            identity: self.identity(),
            model: Some(model),
        };
        self.wait(self.client.call("RegisterModel", |mut service| {
            let request = request.clone();
            async move { service.register_model(request).await }
        }))?;
        Ok(())
    }

    /// Delivers what a shard gave.
    pub(super) fn complete_shard(&self, report: wire::CompleteShardRequest) -> Result<(), RankFailure> {
        let request = wire::CompleteShardRequest {
            identity: Some(self.client.identity.clone()),
            ..report
        };
        self.wait(self.client.call("CompleteShard", |mut service| {
            let request = request.clone();
            async move { service.complete_shard(request).await }
        }))?;
        Ok(())
    }

    /// Sets a corrupt sample aside; fails when the spec's limit is reached.
    pub(super) fn quarantine(&self, sample: wire::QuarantinedSample) -> Result<(), RankFailure> {
        let request = wire::QuarantineSampleRequest {
            identity: self.identity(),
            sample: Some(sample.clone()),
        };
        let answer = self.wait(self.client.call("QuarantineSample", |mut service| {
            let request = request.clone();
            async move { service.quarantine_sample(request).await }
        }));
        match answer {
            Err(RankFailure::Call { status, .. }) if status.code() == Code::FailedPrecondition => {
                Err(RankFailure::TooManyCorrupt {
                    sample,
                    refusal: status.message().to_owned(),
                })
            }
            answer => answer.map(|_| ()),
        }
    }

    /// Stores a checkpoint; it exists when this returns.
    pub(super) fn upload_checkpoint(&self, checkpoint: wire::CheckpointRef, bytes: &[u8]) -> Result<(), RankFailure> {
        self.upload(wire::upload_header::Target::Checkpoint(checkpoint), bytes)
    }

    /// Stores an artifact file at the coordinator.
    pub(super) fn upload_artifact(&self, artifact: wire::Artifact, bytes: &[u8]) -> Result<(), RankFailure> {
        self.upload(wire::upload_header::Target::Artifact(artifact), bytes)
    }

    fn upload(&self, target: wire::upload_header::Target, bytes: &[u8]) -> Result<(), RankFailure> {
        use wire::upload_request::Content;
        let header = wire::UploadHeader {
            identity: self.identity(),
            target: Some(target),
        };
        let mut messages = vec![wire::UploadRequest {
            content: Some(Content::Header(header)),
        }];
        messages.extend(bytes.chunks(CHUNK).map(|chunk| wire::UploadRequest {
            content: Some(Content::Data(chunk.to_vec())),
        }));
        self.wait(self.client.call("Upload", |mut service| {
            let messages = messages.clone();
            async move { service.upload(tokio_stream::iter(messages)).await }
        }))?;
        Ok(())
    }

    /// The bytes of a committed checkpoint.
    pub(super) fn fetch_checkpoint(&self, checkpoint: &wire::CheckpointRef) -> Result<Vec<u8>, RankFailure> {
        let request = wire::FetchCheckpointRequest {
            identity: self.identity(),
            sha256: checkpoint.sha256.clone(),
        };
        self.wait(self.client.call("FetchCheckpoint", |mut service| {
            let request = request.clone();
            async move {
                let mut stream = service.fetch_checkpoint(request).await?.into_inner();
                let mut bytes = Vec::new();
                while let Some(chunk) = stream.message().await? {
                    bytes.extend_from_slice(&chunk.data);
                }
                Ok(tonic::Response::new(bytes))
            }
        }))
    }

    /// Commits a checkpoint that lies in the artifact folder; returns the digests of those that are still needed.
    pub(super) fn commit_checkpoint(&self, checkpoint: wire::CheckpointRef) -> Result<Vec<String>, RankFailure> {
        let request = wire::CommitCheckpointRequest {
            identity: self.identity(),
            checkpoint: Some(checkpoint),
        };
        let response = self.wait(self.client.call("CommitCheckpoint", |mut service| {
            let request = request.clone();
            async move { service.commit_checkpoint(request).await }
        }))?;
        Ok(response.kept)
    }

    /// Records an artifact that lies elsewhere.
    pub(super) fn record_artifact(&self, artifact: wire::Artifact) -> Result<(), RankFailure> {
        let request = wire::RecordArtifactRequest {
            identity: self.identity(),
            artifact: Some(artifact),
        };
        self.wait(self.client.call("RecordArtifact", |mut service| {
            let request = request.clone();
            async move { service.record_artifact(request).await }
        }))?;
        Ok(())
    }

    /// All artifacts are stored: the job has succeeded.
    pub(super) fn finish_job(&self) -> Result<(), RankFailure> {
        let request = wire::FinishJobRequest {
            identity: self.identity(),
        };
        self.wait(self.client.call("FinishJob", |mut service| {
            let request = request.clone();
            async move { service.finish_job(request).await }
        }))?;
        Ok(())
    }

    /// Says why this rank gives up. Failing to say so changes nothing: the agent reports the exit as well.
    pub(super) fn report_failure(&self, failure: &RankFailure) {
        let request = wire::ReportFailureRequest {
            identity: self.identity(),
            failure: Some(failure.to_wire()),
        };
        let mut service = self.client.service.clone();
        let call = async { tokio::time::timeout(Duration::from_secs(5), service.report_failure(request)).await };
        match self.runtime.block_on(call) {
            Ok(Ok(_)) => {}
            Ok(Err(status)) => warn!(%status, "the failure could not be reported"),
            Err(_) => warn!("the failure could not be reported within 5 s"),
        }
    }

    fn identity(&self) -> Option<wire::RankIdentity> {
        Some(self.client.identity.clone())
    }

    fn wait<T>(&self, call: impl Future<Output = Result<T, RankFailure>>) -> Result<T, RankFailure> {
        self.runtime.block_on(call)
    }
}

impl Client {
    /// Asks for a piece of a pass; waits while others still hold all pieces.
    pub(super) async fn lease_shard(
        &self,
        pass: wire::Pass,
        held: Vec<u32>,
    ) -> Result<wire::lease_shard_response::Answer, RankFailure> {
        let request = wire::LeaseShardRequest {
            identity: Some(self.identity.clone()),
            pass: Some(pass),
            held,
        };
        let response = self
            .call("LeaseShard", |mut service| {
                let request = request.clone();
                async move { service.lease_shard(request).await }
            })
            .await?;
        response
            .answer
            .ok_or_else(|| RankFailure::call("LeaseShard")(Status::internal("the answer is empty")))
    }

    /// Commits steps to the ledger.
    pub(super) async fn commit_steps(&self, steps: Vec<wire::Step>) -> Result<u64, RankFailure> {
        let request = wire::CommitStepsRequest {
            identity: Some(self.identity.clone()),
            steps,
        };
        let response = self
            .call("CommitSteps", |mut service| {
                let request = request.clone();
                async move { service.commit_steps(request).await }
            })
            .await?;
        Ok(response.steps_committed)
    }

    async fn call<T, F, C>(&self, name: &'static str, call: C) -> Result<T, RankFailure>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
        C: Fn(RankServiceClient<AuthorizedChannel>) -> F,
    {
        let mut unreachable_since = None;
        let mut pause = FIRST_PAUSE;
        loop {
            let attempt = timeout(LONGEST_ATTEMPT, call(self.service.clone())).await;
            let status = match attempt {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) if is_nothing_yet(&status) => {
                    (unreachable_since, pause) = (None, FIRST_PAUSE);
                    continue;
                }
                Ok(Err(status)) if !is_passing(&status) => return Err(RankFailure::call(name)(status)),
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded(format!("no answer within {} s", LONGEST_ATTEMPT.as_secs())),
            };
            let since = *unreachable_since.get_or_insert_with(Instant::now);
            if since.elapsed() > self.patience {
                return Err(RankFailure::call(name)(status));
            }
            if pause == FIRST_PAUSE {
                warn!(call = name, %status, "the coordinator is away; trying again");
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Whether the coordinator is there, and what the call waits for is not: DEADLINE_EXCEEDED that it said itself.
fn is_nothing_yet(status: &Status) -> bool {
    status.code() == Code::DeadlineExceeded && std::error::Error::source(status).is_none()
}

/// Whether the coordinator was not there, rather than saying no.
fn is_passing(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::Cancelled => true,
        // What tonic makes of a connection that broke in the middle of an answer.
        Code::Unknown | Code::Internal => std::error::Error::source(status).is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_coordinator_is_waited_for_and_a_refusal_is_final() {
        assert!(is_passing(&Status::unavailable("connection refused")));
        assert!(is_nothing_yet(&Status::deadline_exceeded("ask again")));
        assert!(!is_nothing_yet(&Status::unavailable("connection refused")));
        assert!(!is_passing(&Status::aborted("generation 2 is over")));
        assert!(!is_passing(&Status::failed_precondition("limit reached")));
        assert!(!is_passing(&Status::internal("a bug")));
    }
}
