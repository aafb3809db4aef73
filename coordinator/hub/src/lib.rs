//! Models of the Hugging Face Hub: which commit a revision is now, and files of a commit, in the cache that the Hub's own tools share.
//!
//! The settings are those of `huggingface_hub`, see [`Settings`]. A file of a commit never changes, so one that is cached is not asked for
//! again, and neither is one that the commit is known not to have; what a branch stands for is asked each time, and taken from the cache offline alone.

mod cache;
mod client;
mod download;
mod error;
mod settings;

use std::{collections::BTreeSet, path::PathBuf};

use firn_core::spec::hub::HubModel;

use self::{cache::Cache, client::Client};
pub use self::{error::HubError, settings::Settings};

/// A model at a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// With the commit as its revision.
    pub model: HubModel,
    /// Names of its files; offline of those that are cached.
    pub files: BTreeSet<String>,
}

/// The Hub as this process sees it.
pub struct Hub {
    cache: Cache,
    /// `None`: offline.
    client: Option<Client>,
}

impl Hub {
    /// With the settings of the environment.
    ///
    /// # Errors
    /// When no client can be made of them.
    pub fn from_environment() -> Result<Self, HubError> {
        Self::new(&Settings::from_environment())
    }

    /// With these settings.
    ///
    /// # Errors
    /// When no client can be made of them.
    pub fn new(settings: &Settings) -> Result<Self, HubError> {
        let client = (!settings.is_offline).then(|| Client::new(settings)).transpose()?;
        let cache = Cache(settings.cache.clone());
        Ok(Self { cache, client })
    }

    /// The cache, if nothing else is asked.
    pub fn offline_cache(&self) -> Option<PathBuf> {
        self.client.is_none().then(|| self.cache.0.clone())
    }

    /// The commit that a model's revision is now, and its files.
    ///
    /// # Errors
    /// Those of the Hub, or of a cache that does not know the revision.
    pub fn snapshot(&self, model: &HubModel) -> Result<Snapshot, HubError> {
        if let Some(client) = &self.client {
            let snapshot = client.snapshot(model)?;
            if !model.is_pinned() {
                self.cache.note_commit(model, &snapshot.model.revision)?;
            }
            return Ok(snapshot);
        }
        let commit = match model.is_pinned() {
            true => Some(model.revision.clone()),
            false => self.cache.commit(model),
        };
        let at_commit = commit.map(|revision| HubModel {
            id: model.id.clone(),
            revision,
        });
        let found = at_commit.and_then(|model| {
            let files = self.cache.names(&model)?;
            Some(Snapshot { model, files })
        });
        found.ok_or_else(|| self.offline(model.to_string()))
    }

    /// A file of a commit in the cache, fetched if it is not there. Waits while another process fetches it.
    ///
    /// # Errors
    /// Those of the Hub, or of a cache that lacks it; [`HubError::NoFile`] where the commit has none.
    pub fn file(&self, model: &HubModel, name: &str) -> Result<PathBuf, HubError> {
        self.find(model, name)?.ok_or_else(|| HubError::NoFile {
            model: model.to_string(),
            file: name.to_owned(),
        })
    }

    /// The same of a file that the commit need not have.
    ///
    /// # Errors
    /// Those of the Hub, or of a cache that does not know.
    pub fn find(&self, model: &HubModel, name: &str) -> Result<Option<PathBuf>, HubError> {
        if let Some(path) = self.cache.file(model, name) {
            return Ok(Some(path));
        }
        if self.cache.is_absent(model, name) {
            return Ok(None);
        }
        let Some(client) = &self.client else {
            return Err(self.offline(format!("{model}/{name}")));
        };
        let Some(facts) = client.facts(model, name)? else {
            self.cache.note_absent(model, name);
            return Ok(None);
        };
        let blob = self.cache.blob(model, &facts.etag);
        let _lock = self.cache.lock(model, &facts.etag)?;
        if !blob.exists() {
            download::download(client, model, name, &facts, &blob)?;
        }
        self.cache.link(model, name, &facts.etag).map(Some)
    }

    /// Where the cache keeps the files of a commit.
    pub fn snapshot_folder(&self, model: &HubModel) -> PathBuf {
        self.cache.snapshot(model)
    }

    fn offline(&self, what: String) -> HubError {
        HubError::Offline {
            what,
            cache: self.cache.0.clone(),
        }
    }
}
