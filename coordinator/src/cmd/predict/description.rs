//! What a job says of the network that it left.

use std::{collections::BTreeMap, fs, path::Path};

use firn_core::{
    spec::JobSpec,
    task::{Schema, regression::Target},
};
use serde::Deserialize;

use crate::cmd::error::CommandError;

/// Of `spec.json` and `config.json`.
pub(super) struct Description {
    pub(super) spec: JobSpec,
    /// Names of classes or labels, in the order of the outputs; of a regression empty.
    pub(super) classes: Vec<String>,
    /// Of a regression, in the order of the outputs.
    pub(super) targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Config {
    id2label: BTreeMap<u32, String>,
    #[serde(default)]
    targets: Vec<Target>,
}

impl Description {
    pub(super) fn read(folder: &Path) -> Result<Self, CommandError> {
        let spec: JobSpec = read(folder, "spec.json")?;
        let Config { id2label, targets } = read(folder, "config.json")?;
        let classes = match targets.is_empty() {
            true => id2label.into_values().collect(),
            false => Vec::new(),
        };
        Ok(Self { spec, classes, targets })
    }

    pub(super) fn schema(&self) -> Schema<'_> {
        Schema {
            classes: &self.classes,
            targets: &self.targets,
        }
    }
}

fn read<T: for<'de> Deserialize<'de>>(folder: &Path, name: &str) -> Result<T, CommandError> {
    let path = folder.join(name);
    let text = fs::read_to_string(&path).map_err(CommandError::file("read", &path))?;
    serde_json::from_str(&text)
        .map_err(|error| CommandError::Local(format!("{} is not what a job leaves: {error}", path.display())))
}
