//! The connection of a verb to the coordinator.
//!
//! It is lazy: the first call connects, and a call after a break connects again, so that following a job through a
//! restart of the coordinator needs no second connection object. Every call has a deadline: one that is answered at once,
//! for the answer; a stream, for its beginning. A stream that says nothing for long is kept alive by pings.
//!
//! Mutations carry a request id, so one whose answer got lost is sent again: it acts once.

use std::{future::Future, time::Duration};

use firn_proto::v1alpha1::{
    FineTuneJob, GetJobRequest, access_service_client::AccessServiceClient, job_service_client::JobServiceClient,
};
use tokio::time::{Instant, sleep, timeout};
use tonic::{
    Code, ConnectError, Request, Response, Status, Streaming,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use super::{
    deadline::{CALL_TIMEOUT, causes, is_late, late},
    error::{CommandError, is_transport},
    settings::{ConnectionArgs, Settings},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For how long a mutation is sent again after its connection broke: longer than a coordinator takes to start again.
const REPEAT_LIMIT: Duration = Duration::from_secs(10);
const REPEAT_PAUSE: Duration = Duration::from_millis(200);
/// Chunks of artifacts are at most 16 MiB; a job with a large confusion matrix stays well below.
const LARGEST_MESSAGE: usize = 32 << 20;

/// A client of the coordinator's `JobService`.
pub type JobsClient = JobServiceClient<InterceptedService<Channel, Outgoing>>;

/// A client of its `AccessService`.
pub type AccessClient = AccessServiceClient<InterceptedService<Channel, Outgoing>>;

/// A way to call the coordinator.
#[derive(Clone)]
pub struct Connection {
    /// For messages.
    pub(crate) address: String,
    client: JobsClient,
    access: AccessClient,
    call_timeout: Duration,
}

impl Connection {
    /// Prepares a connection to the coordinator that the settings name; nothing is sent yet.
    ///
    /// # Errors
    /// If a file that they name cannot be read, or they do not fit together.
    pub fn open(args: &ConnectionArgs) -> Result<Self, CommandError> {
        Self::to(Settings::resolve(args)?)
    }

    pub(crate) fn to(settings: Settings) -> Result<Self, CommandError> {
        let address = settings.coordinator;
        let mut endpoint = Endpoint::from_shared(address.clone())
            .map_err(|error| CommandError::Usage(format!("invalid coordinator address `{address}`: {error}")))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .user_agent(concat!("firn/", env!("CARGO_PKG_VERSION")))
            .map_err(|error| CommandError::Usage(format!("invalid user agent: {error}")))?;
        if address.starts_with("https://") {
            let ca = settings.ca.ok_or_else(|| {
                CommandError::Usage(format!(
                    "coordinator {address} uses TLS: name its authority with --ca, FIRN_CA or `ca` in the settings file"
                ))
            })?;
            let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
            if let Some(own) = settings.identity {
                tls = tls.identity(Identity::from_pem(own.chain, own.key));
            }
            endpoint = endpoint.tls_config(tls).map_err(|error| {
                CommandError::Usage(format!(
                    "the CA file, or the certificate and its key, cannot be used: {error}"
                ))
            })?;
        }
        let is_encrypted = address.starts_with("https://");
        if settings.token.is_some() && !is_encrypted && !is_on_this_machine(endpoint.uri().host().unwrap_or_default()) {
            return Err(CommandError::Usage(format!(
                "refusing to send the token to {address} in the clear: whoever reads it could run jobs; use https://"
            )));
        }
        let token = settings.token.map(|token| bearer(&token)).transpose()?;
        let call_timeout = settings.call_timeout;
        let outgoing = Outgoing { token, call_timeout };
        let channel = endpoint.connect_lazy();
        let client = JobServiceClient::with_interceptor(channel.clone(), outgoing.clone())
            .max_decoding_message_size(LARGEST_MESSAGE);
        let access =
            AccessServiceClient::with_interceptor(channel, outgoing).max_decoding_message_size(LARGEST_MESSAGE);
        Ok(Self {
            address,
            client,
            access,
            call_timeout,
        })
    }

    /// The client; clones share the connection.
    pub fn jobs(&self) -> JobsClient {
        self.client.clone()
    }

    /// For those who decide about access.
    pub fn access(&self) -> AccessClient {
        self.access.clone()
    }

    /// Names the coordinator in what a call ended with.
    pub(crate) fn refusal(&self, status: &Status) -> CommandError {
        CommandError::from_status(&self.address, status)
    }

    /// One job with its status. `job` is an id or a resource name.
    pub(crate) async fn job(&self, job: &str) -> Result<FineTuneJob, CommandError> {
        self.job_viewed(job, "").await
    }

    /// The same with all that is known of single classes, however many there are.
    pub(crate) async fn whole_job(&self, job: &str) -> Result<FineTuneJob, CommandError> {
        self.job_viewed(job, "full").await
    }

    async fn job_viewed(&self, job: &str, view: &str) -> Result<FineTuneJob, CommandError> {
        let request = GetJobRequest {
            name: resource_name(job),
            view: view.to_owned(),
        };
        let answer = self.jobs().get_job(unary(request)).await;
        self.answer(answer)
    }

    /// Begins a stream; whether it says anything later is the caller's business.
    ///
    /// # Errors
    /// If it is refused, or not begun within the deadline of a call.
    pub async fn opened<T>(
        &self,
        call: impl Future<Output = Result<Response<Streaming<T>>, Status>>,
    ) -> Result<Streaming<T>, Status> {
        let answer = timeout(self.call_timeout, call).await;
        answer.unwrap_or_else(|_| Err(late())).map(Response::into_inner)
    }

    /// The next message of a stream that has no reason to pause.
    pub(crate) async fn next_of<T>(&self, stream: &mut Streaming<T>) -> Result<Option<T>, Status> {
        let message = timeout(self.call_timeout, stream.message()).await;
        message.unwrap_or_else(|_| Err(late()))
    }

    /// Sends a mutation, and again while its connection breaks or the coordinator restarts. `call` sends the same request id each time.
    pub(crate) async fn repeated<T, F>(&self, call: impl Fn(JobsClient) -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let began = Instant::now();
        let mut was_reached = false;
        loop {
            let status = match call(self.jobs()).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => status,
            };
            // Where nobody ever answered, the address is probably wrong.
            was_reached |= !never_connected(&status);
            if !is_broken(&status) || !was_reached || began.elapsed() >= REPEAT_LIMIT {
                return Err(status);
            }
            sleep(REPEAT_PAUSE).await;
        }
    }

    /// The message of an answer, or why there is none.
    pub(crate) fn answer<T>(&self, answer: Result<Response<T>, Status>) -> Result<T, CommandError> {
        answer.map(Response::into_inner).map_err(|status| self.refusal(&status))
    }
}

/// Whether the answer got lost, rather than being late.
fn is_broken(status: &Status) -> bool {
    is_transport(status) && status.code() != Code::DeadlineExceeded && !is_late(status)
}

fn never_connected(status: &Status) -> bool {
    causes(status).any(|cause| cause.is::<ConnectError>())
}

/// A request with the deadline of a call that is answered at once: the usual one; [`Outgoing`] puts the chosen one in its place.
pub fn unary<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
    request
}

/// `jobs/{job}` from what a person typed: the id alone, or the resource name.
pub(crate) fn resource_name(job: &str) -> String {
    if job.starts_with("jobs/") {
        job.to_owned()
    } else {
        format!("jobs/{job}")
    }
}

/// The id of a job, without `jobs/`.
pub(crate) fn job_id(resource_name: &str) -> &str {
    resource_name.strip_prefix("jobs/").unwrap_or(resource_name)
}

fn bearer(token: &str) -> Result<MetadataValue<Ascii>, CommandError> {
    let mut value: MetadataValue<Ascii> = format!("Bearer {token}").parse().map_err(|_| {
        CommandError::Usage("the token holds characters that cannot be sent: expected visible ASCII".to_owned())
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Puts the token, if there is one, into every request, and the chosen deadline into those that have one.
#[derive(Clone)]
pub struct Outgoing {
    token: Option<MetadataValue<Ascii>>,
    call_timeout: Duration,
}

impl Interceptor for Outgoing {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if request.metadata().contains_key("grpc-timeout") {
            request.set_timeout(self.call_timeout);
        }
        if let Some(token) = &self.token {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

fn is_on_this_machine(host: &str) -> bool {
    let address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_can_be_named_by_id_or_resource_name() {
        assert_eq!(resource_name("demo"), "jobs/demo");
        assert_eq!(resource_name("jobs/demo"), "jobs/demo");
        assert_eq!(job_id("jobs/demo"), "demo");
    }

    #[tokio::test]
    async fn a_tls_address_without_an_authority_is_a_usage_error() {
        let settings = Settings {
            coordinator: "https://h:1".into(),
            ca: None,
            identity: None,
            token: None,
            call_timeout: CALL_TIMEOUT,
        };
        let error = Connection::to(settings).err().expect("refused");
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("--ca"), "{error}");
    }

    #[tokio::test]
    async fn a_token_never_leaves_the_machine_in_the_clear() {
        let to = |coordinator: &str| {
            let settings = Settings {
                coordinator: coordinator.to_owned(),
                ca: None,
                identity: None,
                token: Some("0123456789abcdef".to_owned()),
                call_timeout: CALL_TIMEOUT,
            };
            Connection::to(settings).map(|connection| connection.address)
        };
        assert!(
            to("http://127.0.0.1:7070").is_ok()
                && to("http://[::1]:7070").is_ok()
                && to("http://localhost:7070").is_ok()
        );
        let refused = to("http://coordinator:7070").unwrap_err().to_string();
        assert!(refused.contains("in the clear"), "{refused}");
    }
}
