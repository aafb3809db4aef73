//! A coordinator for tests: a real gRPC server whose answers the test decides, and which can be taken away and brought
//! back on the same port.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
};

use firn_proto::v1alpha1::{
    job_service_server::{JobService, JobServiceServer},
    *,
};
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::Runtime,
    sync::watch,
};
use tokio_stream::{Stream, StreamExt as _, wrappers::TcpListenerStream, wrappers::WatchStream};
use tonic::{Code, Request, Response, Status, transport::Server};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

/// What the coordinator knows and has seen; outlives its server.
#[derive(Default)]
pub(crate) struct Books {
    /// By resource name.
    pub(crate) jobs: BTreeMap<String, watch::Sender<FineTuneJob>>,
    pub(crate) workers: Vec<Worker>,
    pub(crate) quotas: Vec<NamespaceUse>,
    pub(crate) artifacts: Vec<Artifact>,
    /// Bytes of the artifacts it keeps.
    pub(crate) contents: BTreeMap<String, Vec<u8>>,
    pub(crate) log_lines: Vec<LogLine>,
    /// Whether log streams break after the last line instead of ending.
    pub(crate) logs_break: VecDeque<bool>,
    /// Field violations with which the next submit is refused.
    pub(crate) violations: Vec<(String, String)>,
    pub(crate) created: Vec<CreateJobRequest>,
    /// Mutations whose answers get lost: they act, and then the coordinator goes away.
    pub(crate) lost_answers: usize,
    pub(crate) cancelled: Vec<CancelJobRequest>,
    pub(crate) suspended: Vec<SuspendJobRequest>,
    pub(crate) resumed: Vec<ResumeJobRequest>,
    pub(crate) updated: Vec<UpdateJobRequest>,
    pub(crate) deleted: Vec<DeleteJobRequest>,
    /// Of every job.
    pub(crate) receipt: VerificationReceipt,
    pub(crate) downloads: usize,
    pub(crate) pages: Vec<u32>,
    pub(crate) authorization: Option<String>,
}

impl Books {
    fn answer(&mut self, job: FineTuneJob) -> Result<Response<FineTuneJob>, Status> {
        match self.lost_answers.checked_sub(1) {
            None => Ok(Response::new(job)),
            Some(left) => {
                self.lost_answers = left;
                Err(Status::unavailable("shutting down"))
            }
        }
    }
}

/// A coordinator on a loopback port.
pub(crate) struct FakeCoordinator {
    books: Arc<Mutex<Books>>,
    /// Holds the port while nobody serves, and lets nobody in: no other process is given it meanwhile.
    _port: TcpSocket,
    address: SocketAddr,
    server: Option<Runtime>,
}

impl FakeCoordinator {
    pub(crate) fn start() -> Self {
        let port = TcpSocket::new_v4().unwrap();
        port.set_reuseaddr(true).unwrap();
        port.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = port.local_addr().unwrap();
        let mut fake = Self {
            books: Arc::default(),
            _port: port,
            address,
            server: None,
        };
        fake.come_back();
        fake
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    /// Knows `job` from now on, or changes it.
    pub(crate) fn put(&self, job: FineTuneJob) {
        let name = job.metadata.as_ref().unwrap().resource_name.clone();
        let mut books = self.books();
        match books.jobs.get(&name) {
            Some(sender) => _ = sender.send_replace(job),
            None => _ = books.jobs.insert(name, watch::Sender::new(job)),
        }
    }

    /// Breaks every connection at once.
    pub(crate) fn go_away(&mut self) {
        self.server.take().unwrap().shutdown_background();
    }

    /// Serves again, on the same port.
    pub(crate) fn come_back(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind(self.address)).unwrap();
        let service = JobServiceServer::new(Service(self.books.clone()));
        runtime.spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        self.server = Some(runtime);
    }
}

impl Drop for FakeCoordinator {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.shutdown_background();
        }
    }
}

struct Service(Arc<Mutex<Books>>);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Service {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap()
    }

    fn job(&self, name: &str) -> Result<watch::Sender<FineTuneJob>, Status> {
        let found = self.books().jobs.get(name).cloned();
        found.ok_or_else(|| Status::not_found(format!("there is no job `{}`", name.trim_start_matches("jobs/"))))
    }
}

fn has_ended(job: &FineTuneJob) -> bool {
    matches!(
        job.status.as_ref().unwrap().summary.as_str(),
        "Succeeded" | "Failed" | "Cancelled"
    )
}

#[tonic::async_trait]
impl JobService for Service {
    type WatchJobStream = Answers<FineTuneJob>;
    type StreamLogsStream = Answers<LogLine>;
    type DownloadArtifactStream = Answers<DownloadChunk>;

    async fn create_job(&self, request: Request<CreateJobRequest>) -> Result<Response<FineTuneJob>, Status> {
        let request = request.into_inner();
        let mut books = self.books();
        if !books.violations.is_empty() {
            let violations = books
                .violations
                .drain(..)
                .map(|(field, description)| FieldViolation::new(field, description));
            let details = ErrorDetails::with_bad_request(violations.collect::<Vec<_>>());
            return Err(Status::with_error_details(
                Code::InvalidArgument,
                "the job is invalid",
                details,
            ));
        }
        let mut job = request.job.clone().unwrap();
        let metadata = job.metadata.as_mut().unwrap();
        metadata.resource_name = format!("jobs/{}", metadata.name);
        let name = metadata.resource_name.clone();
        job.status = Some(JobStatus {
            summary: "Queued".into(),
            ..Default::default()
        });
        books.created.push(request);
        books.jobs.insert(name, watch::Sender::new(job.clone()));
        books.answer(job)
    }

    async fn get_job(&self, request: Request<GetJobRequest>) -> Result<Response<FineTuneJob>, Status> {
        let authorization = request
            .metadata()
            .get("authorization")
            .map(|value| value.to_str().unwrap().to_owned());
        self.books().authorization = authorization;
        Ok(Response::new(self.job(&request.get_ref().name)?.borrow().clone()))
    }

    async fn list_jobs(&self, request: Request<ListJobsRequest>) -> Result<Response<ListJobsResponse>, Status> {
        let request = request.into_inner();
        let mut books = self.books();
        books.pages.push(request.page_size);
        let start: usize = request.page_token.parse().unwrap_or(0);
        let end = (start + request.page_size as usize).min(books.jobs.len());
        let jobs = books
            .jobs
            .values()
            .skip(start)
            .take(end - start)
            .map(|job| job.borrow().clone())
            .collect();
        let next_page_token = if end < books.jobs.len() {
            end.to_string()
        } else {
            String::new()
        };
        Ok(Response::new(ListJobsResponse { jobs, next_page_token }))
    }

    async fn watch_job(&self, request: Request<WatchJobRequest>) -> Result<Response<Self::WatchJobStream>, Status> {
        let receiver = self.job(&request.get_ref().name)?.subscribe();
        let mut ended = false;
        let snapshots =
            WatchStream::new(receiver).take_while(move |job| !std::mem::replace(&mut ended, has_ended(job)));
        Ok(Response::new(Box::pin(snapshots.map(Ok))))
    }

    async fn delete_job(&self, request: Request<DeleteJobRequest>) -> Result<Response<DeleteJobResponse>, Status> {
        let request = request.into_inner();
        assert!(!request.request_id.is_empty());
        self.job(&request.name)?;
        self.books().deleted.push(request);
        Ok(Response::new(DeleteJobResponse {}))
    }

    async fn cancel_job(&self, request: Request<CancelJobRequest>) -> Result<Response<FineTuneJob>, Status> {
        let request = request.into_inner();
        let job = self.job(&request.name)?.borrow().clone();
        let mut books = self.books();
        books.cancelled.push(request);
        books.answer(job)
    }

    async fn suspend_job(&self, request: Request<SuspendJobRequest>) -> Result<Response<FineTuneJob>, Status> {
        let request = request.into_inner();
        let job = self.job(&request.name)?.borrow().clone();
        let mut books = self.books();
        books.suspended.push(request);
        books.answer(job)
    }

    async fn resume_job(&self, request: Request<ResumeJobRequest>) -> Result<Response<FineTuneJob>, Status> {
        let request = request.into_inner();
        let job = self.job(&request.name)?.borrow().clone();
        let mut books = self.books();
        books.resumed.push(request);
        books.answer(job)
    }

    async fn update_job(&self, request: Request<UpdateJobRequest>) -> Result<Response<FineTuneJob>, Status> {
        let request = request.into_inner();
        let job = self.job(&request.name)?.borrow().clone();
        let mut books = self.books();
        books.updated.push(request);
        books.answer(job)
    }

    async fn stream_logs(
        &self,
        request: Request<StreamLogsRequest>,
    ) -> Result<Response<Self::StreamLogsStream>, Status> {
        let request = request.into_inner();
        self.job(&request.name)?;
        let mut books = self.books();
        let wanted = books
            .log_lines
            .iter()
            .filter(|line| request.rank.is_none_or(|rank| rank == line.rank));
        let mut answers: Vec<Result<LogLine, Status>> = wanted.cloned().map(Ok).collect();
        if books.logs_break.pop_front() == Some(true) {
            answers.push(Err(Status::unavailable("shutting down")));
        }
        Ok(Response::new(Box::pin(tokio_stream::iter(answers))))
    }

    async fn list_steps(&self, _: Request<ListStepsRequest>) -> Result<Response<ListStepsResponse>, Status> {
        Ok(Response::new(ListStepsResponse::default()))
    }

    async fn list_artifacts(
        &self,
        request: Request<ListArtifactsRequest>,
    ) -> Result<Response<ListArtifactsResponse>, Status> {
        self.job(&request.get_ref().name)?;
        Ok(Response::new(ListArtifactsResponse {
            artifacts: self.books().artifacts.clone(),
        }))
    }

    async fn download_artifact(
        &self,
        request: Request<DownloadArtifactRequest>,
    ) -> Result<Response<Self::DownloadArtifactStream>, Status> {
        let mut books = self.books();
        books.downloads += 1;
        let content = books.contents.get(&request.get_ref().artifact).cloned();
        let content = content.ok_or_else(|| Status::not_found("there is no such artifact"))?;
        let chunks: Vec<_> = content
            .chunks(7)
            .map(|chunk| Ok(DownloadChunk { data: chunk.to_vec() }))
            .collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(chunks))))
    }

    async fn verify_job(&self, request: Request<VerifyJobRequest>) -> Result<Response<VerificationReceipt>, Status> {
        self.job(&request.get_ref().name)?;
        Ok(Response::new(self.books().receipt.clone()))
    }

    async fn set_quota(&self, request: Request<SetQuotaRequest>) -> Result<Response<NamespaceUse>, Status> {
        let request = request.into_inner();
        let mut books = self.books();
        books.quotas.retain(|used| used.namespace != request.namespace);
        let used = NamespaceUse {
            namespace: request.namespace,
            quota: request.quota,
            slots: 3,
            jobs: 2,
            waiting: 1,
        };
        books.quotas.push(used.clone());
        Ok(Response::new(used))
    }

    async fn list_quotas(&self, _: Request<ListQuotasRequest>) -> Result<Response<ListQuotasResponse>, Status> {
        Ok(Response::new(ListQuotasResponse {
            namespaces: self.books().quotas.clone(),
        }))
    }

    async fn drain_worker(&self, request: Request<DrainWorkerRequest>) -> Result<Response<Worker>, Status> {
        let request = request.into_inner();
        let mut books = self.books();
        let known = books.workers.iter_mut().find(|worker| worker.name == request.name);
        let worker = known.ok_or_else(|| Status::not_found(format!("worker {} does not exist", request.name)))?;
        let state = if request.undo { "Ready" } else { "Draining" };
        state.clone_into(&mut worker.state);
        Ok(Response::new(worker.clone()))
    }

    async fn list_workers(&self, _: Request<ListWorkersRequest>) -> Result<Response<ListWorkersResponse>, Status> {
        Ok(Response::new(ListWorkersResponse {
            workers: self.books().workers.clone(),
        }))
    }
}
