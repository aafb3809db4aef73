//! Images that can be pulled: a name each, and where its root file system lies. A name that is not among them cannot be pulled.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// What an image brings.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Image {
    /// Folder of its root file system; `/` is that of this machine.
    pub root: PathBuf,
    /// Folders and files of this machine that it has, too, at the same place, and cannot change.
    #[serde(default)]
    pub shared: Vec<PathBuf>,
    /// What it runs, where a pod has no `command`.
    #[serde(default)]
    pub entrypoint: Vec<String>,
    /// Its variables.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Its user, where a pod names none.
    #[serde(default)]
    pub user: u32,
}

impl Image {
    /// This machine as an image.
    pub fn of_this_machine() -> Self {
        Self {
            root: "/".into(),
            shared: Vec::new(),
            entrypoint: Vec::new(),
            environment: BTreeMap::new(),
            user: 0,
        }
    }
}

/// By their names.
pub type Images = BTreeMap<String, Image>;

/// Looks for an image. The file is read each time, as a registry is asked each time.
pub(super) fn pull(registry: &Path, name: &str) -> Result<Image, String> {
    let text = std::fs::read_to_string(registry).map_err(|error| format!("{}: {error}", registry.display()))?;
    let images: Images = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", registry.display()))?;
    images.get(name).cloned().ok_or_else(|| format!("{name}: not found"))
}
