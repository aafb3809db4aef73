//! The connection of a verb to the coordinator.
//!
//! It is lazy: the first call connects, and a call after a break connects again, so that following a job through a
//! restart of the coordinator needs no second connection object. Every unary call carries a deadline.

use std::time::Duration;

use firn_proto::v1alpha1::{FineTuneJob, GetJobRequest, job_service_client::JobServiceClient};
use tonic::{
    Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use super::{
    error::CommandError,
    settings::{ConnectionArgs, Settings},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Chunks of artifacts are at most 16 MiB; a job with a large confusion matrix stays well below.
const LARGEST_MESSAGE: usize = 32 << 20;

/// A client of the coordinator's `JobService`.
pub(crate) type JobsClient = JobServiceClient<InterceptedService<Channel, BearerToken>>;

/// A way to call the coordinator.
#[derive(Clone)]
pub(crate) struct Connection {
    /// For messages.
    pub(crate) address: String,
    client: JobsClient,
}

impl Connection {
    /// Prepares a connection to the coordinator that the settings name; nothing is sent yet.
    pub(crate) fn open(args: &ConnectionArgs) -> Result<Self, CommandError> {
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
            endpoint = endpoint
                .tls_config(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)))
                .map_err(|error| CommandError::Usage(format!("the CA file cannot be used: {error}")))?;
        }
        let is_encrypted = address.starts_with("https://");
        if settings.token.is_some() && !is_encrypted && !is_on_this_machine(endpoint.uri().host().unwrap_or_default()) {
            return Err(CommandError::Usage(format!(
                "refusing to send the token to {address} in the clear: whoever reads it could run jobs; use https://"
            )));
        }
        let token = settings.token.map(|token| bearer(&token)).transpose()?;
        let client = JobServiceClient::with_interceptor(endpoint.connect_lazy(), BearerToken(token))
            .max_decoding_message_size(LARGEST_MESSAGE);
        Ok(Self { address, client })
    }

    /// The client; clones share the connection.
    pub(crate) fn jobs(&self) -> JobsClient {
        self.client.clone()
    }

    /// Names the coordinator in what a call ended with.
    pub(crate) fn refusal(&self, status: &Status) -> CommandError {
        CommandError::from_status(&self.address, status)
    }

    /// One job with its status. `job` is an id or a resource name.
    pub(crate) async fn job(&self, job: &str) -> Result<FineTuneJob, CommandError> {
        let answer = self
            .jobs()
            .get_job(unary(GetJobRequest {
                name: resource_name(job),
            }))
            .await;
        self.answer(answer)
    }

    /// The message of an answer, or why there is none.
    pub(crate) fn answer<T>(&self, answer: Result<Response<T>, Status>) -> Result<T, CommandError> {
        answer.map(Response::into_inner).map_err(|status| self.refusal(&status))
    }
}

/// A request with the deadline of a call that is answered at once.
pub(crate) fn unary<T>(message: T) -> Request<T> {
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

/// Puts the token, if there is one, into every request.
#[derive(Clone)]
pub(crate) struct BearerToken(Option<MetadataValue<Ascii>>);

impl Interceptor for BearerToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
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
            token: None,
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
                token: Some("0123456789abcdef".to_owned()),
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
