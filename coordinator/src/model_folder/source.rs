//! Where the small files of a model are: in a folder that is seen here, or on the Hugging Face Hub.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use firn_core::spec::hub::HubModel;
use firn_hub::{Hub, Snapshot};
use serde_json::Value;

/// What a JSON file has at most.
const MOST_BYTES: u64 = 16 << 20;

/// A model's files.
pub(super) enum Source {
    Folder(PathBuf),
    Hub(Box<Hub>, Snapshot),
}

impl Source {
    /// The model that `hf://org/name@revision` names, at the commit that this is now.
    pub(super) fn of_hub(uri: &str) -> Result<Self, String> {
        let model = HubModel::parse(uri)?;
        let hub = Hub::from_environment().map_err(|error| error.to_string())?;
        let snapshot = hub.snapshot(&model).map_err(|error| error.to_string())?;
        Ok(Self::Hub(Box::new(hub), snapshot))
    }

    /// What stands for them as the weights of a job. Told to be a folder, also where its name has a point.
    pub(super) fn weights(&self) -> String {
        let place = self.to_string();
        match place.ends_with('/') {
            true => place,
            false => place + "/",
        }
    }

    /// Whether there is a file of this name.
    pub(super) fn holds(&self, name: &str) -> bool {
        match self {
            Self::Folder(path) => path.join(name).exists(),
            Self::Hub(_, snapshot) => snapshot.files.iter().any(|file| file == name),
        }
    }

    /// A JSON file; `None`: it is not there.
    pub(super) fn json(&self, name: &str) -> Result<Option<Value>, String> {
        match self {
            Self::Folder(path) => json(&path.join(name)),
            Self::Hub(hub, snapshot) if self.holds(name) => {
                let file = hub.file(&snapshot.model, name).map_err(|error| error.to_string())?;
                json(&file)
            }
            Self::Hub(..) => Ok(None),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(formatter, "{}", path.display()),
            Self::Hub(_, snapshot) => write!(formatter, "{}", snapshot.model),
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
