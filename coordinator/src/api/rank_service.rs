//! `RankService`: what rank processes call.

use firn_core::{
    Input, Reply, Stage,
    compatibility::Revision,
    identifiers::{Generation, ProcessId},
    queries,
    state::Artifact,
};
use firn_proto::v1alpha1::{self as proto, lease_shard_response::Answer, rank_service_server::RankService};
use tonic::{Request, Response, Status, Streaming};
use tracing::warn;

use super::{
    chunks::{self, ChunkStream},
    context::{Context, called},
    documents, pulses,
    refusal::{invalid, unexpected},
    upload,
    wire::{
        checkpoint::{checkpoint_from_wire, directive_to_wire, spec_json, world_to_wire},
        dataset::{dataset_from_wire, dataset_to_wire, model_from_wire, quarantined_from_wire, quarantined_to_wire},
        failure::failure_from_wire,
        names::present,
        pass::{pass_from_wire, shard_to_wire},
        step::step_from_wire,
    },
};

/// NCCL's unique id.
const COLLECTIVE_ID_BYTES: usize = 128;

/// For ranks.
#[derive(Clone)]
pub struct Ranks {
    context: Context,
}

impl Ranks {
    /// Over the engine and the stores.
    pub fn new(context: Context) -> Self {
        Self { context }
    }

    /// Says so if a rank is of another build than the agent that started it.
    async fn compare_with_agent(&self, process: ProcessId, build: String) {
        let asked = process.clone();
        let agent = self.context.engine.ask(move |state| {
            let worker = &state.processes.get(&asked)?.worker;
            Some((worker.clone(), state.workers.get(worker)?.description.version.clone()))
        });
        match agent.await {
            Ok(Some((worker, version))) if version != build && build != UNNAMED => {
                warn!(%process, %worker, rank = build, agent = version, "a rank is of another build than its agent");
            }
            _ => {}
        }
    }

    async fn done(&self, input: Input) -> Result<(), Status> {
        match self.context.engine.tell(input).await? {
            Reply::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }
}

/// What is said of ranks that do not name their build.
const UNNAMED: &str = "unnamed";

fn named(build: String) -> String {
    match build.is_empty() {
        true => UNNAMED.to_owned(),
        false => build,
    }
}

#[tonic::async_trait]
impl RankService for Ranks {
    async fn enrol(&self, request: Request<proto::EnrolRequest>) -> Result<Response<proto::EnrolResponse>, Status> {
        let (caller, request) = called(request)?;
        let identity = self.context.rank(&caller, request.identity).await?;
        let (process, revision) = (identity.process.clone(), Revision::announced(request.protocol));
        match self.context.engine.tell(Input::RankEnrolled { identity }).await? {
            Reply::Enrolled {
                spec,
                settings_digest,
                data_rules,
                need,
                coordinator_epoch,
            } => {
                let build = named(request.version);
                let who = format!("process {process}");
                if let Some(reason) = need.refuses(&who, revision, &build) {
                    return Err(Status::failed_precondition(reason));
                }
                self.compare_with_agent(process, build).await;
                Ok(Response::new(proto::EnrolResponse {
                    spec_json: spec_json(&spec, revision),
                    coordinator_epoch,
                    settings_digest,
                    data_rules: data_rules.number(),
                }))
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn pulse(&self, request: Request<proto::PulseRequest>) -> Result<Response<proto::PulseResponse>, Status> {
        let (caller, request) = called(request)?;
        pulses::pulse(&self.context, &caller, request).await.map(Response::new)
    }

    async fn join(&self, request: Request<proto::JoinRequest>) -> Result<Response<proto::World>, Status> {
        let (caller, request) = called(request)?;
        let identity = self.context.rank(&caller, request.identity).await?;
        let (job, asking) = (identity.job.clone(), identity.clone());
        let joined = Input::RankJoined {
            identity,
            ring_address: request.ring_address,
            device: request.device,
            steps_done: request.steps_done,
            state_generation: Generation(request.state_generation),
            reason: request.reason,
        };
        let answer = self.context.engine.tell_then_ask(&job, joined, move |state| {
            let world = queries::world(state, &asking)?;
            Ok(world.map_or(Reply::Wait, |world| Reply::World(Box::new(world))))
        });
        let answer = self.context.wait_for(async { Ok(answer.await?) }).await?;
        match answer {
            Reply::World(world) => {
                let job = self.context.job(&job).await?;
                Ok(Response::new(world_to_wire(&world, &job)))
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn share_collective_id(
        &self,
        request: Request<proto::ShareCollectiveIdRequest>,
    ) -> Result<Response<proto::ShareCollectiveIdResponse>, Status> {
        let (caller, request) = called(request)?;
        let identity = self.context.rank(&caller, request.identity).await?;
        let id = match request.collective_id.len() {
            0 => None,
            COLLECTIVE_ID_BYTES => Some(request.collective_id),
            found => {
                return Err(invalid(
                    "collective_id",
                    format!("expected {COLLECTIVE_ID_BYTES} bytes or none, found {found}"),
                ));
            }
        };
        let (job, asking) = (identity.job.clone(), identity.clone());
        let shared = Input::CollectiveIdShared { identity, id };
        let answer = self.context.engine.tell_then_ask(&job, shared, move |state| {
            let id = queries::collective_id(state, &asking)?;
            Ok(id.map_or(Reply::Wait, Reply::CollectiveId))
        });
        match self.context.wait_for(async { Ok(answer.await?) }).await? {
            Reply::CollectiveId(collective_id) => Ok(Response::new(proto::ShareCollectiveIdResponse { collective_id })),
            other => Err(unexpected(&other)),
        }
    }

    async fn register_dataset(
        &self,
        request: Request<proto::RegisterDatasetRequest>,
    ) -> Result<Response<proto::RegisterDatasetResponse>, Status> {
        let (caller, request) = called(request)?;
        let identity = self.context.rank(&caller, request.identity).await?;
        let dataset = dataset_from_wire(present("dataset", request.dataset)?)?;
        match self
            .context
            .engine
            .tell(Input::DatasetRegistered {
                identity,
                dataset: dataset.into(),
            })
            .await?
        {
            Reply::Dataset { dataset, quarantined } => Ok(Response::new(proto::RegisterDatasetResponse {
                dataset: Some(dataset_to_wire(&dataset)),
                quarantined: quarantined.iter().map(quarantined_to_wire).collect(),
            })),
            other => Err(unexpected(&other)),
        }
    }

    async fn register_model(
        &self,
        request: Request<proto::RegisterModelRequest>,
    ) -> Result<Response<proto::RegisterModelResponse>, Status> {
        let (caller, request) = called(request)?;
        let identity = self.context.rank(&caller, request.identity).await?;
        let model = model_from_wire(present("model", request.model)?)?;
        self.done(Input::ModelRegistered { identity, model }).await?;
        Ok(Response::new(proto::RegisterModelResponse {}))
    }

    async fn lease_shard(
        &self,
        request: Request<proto::LeaseShardRequest>,
    ) -> Result<Response<proto::LeaseShardResponse>, Status> {
        let (caller, request) = called(request)?;
        let identity = self.context.rank(&caller, request.identity).await?;
        let pass = pass_from_wire(request.pass)?;
        let job = identity.job.clone();
        let input = || Input::ShardRequested {
            identity: identity.clone(),
            pass,
            held: request.held.clone(),
        };
        let answer = self.context.engine.tell_until_ready(&job, input);
        let answer = match self.context.wait_for(async { Ok(answer.await?) }).await? {
            Reply::Shard(shard) => Answer::Shard(shard_to_wire(shard)),
            Reply::Complete(directive) => {
                Answer::Complete(directive_to_wire(&directive, &*self.context.job(&job).await?))
            }
            other => return Err(unexpected(&other)),
        };
        Ok(Response::new(proto::LeaseShardResponse { answer: Some(answer) }))
    }

    async fn complete_shard(
        &self,
        request: Request<proto::CompleteShardRequest>,
    ) -> Result<Response<proto::CompleteShardResponse>, Status> {
        let (caller, request) = called(request)?;
        upload::complete_shard(&self.context, &caller, request).await?;
        Ok(Response::new(proto::CompleteShardResponse {}))
    }

    async fn commit_steps(
        &self,
        request: Request<proto::CommitStepsRequest>,
    ) -> Result<Response<proto::CommitStepsResponse>, Status> {
        let (caller, request) = called(request)?;
        let identity = self.context.rank(&caller, request.identity).await?;
        let steps = request
            .steps
            .iter()
            .enumerate()
            .map(|(index, step)| step_from_wire(index, step));
        let steps = steps.collect::<Result<_, _>>()?;
        match self
            .context
            .engine
            .tell(Input::StepsCommitted { identity, steps })
            .await?
        {
            Reply::StepsCommitted(steps_committed) => Ok(Response::new(proto::CommitStepsResponse { steps_committed })),
            other => Err(unexpected(&other)),
        }
    }

    async fn quarantine_sample(
        &self,
        request: Request<proto::QuarantineSampleRequest>,
    ) -> Result<Response<proto::QuarantineSampleResponse>, Status> {
        let (caller, request) = called(request)?;
        let identity = self.context.rank(&caller, request.identity).await?;
        let sample = quarantined_from_wire("sample", present("sample", request.sample)?)?;
        self.done(Input::SampleQuarantined { identity, sample }).await?;
        Ok(Response::new(proto::QuarantineSampleResponse {}))
    }

    async fn upload(
        &self,
        request: Request<Streaming<proto::UploadRequest>>,
    ) -> Result<Response<proto::UploadResponse>, Status> {
        let (caller, messages) = called(request)?;
        let input = self
            .context
            .unless_ending(upload::receive(&self.context, &caller, messages))
            .await?;
        self.done(input).await?;
        Ok(Response::new(proto::UploadResponse {}))
    }

    type FetchCheckpointStream = ChunkStream;

    async fn fetch_checkpoint(
        &self,
        request: Request<proto::FetchCheckpointRequest>,
    ) -> Result<Response<Self::FetchCheckpointStream>, Status> {
        let (caller, request) = called(request)?;
        let identity = self.context.rank(&caller, request.identity).await?;
        let sha256 = request.sha256;
        chunks::checkpoint(&self.context, identity, sha256)
            .await
            .map(Response::new)
    }

    async fn commit_checkpoint(
        &self,
        request: Request<proto::CommitCheckpointRequest>,
    ) -> Result<Response<proto::CommitCheckpointResponse>, Status> {
        let (caller, request) = called(request)?;
        let identity = self.context.rank(&caller, request.identity).await?;
        let checkpoint = checkpoint_from_wire(present("checkpoint", request.checkpoint)?);
        if checkpoint.location.is_none() {
            let message = "expected the URI under which the file lies; what the coordinator is to keep is uploaded";
            return Err(invalid("checkpoint.location", message));
        }
        let job = identity.job.clone();
        self.done(Input::CheckpointStored { identity, checkpoint }).await?;
        let job = self.context.job(&job).await?;
        let kept = job
            .run
            .checkpoints
            .iter()
            .map(|checkpoint| checkpoint.sha256.clone())
            .collect();
        Ok(Response::new(proto::CommitCheckpointResponse { kept }))
    }

    async fn reject_checkpoint(
        &self,
        request: Request<proto::RejectCheckpointRequest>,
    ) -> Result<Response<proto::RejectCheckpointResponse>, Status> {
        let (caller, request) = called(request)?;
        let identity = self.context.rank(&caller, request.identity).await?;
        let (sha256, reason) = (request.sha256, request.reason);
        self.done(Input::CheckpointRejected {
            identity,
            sha256,
            reason,
        })
        .await?;
        Ok(Response::new(proto::RejectCheckpointResponse {}))
    }

    async fn request_rollback(
        &self,
        request: Request<proto::RequestRollbackRequest>,
    ) -> Result<Response<proto::RequestRollbackResponse>, Status> {
        let (caller, request) = called(request)?;
        let identity = self.context.rank(&caller, request.identity).await?;
        let reason = request.reason;
        self.done(Input::RollbackRequested { identity, reason }).await?;
        Ok(Response::new(proto::RequestRollbackResponse {}))
    }

    async fn record_artifact(
        &self,
        request: Request<proto::RecordArtifactRequest>,
    ) -> Result<Response<proto::RecordArtifactResponse>, Status> {
        let (caller, request) = called(request)?;
        let identity = self.context.rank(&caller, request.identity).await?;
        let artifact = present("artifact", request.artifact)?;
        if artifact.location.is_empty() || artifact.location == Artifact::COORDINATOR {
            let found = &artifact.location;
            return Err(invalid(
                "artifact.location",
                format!("expected the URI under which the file lies, found `{found}`"),
            ));
        }
        let location = artifact.location.clone();
        let artifact = upload::artifact_from_wire(artifact, location)?;
        self.done(Input::ArtifactStored { identity, artifact }).await?;
        Ok(Response::new(proto::RecordArtifactResponse {}))
    }

    async fn finish_job(
        &self,
        request: Request<proto::FinishJobRequest>,
    ) -> Result<Response<proto::FinishJobResponse>, Status> {
        let (caller, request) = called(request)?;
        let identity = self.context.rank(&caller, request.identity).await?;
        let job = self.context.job(&identity.job).await?;
        // A repeated call finds the job ended, and its files recorded; one that comes too early is told so by the core.
        if job.outcome().is_none() && queries::stage(&job) == Stage::Finish {
            upload::may_deliver(&self.context, &identity).await?;
            let artifacts = self
                .context
                .on_disk(move |store| documents::write_all(store, &job))
                .await?;
            for artifact in artifacts {
                self.done(Input::ArtifactStored {
                    identity: identity.clone(),
                    artifact,
                })
                .await?;
            }
        }
        let id = identity.job.clone();
        self.done(Input::JobFinished { identity }).await?;
        self.context
            .on_disk(move |store| store.clear_spools(id.as_str()))
            .await?;
        Ok(Response::new(proto::FinishJobResponse {}))
    }

    async fn report_failure(
        &self,
        request: Request<proto::ReportFailureRequest>,
    ) -> Result<Response<proto::ReportFailureResponse>, Status> {
        let (caller, request) = called(request)?;
        let identity = self.context.rank(&caller, request.identity).await?;
        let failure = failure_from_wire(present("failure", request.failure)?);
        self.done(Input::RankFailed { identity, failure }).await?;
        Ok(Response::new(proto::ReportFailureResponse {}))
    }
}
