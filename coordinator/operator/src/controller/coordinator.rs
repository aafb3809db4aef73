//! What the operator asks of the coordinator.

use std::{
    error::Error as _,
    sync::{Arc, Mutex, PoisonError},
};

use firn::api::wire;
use firn::cmd::{CommandError, Connection, ConnectionArgs, JobsClient, Trust, broken_trust, told, unary};
use firn_core::spec::JobSpec;
use firn_proto::v1alpha1::{
    CancelJobRequest, CreateJobRequest, CreateTokenRequest, FineTuneJob, ListJobsRequest, ListTokensRequest,
    ResumeJobRequest, RevokeTokenRequest, SuspendJobRequest, UpdateJobRequest, WatchJobRequest, WorkersSpec,
};
use tonic::{Code, Response, Status, Streaming};
use tracing::warn;

/// Description of the tokens that the operator issues.
const ISSUED: &str = "workers' pods, issued by firn-operator";

/// Streams on one connection. The coordinator takes 32, and lets whatever comes after them wait.
const STREAMS_OF_CONNECTION: usize = 24;
/// Jobs that one answer lists at most.
const LARGEST_PAGE: u32 = 1000;

/// Why the coordinator did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum CoordinatorError {
    /// The settings of the connection cannot be used.
    #[error("{0}")]
    Settings(#[from] CommandError),
    /// It refused, or could not be reached.
    #[error("the coordinator: {}", told(.0))]
    Refused(#[from] Status),
}

impl CoordinatorError {
    /// Whether another try may succeed: nobody was reached, or a secret is being replaced.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Settings(_) => true,
            Self::Refused(status) => !matches!(
                status.code(),
                Code::InvalidArgument | Code::FailedPrecondition | Code::NotFound
            ),
        }
    }

    /// Whether there is no such job.
    pub(super) fn is_of_no_job(&self) -> bool {
        matches!(self, Self::Refused(status) if status.code() == Code::NotFound)
    }

    /// Whether something is there already that another call has made.
    pub(super) fn is_of_another_call(&self) -> bool {
        matches!(self, Self::Refused(status) if status.code() == Code::AlreadyExists)
    }

    /// What this is called on a resource.
    pub(super) fn reason(&self) -> &'static str {
        let Self::Refused(status) = self else {
            return "CoordinatorSettings";
        };
        match (broken_trust(status), status.code()) {
            (Some(Trust::OfCoordinator), _) => "CoordinatorNotTrusted",
            (Some(Trust::OfCaller), _) => "CoordinatorRefusesCertificate",
            // The connection broke, whatever the code says.
            (None, _) if status.source().is_some() => "CoordinatorUnavailable",
            (None, Code::Unauthenticated | Code::PermissionDenied) => "CoordinatorRefusesToken",
            (None, Code::Unavailable | Code::DeadlineExceeded) => "CoordinatorUnavailable",
            (None, _) => "CoordinatorRefused",
        }
    }

    /// Whether another connection, of the files as they are then, may fare better.
    fn is_of_connection(&self) -> bool {
        match self {
            Self::Settings(_) => true,
            Self::Refused(status) => {
                matches!(
                    status.code(),
                    Code::Unauthenticated | Code::PermissionDenied | Code::Unavailable
                ) || status.source().is_some()
            }
        }
    }

    /// Whether it looked at what it was given, and does not take it.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Settings(_) => false,
            Self::Refused(status) => matches!(status.code(), Code::InvalidArgument | Code::FailedPrecondition),
        }
    }
}

/// A way to call the coordinator, with whatever secrets its files hold at the time.
#[derive(Clone)]
pub(super) struct Coordinator {
    args: Arc<ConnectionArgs>,
    connection: Arc<Mutex<Option<Connection>>>,
    /// Connections for streams, which stay open: apart from calls, which would wait for one of them to end.
    streams: Arc<Mutex<Vec<Shared>>>,
}

/// A connection, and a claim on it for each of its streams.
struct Shared {
    connection: Connection,
    claims: Arc<()>,
}

/// A stream that counts on its connection until it is dropped.
pub(super) struct Watched {
    stream: Streaming<FineTuneJob>,
    _claim: Arc<()>,
}

impl Watched {
    /// The next message; `None` at the end.
    ///
    /// # Errors
    /// If the stream breaks.
    pub(super) async fn message(&mut self) -> Result<Option<FineTuneJob>, Status> {
        self.stream.message().await
    }
}

impl Coordinator {
    /// Of the connection that the arguments name. Files that cannot be used yet are told on the resources: who makes them may take a while.
    pub(super) fn new(args: ConnectionArgs) -> Self {
        Self {
            args: Arc::new(args),
            connection: Arc::default(),
            streams: Arc::default(),
        }
    }

    fn connection(&self) -> Result<Connection, CoordinatorError> {
        let mut open = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = open.as_ref() {
            return Ok(connection.clone());
        }
        let connection = Connection::open(&self.args)?;
        Ok(open.insert(connection).clone())
    }

    fn jobs(&self) -> Result<JobsClient, CoordinatorError> {
        Ok(self.connection()?.jobs())
    }

    /// The answer; after one that says that nobody was reached, or that token or certificate are not taken, the files are read again.
    fn answer<T>(&self, answer: Result<Response<T>, Status>) -> Result<T, CoordinatorError> {
        let answer = answer.map(Response::into_inner).map_err(CoordinatorError::from);
        if let Err(error) = &answer
            && error.is_of_connection()
        {
            warn!(%error, "connecting to the coordinator anew");
            *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        answer
    }

    /// Gives a job to the coordinator, once for each `request`.
    ///
    /// # Errors
    /// If it is refused, or the coordinator cannot be reached.
    pub(super) async fn submit(
        &self,
        spec: &JobSpec,
        request: &str,
        suspended: bool,
    ) -> Result<FineTuneJob, CoordinatorError> {
        let request = CreateJobRequest {
            job: Some(wire::stored_job(spec)),
            request_id: request.to_owned(),
            suspended,
        };
        let answer = self.jobs()?.create_job(unary(request)).await;
        self.answer(answer)
    }

    /// All jobs of a namespace; of all, if it is empty.
    ///
    /// # Errors
    /// If it is refused, or the coordinator cannot be reached.
    pub(super) async fn list(&self, namespace: &str) -> Result<Vec<FineTuneJob>, CoordinatorError> {
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = ListJobsRequest {
                page_size: LARGEST_PAGE,
                page_token,
                namespace: namespace.to_owned(),
            };
            let answer = self.jobs()?.list_jobs(unary(request)).await;
            let page = self.answer(answer)?;
            all.extend(page.jobs);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }

    /// Ends a job.
    ///
    /// # Errors
    /// If it is refused, or the coordinator cannot be reached.
    pub(super) async fn cancel(&self, name: String) -> Result<FineTuneJob, CoordinatorError> {
        let request = CancelJobRequest {
            name,
            ..CancelJobRequest::default()
        };
        let answer = self.jobs()?.cancel_job(unary(request)).await;
        self.answer(answer)
    }

    /// Lets a job give its slots back, or go on.
    ///
    /// # Errors
    /// If it is refused, or the coordinator cannot be reached.
    pub(super) async fn set_suspended(&self, name: String, suspended: bool) -> Result<FineTuneJob, CoordinatorError> {
        let request_id = String::new();
        let mut jobs = self.jobs()?;
        let answer = match suspended {
            true => jobs.suspend_job(unary(SuspendJobRequest { name, request_id })).await,
            false => jobs.resume_job(unary(ResumeJobRequest { name, request_id })).await,
        };
        self.answer(answer)
    }

    /// Changes how many workers a job takes, and how urgent it is.
    ///
    /// # Errors
    /// If it is refused, or the coordinator cannot be reached.
    pub(super) async fn update(
        &self,
        name: String,
        (min, max): (u32, u32),
        priority: u32,
    ) -> Result<FineTuneJob, CoordinatorError> {
        let mut job = FineTuneJob::default();
        let spec = job.spec.get_or_insert_default();
        spec.scheduling.get_or_insert_default().priority = Some(priority);
        spec.resources.get_or_insert_default().workers = Some(WorkersSpec {
            min: Some(min),
            max: Some(max),
        });
        let paths = [
            "spec.resources.workers.min",
            "spec.resources.workers.max",
            "spec.scheduling.priority",
        ];
        let request = UpdateJobRequest {
            name,
            job: Some(job),
            update_mask: Some(prost_types::FieldMask {
                paths: paths.map(str::to_owned).to_vec(),
            }),
            request_id: String::new(),
        };
        let answer = self.jobs()?.update_job(unary(request)).await;
        self.answer(answer)
    }

    /// A job now, and after each change.
    ///
    /// # Errors
    /// If it is refused, or the coordinator cannot be reached.
    pub(super) async fn watch(&self, name: String) -> Result<Watched, CoordinatorError> {
        let (connection, claim) = self.connection_for_stream()?;
        let opened = connection
            .opened(connection.jobs().watch_job(WatchJobRequest { name }))
            .await;
        let answer = self.answer(opened.map(Response::new));
        if answer.as_ref().is_err_and(CoordinatorError::is_of_connection) {
            // Others may hold it while they fail, so it would never be without a claim.
            let mut open = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
            open.retain(|shared| !Arc::ptr_eq(&shared.claims, &claim));
        }
        Ok(Watched {
            stream: answer?,
            _claim: claim,
        })
    }

    /// One with room for another stream.
    fn connection_for_stream(&self) -> Result<(Connection, Arc<()>), CoordinatorError> {
        let mut open = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        // What nobody uses is closed: it may have been opened with a secret that was replaced.
        open.retain(|shared| Arc::strong_count(&shared.claims) > 1);
        let with_room = open
            .iter()
            .find(|shared| Arc::strong_count(&shared.claims) <= STREAMS_OF_CONNECTION);
        if let Some(shared) = with_room {
            return Ok((shared.connection.clone(), shared.claims.clone()));
        }
        let shared = Shared {
            connection: Connection::open(&self.args)?,
            claims: Arc::default(),
        };
        let claimed = (shared.connection.clone(), shared.claims.clone());
        open.push(shared);
        Ok(claimed)
    }

    /// A token for the workers of a job, and of no other: its name and its secret. Those that were issued before it are taken no more.
    ///
    /// # Errors
    /// If it is refused, or the coordinator cannot be reached.
    pub(super) async fn issue_token(&self, name: String) -> Result<(String, String), CoordinatorError> {
        self.revoke_tokens(&name).await?;
        let request = CreateTokenRequest {
            role: "agent".to_owned(),
            job: name,
            description: ISSUED.to_owned(),
            ..CreateTokenRequest::default()
        };
        let answer = self.connection()?.access().create_token(unary(request)).await;
        let issued = self.answer(answer)?;
        Ok((issued.token.unwrap_or_default().name, issued.secret))
    }

    /// Whether it takes the token of this name.
    ///
    /// # Errors
    /// If it is refused, or the coordinator cannot be reached.
    pub(super) async fn knows_token(&self, name: &str) -> Result<bool, CoordinatorError> {
        let answer = self
            .connection()?
            .access()
            .list_tokens(unary(ListTokensRequest {}))
            .await;
        Ok(self.answer(answer)?.tokens.iter().any(|token| token.name == name))
    }

    /// Takes the tokens of a job's workers no more.
    ///
    /// # Errors
    /// If it is refused, or the coordinator cannot be reached.
    pub(super) async fn revoke_tokens(&self, name: &str) -> Result<(), CoordinatorError> {
        let mut access = self.connection()?.access();
        let answer = access.list_tokens(unary(ListTokensRequest {})).await;
        let tokens = self.answer(answer)?.tokens.into_iter();
        for token in tokens.filter(|token| token.job == name && token.description == ISSUED) {
            let request = RevokeTokenRequest {
                name: token.name,
                request_id: String::new(),
            };
            let answer = access.revoke_token(unary(request)).await;
            self.answer(answer)?;
        }
        Ok(())
    }
}
