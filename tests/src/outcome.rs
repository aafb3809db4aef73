//! What a finished job left.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use anyhow::Context as _;
use serde_json::Value;

use crate::{binaries::firn, jobs};

/// The artifacts of a job that has succeeded.
pub struct Outcome {
    /// Where they lie.
    pub folder: PathBuf,
    /// `metrics.json`.
    pub metrics: Value,
    /// `history.jsonl`, a step each.
    pub steps: Vec<Value>,
}

impl Outcome {
    /// Reads the artifacts in `folder`.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let read = |name: &str| {
            fs::read_to_string(folder.join(name)).with_context(|| format!("{name} in {}", folder.display()))
        };
        let steps = read("history.jsonl")?
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            metrics: serde_json::from_str(&read("metrics.json")?)?,
            steps,
            folder: folder.to_owned(),
        })
    }

    /// The loss of every step.
    pub fn losses(&self) -> Vec<f64> {
        self.steps
            .iter()
            .map(|step| step["loss"].as_f64().expect("a step has a loss"))
            .collect()
    }
}

/// `firn run` of a spec on so many workers; its artifacts go to `folder`.
pub fn run(spec: &Value, folder: &Path, workers: u32) -> anyhow::Result<Output> {
    fs::create_dir_all(folder)?;
    let file = jobs::write_spec(folder, spec)?;
    let mut command = firn();
    command
        .arg("run")
        .arg(file)
        .args(["--workers", &workers.to_string(), "--artifacts"])
        .arg(folder.join("artifacts"));
    command.current_dir(folder);
    Ok(command.output()?)
}

/// The same, for a job that must succeed.
pub fn run_to_success(spec: &Value, folder: &Path, workers: u32) -> anyhow::Result<Outcome> {
    let output = run(spec, folder, workers)?;
    anyhow::ensure!(
        output.status.success(),
        "{}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Outcome::read(&folder.join("artifacts"))
}
