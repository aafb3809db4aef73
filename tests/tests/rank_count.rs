//! The number of ranks never changes the result.

use std::{fs, path::Path};

use firn_tests::{jobs, outcome};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// Relative difference that single precision allows between different orders of summation.
const TOLERANCE: f64 = 1e-5;

fn same_on_one_two_and_three_ranks(spec: &Value, splits: &[&str], folder: &TempDir) -> anyhow::Result<()> {
    let runs =
        [1, 2, 3].map(|ranks| outcome::run_to_success(spec, &folder.path().join(format!("ranks-{ranks}")), ranks));
    let [alone, two, three] = runs;
    let alone = alone?;
    for (ranks, run) in [(2, two?), (3, three?)] {
        assert_eq!(alone.losses().len(), run.losses().len());
        for (step, (expected, found)) in alone.losses().iter().zip(run.losses()).enumerate() {
            let difference = (expected - found).abs() / expected.abs();
            assert!(
                difference <= TOLERANCE,
                "step {step}: loss {expected} on one rank, {found} on {ranks}"
            );
        }
        for split in splits {
            let (expected, found) = (&alone.metrics[*split], &run.metrics[*split]);
            assert!(expected["samples"].as_u64() > Some(0), "{split} was scored");
            assert_eq!(expected["confusion"], found["confusion"], "{split} on {ranks} ranks");
            let values = |metrics: &Value| metrics["metrics"].as_object().cloned().unwrap_or_default();
            assert_eq!(values(expected).len(), values(found).len());
            for (name, value) in values(expected) {
                let (expected, found) = (value.as_f64(), found["metrics"][&name].as_f64());
                let difference = expected.zip(found).map(|(expected, found)| (expected - found).abs());
                assert!(
                    difference < Some(TOLERANCE) && difference.is_some(),
                    "{name} of {split}: {expected:?} and {found:?}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn a_head_with_dropout_uneven_batches_and_uneven_class_weights_trains_the_same_on_1_2_and_3_ranks() -> anyhow::Result<()>
{
    let folder = TempDir::new()?;
    let data = jobs::three_classes(&folder.path().join("data"))?;
    let mut spec = jobs::image_job("uneven", &data);
    spec["spec"]["data"]["test"] = json!({"uri": data.join("validation").to_string_lossy()});
    spec["spec"]["model"]["head"] = json!({"type": "linear", "dropout": 0.2});
    // 53 samples: the last batch has 5.
    spec["spec"]["training"] = json!({
        "epochs": 3, "batchSize": 16, "seed": 11,
        "optimizer": {"type": "adamw", "learningRate": 0.003},
        "schedule": {"type": "cosine", "warmupRatio": 0.2},
        "loss": {"labelSmoothing": 0.1, "classWeights": {"ash": 0.5, "elm": 3.0}}
    });
    same_on_one_two_and_three_ranks(&spec, &["validation", "test"], &folder)
}

#[test]
fn trained_stages_and_micro_batches_train_the_same_on_1_2_and_3_ranks() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let data = jobs::three_classes(&folder.path().join("data"))?;
    let mut spec = jobs::image_job("stages", &data);
    spec["spec"]["model"]["freeze"] = json!({"through": "layer3"});
    spec["spec"]["training"] = json!({
        "epochs": 1, "batchSize": 20, "microBatchSize": 3, "seed": 2, "maxGradientNorm": 1.0,
        "optimizer": {"type": "sgd", "learningRate": 0.01, "momentum": 0.9},
        "loss": {"classBalance": "balanced"}
    });
    same_on_one_two_and_three_ranks(&spec, &["validation"], &folder)
}

/// SHA-256 of an artifact.
fn digest(artifacts: &Path, name: &str) -> anyhow::Result<String> {
    Ok(hex::encode(Sha256::digest(fs::read(artifacts.join(name))?)))
}

/// Everything that a strict job promises, without times and the like: losses and gradients of all steps to the last digit, the trained
/// tensors, the predictions and the metrics.
fn promised(run: &outcome::Outcome) -> anyhow::Result<Value> {
    let steps: Vec<Value> = run
        .steps
        .iter()
        .map(|step| json!([step["step"], step["loss"], step["gradientNorm"], step["samples"]]))
        .collect();
    Ok(json!({
        "head.safetensors": digest(&run.folder, "head.safetensors")?,
        "model.safetensors": digest(&run.folder, "model.safetensors")?,
        "predictions": digest(&run.folder, "predictions_validation.csv")?,
        "metrics": run.metrics,
        "steps": steps,
    }))
}

#[test]
fn a_strict_job_leaves_the_same_bytes_on_1_2_3_and_4_ranks() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let data = jobs::three_classes(&folder.path().join("data"))?;
    // Found to be corrupt by whichever rank meets it first.
    fs::write(data.join("train/elm/004.png"), b"no picture")?;
    let mut spec = jobs::image_job("strict", &data);
    spec["spec"]["data"]["quarantine"] = json!({"maxSamples": 1});
    spec["spec"]["model"]["freeze"] = json!({"through": "layer3"});
    spec["spec"]["model"]["head"] = json!({"type": "linear", "dropout": 0.2});
    spec["spec"]["training"] = json!({
        "epochs": 2, "batchSize": 16, "seed": 3, "maxGradientNorm": 1.0, "determinism": "strict",
        "optimizer": {"type": "adamw", "learningRate": 0.001},
        "loss": {"labelSmoothing": 0.1, "classBalance": "balanced"}
    });
    let run = |ranks: u32| outcome::run_to_success(&spec, &folder.path().join(format!("ranks-{ranks}")), ranks);
    let alone = promised(&run(1)?)?;
    for ranks in [2, 3, 4] {
        assert_eq!(promised(&run(ranks)?)?, alone, "{ranks} ranks");
    }
    Ok(())
}
