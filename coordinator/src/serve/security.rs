//! Who may speak to the coordinator, and over what.
//!
//! On loopback, the users of this machine may. An address that other machines can reach is refused unless the coordinator can prove
//! itself (TLS) and callers prove themselves (a token): a job names files that workers read and folders that they write, so whoever
//! may submit one may do what the workers' user may.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use thiserror::Error;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, RootCertStore, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
        server::WebPkiClientVerifier,
    },
};
use tonic::{Request, Status, service::Interceptor};

/// Shortest token that is taken: 16 hexadecimal digits are 64 bits.
const SHORTEST_TOKEN: usize = 16;

/// Why the coordinator will not listen like this.
#[derive(Debug, Error)]
pub enum SecurityError {
    /// Reachable, but not protected.
    #[error(
        "refusing to listen on {address}: other machines can reach it, and {missing} not set, so anyone there could run jobs on your \
         workers; give --tls-cert and --tls-key (PEM files) and --token-file (a file that holds a secret of at least {SHORTEST_TOKEN} \
         characters, for example the output of `openssl rand -hex 32`), or listen on 127.0.0.1"
    )]
    Unprotected {
        /// The address.
        address: SocketAddr,
        /// The flags that are missing, with a verb.
        missing: String,
    },
    /// One of a pair was given.
    #[error("{given} is set, but {missing} is not: TLS needs both")]
    HalfTls {
        /// The flag that was given.
        given: &'static str,
        /// Its partner.
        missing: &'static str,
    },
    /// Client certificates can only be asked for over TLS.
    #[error("--client-ca is set, but --tls-cert and --tls-key are not: client certificates need TLS")]
    ClientAuthorityWithoutTls,
    /// A file cannot be read.
    #[error("cannot read {flag} {}: {source}", path.display())]
    File {
        /// Flag that names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file holds no certificate or key that can be used.
    #[error("{flag} {} cannot be used for TLS: {reason}", path.display())]
    Tls {
        /// Flag that names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The token file holds no usable token.
    #[error("--token-file {}: expected one token a line, each of at least {SHORTEST_TOKEN} visible ASCII characters, found {found}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// What is in it.
        found: String,
    },
}

/// What the flags name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecurityPaths {
    /// PEM certificate chain of the coordinator.
    pub tls_cert: Option<PathBuf>,
    /// PEM key of that certificate.
    pub tls_key: Option<PathBuf>,
    /// PEM authority of client certificates; with it, every client must show one.
    pub client_ca: Option<PathBuf>,
    /// Tokens, one a line: more than one while a token is being replaced.
    pub token_file: Option<PathBuf>,
}

/// Keys and tokens, read.
#[derive(Clone, Default)]
pub struct Security {
    tls: Option<TlsAcceptor>,
    tokens: Option<Tokens>,
}

impl std::fmt::Debug for Security {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Security")
            .field("tls", &self.tls.is_some())
            .field("token", &self.tokens.is_some())
            .finish()
    }
}

impl Security {
    /// Reads the files, and refuses an address that they do not protect.
    ///
    /// # Errors
    /// See [`SecurityError`].
    pub fn load(paths: &SecurityPaths, listen: SocketAddr) -> Result<Self, SecurityError> {
        refuse_unprotected(paths, listen)?;
        let tls = match (&paths.tls_cert, &paths.tls_key) {
            (Some(certificate), Some(key)) => Some(read_tls(certificate, key, paths.client_ca.as_deref())?),
            (Some(_), None) => {
                return Err(SecurityError::HalfTls {
                    given: "--tls-cert",
                    missing: "--tls-key",
                });
            }
            (None, Some(_)) => {
                return Err(SecurityError::HalfTls {
                    given: "--tls-key",
                    missing: "--tls-cert",
                });
            }
            (None, None) if paths.client_ca.is_some() => return Err(SecurityError::ClientAuthorityWithoutTls),
            (None, None) => None,
        };
        let tokens = paths.token_file.as_deref().map(Tokens::read).transpose()?;
        Ok(Self { tls, tokens })
    }

    /// For the server.
    pub fn tls(&self) -> Option<&TlsAcceptor> {
        self.tls.as_ref()
    }

    /// Checks every call of the services it is put before.
    pub fn gate(&self) -> Gate {
        Gate {
            tokens: self.tokens.clone(),
        }
    }
}

fn refuse_unprotected(paths: &SecurityPaths, listen: SocketAddr) -> Result<(), SecurityError> {
    if listen.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    let flags = [
        ("--tls-cert", paths.tls_cert.is_none()),
        ("--tls-key", paths.tls_key.is_none()),
        ("--token-file", paths.token_file.is_none()),
    ];
    let missing: Vec<&str> = flags
        .iter()
        .filter(|(_, is_missing)| *is_missing)
        .map(|(flag, _)| *flag)
        .collect();
    let missing = match missing.as_slice() {
        [] => return Ok(()),
        [one] => format!("{one} is"),
        [rest @ .., last] => format!("{} and {last} are", rest.join(", ")),
    };
    Err(SecurityError::Unprotected {
        address: listen,
        missing,
    })
}

fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, SecurityError> {
    fs::read(path).map_err(|source| SecurityError::File {
        flag,
        path: path.to_owned(),
        source,
    })
}

fn read_tls(certificate: &Path, key: &Path, client_ca: Option<&Path>) -> Result<TlsAcceptor, SecurityError> {
    let chain = read_certificates("--tls-cert", certificate)?;
    let unfit_key = unfit("--tls-key", key);
    let private = PrivateKeyDer::from_pem_slice(&read("--tls-key", key)?).map_err(|error| unfit_key(&error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unfit("--tls-cert", certificate)(&error))?;
    let config = match client_ca {
        None => config.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(read_certificates("--client-ca", authority)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
            config.with_client_cert_verifier(verifier.map_err(|error| unfit("--client-ca", authority)(&error))?)
        }
    };
    let mut config = config
        .with_single_cert(chain, private)
        .map_err(|error| unfit("--tls-cert", certificate)(&error))?;
    config.alpn_protocols.push(b"h2".to_vec());
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn read_certificates(flag: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, SecurityError> {
    let pem = read(flag, path)?;
    let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| unfit(flag, path)(&error))?;
    if certificates.is_empty() {
        return Err(unfit(flag, path)(&"expected a PEM certificate, found none"));
    }
    Ok(certificates)
}

fn unfit(flag: &'static str, path: &Path) -> impl Fn(&dyn std::fmt::Display) -> SecurityError {
    let path = path.to_owned();
    move |reason| SecurityError::Tls {
        flag,
        path: path.clone(),
        reason: reason.to_string(),
    }
}

/// Hashes of the tokens that are taken.
#[derive(Clone)]
struct Tokens(Arc<[blake3::Hash]>);

impl Tokens {
    fn read(path: &Path) -> Result<Self, SecurityError> {
        let text = String::from_utf8_lossy(&read("--token-file", path)?).into_owned();
        let unfit = |found: String| SecurityError::Token {
            path: path.to_owned(),
            found,
        };
        let mut hashes = Vec::new();
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
            let token = line.trim();
            if token.len() < SHORTEST_TOKEN {
                return Err(unfit(format!("{} characters in line {number}", token.len())));
            }
            if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(unfit(format!("other characters in line {number}")));
            }
            hashes.push(blake3::hash(token.as_bytes()));
        }
        if hashes.is_empty() {
            return Err(unfit("none".to_owned()));
        }
        Ok(Self(hashes.into()))
    }

    /// Compares hashes in constant time (as `blake3::Hash` does), and all of them: how long it takes tells nothing of a token.
    fn hold(&self, token: &str) -> bool {
        let hash = blake3::hash(token.as_bytes());
        self.0.iter().fold(false, |found, known| found | (*known == hash))
    }
}

/// Lets calls with a known token pass; all calls, where no tokens are set.
#[derive(Clone)]
pub struct Gate {
    tokens: Option<Tokens>,
}

impl Interceptor for Gate {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let Some(tokens) = &self.tokens else { return Ok(request) };
        let header = request
            .metadata()
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        let token = header.and_then(|header| {
            let (scheme, token) = header.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        match token {
            Some(token) if tokens.hold(token) => Ok(request),
            Some(_) => Err(Status::unauthenticated("the token is not known to this coordinator")),
            None => Err(Status::unauthenticated(
                "this coordinator asks for a token: send `authorization: Bearer TOKEN` (for firn and firn-worker: set FIRN_TOKEN or FIRN_TOKEN_FILE)",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn loopback_needs_nothing() {
        for loopback in ["127.0.0.1:7070", "[::1]:7070", "[::ffff:127.0.0.1]:7070"] {
            Security::load(&SecurityPaths::default(), address(loopback)).unwrap();
        }
    }

    #[test]
    fn an_address_that_others_reach_is_refused_with_what_to_do() {
        let error = Security::load(&SecurityPaths::default(), address("0.0.0.0:7070")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "refusing to listen on 0.0.0.0:7070: other machines can reach it, and --tls-cert, --tls-key and --token-file are not set, so \
             anyone there could run jobs on your workers; give --tls-cert and --tls-key (PEM files) and --token-file (a file that holds a \
             secret of at least 16 characters, for example the output of `openssl rand -hex 32`), or listen on 127.0.0.1"
        );
        let paths = SecurityPaths {
            tls_cert: Some("cert.pem".into()),
            tls_key: Some("key.pem".into()),
            ..SecurityPaths::default()
        };
        let error = Security::load(&paths, address("[::]:1")).unwrap_err().to_string();
        assert!(error.contains("and --token-file is not set"), "{error}");
    }

    #[test]
    fn files_that_hold_no_certificate_or_key_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| {
            let path = folder.path().join(name);
            fs::write(&path, content).unwrap();
            Some(path)
        };
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        for (certificate, key, named) in [
            ("", key.as_str(), "--tls-cert"),
            (&certificate, &certificate, "--tls-key"),
        ] {
            let paths = SecurityPaths {
                tls_cert: file("cert.pem", certificate),
                tls_key: file("key.pem", key),
                ..SecurityPaths::default()
            };
            let error = Security::load(&paths, address("127.0.0.1:1")).unwrap_err().to_string();
            assert!(
                error.starts_with(named) && error.contains("cannot be used for TLS"),
                "{error}"
            );
        }
    }

    #[test]
    fn half_a_tls_setting_is_refused() {
        let paths = SecurityPaths {
            tls_cert: Some("cert.pem".into()),
            ..SecurityPaths::default()
        };
        let error = Security::load(&paths, address("127.0.0.1:1")).unwrap_err().to_string();
        assert_eq!(error, "--tls-cert is set, but --tls-key is not: TLS needs both");
    }

    fn gate(content: &str) -> Result<Gate, SecurityError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, content).unwrap();
        let paths = SecurityPaths {
            token_file: Some(path),
            ..SecurityPaths::default()
        };
        Security::load(&paths, address("127.0.0.1:1")).map(|security| security.gate())
    }

    fn passes(gate: &Gate, header: Option<&str>) -> bool {
        let mut request = Request::new(());
        if let Some(header) = header {
            request.metadata_mut().insert("authorization", header.parse().unwrap());
        }
        gate.clone().call(request).is_ok()
    }

    #[test]
    fn only_known_tokens_pass() {
        let gate = gate("0123456789abcdef\n\nfedcba9876543210\n").unwrap();
        assert!(passes(&gate, Some("Bearer 0123456789abcdef")));
        assert!(passes(&gate, Some("bearer fedcba9876543210")));
        assert!(!passes(&gate, Some("Bearer 0123456789abcdeF")));
        assert!(!passes(&gate, Some("Bearer ")));
        assert!(!passes(&gate, Some("0123456789abcdef")));
        assert!(!passes(&gate, None));
    }

    #[test]
    fn weak_token_files_are_refused() {
        for (content, found) in [
            ("", "found none"),
            ("short\n", "found 5 characters in line 1"),
            ("with a space inside it\n", "other"),
        ] {
            let error = gate(content).err().unwrap().to_string();
            assert!(error.contains(found), "{content:?}: {error}");
        }
    }
}
