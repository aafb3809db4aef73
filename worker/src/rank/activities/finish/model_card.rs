//! The model card: what the model is, what it was trained on, and how good it is, for whoever finds the folder later.
//!
//! It says only what every rank 0 would say that ends this job: one that was taken for dead may still write it.

use firn_core::spec::{Preprocessing, Word as _};
use firn_data::Split;
use firn_models::export::{self, DenseClass, Opened};
use firn_proto::v1alpha1::{Artifact, FinishDirective};
use serde_json::Value;

use super::check::Checked;
use crate::rank::{
    session::Session,
    task::{self, Outputs},
};

/// Stands for where the card lies.
const FOLDER: &str = ".";

/// What a card tells beside what the session knows.
pub(super) struct Card<'a> {
    pub(super) finish: &'a FinishDirective,
    /// The proof that the artifacts are what was trained.
    pub(super) checked: Option<&'a Checked>,
    /// The files that lie beside the card.
    pub(super) artifacts: &'a [Artifact],
}

impl Card<'_> {
    /// As Markdown.
    pub(super) fn render(&self, session: &Session<'_>) -> String {
        let outputs = task::describe(&session.spec, &session.data.dataset, &self.finish.thresholds);
        let mut sections = vec![
            network(session, &outputs, self.finish),
            outputs.section.clone(),
            opening(session, &outputs).unwrap_or_default(),
            data(session, self.finish),
            self.metrics(),
            self.files(),
            spec(session),
        ];
        sections.retain(|section| !section.is_empty());
        sections.join("\n\n") + "\n"
    }

    fn metrics(&self) -> String {
        let metrics: Value = serde_json::from_str(&self.finish.metrics_json).unwrap_or_default();
        let mut parts = vec![
            "## Metrics".to_owned(),
            "Exact, on every sample of each split, after scikit-learn's definitions.".to_owned(),
        ];
        parts.extend(about_intervals(&metrics));
        parts.push(metrics_table(&metrics));
        let pictures = self.finish.pictures.iter();
        parts.extend(pictures.map(|picture| format!("![{}]({})", picture.shows, picture.name)));
        parts.join("\n\n")
    }

    fn files(&self) -> String {
        let row = |file: &Artifact| format!("| `{}` | {} | `{}` |", file.name, file.size_bytes, file.sha256);
        let rows: Vec<String> = self.artifacts.iter().map(row).collect();
        let table = format!("| file | bytes | SHA-256 |\n|---|---|---|\n{}", rows.join("\n"));
        let checked = self.checked.map(|checked| format!("\n\n{}", checked.describe()));
        format!("## Files\n\n{table}{}", checked.unwrap_or_default())
    }
}

/// What was trained, and above what.
fn network(session: &Session<'_>, outputs: &Outputs, finish: &FinishDirective) -> String {
    let spec = &session.spec;
    let model = session.learner.model();
    let summary = model.summary();
    let weights = spec.model.weights.as_deref().unwrap_or("random, from the seed");
    let averaged = spec.training.ema.map_or_else(String::new, |ema| {
        format!("; these are their exponential moving average, decay {}", ema.decay)
    });
    let rows = [
        ("pretrained weights", format!("`{weights}`")),
        (
            "frozen",
            format!("{} parameters, up to `{}`", summary.frozen_parameters, summary.cut),
        ),
        ("frozen part, BLAKE3", format!("`{}`", model.frozen_digest())),
        (
            "trained",
            format!("{} parameters{averaged}", summary.trainable_parameters),
        ),
        (
            "best epoch",
            format!("{} of {} (from 0)", finish.best_epoch, spec.training.epochs),
        ),
        (
            "global batch, seed",
            format!("{}, {}", spec.training.batch_size, spec.training.seed),
        ),
    ];
    let rows = rows.map(|(name, value)| format!("| {name} | {value} |"));
    format!(
        "# {}\n\nA `{}` network, fine-tuned by Firn for {}.\n\n| | |\n|---|---|\n{}",
        spec.metadata.name,
        spec.model.architecture.word(),
        outputs.learned,
        rows.join("\n")
    )
}

fn data(session: &Session<'_>, finish: &FinishDirective) -> String {
    let line = |split: &std::sync::Arc<Split>| {
        let (samples, digest) = (split.samples.len(), split.digest());
        format!("- {}: {samples} samples, BLAKE3 of the manifest `{digest}`", split.name)
    };
    let splits: Vec<String> = session.data.dataset.splits().map(line).collect();
    let metrics: Value = serde_json::from_str(&finish.metrics_json).unwrap_or_default();
    let set_aside = metrics["quarantined"].as_array().map_or(0, Vec::len);
    format!("## Data\n\n{}\n- set aside as corrupt: {set_aside}", splits.join("\n"))
}

/// All that the job was told, with every default.
fn spec(session: &Session<'_>) -> String {
    let document = serde_json::to_string_pretty(&session.spec).unwrap_or_default();
    format!("## Spec\n\n<details>\n<summary>spec.json</summary>\n\n```json\n{document}\n```\n\n</details>")
}

/// How transformers opens the network, where it is one of its own and exported whole.
fn opening(session: &Session<'_>, outputs: &Outputs) -> Option<String> {
    let model = session.learner.model();
    let opened = export::opened(model).filter(|_| session.spec.artifacts.merged_model)?;
    let code = match opened {
        Opened::ByClass(class) | Opened::ByDenseClass(DenseClass { name: class, .. }) => {
            let kind = class.split_once("For").map_or("Model", |(_, kind)| kind);
            let reader = match session.spec.data.preprocessing {
                Preprocessing::Text { .. } => "tokenizer = AutoTokenizer",
                Preprocessing::Image { .. } => "processor = AutoImageProcessor",
            };
            format!(
                "```python\nmodel = AutoModelFor{kind}.from_pretrained(\"{FOLDER}\")\n{reader}.from_pretrained(\"{FOLDER}\")\n```"
            )
        }
        Opened::WithoutHead(reason) => {
            let form = match session.spec.model.head.is_linear() {
                true => "a linear layer",
                false => "the layers of `head` in `config.json`",
            };
            format!(
                "`AutoModel.from_pretrained(\"{FOLDER}\")` opens the encoder. Its {} outputs are those of `head` in `model.safetensors`, {form} \
                 that reads what `pooling` in `config.json` names. No `AutoModelForSequenceClassification` predicts the same: {reason}.",
                outputs.names.len()
            )
        }
    };
    Some(format!("## In transformers\n\n{code}"))
}

/// How the intervals of the metrics were found, if there are any.
fn about_intervals(metrics: &Value) -> Option<String> {
    let intervals = metrics.get("test")?.get("intervals")?;
    let percent = intervals.get("level")?.as_f64()? * 100.0;
    let (resamples, seed) = (intervals.get("resamples")?.as_u64()?, intervals.get("seed")?.as_u64()?);
    Some(format!(
        "Intervals hold {percent}% of the values over {resamples} resamples of the test split (percentile bootstrap, seed {seed})."
    ))
}

fn interval(metrics: &Value, split: &str, name: &str) -> Option<String> {
    let ends = metrics.get(split)?.get("intervals")?.get("metrics")?.get(name)?;
    let (low, high) = (ends.get(0)?.as_f64()?, ends.get(1)?.as_f64()?);
    Some(format!("{low:.4} to {high:.4}"))
}

fn metrics_table(metrics: &Value) -> String {
    let mut rows = vec![
        "| split | metric | value | interval |".to_owned(),
        "|---|---|---|---|".to_owned(),
    ];
    for split in ["validation", "test"] {
        let Some(values) = metrics
            .get(split)
            .and_then(|split| split.get("metrics"))
            .and_then(|values| values.as_object())
        else {
            continue;
        };
        for (name, value) in values {
            if let Some(value) = value.as_f64() {
                let interval = interval(metrics, split, name).unwrap_or_default();
                rows.push(format!("| {split} | {name} | {value:.4} | {interval} |"));
            }
        }
    }
    rows.join("\n")
}
