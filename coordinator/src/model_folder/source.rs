//! Where the small files of a model are: in a folder that is seen here, or on the Hugging Face Hub.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use firn_core::spec::hub::HubModel;
use firn_hub::{Hub, HubError, Snapshot};
use serde_json::Value;

use super::{Unread, unseen, violation};

/// What a JSON file has at most.
const MOST_BYTES: u64 = 16 << 20;

/// A model's files.
pub(super) enum Source {
    Folder(PathBuf),
    Hub(Box<Hub>, Snapshot),
}

impl Source {
    /// The model of the Hub at the commit that its revision is now.
    pub(super) fn of_hub(model: &HubModel) -> Result<Self, HubError> {
        let hub = Hub::from_environment()?;
        let snapshot = hub.snapshot(model)?;
        Ok(Self::Hub(Box::new(hub), snapshot))
    }

    /// What stands for them as the weights of a job. Told to be a folder, also where its name has a point.
    pub(super) fn weights(&self) -> String {
        let place = match self {
            Self::Folder(path) => path.display().to_string(),
            Self::Hub(_, snapshot) => snapshot.model.to_string(),
        };
        match place.ends_with('/') {
            true => place,
            false => place + "/",
        }
    }

    /// Whether there is a file of this name.
    pub(super) fn holds(&self, name: &str) -> bool {
        match self {
            Self::Folder(path) => path.join(name).exists(),
            Self::Hub(_, snapshot) => snapshot.files.contains(name),
        }
    }

    /// A JSON file; `None`: it is not there.
    pub(super) fn json(&self, name: &str) -> Result<Option<Value>, Unread> {
        let path = match self {
            Self::Folder(path) => path.join(name),
            Self::Hub(hub, snapshot) if self.holds(name) => hub.file(&snapshot.model, name).map_err(unseen)?,
            Self::Hub(..) => return Ok(None),
        };
        Ok(json(&path).map_err(violation)?)
    }

    /// What makes safetensors of its pickle.
    pub(super) fn conversion(&self) -> String {
        match self {
            Self::Folder(_) => "`firn models --inspect` prints the command that converts it".to_owned(),
            Self::Hub(_, snapshot) => {
                let HubModel { id, revision } = &snapshot.model;
                format!(
                    "transformers writes safetensors into a folder, which `uri` can name: `python3 -c \"import sys; from transformers import AutoModel, \
                     AutoTokenizer; [c.from_pretrained(sys.argv[1], revision=sys.argv[2]).save_pretrained(sys.argv[3]) for c in (AutoModel, AutoTokenizer)]\" \
                     {id} {revision} FOLDER`"
                )
            }
        }
    }

    /// What writes the tokenizer that is missing.
    pub(super) fn tokenizer_remedy(&self) -> String {
        match self {
            Self::Folder(path) => {
                let place = path.display();
                format!(
                    "transformers writes it: `AutoTokenizer.from_pretrained(\"{place}\").save_pretrained(\"{place}\")`"
                )
            }
            Self::Hub(_, snapshot) => {
                let id = &snapshot.model.id;
                format!(
                    "fetch the model into a folder (`hf download {id} --local-dir FOLDER`), have transformers write it there \
                     (`AutoTokenizer.from_pretrained(\"FOLDER\").save_pretrained(\"FOLDER\")`), and name the folder"
                )
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(formatter, "{}", path.display()),
            Self::Hub(hub, snapshot) => {
                write!(formatter, "{}", snapshot.model)?;
                match hub.offline_cache() {
                    Some(cache) => write!(formatter, " in the cache {} (HF_HUB_OFFLINE is set)", cache.display()),
                    None => Ok(()),
                }
            }
        }
    }
}

fn json(path: &Path) -> Result<Option<Value>, String> {
    let failed = |reason: String| format!("{}: {reason}", path.display());
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error.to_string())),
        Ok(file) if file.len() > MOST_BYTES => {
            return Err(failed(format!(
                "expected at most {MOST_BYTES} bytes, found {}",
                file.len()
            )));
        }
        Ok(_) => {}
    }
    let bytes = fs::read(path).map_err(|error| failed(error.to_string()))?;
    let value = serde_json::from_slice(&bytes).map_err(|error| failed(format!("it is no JSON: {error}")))?;
    Ok(Some(value))
}
