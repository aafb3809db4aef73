//! The three questions that the Hub is asked: what a revision is, what a file is, and for its bytes from some place on.

use std::{
    fs,
    io::{self, Read},
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use firn_core::spec::hub::HubModel;
use serde::Deserialize;
use ureq::{
    Agent, Body,
    http::{Response, StatusCode, header},
    tls::{PemItem, RootCerts, TlsConfig, parse_pem},
};

use crate::{HubError, Settings, Snapshot};

/// Requests that failed in passing are repeated as often as this.
const REPEATS: u32 = 2;
const MOST_REDIRECTS: usize = 10;
/// Bytes of the answer that lists the files of a model.
const MOST_BYTES: u64 = 64 << 20;

/// The Hub over HTTP, with the proxies of the environment.
pub(crate) struct Client {
    agent: Agent,
    endpoint: String,
    /// What is sent to that server alone.
    authorization: Option<String>,
    pub(crate) pause: Duration,
    /// How long a server may be silent.
    patience: Duration,
}

/// What the Hub says of a file of a commit.
pub(crate) struct FileFacts {
    /// Names its content: the SHA-256 of a large file, the hash that Git has of a small one.
    pub(crate) etag: String,
    pub(crate) size: u64,
}

/// The bytes of a file.
pub(crate) struct Transfer {
    /// The first of them.
    pub(crate) start: u64,
    pub(crate) bytes: Box<dyn Read>,
}

/// What the Hub tells of a revision; it tells more.
#[derive(Deserialize)]
struct Revision {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Head,
    Get,
}

impl Client {
    pub(crate) fn new(settings: &Settings) -> Result<Self, HubError> {
        let roots = match &settings.certificates {
            Some(path) => trusted(path)?,
            None => RootCerts::WebPki,
        };
        let agent = Agent::config_builder()
            .user_agent(concat!("firn/", env!("CARGO_PKG_VERSION")))
            // Sizes and ranges are those of the file, not of a compressed form.
            .accept_encoding("identity")
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(settings.patience))
            .timeout_resolve(Some(settings.patience))
            .timeout_recv_response(Some(settings.patience))
            .timeout_per_read(Some(settings.patience))
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .build();
        Ok(Self {
            agent: agent.into(),
            endpoint: settings.endpoint.clone(),
            authorization: settings.token.as_ref().map(|token| format!("Bearer {token}")),
            pause: settings.pause,
            patience: settings.patience,
        })
    }

    /// The commit that a model's revision is now, and its files.
    pub(crate) fn snapshot(&self, model: &HubModel) -> Result<Snapshot, HubError> {
        let revision = model.revision.replace('/', "%2F");
        let url = format!("{}/api/models/{}/revision/{revision}", self.endpoint, model.id);
        let what = model.to_string();
        let read = |response: Response<Body>| {
            let mut body = response.into_body();
            let bytes = body.with_config().limit(MOST_BYTES).read_to_vec();
            let bytes = bytes.map_err(|error| self.failed(&what, error.to_string()))?;
            serde_json::from_slice::<Revision>(&bytes).map_err(|error| self.failed(&what, error.to_string()))
        };
        let told = self.repeated(|| self.ask((model, &what), Method::Get, &url, None).and_then(read))?;
        let at_commit = HubModel {
            id: model.id.clone(),
            revision: told.sha,
        };
        if !at_commit.is_pinned() {
            let reason = format!("expected a commit as `sha`, found `{}`", at_commit.revision);
            return Err(self.failed(&what, reason));
        }
        let files = told.siblings.into_iter().map(|file| file.rfilename).collect();
        Ok(Snapshot {
            model: at_commit,
            files,
        })
    }

    /// What a file of a commit is; `None`: the commit has no such file.
    pub(crate) fn facts(&self, model: &HubModel, name: &str) -> Result<Option<FileFacts>, HubError> {
        let what = format!("{model}/{name}");
        let asked = self.repeated(|| self.ask((model, &what), Method::Head, &self.url(model, name), None));
        let response = match asked {
            Err(HubError::NoFile { .. }) => return Ok(None),
            asked => asked?,
        };
        let told = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        // Large files are elsewhere, and only the Hub knows what they are.
        let etag = told("x-linked-etag").or_else(|| told("etag")).unwrap_or_default();
        let etag = etag.trim_start_matches("W/").trim_matches('"');
        let is_here = !response.status().is_redirection();
        let size = told("x-linked-size").or_else(|| told("content-length").filter(|_| is_here));
        match (told("x-repo-commit"), size.and_then(|size| size.parse().ok())) {
            (Some(commit), Some(size)) if commit == model.revision && is_etag(etag) => Ok(Some(FileFacts {
                etag: etag.to_owned(),
                size,
            })),
            (commit, size) => {
                let reason = format!(
                    "it does not answer as the Hub does: expected the commit, the size and an ETag of the file, found {commit:?}, {size:?} and `{etag}`"
                );
                Err(self.failed(&what, reason))
            }
        }
    }

    /// The bytes of a file of `size` bytes from `start` on, or, where the server knows nothing of ranges, all of them.
    pub(crate) fn transfer(
        &self,
        model: &HubModel,
        name: &str,
        (start, size): (u64, u64),
    ) -> Result<Transfer, HubError> {
        let what = format!("{model}/{name}");
        let range = format!("bytes={start}-");
        let response = self.ask((model, &what), Method::Get, &self.url(model, name), Some(&range))?;
        let is_part = response.status() == StatusCode::PARTIAL_CONTENT;
        let (field, expected) = match is_part {
            true => (header::CONTENT_RANGE, format!("bytes {start}-{}/{size}", size - 1)),
            false => (header::CONTENT_LENGTH, size.to_string()),
        };
        let told = response.headers().get(&field).and_then(|value| value.to_str().ok());
        if told != Some(&expected) {
            let reason = format!("asked for bytes from {start} on: expected {field} `{expected}`, found {told:?}");
            return Err(self.failed(&what, reason));
        }
        Ok(Transfer {
            start: if is_part { start } else { 0 },
            bytes: Box::new(response.into_body().into_reader()),
        })
    }

    /// What goes wrong with the connection itself.
    pub(crate) fn failed(&self, what: &str, reason: String) -> HubError {
        HubError::Failed {
            endpoint: self.endpoint.clone(),
            what: what.to_owned(),
            reason,
        }
    }

    pub(crate) fn damaged(&self, what: String, expected: &str, found: String) -> HubError {
        HubError::Damaged {
            endpoint: self.endpoint.clone(),
            what,
            expected: expected.to_owned(),
            found,
        }
    }

    /// Before a failure is tried again: twice as long each time, from [`Self::pause`] on.
    #[allow(
        clippy::disallowed_methods,
        reason = "a server that is overloaded tells nobody when it no longer is"
    )]
    pub(crate) fn wait(&self, repeat: u32) {
        thread::sleep(self.pause * 2_u32.pow(repeat));
    }

    /// Asks again where the failure may pass. After silence nobody is asked again: somebody waits for the answer, a call of a client, for example.
    fn repeated<T>(&self, mut asked: impl FnMut() -> Result<T, HubError>) -> Result<T, HubError> {
        let begun = Instant::now();
        for repeat in 0..REPEATS {
            match asked() {
                Err(error) if error.is_passing() && begun.elapsed() < self.patience => {
                    self.wait(repeat);
                }
                answered => return answered,
            }
        }
        asked()
    }

    /// The answer that is no redirect, or, to a question for what a file is, the redirect that says it. The token is for the Hub alone: where a redirect leads
    /// to another server, that one is not shown it.
    fn ask(
        &self,
        (model, what): (&HubModel, &str),
        method: Method,
        url: &str,
        range: Option<&str>,
    ) -> Result<Response<Body>, HubError> {
        let mut url = url.to_owned();
        for _ in 0..=MOST_REDIRECTS {
            let mut request = match method {
                Method::Head => self.agent.head(&url),
                Method::Get => self.agent.get(&url),
            };
            if let Some(range) = range {
                request = request.header(header::RANGE, range);
            }
            if let Some(authorization) = &self.authorization
                && origin(&url) == origin(&self.endpoint)
            {
                request = request.header(header::AUTHORIZATION, authorization);
            }
            let response = request.call().map_err(|error| self.failed(what, error.to_string()))?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            if !status.is_redirection() {
                return Err(self.refused(model, what, &response));
            }
            let next = response.headers().get(header::LOCATION);
            let next = next.and_then(|next| next.to_str().ok()).unwrap_or_default();
            let next = match next.starts_with('/') && !next.starts_with("//") {
                true => format!("{}{next}", origin(&url)),
                false => next.to_owned(),
            };
            let is_elsewhere = origin(&next) != origin(&self.endpoint);
            if method == Method::Head && (is_elsewhere || response.headers().contains_key("x-linked-etag")) {
                return Ok(response);
            }
            url = next;
        }
        Err(self.failed(what, format!("more than {MOST_REDIRECTS} redirects")))
    }

    fn refused(&self, model: &HubModel, what: &str, response: &Response<Body>) -> HubError {
        let (endpoint, id) = (self.endpoint.clone(), model.id.clone());
        let code = response.headers().get("x-error-code");
        let code = code.and_then(|code| code.to_str().ok()).unwrap_or_default();
        let file = what.strip_prefix(&format!("{model}/"));
        match (code, response.status().as_u16(), file) {
            ("GatedRepo", ..) => HubError::Gated { endpoint, id },
            ("RevisionNotFound", ..) => HubError::NoRevision {
                endpoint,
                id,
                revision: model.revision.clone(),
            },
            ("EntryNotFound", _, Some(file)) | ("", 404, Some(file)) => HubError::NoFile {
                model: model.to_string(),
                file: file.to_owned(),
            },
            (_, status @ (401 | 403 | 404), _) => {
                let (viewer, remedy) = match self.authorization {
                    Some(_) => (
                        "to the owner of the token in use",
                        "whether HF_TOKEN is still valid and may read it",
                    ),
                    None => ("without a token", "set HF_TOKEN where it is private or gated"),
                };
                HubError::Hidden {
                    endpoint,
                    id,
                    viewer,
                    remedy,
                    status,
                }
            }
            (_, status, _) => self.failed(what, format!("it answered with HTTP {status}")),
        }
    }

    fn url(&self, model: &HubModel, name: &str) -> String {
        format!("{}/{}/resolve/{}/{name}", self.endpoint, model.id, model.revision)
    }
}

/// The certificates of a PEM file.
fn trusted(path: &Path) -> Result<RootCerts, HubError> {
    let pem = fs::read(path).unwrap_or_default();
    let certificates = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let certificates: Vec<_> = certificates.collect();
    match certificates.is_empty() {
        true => Err(HubError::Setting {
            variable: "SSL_CERT_FILE",
            reason: format!("expected certificates (PEM) in {}, found none", path.display()),
        }),
        false => Ok(RootCerts::Specific(Arc::new(certificates))),
    }
}

/// Scheme, host and port of a URL.
fn origin(url: &str) -> &str {
    let authority = url.find("://").map_or(0, |end| end + 3);
    let end = url[authority..].find(['/', '?', '#']);
    &url[..end.map_or(url.len(), |end| authority + end)]
}

/// What may be the name of a blob.
fn is_etag(etag: &str) -> bool {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=128).contains(&etag.len()) && etag.bytes().all(letters) && !etag.starts_with('.')
}

/// What an interrupted transfer was interrupted by.
pub(crate) fn interruption(error: &io::Error) -> String {
    format!("the connection broke: {error}")
}
