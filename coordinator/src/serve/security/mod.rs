//! Who may speak to the coordinator, and over what.
//!
//! On loopback, the users of this machine may. An address that other machines can reach is refused unless the coordinator can prove
//! itself (TLS) and callers prove themselves (a token): a job names files that workers read and folders that they write, so whoever
//! may submit one may do what the workers' user may.
//!
//! Certificates and tokens are read again when their files change, for new connections and calls; connections that are open stay so.

mod reload;
mod tls;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures::future::join;
use thiserror::Error;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::access::{FileTokens, SHORTEST_TOKEN};
use reload::Watched;

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
    #[error(
        "--token-file {}: expected one token a line, each of at least {SHORTEST_TOKEN} visible ASCII characters, and after it perhaps \
         `role=administrator|submitter|reader|agent` and `namespace=NAME` or `job=NAME`, found {found}",
        path.display()
    )]
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
    /// Tokens, one a line, each with its rights where it is no administrator's.
    pub token_file: Option<PathBuf>,
}

/// Keys and tokens, read.
#[derive(Clone, Default)]
pub struct Security {
    tls: Option<Arc<Watched<TlsAcceptor>>>,
    tokens: Option<Arc<Watched<FileTokens>>>,
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
            (Some(certificate), Some(key)) => Some(tls::watched(certificate, key, paths.client_ca.as_deref())?),
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
        let tokens = paths.token_file.as_deref().map(watched_tokens).transpose()?;
        Ok(Self {
            tls: tls.map(Arc::new),
            tokens: tokens.map(Arc::new),
        })
    }

    /// How connections are encrypted, now and from now on; `None`: they are not.
    pub fn tls(&self) -> Option<watch::Receiver<TlsAcceptor>> {
        self.tls.as_ref().map(|tls| tls.current())
    }

    /// Tokens of the token file, now and from now on; `None`: callers need none.
    pub fn tokens(&self) -> Option<watch::Receiver<FileTokens>> {
        self.tokens.as_ref().map(|tokens| tokens.current())
    }

    /// Reads the files again whenever they change, for ever.
    pub(super) async fn follow(&self) {
        join(
            reload::follow(self.tls.as_deref()),
            reload::follow(self.tokens.as_deref()),
        )
        .await;
    }
}

fn watched_tokens(path: &Path) -> Result<Watched<FileTokens>, SecurityError> {
    let path = path.to_owned();
    Watched::new("--token-file", vec![path.clone()], move || {
        let text = String::from_utf8_lossy(&read("--token-file", &path)?).into_owned();
        FileTokens::parse(&text).map_err(|found| SecurityError::Token {
            path: path.clone(),
            found,
        })
    })
}

fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, SecurityError> {
    fs::read(path).map_err(|source| SecurityError::File {
        flag,
        path: path.to_owned(),
        source,
    })
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

    fn tokens(content: &str) -> Result<Security, SecurityError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, content).unwrap();
        let paths = SecurityPaths {
            token_file: Some(path),
            ..SecurityPaths::default()
        };
        Security::load(&paths, address("127.0.0.1:1"))
    }

    #[test]
    fn weak_token_files_are_refused() {
        for (content, found) in [
            ("", "found none"),
            ("short\n", "found 5 characters in line 1"),
            ("with a space inside it\n", "other"),
        ] {
            let error = tokens(content).err().unwrap().to_string();
            assert!(error.contains(found), "{content:?}: {error}");
        }
    }
}
