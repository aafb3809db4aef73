//! Numbers are learned as classes are: the same on any number of ranks, proven, and through a kill.

use std::{fs, path::Path};

use anyhow::Context as _;
use firn_tests::{
    cluster::Cluster,
    jobs, outcome,
    submission::{self, Submission},
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Relative difference that single precision allows between different orders of summation.
const TOLERANCE: f64 = 1e-5;

/// Sentences about homes with two numbers each, and a small encoder of random weights with its tokenizer.
fn write(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../worker/data/tests/fixtures/tokens/tiny.json");
    fs::copy(&tokenizer, folder.join("tokenizer.json")).with_context(|| tokenizer.display().to_string())?;
    let config = json!({
        "model_type": "bert", "vocab_size": 128, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4,
        "intermediate_size": 64, "max_position_embeddings": 64, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "hidden_act": "gelu"
    });
    fs::write(folder.join("config.json"), config.to_string())?;
    for (split, first, rows) in [("train", 0, 53), ("validation", 100, 24)] {
        let mut table = "text,price,age\n".to_owned();
        for number in first..first + rows {
            let (rooms, age) = (1 + number * 7 % 9, number * 13 % 50);
            let price = 90_000 + 31_000 * rooms - 900 * age + 4_000 * (number % 5);
            table.push_str(&format!(
                "a home of {rooms} rooms that is {age} years old,{price}.5,{age}\n"
            ));
        }
        fs::write(folder.join(format!("{split}.csv")), table)?;
    }
    Ok(())
}

/// 4 steps an epoch: the last batch of 53 samples has 5.
fn job(name: &str, folder: &Path, training: Value) -> Value {
    let path = |file: &str| folder.join(file).to_string_lossy().into_owned();
    json!({
        "apiVersion": "firn.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {"name": name},
        "spec": {
            "task": {"type": "regression"},
            "model": {"architecture": "bert", "tokenizer": path("tokenizer.json"), "head": {"type": "linear", "dropout": 0.1}},
            "data": {
                "format": "csv",
                "train": {"uri": path("train.csv")},
                "validation": {"uri": path("validation.csv")},
                "test": {"uri": path("validation.csv")},
                "columns": {"targets": ["price", "age"]}
            },
            "training": training,
            "artifacts": {"mergedModel": false}
        }
    })
}

#[test]
fn two_targets_are_learned_the_same_on_1_2_and_3_ranks() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    write(folder.path())?;
    let training = json!({
        "epochs": 3, "batchSize": 16, "seed": 11, "bestMetric": "validation/mae",
        "optimizer": {"type": "adamw", "learningRate": 0.01},
        // Where biases do not decay, a correlation comes so close to 0 that single precision does not hold five digits of it.
        "weightDecayOf": "all",
        "loss": {"type": "huber", "delta": 0.5}
    });
    let spec = job("homes", folder.path(), training);
    let run = |ranks: u32| outcome::run_to_success(&spec, &folder.path().join(format!("ranks-{ranks}")), ranks);
    let alone = run(1)?;
    for ranks in [2, 3] {
        run(ranks)?
            .is_close_to(&alone, TOLERANCE)
            .with_context(|| format!("{ranks} ranks"))?;
    }
    let test = &alone.metrics["test"];
    for metric in ["loss", "mae", "rmse", "r2", "pearson", "spearman"] {
        assert!(test["metrics"][metric].is_f64(), "{metric} of {test}");
    }
    assert_eq!(test["targets"][1]["target"], "age");
    assert_eq!(alone.metrics["bestMetric"], "validation/mae");
    assert_eq!(alone.metrics["formatVersion"], 1);
    let config: Value = serde_json::from_slice(&fs::read(alone.folder.join("config.json"))?)?;
    assert_eq!(config["firn_format"], 1);
    assert_eq!(
        (&config["problem_type"], &config["num_labels"]),
        (&json!("regression"), &json!(2))
    );
    assert_eq!(config["id2label"], json!({"0": "price", "1": "age"}));
    // The scale of the training samples, and no others'.
    let ages: Vec<f64> = (0..53).map(|number| f64::from(number * 13 % 50)).collect();
    let mean = ages.iter().sum::<f64>() / 53.0;
    let deviation = (ages.iter().map(|age| (age - mean).powi(2)).sum::<f64>() / 53.0).sqrt();
    let near = |found: &Value, expected: f64| found.as_f64().is_some_and(|found| (found - expected).abs() < 1e-9);
    let age = &config["targets"][1];
    assert!(near(&age["mean"], mean) && near(&age["std"], deviation), "{age}");
    let card = fs::read_to_string(alone.folder.join("README.md"))?;
    assert!(
        card.contains("fine-tuned by Firn for regression of price, age"),
        "{card}"
    );
    Ok(())
}

fn strict() -> Value {
    json!({
        "epochs": 6, "batchSize": 16, "seed": 3, "determinism": "strict",
        "optimizer": {"type": "sgd", "learningRate": 0.05}, "loss": {"type": "l1"}
    })
}

#[test]
fn a_strict_regression_leaves_the_same_bytes_on_1_2_and_3_ranks() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    write(folder.path())?;
    let spec = job("strict-homes", folder.path(), strict());
    let run = |ranks: u32| outcome::run_to_success(&spec, &folder.path().join(format!("ranks-{ranks}")), ranks);
    let alone = run(1)?;
    for ranks in [2, 3] {
        run(ranks)?
            .is_the_same_as(&alone)
            .with_context(|| format!("{ranks} ranks"))?;
    }
    Ok(())
}

#[tokio::test]
async fn a_regression_whose_rank_is_killed_ends_as_if_nothing_had_happened_and_is_proven() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let data = jobs::shared_folder()?.join("homes");
    write(&data)?;
    let mut cluster = Cluster::start(folder.path(), 2)?;
    let mut spec = job("homes-killed", &data, strict());
    spec["spec"]["training"]["epochs"] = json!(40);
    spec["spec"]["resources"] = json!({"workers": {"min": 1, "max": 2}});
    let job = Submission::new(&cluster, &spec)?;
    let before = job.reaches_step(&cluster, 6).await?;
    let victim = job.rank(&mut cluster, 1).await?;
    submission::send(victim, Signal::SIGKILL)?;
    job.goes_on_after(&cluster, before.generation).await?;
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    assert_eq!(ended.outcome.steps.len(), 160);
    let unchecked: Vec<&Value> = ended.receipt.0["passes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|pass| pass["kind"] == "evaluate" && pass["split"] == "test")
        .map(|pass| &pass["uncheckedMetrics"])
        .collect();
    assert_eq!(
        unchecked,
        [&json!([])],
        "Spearman was computed again from the predictions file"
    );
    Ok(())
}
