//! The model card: what the model is, what it was trained on, and how good it is, for whoever finds the folder later.
//!
//! It says only what every rank 0 would say that ends this job: one that was taken for dead may still write it.

use std::fmt::Write as _;

use firn_core::spec::Preprocessing;
use firn_models::export::{self, Opened};
use firn_proto::v1alpha1::FinishDirective;

use crate::rank::{session::Session, task::Outputs};

/// Stands for where the card lies.
const FOLDER: &str = ".";

/// The card as Markdown.
pub(crate) fn render(session: &Session<'_>, outputs: &Outputs, finish: &FinishDirective) -> String {
    let spec = &session.spec;
    let (model, dataset) = (session.learner.model(), &session.data.dataset);
    let summary = model.summary();
    let architecture = serde_json::to_string(&spec.model.architecture)
        .unwrap_or_default()
        .replace('"', "");
    let weights = spec.model.weights.as_deref().unwrap_or("random, from the seed");
    let mut card = String::new();
    // Writing to a string cannot fail.
    let mut line = |text: String| writeln!(card, "{text}").expect("a string takes every line");

    line(format!("# {}\n", spec.metadata.name));
    line(format!(
        "A `{architecture}` network, fine-tuned by Firn for {}.\n",
        outputs.learned
    ));
    line("| | |\n|---|---|".to_owned());
    line(format!("| pretrained weights | `{weights}` |"));
    line(format!(
        "| frozen | {} parameters, up to `{}` |",
        summary.frozen_parameters, summary.cut
    ));
    line(format!("| frozen part, BLAKE3 | `{}` |", model.frozen_digest()));
    line(format!("| trained | {} parameters |", summary.trainable_parameters));
    line(format!(
        "| best epoch | {} of {} (from 0) |",
        finish.best_epoch, spec.training.epochs
    ));
    line(format!(
        "| global batch, seed | {}, {} |\n",
        spec.training.batch_size, spec.training.seed
    ));

    line(outputs.section.clone());
    opening(session, outputs).into_iter().for_each(&mut line);
    line("\n## Data\n".to_owned());
    for split in dataset.splits() {
        line(format!(
            "- {}: {} samples, BLAKE3 of the manifest `{}`",
            split.name,
            split.samples.len(),
            split.digest()
        ));
    }
    let metrics: serde_json::Value = serde_json::from_str(&finish.metrics_json).unwrap_or_default();
    let set_aside = metrics.get("quarantined").and_then(|samples| samples.as_array());
    line(format!("- set aside as corrupt: {}", set_aside.map_or(0, Vec::len)));
    line("\n## Metrics\n".to_owned());
    line("Exact, on every sample of each split, after scikit-learn's definitions.\n".to_owned());
    about_intervals(&metrics).into_iter().for_each(&mut line);
    line(metrics_table(&metrics));
    card
}

/// How transformers opens the network, where it is one of its own and exported whole.
fn opening(session: &Session<'_>, outputs: &Outputs) -> Option<String> {
    let model = session.learner.model();
    let opened = export::opened(model).filter(|_| session.spec.artifacts.merged_model)?;
    let code = match opened {
        Opened::ByClass(class) => {
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
            let head = export::output_layer(model);
            format!(
                "`AutoModel.from_pretrained(\"{FOLDER}\")` opens the encoder. Its {} outputs are those of `{head}` in `model.safetensors`, a linear layer \
                 that reads what `pooling` in `config.json` names. No `AutoModelForSequenceClassification` predicts the same: {reason}.",
                outputs.names.len()
            )
        }
    };
    Some(format!("\n## In transformers\n\n{code}"))
}

/// How the intervals of the metrics were found, if there are any.
fn about_intervals(metrics: &serde_json::Value) -> Option<String> {
    let intervals = metrics.get("test")?.get("intervals")?;
    let percent = intervals.get("level")?.as_f64()? * 100.0;
    let (resamples, seed) = (intervals.get("resamples")?.as_u64()?, intervals.get("seed")?.as_u64()?);
    Some(format!(
        "Intervals hold {percent}% of the values over {resamples} resamples of the test split (percentile bootstrap, seed {seed}).\n"
    ))
}

fn interval(metrics: &serde_json::Value, split: &str, name: &str) -> Option<String> {
    let ends = metrics.get(split)?.get("intervals")?.get("metrics")?.get(name)?;
    let (low, high) = (ends.get(0)?.as_f64()?, ends.get(1)?.as_f64()?);
    Some(format!("{low:.4} to {high:.4}"))
}

fn metrics_table(metrics: &serde_json::Value) -> String {
    let mut table = String::from("| split | metric | value | interval |\n|---|---|---|---|\n");
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
                writeln!(table, "| {split} | {name} | {value:.4} | {interval} |").expect("a string takes every line");
            }
        }
    }
    table
}
