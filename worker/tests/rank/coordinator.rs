//! A coordinator in the test's own hands. It keeps a ledger and checkpoints as the real one does; who forms a gang, and when, the test says.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, mpsc},
    time::Duration,
};

use firn_proto::v1alpha1::{
    self as wire,
    directive::Next,
    lease_shard_response::Answer,
    rank_service_server::{RankService, RankServiceServer},
    upload_header::Target,
    upload_request::Content,
};
use sha2::{Digest as _, Sha256};
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    sync::{oneshot, watch},
};
use tokio_stream::{Stream, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};

/// A test that waits this long for an event has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The coordinator. Dropping it cuts every connection.
pub(crate) struct Coordinator {
    runtime: Option<Runtime>,
    pub(crate) address: SocketAddr,
    joins: Mutex<mpsc::Receiver<Join>>,
    early: Mutex<VecDeque<Join>>,
    book: Arc<Book>,
}

/// A rank that wants to join, and waits.
pub(crate) struct Join {
    pub(crate) request: wire::JoinRequest,
    reply: oneshot::Sender<Result<wire::World, Status>>,
}

impl Join {
    pub(crate) fn process(&self) -> &str {
        &self.request.identity.as_ref().expect("every call has one").process_id
    }

    pub(crate) fn generation(&self) -> u64 {
        self.request.identity.as_ref().expect("every call has one").generation
    }
}

/// Everything that is known.
#[derive(Debug, Default, Clone)]
pub(crate) struct State {
    pub(crate) generation: u64,
    /// Of the pulses' answers.
    pub(crate) at_step_boundary: bool,
    pub(crate) steps: Vec<wire::Step>,
    /// CommitSteps waits until this is over.
    pub(crate) commits_wait: bool,
    /// A shard was asked for.
    pub(crate) shard_asked: bool,
    /// Uploads wait until this is over.
    pub(crate) uploads_wait: bool,
    pub(crate) checkpoints: Vec<(wire::CheckpointRef, Vec<u8>)>,
    pub(crate) rejected: Vec<wire::RejectCheckpointRequest>,
    /// The newest pulse of each process.
    pub(crate) pulses: BTreeMap<String, wire::PulseRequest>,
    /// Process and generation, with the hash of each step.
    pub(crate) hashes: BTreeMap<(String, u64, u64), String>,
    pub(crate) stop: BTreeMap<String, String>,
    pub(crate) leave: BTreeMap<String, wire::Leave>,
    /// Pulses of processes that had been told to leave.
    pub(crate) pulses_of_leaving: u64,
    /// Pulses are not answered.
    pub(crate) deaf: bool,
    pub(crate) failures: Vec<wire::Failure>,
    /// Every evaluation is complete, and the next epoch follows; else none ever is.
    pub(crate) passes_end: bool,
}

struct Book {
    spec_json: String,
    state: watch::Sender<State>,
    joins: Mutex<mpsc::Sender<Join>>,
}

impl Coordinator {
    pub(crate) fn start(spec_json: String) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (joins, joining) = mpsc::channel();
        let book = Arc::new(Book {
            spec_json,
            state: watch::Sender::new(State::default()),
            joins: Mutex::new(joins),
        });
        let server = Server::builder().add_service(RankServiceServer::from_arc(Arc::clone(&book)));
        runtime.spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self {
            runtime: Some(runtime),
            address,
            joins: Mutex::new(joining),
            early: Mutex::new(VecDeque::new()),
            book,
        }
    }

    /// Changes what is known, and wakes every call that waits for it.
    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        self.book.state.send_modify(change);
    }

    pub(crate) fn state(&self) -> State {
        self.book.state.borrow().clone()
    }

    /// Waits until something is known.
    pub(crate) fn wait_until(&self, what: &str, holds: impl Fn(&State) -> bool) -> State {
        let mut state = self.book.state.subscribe();
        let runtime = self.runtime.as_ref().expect("it runs");
        let waited = runtime.block_on(async {
            let held = tokio::time::timeout(PATIENCE, state.wait_for(holds)).await;
            held.map(|state| state.expect("the sender lives").clone())
        });
        waited.unwrap_or_else(|_| panic!("waited in vain until {what}: {:?}", self.state()))
    }

    /// Waits until the process has asked to join.
    pub(crate) fn join(&self, process: &str) -> Join {
        let mut early = locked(&self.early);
        if let Some(place) = early.iter().position(|join| join.process() == process) {
            return early.remove(place).expect("it was found");
        }
        let joins = locked(&self.joins);
        loop {
            let join = joins.recv_timeout(PATIENCE);
            let join = join.unwrap_or_else(|_| panic!("{process} does not join: {:?}", self.state()));
            if join.process() == process {
                return join;
            }
            early.push_back(join);
        }
    }

    /// Forms the next generation of these ranks, in this order.
    pub(crate) fn form(&self, joins: Vec<Join>, world: &wire::World) {
        let mut generation = 0;
        self.change(|state| {
            state.generation += 1;
            // What is not in the state that the gang goes on from is rolled back.
            state.steps.truncate(world.steps_done as usize);
            generation = state.generation;
        });
        let addresses: Vec<String> = joins.iter().map(|join| join.request.ring_address.clone()).collect();
        let collective = if joins.len() == 1 { "solo" } else { "ring" };
        for (rank, join) in (0..).zip(joins) {
            let world = wire::World {
                generation,
                rank,
                ring_addresses: addresses.clone(),
                collective: collective.to_owned(),
                coordinator_epoch: 1,
                ..world.clone()
            };
            // A rank that is gone does not wait for its answer.
            let _ = join.reply.send(Ok(world));
        }
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no test panics with it")
}

/// What to do next.
pub(crate) fn directive(next: Next) -> Option<wire::Directive> {
    Some(wire::Directive {
        next: Some(next),
        ..wire::Directive::default()
    })
}

impl Book {
    fn check(&self, identity: Option<&wire::RankIdentity>) -> Result<(), Status> {
        let (newest, found) = (self.state.borrow().generation, identity.map_or(0, |who| who.generation));
        match newest == found {
            true => Ok(()),
            false => Err(Status::aborted(format!("expected generation {newest}, found {found}"))),
        }
    }

    /// Waits for something, or for the end of the caller's generation.
    async fn wait(&self, identity: Option<&wire::RankIdentity>, holds: impl Fn(&State) -> bool) -> Result<(), Status> {
        let generation = identity.map_or(0, |who| who.generation);
        let mut state = self.state.subscribe();
        let reached = state
            .wait_for(|state| state.generation != generation || holds(state))
            .await;
        drop(reached.map_err(|_| Status::unavailable("the test is over"))?);
        self.check(identity)
    }
}

type Answered<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl RankService for Book {
    type FetchCheckpointStream = Pin<Box<dyn Stream<Item = Result<wire::DownloadChunk, Status>> + Send>>;

    async fn enrol(&self, _: Request<wire::EnrolRequest>) -> Answered<wire::EnrolResponse> {
        Ok(Response::new(wire::EnrolResponse {
            spec_json: self.spec_json.clone(),
            settings_digest: String::new(),
            coordinator_epoch: 1,
            data_rules: 0,
        }))
    }

    async fn join(&self, request: Request<wire::JoinRequest>) -> Answered<wire::World> {
        let (reply, answer) = oneshot::channel();
        let join = Join {
            request: request.into_inner(),
            reply,
        };
        let _ = locked(&self.joins).send(join);
        let world = answer.await.map_err(|_| Status::unavailable("the test is over"))?;
        world.map(Response::new)
    }

    async fn pulse(&self, request: Request<wire::PulseRequest>) -> Answered<wire::PulseResponse> {
        let request = request.into_inner();
        let who = request.identity.clone().unwrap_or_default();
        let process = who.process_id.clone();
        self.state.send_modify(|state| {
            for hash in &request.state_hashes {
                let key = (process.clone(), who.generation, hash.steps_done);
                state.hashes.insert(key, hash.hash.clone());
            }
            state.pulses_of_leaving += u64::from(state.leave.contains_key(&process));
            state.pulses.insert(process.clone(), request);
        });
        let has_news = |state: &State| {
            let is_new = state.generation != who.generation && who.generation != 0;
            !state.deaf && (is_new || state.stop.contains_key(&process) || state.leave.contains_key(&process))
        };
        let mut known = self.state.subscribe();
        let waited = tokio::time::timeout(Duration::from_millis(300), known.wait_for(has_news)).await;
        drop(waited);
        let state = self.state.borrow().clone();
        if state.deaf {
            return Err(Status::unavailable("the coordinator is away"));
        }
        Ok(Response::new(wire::PulseResponse {
            generation: state.generation,
            at_step_boundary: state.at_step_boundary,
            steps_committed: state.steps.len() as u64,
            coordinator_epoch: 1,
            stop: state.stop.get(&process).cloned().unwrap_or_default(),
            leave: state.leave.get(&process).copied(),
        }))
    }

    async fn register_dataset(
        &self,
        request: Request<wire::RegisterDatasetRequest>,
    ) -> Answered<wire::RegisterDatasetResponse> {
        Ok(Response::new(wire::RegisterDatasetResponse {
            dataset: request.into_inner().dataset,
            quarantined: Vec::new(),
        }))
    }

    async fn register_model(&self, _: Request<wire::RegisterModelRequest>) -> Answered<wire::RegisterModelResponse> {
        Ok(Response::new(wire::RegisterModelResponse {}))
    }

    async fn lease_shard(&self, request: Request<wire::LeaseShardRequest>) -> Answered<wire::LeaseShardResponse> {
        let request = request.into_inner();
        self.state.send_modify(|state| state.shard_asked = true);
        self.wait(request.identity.as_ref(), |state| state.passes_end).await?;
        let epoch = request.pass.map_or(0, |pass| pass.epoch);
        let next = Next::TrainEpoch(epoch + 1);
        Ok(Response::new(wire::LeaseShardResponse {
            answer: directive(next).map(Answer::Complete),
        }))
    }

    async fn commit_steps(&self, request: Request<wire::CommitStepsRequest>) -> Answered<wire::CommitStepsResponse> {
        let request = request.into_inner();
        self.wait(request.identity.as_ref(), |state| !state.commits_wait)
            .await?;
        let mut answer = Ok(0);
        self.state.send_modify(|state| {
            for step in request.steps {
                let committed = state.steps.len() as u64;
                if step.step > committed {
                    answer = Err(Status::failed_precondition(format!(
                        "expected step {committed}, found step {}",
                        step.step
                    )));
                    return;
                }
                if step.step == committed {
                    state.steps.push(step);
                }
            }
            answer = Ok(state.steps.len() as u64);
        });
        let steps_committed = answer?;
        Ok(Response::new(wire::CommitStepsResponse { steps_committed }))
    }

    async fn upload(&self, request: Request<Streaming<wire::UploadRequest>>) -> Answered<wire::UploadResponse> {
        let mut stream = request.into_inner();
        let (mut header, mut bytes) = (None, Vec::new());
        while let Some(message) = stream.message().await? {
            match message.content {
                Some(Content::Header(found)) => header = Some(found),
                Some(Content::Data(data)) => bytes.extend(data),
                None => return Err(Status::invalid_argument("an empty message")),
            }
        }
        let header = header.ok_or_else(|| Status::invalid_argument("no header"))?;
        self.wait(header.identity.as_ref(), |state| !state.uploads_wait).await?;
        let Some(Target::Checkpoint(reference)) = header.target else {
            return Err(Status::unimplemented("artifacts"));
        };
        if reference.sha256 != hex::encode(Sha256::digest(&bytes)) {
            return Err(Status::invalid_argument("another digest"));
        }
        let committed = self.state.borrow().steps.len() as u64;
        if reference.steps_done > committed {
            let expected = format!(
                "expected a checkpoint not after step {committed}, found {}",
                reference.steps_done
            );
            return Err(Status::failed_precondition(expected));
        }
        self.state
            .send_modify(|state| state.checkpoints.push((reference, bytes)));
        Ok(Response::new(wire::UploadResponse {}))
    }

    async fn fetch_checkpoint(
        &self,
        request: Request<wire::FetchCheckpointRequest>,
    ) -> Answered<Self::FetchCheckpointStream> {
        let request = request.into_inner();
        self.check(request.identity.as_ref())?;
        let state = self.state.borrow();
        let kept = state.checkpoints.iter().find(|(kept, _)| kept.sha256 == request.sha256);
        let (_, bytes) = kept.ok_or_else(|| Status::not_found("no such checkpoint"))?;
        let chunk = wire::DownloadChunk { data: bytes.clone() };
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(chunk)))))
    }

    async fn reject_checkpoint(
        &self,
        request: Request<wire::RejectCheckpointRequest>,
    ) -> Answered<wire::RejectCheckpointResponse> {
        self.check(request.get_ref().identity.as_ref())?;
        self.state
            .send_modify(|state| state.rejected.push(request.into_inner()));
        Ok(Response::new(wire::RejectCheckpointResponse {}))
    }

    async fn report_failure(
        &self,
        request: Request<wire::ReportFailureRequest>,
    ) -> Answered<wire::ReportFailureResponse> {
        let failure = request.into_inner().failure.unwrap_or_default();
        self.state.send_modify(|state| state.failures.push(failure));
        Ok(Response::new(wire::ReportFailureResponse {}))
    }

    async fn share_collective_id(
        &self,
        _: Request<wire::ShareCollectiveIdRequest>,
    ) -> Answered<wire::ShareCollectiveIdResponse> {
        Err(Status::unimplemented("the ring needs none"))
    }

    async fn complete_shard(&self, _: Request<wire::CompleteShardRequest>) -> Answered<wire::CompleteShardResponse> {
        Err(Status::unimplemented("no shard is leased"))
    }

    async fn quarantine_sample(
        &self,
        _: Request<wire::QuarantineSampleRequest>,
    ) -> Answered<wire::QuarantineSampleResponse> {
        Err(Status::unimplemented("no sample is corrupt"))
    }

    async fn commit_checkpoint(
        &self,
        _: Request<wire::CommitCheckpointRequest>,
    ) -> Answered<wire::CommitCheckpointResponse> {
        Err(Status::unimplemented("no folder is named"))
    }

    async fn request_rollback(
        &self,
        _: Request<wire::RequestRollbackRequest>,
    ) -> Answered<wire::RequestRollbackResponse> {
        Err(Status::unimplemented("no number is infinite"))
    }

    async fn record_artifact(&self, _: Request<wire::RecordArtifactRequest>) -> Answered<wire::RecordArtifactResponse> {
        Err(Status::unimplemented("artifacts"))
    }

    async fn finish_job(&self, _: Request<wire::FinishJobRequest>) -> Answered<wire::FinishJobResponse> {
        Err(Status::unimplemented("artifacts"))
    }
}
