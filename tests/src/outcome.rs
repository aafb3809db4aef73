//! What a finished job left.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use anyhow::Context as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{binaries::firn, jobs};

/// The files of what was learned.
const WEIGHTS: [&str; 2] = ["head.safetensors", "model.safetensors"];

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

    /// Checks that the losses of all steps and the metrics of all splits are those of another run, but for a relative difference; what is
    /// counted must be equal.
    ///
    /// # Errors
    /// Where they differ.
    pub fn is_close_to(&self, expected: &Self, tolerance: f64) -> anyhow::Result<()> {
        let (found, wanted) = (self.losses(), expected.losses());
        anyhow::ensure!(
            found.len() == wanted.len(),
            "expected {} steps, found {}",
            wanted.len(),
            found.len()
        );
        for (step, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
            anyhow::ensure!(
                (found - wanted).abs() <= tolerance * wanted.abs(),
                "step {step}: expected a loss of {wanted}, found {found}"
            );
        }
        close("metrics", &self.scores(), &expected.scores(), tolerance)
    }

    /// Checks that everything that a strict job promises is that of another run, to the last bit.
    ///
    /// # Errors
    /// When it is not.
    pub fn is_the_same_as(&self, expected: &Self) -> anyhow::Result<()> {
        close("outcome", &self.promised()?, &expected.promised()?, 0.0)?;
        // And what the files say of themselves, which another build may say otherwise.
        for file in WEIGHTS {
            let (found, wanted) = (self.digest(file).ok(), expected.digest(file).ok());
            anyhow::ensure!(found == wanted, "{file}: expected {wanted:?}, found {found:?}");
        }
        Ok(())
    }

    /// The same, where another build may have written the files: the tensors in them, and not what is said about them.
    ///
    /// # Errors
    /// When it is not.
    pub fn learned_the_same_as(&self, expected: &Self) -> anyhow::Result<()> {
        close("outcome", &self.promised()?, &expected.promised()?, 0.0)
    }

    /// This outcome without the metrics that an epoch or the best one has not in `older`: a build that had no such metric scored it.
    #[must_use]
    pub fn but_for_later_metrics(&self, older: &Self) -> Self {
        let mut metrics = self.metrics.clone();
        let epochs = self.metrics["epochs"].as_array().map_or(0, Vec::len);
        let places = (0..epochs).map(|epoch| format!("/epochs/{epoch}/metrics"));
        for place in places.chain(["/validation/metrics".to_owned()]) {
            let known = older.metrics.pointer(&place).and_then(Value::as_object);
            let scores = metrics.pointer_mut(&place).and_then(Value::as_object_mut);
            if let (Some(known), Some(scores)) = (known, scores) {
                scores.retain(|name, _| known.contains_key(name));
            }
        }
        Self {
            folder: self.folder.clone(),
            metrics,
            steps: self.steps.clone(),
        }
    }

    /// Everything that a strict job promises, without times and the like: losses and gradients of all steps to the last digit, the trained
    /// tensors, the predictions and the metrics.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn promised(&self) -> anyhow::Result<Value> {
        let steps: Vec<Value> = self
            .steps
            .iter()
            .map(|step| json!([step["step"], step["loss"], step["gradientNorm"], step["samples"]]))
            .collect();
        Ok(json!({
            "head.safetensors": self.tensors("head.safetensors")?,
            // Not every job is asked for it.
            "model.safetensors": self.tensors("model.safetensors").ok(),
            "predictions": self.digest("predictions_validation.csv")?,
            "metrics": self.scores(),
            "steps": steps,
        }))
    }

    /// `metrics.json` without the job's name.
    fn scores(&self) -> Value {
        let mut scores = self.metrics.clone();
        if let Some(fields) = scores.as_object_mut() {
            fields.remove("job");
        }
        scores
    }

    /// SHA-256 of the tensors in a safetensors file, their names, types and places, without the file's metadata.
    ///
    /// # Errors
    /// When it is no such file.
    pub fn tensors(&self, name: &str) -> anyhow::Result<String> {
        let bytes = fs::read(self.folder.join(name)).with_context(|| name.to_owned())?;
        let (length, rest) = bytes
            .split_first_chunk()
            .with_context(|| format!("{name} is too short"))?;
        let length = usize::try_from(u64::from_le_bytes(*length))?;
        let (header, data) = rest
            .split_at_checked(length)
            .with_context(|| format!("{name} is too short"))?;
        let mut header: Value = serde_json::from_slice(header)?;
        header
            .as_object_mut()
            .with_context(|| format!("{name} has no header"))?
            .remove("__metadata__");
        let digest = Sha256::new().chain_update(header.to_string()).chain_update(data);
        Ok(hex::encode(digest.finalize()))
    }

    /// SHA-256 of a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn digest(&self, name: &str) -> anyhow::Result<String> {
        let bytes = fs::read(self.folder.join(name)).with_context(|| name.to_owned())?;
        Ok(hex::encode(Sha256::digest(bytes)))
    }
}

/// Checks that two documents have the same shape, the same words and whole numbers, and nearly the same fractions.
fn close(place: &str, found: &Value, wanted: &Value, tolerance: f64) -> anyhow::Result<()> {
    let differ = || anyhow::anyhow!("{place}: expected {wanted}, found {found}");
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            anyhow::ensure!(found.keys().eq(wanted.keys()), differ());
            for (name, value) in found {
                close(&format!("{place}.{name}"), value, &wanted[name], tolerance)?;
            }
        }
        (Value::Array(found), Value::Array(wanted)) => {
            anyhow::ensure!(found.len() == wanted.len(), differ());
            for (index, (found, wanted)) in found.iter().zip(wanted).enumerate() {
                close(&format!("{place}[{index}]"), found, wanted, tolerance)?;
            }
        }
        (Value::Number(found), Value::Number(wanted)) if wanted.is_f64() => {
            let (found, wanted) = (found.as_f64().unwrap_or(f64::NAN), wanted.as_f64().unwrap_or(f64::NAN));
            anyhow::ensure!((found - wanted).abs() <= tolerance * wanted.abs().max(1e-3), differ());
        }
        (found, wanted) => anyhow::ensure!(found == wanted, differ()),
    }
    Ok(())
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
