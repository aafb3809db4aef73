//! Models of the Hugging Face Hub: which commit a revision is now, and files of a commit, in the cache that the Hub's own tools share.
//!
//! The settings are those of `huggingface_hub`: `HF_HOME` or `HF_HUB_CACHE` (where the cache is), `HF_TOKEN` (or the token that `hf auth login` left), `HF_ENDPOINT`
//! (another server), `HF_HUB_OFFLINE` (nothing but the cache is asked). A file of a commit never changes, so one that is cached is not asked for
//! again; what a branch stands for is asked each time, and taken from the cache offline alone.

mod settings;

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use firn_core::spec::hub::HubModel;
use hf_hub::{
    Repo, RepoType,
    api::sync::{Api, ApiBuilder, ApiError},
};
use tracing::info;

pub use self::settings::Settings;

/// Pauses while another process fetches the same file.
const WAIT: Duration = Duration::from_secs(1);

/// What the Hub, or the cache, has not given.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Not there, or not for everybody.
    #[error(
        "{endpoint} has no {what}, or does not show it to this account (HTTP {status}): check the name and the revision, and set HF_TOKEN where the model is private or gated"
    )]
    Absent {
        /// The server.
        endpoint: String,
        /// The model or the file.
        what: String,
        /// Of the answer.
        status: u16,
    },
    /// Offline, and the cache lacks it.
    #[error("{what} is not in the cache {cache}, and HF_HUB_OFFLINE is set", cache = .cache.display())]
    Offline {
        /// The model or the file.
        what: String,
        /// The cache that was looked at.
        cache: PathBuf,
    },
    /// Anything else.
    #[error("fetching {what} from {endpoint}: {reason}")]
    Failed {
        /// The server.
        endpoint: String,
        /// The model or the file.
        what: String,
        /// The client's sentence.
        reason: String,
    },
}

/// A model at a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// With the commit as its revision.
    pub model: HubModel,
    /// Names of its files; offline of those that are cached.
    pub files: Vec<String>,
}

/// The Hub as this process sees it.
pub struct Hub {
    settings: Settings,
    /// `None`: offline.
    api: Option<Api>,
}

impl Hub {
    /// With the settings of the environment.
    ///
    /// # Errors
    /// When no client can be made of them.
    pub fn from_environment() -> Result<Self, HubError> {
        Self::new(Settings::from_environment())
    }

    /// With these settings.
    ///
    /// # Errors
    /// When no client can be made of them.
    pub fn new(settings: Settings) -> Result<Self, HubError> {
        let api = match settings.is_offline {
            true => None,
            false => {
                let builder = ApiBuilder::new()
                    .with_cache_dir(settings.cache.clone())
                    .with_endpoint(settings.endpoint.clone())
                    .with_token(settings.token.clone())
                    .with_user_agent("firn", env!("CARGO_PKG_VERSION"))
                    .with_progress(false)
                    .with_retries(3);
                let failed = |error: ApiError| HubError::Failed {
                    endpoint: settings.endpoint.clone(),
                    what: "anything".to_owned(),
                    reason: error.to_string(),
                };
                Some(builder.build().map_err(failed)?)
            }
        };
        Ok(Self { settings, api })
    }

    /// The commit that a model's revision is now, and its files.
    ///
    /// # Errors
    /// Those of the Hub, or of a cache that does not know the revision.
    pub fn snapshot(&self, model: &HubModel) -> Result<Snapshot, HubError> {
        let pinned = |commit: String| HubModel {
            id: model.id.clone(),
            revision: commit,
        };
        let Some(api) = &self.api else {
            let commit = match model.is_pinned() {
                true => Some(model.revision.clone()),
                false => std::fs::read_to_string(self.folder(model).join("refs").join(&model.revision)).ok(),
            };
            let commit = commit.map(|commit| commit.trim().to_owned());
            let model_at = pinned(commit.ok_or_else(|| self.offline(model.to_string()))?);
            let files = names_below(&self.snapshot_folder(&model_at));
            let files = files.map_err(|_| self.offline(model.to_string()))?;
            return Ok(Snapshot { model: model_at, files });
        };
        let info = api.repo(repo(model)).info();
        let info = info.map_err(|error| self.refused(model.to_string(), &error))?;
        Ok(Snapshot {
            model: pinned(info.sha),
            files: info.siblings.into_iter().map(|file| file.rfilename).collect(),
        })
    }

    /// A file of a commit in the cache, fetched if it is not there. Waits while another process fetches it.
    ///
    /// # Errors
    /// Those of the Hub, or of a cache that lacks it.
    pub fn file(&self, model: &HubModel, name: &str) -> Result<PathBuf, HubError> {
        let cached = self.snapshot_folder(model).join(name);
        let what = || format!("{model}/{name}");
        loop {
            if cached.exists() {
                return Ok(cached);
            }
            let Some(api) = &self.api else {
                return Err(self.offline(what()));
            };
            info!(file = what(), "fetching from the Hub");
            match api.repo(repo(model)).download(name) {
                Ok(path) => return Ok(path),
                // The client gives up after five seconds; the weights of a large model take longer.
                Err(ApiError::LockAcquisition(_)) => std::thread::sleep(WAIT),
                Err(error) => return Err(self.refused(what(), &error)),
            }
        }
    }

    /// Names of the files of a commit that are in the cache.
    pub fn cached(&self, model: &HubModel) -> BTreeSet<String> {
        names_below(&self.snapshot_folder(model))
            .unwrap_or_default()
            .into_iter()
            .collect()
    }

    /// Where the cache keeps the files of a commit.
    pub fn snapshot_folder(&self, model: &HubModel) -> PathBuf {
        self.folder(model).join("snapshots").join(&model.revision)
    }

    fn folder(&self, model: &HubModel) -> PathBuf {
        self.settings.cache.join(repo(model).folder_name())
    }

    fn offline(&self, what: String) -> HubError {
        HubError::Offline {
            what,
            cache: self.settings.cache.clone(),
        }
    }

    fn refused(&self, what: String, error: &ApiError) -> HubError {
        let endpoint = self.settings.endpoint.clone();
        match status_of(error) {
            Some(status @ (401 | 403 | 404)) => HubError::Absent { endpoint, what, status },
            _ => HubError::Failed {
                endpoint,
                what,
                reason: error.to_string(),
            },
        }
    }
}

fn repo(model: &HubModel) -> Repo {
    Repo::with_revision(model.id.clone(), RepoType::Model, model.revision.clone())
}

/// The HTTP status of a refusal.
fn status_of(error: &ApiError) -> Option<u16> {
    let text = match error {
        ApiError::RequestError(_) => error.to_string(),
        ApiError::TooManyRetries(inner) => return status_of(inner),
        _ => return None,
    };
    let digits = text
        .rsplit(|letter: char| !letter.is_ascii_digit())
        .find(|part| part.len() == 3)?;
    digits.parse().ok()
}

/// Names of the files below a folder, relative to it, in their order.
fn names_below(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(place) = waiting.pop() {
        for entry in std::fs::read_dir(&place)? {
            let path = entry?.path();
            if path.is_dir() {
                waiting.push(path);
            } else if let Some(name) = path.strip_prefix(folder).ok().and_then(Path::to_str) {
                names.push(name.to_owned());
            }
        }
    }
    names.sort();
    Ok(names)
}
