//! What a job says of the network that it left.

use std::{fs, path::Path};

use firn_core::{
    spec::JobSpec,
    task::{OutputConfig, Schema},
};
use serde::Deserialize;

use crate::cmd::error::CommandError;

/// Of `spec.json` and `config.json`.
pub(super) struct Description {
    pub(super) spec: JobSpec,
    pub(super) outputs: OutputConfig,
}

impl Description {
    pub(super) fn read(folder: &Path) -> Result<Self, CommandError> {
        Ok(Self {
            spec: read(folder, "spec.json")?,
            outputs: read(folder, "config.json")?,
        })
    }

    pub(super) fn schema(&self) -> Schema<'_> {
        self.outputs.schema()
    }
}

fn read<T: for<'de> Deserialize<'de>>(folder: &Path, name: &str) -> Result<T, CommandError> {
    let path = folder.join(name);
    let text = fs::read_to_string(&path).map_err(CommandError::file("read", &path))?;
    serde_json::from_str(&text)
        .map_err(|error| CommandError::Local(format!("{} is not what a job leaves: {error}", path.display())))
}
