//! What the Hub, or the cache, has not given, in sentences that say what to do.

use std::{io, path::PathBuf};

/// What the Hub, or the cache, has not given.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Not there, or not for everybody: the Hub does not tell these apart.
    #[error("{endpoint} has no model {id}, or does not show it {viewer} (HTTP {status}): check the name, and {remedy}")]
    Hidden {
        /// The server.
        endpoint: String,
        /// `org/name`.
        id: String,
        /// Who has asked, as `without a token`.
        viewer: &'static str,
        /// What may help.
        remedy: &'static str,
        /// Of the answer.
        status: u16,
    },
    /// Its terms were not accepted by whoever owns the token.
    #[error("{id} is gated: ask for access at {endpoint}/{id}, and set HF_TOKEN to a token of the account that has it")]
    Gated {
        /// The server.
        endpoint: String,
        /// `org/name`.
        id: String,
    },
    /// The model is there, and has no such branch, tag or commit.
    #[error("{endpoint} has the model {id}, but no branch, tag or commit `{revision}` of it")]
    NoRevision {
        /// The server.
        endpoint: String,
        /// `org/name`.
        id: String,
        /// As it was asked for.
        revision: String,
    },
    /// The commit is there, and has no such file.
    #[error("{model} has no file `{file}`")]
    NoFile {
        /// `hf://org/name@commit`.
        model: String,
        /// Within it.
        file: String,
    },
    /// Offline, and the cache lacks it.
    #[error("{what} is not in the cache {cache}, and HF_HUB_OFFLINE is set", cache = .cache.display())]
    Offline {
        /// The model or the file.
        what: String,
        /// The cache that was looked at.
        cache: PathBuf,
    },
    /// No answer, or one that the Hub does not give.
    #[error("fetching {what} from {endpoint}: {reason}")]
    Failed {
        /// The server.
        endpoint: String,
        /// The model or the file.
        what: String,
        /// What was seen.
        reason: String,
    },
    /// What came is not what was announced, twice.
    #[error(
        "{what} came from {endpoint} with other bytes than it announces: expected the digest {expected}, found {found}"
    )]
    Damaged {
        /// The server.
        endpoint: String,
        /// The file.
        what: String,
        /// The ETag.
        expected: String,
        /// Of the bytes.
        found: String,
    },
    /// The cache cannot be read or written.
    #[error("the Hub's cache: {path}: {source} (HF_HUB_CACHE names another folder)", path = .path.display())]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A setting of the environment that cannot be used.
    #[error("{variable}: {reason}")]
    Setting {
        /// Its name.
        variable: &'static str,
        /// What was expected and what was found.
        reason: String,
    },
}

impl HubError {
    /// Whether the same may succeed a little later, or on another machine.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Damaged { .. } | Self::Cache { .. })
    }

    pub(crate) fn cache(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Cache { path, source }
    }
}
