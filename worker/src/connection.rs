//! How this process reaches the coordinator: transport, certificate authority, bearer token, limits.
//!
//! Shared by the agent and its ranks. tonic's defaults are open (no keepalive, no handshake deadline), so every limit is set here
//! and nowhere else. A token is refused on an unencrypted connection that leaves the machine: whoever reads it could run jobs.

pub(crate) mod broken;
mod renewed;

use std::{
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

pub use renewed::RenewedChannel;

/// Largest message that is accepted from the coordinator, in bytes, except for chunks of files.
pub const MESSAGE_LIMIT: usize = 1 << 20;

const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_DEADLINE: Duration = Duration::from_secs(10);

/// A channel that adds the bearer token to every call.
pub type AuthorizedChannel = InterceptedService<Channel, BearerToken>;

/// Where the coordinator is and how it is to be trusted.
#[derive(Clone, Default, clap::Args)]
pub struct ConnectionArguments {
    /// URL of the coordinator: `http://host:port` or `https://host:port`.
    #[arg(long, env = "FIRN_COORDINATOR", value_name = "URL")]
    pub coordinator: String,
    /// PEM file of the authority that signed the coordinator's certificate; needed for `https`.
    #[arg(long, env = "FIRN_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// PEM file of this side's own certificate (and chain), for a coordinator that asks for one (`--client-ca`); needs `key`.
    #[arg(long, env = "FIRN_CERT", value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// PEM file of the key to `cert`.
    #[arg(long, env = "FIRN_KEY", value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// File whose first line is the bearer token; read again at every new connection, so that it can be replaced.
    #[arg(long, env = "FIRN_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The bearer token itself; a token file wins. Only from the environment: arguments are visible to every user of the machine.
    #[arg(skip = std::env::var("FIRN_TOKEN").ok())]
    pub token: Option<String>,
}

impl fmt::Debug for ConnectionArguments {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ConnectionArguments")
            .field("coordinator", &self.coordinator)
            .field("ca", &self.ca)
            .field("cert", &self.cert)
            .field("token_file", &self.token_file)
            .finish_non_exhaustive()
    }
}

/// Why a connection cannot even be tried, or was not made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The coordinator's URL cannot be used.
    #[error("coordinator `{url}` is not a URL like `http://127.0.0.1:7070` or `https://coordinator:7070`: {reason}")]
    Url {
        /// As given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that the connection needs cannot be read.
    #[error("cannot read {what} {}: {source}", path.display())]
    File {
        /// What the file is for.
        what: &'static str,
        /// Where it should be.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// `https` without an authority.
    #[error("coordinator `{url}` uses https: name the authority that signed its certificate (--ca FILE)")]
    AuthorityMissing {
        /// As given.
        url: String,
    },
    /// One of a pair was given.
    #[error("{given} is set, but {missing} is not: a certificate needs its key")]
    HalfIdentity {
        /// The flag that was given.
        given: &'static str,
        /// Its partner.
        missing: &'static str,
    },
    /// A token would travel in the clear.
    #[error("refusing to send a token to `{url}` in the clear: use https, or a coordinator on this machine")]
    TokenInTheClear {
        /// As given.
        url: String,
    },
    /// The token has bytes that a header cannot carry.
    #[error("the token is empty or has characters other than visible ASCII")]
    Token,
    /// No connection was made.
    #[error("cannot reach the coordinator at {url}: {reason}")]
    Unreachable {
        /// As given.
        url: String,
        /// The chain of causes.
        reason: String,
    },
}

/// Adds `authorization: Bearer …` to every call, if there is a token.
#[derive(Clone, Default)]
pub struct BearerToken(Option<MetadataValue<Ascii>>);

impl fmt::Debug for BearerToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_some() {
            "BearerToken(…)"
        } else {
            "BearerToken(none)"
        })
    }
}

impl Interceptor for BearerToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(header) = &self.0 {
            request.metadata_mut().insert("authorization", header.clone());
        }
        Ok(request)
    }
}

/// Connects now.
///
/// # Errors
/// If the settings cannot be used, or nobody answers within five seconds.
pub async fn connect(settings: &ConnectionArguments) -> Result<AuthorizedChannel, ConnectionError> {
    let (endpoint, token) = prepare(settings)?;
    let channel = endpoint.connect().await.map_err(|error| ConnectionError::Unreachable {
        url: settings.coordinator.clone(),
        reason: broken::reason(&error),
    })?;
    Ok(InterceptedService::new(channel, token))
}

/// Host and port in the coordinator's URL; the port defaults to that of the scheme.
///
/// # Errors
/// If it is not a URL with a host.
pub fn coordinator_address(url: &str) -> Result<(String, u16), ConnectionError> {
    let uri: tonic::transport::Uri = url.parse().map_err(|error| bad_url(url, &error))?;
    let host = uri
        .host()
        .filter(|host| !host.is_empty())
        .ok_or_else(|| bad_url(url, &"it names no host"))?;
    let port = match (uri.port_u16(), uri.scheme_str()) {
        (Some(port), _) => port,
        (None, Some("https")) => 443,
        (None, _) => 80,
    };
    Ok((host.trim_matches(['[', ']']).to_owned(), port))
}

/// True if the host can only mean this machine.
pub fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn prepare(settings: &ConnectionArguments) -> Result<(Endpoint, BearerToken), ConnectionError> {
    let url = &settings.coordinator;
    let secure = match url.split_once("://") {
        Some(("https", _)) => true,
        Some(("http", _)) => false,
        _ => return Err(bad_url(url, &"it must start with http:// or https://")),
    };
    let (host, _) = coordinator_address(url)?;
    let token = read_token(settings)?;
    if token.0.is_some() && !secure && !is_loopback(&host) {
        return Err(ConnectionError::TokenInTheClear { url: url.clone() });
    }
    let mut endpoint = Endpoint::from_shared(url.clone())
        .map_err(|error| bad_url(url, &causes(&error)))?
        .connect_timeout(HANDSHAKE_DEADLINE)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_DEADLINE)
        .keep_alive_while_idle(true);
    if secure {
        let path = settings
            .ca
            .as_ref()
            .ok_or_else(|| ConnectionError::AuthorityMissing { url: url.clone() })?;
        let authority = read_file("the certificate authority", path)?;
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority));
        if let Some(identity) = read_identity(settings)? {
            tls = tls.identity(identity);
        }
        endpoint = endpoint
            .tls_config(tls)
            .map_err(|error| bad_url(url, &causes(&error)))?;
    }
    Ok((endpoint, token))
}

/// This side's own certificate, if there is one.
fn read_identity(settings: &ConnectionArguments) -> Result<Option<Identity>, ConnectionError> {
    let (given, missing) = match (&settings.cert, &settings.key) {
        (None, None) => return Ok(None),
        (Some(cert), Some(key)) => {
            let certificate = read_file("the client certificate", cert)?;
            let key = read_file("the key of the client certificate", key)?;
            return Ok(Some(Identity::from_pem(certificate, key)));
        }
        (Some(_), None) => ("--cert", "--key"),
        (None, Some(_)) => ("--key", "--cert"),
    };
    Err(ConnectionError::HalfIdentity { given, missing })
}

fn read_file(what: &'static str, path: &Path) -> Result<Vec<u8>, ConnectionError> {
    std::fs::read(path).map_err(|source| ConnectionError::File {
        what,
        path: path.to_owned(),
        source,
    })
}

fn read_token(settings: &ConnectionArguments) -> Result<BearerToken, ConnectionError> {
    let token = match (&settings.token_file, &settings.token) {
        (Some(path), _) => std::fs::read_to_string(path).map_err(|source| ConnectionError::File {
            what: "the token",
            path: path.clone(),
            source,
        })?,
        (None, Some(token)) => token.clone(),
        (None, None) => return Ok(BearerToken(None)),
    };
    let token = token.lines().next().unwrap_or_default().trim();
    if token.is_empty() {
        return Err(ConnectionError::Token);
    }
    let mut header: MetadataValue<Ascii> = format!("Bearer {token}").parse().map_err(|_| ConnectionError::Token)?;
    header.set_sensitive(true);
    Ok(BearerToken(Some(header)))
}

fn bad_url(url: &str, reason: &dyn fmt::Display) -> ConnectionError {
    ConnectionError::Url {
        url: url.to_owned(),
        reason: reason.to_string(),
    }
}

/// An error and all that caused it, in one line.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> ConnectionArguments {
        ConnectionArguments {
            coordinator: url.to_owned(),
            ..ConnectionArguments::default()
        }
    }

    #[test]
    fn a_token_never_leaves_the_machine_in_the_clear() {
        let with_token = |url: &str| ConnectionArguments {
            token: Some("secret".to_owned()),
            ..settings(url)
        };
        assert!(prepare(&with_token("http://127.0.0.1:7070")).is_ok());
        assert!(prepare(&with_token("http://[::1]:7070")).is_ok());
        let error = prepare(&with_token("http://10.0.0.7:7070")).unwrap_err();
        assert!(matches!(error, ConnectionError::TokenInTheClear { .. }), "{error}");
    }

    #[test]
    fn urls_that_cannot_be_used_are_refused_with_the_reason() {
        for (url, expected) in [
            ("127.0.0.1:7070", "it must start with http:// or https://"),
            ("ftp://somewhere:7070", "it must start with http:// or https://"),
            ("https://coordinator:7070", "--ca FILE"),
        ] {
            let message = prepare(&settings(url)).unwrap_err().to_string();
            assert!(message.contains(expected), "{url}: {message}");
        }
    }

    #[test]
    fn a_certificate_without_its_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, "").unwrap();
        let with = |cert: Option<&Path>, key: Option<&Path>| ConnectionArguments {
            ca: Some(ca.clone()),
            cert: cert.map(Path::to_owned),
            key: key.map(Path::to_owned),
            ..settings("https://coordinator:7070")
        };
        let message = prepare(&with(Some(&ca), None)).unwrap_err().to_string();
        assert_eq!(message, "--cert is set, but --key is not: a certificate needs its key");
        let message = prepare(&with(None, Some(&ca))).unwrap_err().to_string();
        assert_eq!(message, "--key is set, but --cert is not: a certificate needs its key");
        let missing = folder.path().join("key.pem");
        let message = prepare(&with(Some(&ca), Some(&missing))).unwrap_err().to_string();
        assert!(
            message.starts_with("cannot read the key of the client certificate") && message.contains("key.pem"),
            "{message}"
        );
    }

    #[test]
    fn host_and_port_come_from_the_url() {
        assert_eq!(
            coordinator_address("http://10.0.0.7:81").unwrap(),
            ("10.0.0.7".to_owned(), 81)
        );
        assert_eq!(
            coordinator_address("https://coordinator").unwrap(),
            ("coordinator".to_owned(), 443)
        );
        assert_eq!(
            coordinator_address("http://[::1]:7070").unwrap(),
            ("::1".to_owned(), 7070)
        );
    }

    #[test]
    fn a_token_is_not_shown_in_debug_output() {
        let (_, token) = prepare(&ConnectionArguments {
            token: Some("secret".into()),
            ..settings("http://localhost:1")
        })
        .unwrap();
        assert!(!format!("{token:?}").contains("secret"));
    }
}
