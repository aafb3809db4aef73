//! The number of ranks never changes the result.

use std::fs;

use anyhow::Context as _;
use firn_tests::{jobs, options, outcome};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Relative difference that single precision allows between different orders of summation.
const TOLERANCE: f64 = 1e-5;

fn same_on_one_two_and_three_ranks(spec: &Value, splits: &[&str], folder: &TempDir) -> anyhow::Result<()> {
    let mut spec = spec.clone();
    // Losses and scores are compared, not the whole network.
    spec["spec"]["artifacts"] = json!({"mergedModel": false});
    let run = |ranks: u32| outcome::run_to_success(&spec, &folder.path().join(format!("ranks-{ranks}")), ranks);
    let alone = run(1)?;
    for split in splits {
        assert!(
            alone.metrics[*split]["samples"].as_u64() > Some(0),
            "{split} was scored"
        );
    }
    for ranks in [2, 3] {
        run(ranks)?
            .is_close_to(&alone, TOLERANCE)
            .with_context(|| format!("{ranks} ranks"))?;
    }
    Ok(())
}

/// Gives the outcome on one rank.
fn same_bytes_on_one_two_and_three_ranks(spec: &Value, folder: &TempDir) -> anyhow::Result<outcome::Outcome> {
    let run = |ranks: u32| outcome::run_to_success(spec, &folder.path().join(format!("ranks-{ranks}")), ranks);
    let alone = run(1)?;
    for ranks in [2, 3] {
        run(ranks)?
            .is_the_same_as(&alone)
            .with_context(|| format!("{ranks} ranks"))?;
    }
    Ok(alone)
}

#[test]
fn heads_poolings_pairs_tags_and_sets_of_labels_leave_the_same_bytes_on_1_2_and_3_ranks_of_a_strict_job()
-> anyhow::Result<()> {
    for row in ["labels_of_pairs", "ordinal", "cosine", "tags"] {
        let mut spec = options::job(row, 2, (1, 1))?;
        spec["spec"]["resources"].take();
        same_bytes_on_one_two_and_three_ranks(&spec, &TempDir::new()?).context(row)?;
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

/// A job in whose epochs more and more of the network trains; its spec and its data.
fn gradual(folder: &TempDir, determinism: &str) -> anyhow::Result<Value> {
    let data = jobs::three_classes(&folder.path().join("data"))?;
    let mut spec = jobs::image_job("gradual", &data);
    spec["spec"]["model"]["freeze"] = json!({
        "through": "all", "unfreeze": {"layer4": 1, "layer3": 2}, "parameters": [r"^layer3\.0\.", r"bn2\.weight$"]
    });
    spec["spec"]["training"] = json!({
        "epochs": 3, "batchSize": 16, "seed": 4, "maxGradientNorm": 1.0, "layerDecay": 0.4, "determinism": determinism,
        "optimizer": {"type": "sgd", "learningRate": 0.02, "momentum": 0.9}
    });
    Ok(spec)
}

#[test]
fn stages_that_are_unfrozen_one_after_the_other_train_the_same_on_1_2_and_3_ranks() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    same_on_one_two_and_three_ranks(&gradual(&folder, "default")?, &["validation"], &folder)
}

#[test]
fn a_strict_job_that_unfreezes_stages_leaves_the_same_bytes_on_1_and_3_ranks() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let spec = gradual(&folder, "strict")?;
    let run = |ranks: u32| outcome::run_to_success(&spec, &folder.path().join(format!("ranks-{ranks}")), ranks);
    run(3)?.is_the_same_as(&run(1)?)
}

#[test]
fn an_average_of_stages_that_are_unfrozen_leaves_the_same_bytes_on_1_2_and_3_ranks_of_a_strict_job()
-> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let mut spec = gradual(&folder, "strict")?;
    spec["spec"]["training"]["ema"] = json!({"decay": 0.8});
    let alone = same_bytes_on_one_two_and_three_ranks(&spec, &folder)?;
    spec["spec"]["training"]["ema"] = Value::Null;
    let without = outcome::run_to_success(&spec, &folder.path().join("without"), 1)?;
    assert_eq!(
        without.losses(),
        alone.losses(),
        "gradients are those of the trained weights"
    );
    assert_ne!(without.digest("head.safetensors")?, alone.digest("head.safetensors")?);
    Ok(())
}

#[test]
fn samples_that_are_drawn_with_a_focal_loss_leave_the_same_bytes_on_1_2_and_3_ranks_of_a_strict_job()
-> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let data = jobs::three_classes(&folder.path().join("data"))?;
    // It may be drawn several times, or never.
    fs::write(data.join("train/elm/004.png"), b"no picture")?;
    let mut spec = jobs::image_job("drawn", &data);
    spec["spec"]["data"]["quarantine"] = json!({"maxSamples": 1});
    spec["spec"]["training"] = json!({
        "epochs": 3, "batchSize": 16, "seed": 3, "determinism": "strict", "sampling": "balanced",
        "optimizer": {"type": "adamw", "learningRate": 0.003}, "loss": {"type": "focal", "gamma": 1.5, "classWeights": {"elm": 2.0}}
    });
    let alone = same_bytes_on_one_two_and_three_ranks(&spec, &folder)?;
    spec["spec"]["training"]["sampling"] = json!("shuffle");
    let shuffled = outcome::run_to_success(&spec, &folder.path().join("shuffled"), 1)?;
    assert_ne!(
        shuffled.losses(),
        alone.losses(),
        "this test would not notice that all are used once"
    );
    Ok(())
}

#[test]
fn a_frozen_part_in_bfloat16_is_the_same_on_1_2_and_3_ranks_or_refused_by_name() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let data = jobs::three_classes(&folder.path().join("data"))?;
    let mut spec = jobs::image_job("reduced", &data);
    spec["spec"]["model"]["freeze"] = json!({"through": "layer3"});
    spec["spec"]["training"] = json!({
        "epochs": 2, "batchSize": 16, "seed": 5, "determinism": "strict", "frozenPrecision": "bf16",
        "optimizer": {"type": "sgd", "learningRate": 0.01, "momentum": 0.9}
    });
    let run = |ranks: u32| outcome::run_to_success(&spec, &folder.path().join(format!("ranks-{ranks}")), ranks);
    if !std::arch::is_x86_feature_detected!("avx512bf16") {
        let refused = run(1).map(|_| ()).unwrap_err().to_string();
        println!("this processor has no instructions for bfloat16: {refused}");
        assert!(
            refused.contains("spec.training.frozenPrecision: the processor of this worker"),
            "{refused}"
        );
        return Ok(());
    }
    let alone = run(1)?;
    for ranks in [2, 3] {
        run(ranks)?
            .is_the_same_as(&alone)
            .with_context(|| format!("{ranks} ranks"))?;
    }
    spec["spec"]["training"]["frozenPrecision"] = json!("fp32");
    let single = outcome::run_to_success(&spec, &folder.path().join("single"), 1)?;
    alone
        .is_close_to(&single, 0.05)
        .context("bfloat16 is near single precision")?;
    assert_ne!(
        single.losses(),
        alone.losses(),
        "this test would not notice that nothing is rounded"
    );
    Ok(())
}

#[test]
fn averaged_adapters_and_statistics_of_batch_norm_are_the_same_on_1_2_and_3_ranks() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let mut adapters = jobs::text_job("averaged-adapters", &jobs::texts(&folder.path().join("texts"))?);
    adapters["spec"]["model"]["lora"] = json!({"rank": 4, "dropout": 0.2});
    adapters["spec"]["training"]["ema"] = json!({"decay": 0.9, "warmup": true});
    same_on_one_two_and_three_ranks(&adapters, &["validation"], &folder)?;
    let other = TempDir::new()?;
    let mut statistics = shared_statistics(&other)?;
    statistics["spec"]["training"]["ema"] = json!({"decay": 0.7});
    same_on_one_two_and_three_ranks(&statistics, &["validation"], &other)
}

#[test]
fn dropout_inside_an_encoder_that_trains_is_the_same_on_1_2_and_3_ranks() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let mut spec = jobs::text_job("encoder", &jobs::texts(&folder.path().join("data"))?);
    same_on_one_two_and_three_ranks(&spec, &["validation"], &folder)?;
    let with = outcome::run_to_success(&spec, &folder.path().join("with"), 1)?;
    spec["spec"]["model"]["dropout"] = json!("none");
    let without = outcome::run_to_success(&spec, &folder.path().join("without"), 1)?;
    assert!(
        without.is_close_to(&with, 1e-3).is_err(),
        "this test would not notice a dropout that drops nothing"
    );
    Ok(())
}

#[test]
fn adapters_in_strict_mode_leave_the_same_bytes_on_1_2_and_3_ranks() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let mut spec = jobs::text_job("adapters", &jobs::texts(&folder.path().join("data"))?);
    spec["spec"]["model"]["lora"] = json!({"rank": 4, "dropout": 0.2});
    spec["spec"]["training"]["determinism"] = json!("strict");
    let run = |ranks: u32| outcome::run_to_success(&spec, &folder.path().join(format!("ranks-{ranks}")), ranks);
    let alone = run(1)?;
    let adapter = |outcome: &outcome::Outcome| outcome.digest("adapter/adapter_model.safetensors");
    for ranks in [2, 3] {
        let together = run(ranks)?;
        together.is_the_same_as(&alone)?;
        assert_eq!(adapter(&together)?, adapter(&alone)?);
    }
    Ok(())
}

/// A job whose BatchNorm trains; its spec and its data.
fn shared_statistics(folder: &TempDir) -> anyhow::Result<Value> {
    let data = jobs::three_classes(&folder.path().join("data"))?;
    let mut spec = jobs::image_job("shared", &data);
    spec["spec"]["model"]["freeze"] = json!({"through": "layer3"});
    // Where a channel has few values, the last bits of their variance grow: four pixels a sample are left at the end.
    spec["spec"]["data"]["preprocessing"] = json!({"resize": 72, "crop": 64});
    spec["spec"]["training"] = json!({
        "epochs": 2, "batchSize": 16, "seed": 2, "batchNorm": "train",
        "optimizer": {"type": "sgd", "learningRate": 0.01, "momentum": 0.9}
    });
    Ok(spec)
}

#[test]
fn batch_norm_that_trains_normalises_by_the_whole_batch_on_1_2_and_3_ranks() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    same_on_one_two_and_three_ranks(&shared_statistics(&folder)?, &["validation"], &folder)
}

#[test]
fn batch_norm_that_trains_in_a_strict_job_leaves_the_same_bytes_on_1_2_and_3_ranks() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let mut spec = shared_statistics(&folder)?;
    spec["spec"]["training"]["determinism"] = json!("strict");
    let run = |ranks: u32| outcome::run_to_success(&spec, &folder.path().join(format!("ranks-{ranks}")), ranks);
    let alone = run(1)?;
    for ranks in [2, 3] {
        let together = run(ranks)?;
        together
            .is_the_same_as(&alone)
            .with_context(|| format!("{ranks} ranks"))?;
        // The running statistics are in the model.
        assert_eq!(
            together.digest("model.safetensors")?,
            alone.digest("model.safetensors")?
        );
    }
    spec["spec"]["training"]["determinism"] = json!("default");
    let whole = outcome::run_to_success(&spec, &folder.path().join("whole"), 1)?;
    alone
        .is_close_to(&whole, TOLERANCE)
        .context("slices are near the whole batch")
}

#[test]
fn a_rate_that_is_reduced_on_a_plateau_is_the_same_on_1_2_and_3_ranks() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let data = jobs::three_classes(&folder.path().join("data"))?;
    let mut spec = jobs::image_job("plateau", &data);
    spec["spec"]["training"] = json!({
        "epochs": 6, "batchSize": 16, "seed": 11,
        "optimizer": {"type": "sgd", "learningRate": 0.2},
        "schedule": {"type": "plateau", "factor": 0.3, "patience": 0, "threshold": 0.1}
    });
    let outcome = outcome::run_to_success(&spec, &folder.path().join("reductions"), 2)?;
    let rates: Vec<f64> = outcome
        .steps
        .iter()
        .filter_map(|step| step["learningRate"].as_f64())
        .collect();
    assert!(rates.last() < rates.first(), "it was never reduced: {rates:?}");
    same_on_one_two_and_three_ranks(&spec, &["validation"], &folder)
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
    let alone = run(1)?;
    assert!(alone.folder.join("model.safetensors").exists());
    for ranks in [2, 3, 4] {
        run(ranks)?
            .is_the_same_as(&alone)
            .with_context(|| format!("{ranks} ranks"))?;
    }
    Ok(())
}

/// A strict job whose images are other ones in each epoch, by every kind of change.
fn augmented(folder: &TempDir) -> anyhow::Result<Value> {
    let data = jobs::three_classes(&folder.path().join("data"))?;
    let mut spec = jobs::image_job("augmented", &data);
    spec["spec"]["data"]["augmentation"] = json!({
        "randomResizedCrop": {"scale": [0.3, 1.0]}, "horizontalFlip": 0.5, "verticalFlip": 0.5, "rotation": 20, "trivialAugmentWide": {},
        "colorJitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
        "randomErasing": {"value": "random"}, "interpolation": "bilinear"
    });
    spec["spec"]["training"] = json!({
        "epochs": 3, "batchSize": 16, "seed": 6, "determinism": "strict", "optimizer": {"type": "adamw", "learningRate": 0.003}
    });
    Ok(spec)
}

#[test]
fn mixed_images_are_the_same_on_1_2_and_3_ranks_also_where_a_partner_is_corrupt() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let data = jobs::three_classes(&folder.path().join("data"))?;
    // Found by the rank that it belongs to, and by the one that needs it as a partner.
    fs::write(data.join("train/elm/004.png"), b"no picture")?;
    let mut spec = jobs::image_job("mixed", &data);
    spec["spec"]["data"]["quarantine"] = json!({"maxSamples": 1});
    spec["spec"]["model"]["head"] = json!({"type": "linear", "dropout": 0.2});
    spec["spec"]["training"] = json!({
        "epochs": 3, "batchSize": 16, "microBatchSize": 3, "seed": 6, "optimizer": {"type": "adamw", "learningRate": 0.003},
        "loss": {"labelSmoothing": 0.1, "classBalance": "balanced"},
        "mixing": {"mixupAlpha": 0.4, "cutmixAlpha": 1.0, "probability": 0.8}
    });
    same_on_one_two_and_three_ranks(&spec, &["validation"], &folder)?;
    spec["spec"]["training"]["determinism"] = json!("strict");
    let run = |name: &str, spec: &Value, ranks: u32| outcome::run_to_success(spec, &folder.path().join(name), ranks);
    let alone = run("alone", &spec, 1)?;
    run("three", &spec, 3)?.is_the_same_as(&alone)?;
    spec["spec"]["training"]["mixing"].take();
    let plain = run("plain", &spec, 1)?;
    assert!(
        plain.is_close_to(&alone, 1e-3).is_err(),
        "this test would not notice if nothing were mixed"
    );
    Ok(())
}

#[test]
fn augmented_images_are_the_same_on_1_2_and_3_ranks_and_validation_is_left_alone() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let mut spec = augmented(&folder)?;
    let run = |spec: &Value, name: &str, ranks: u32| outcome::run_to_success(spec, &folder.path().join(name), ranks);
    let alone = run(&spec, "alone", 1)?;
    for ranks in [2, 3] {
        run(&spec, &format!("ranks-{ranks}"), ranks)?
            .is_the_same_as(&alone)
            .with_context(|| format!("{ranks} ranks"))?;
    }
    // Nothing is learned at this rate: what is left is how the samples of validation are seen.
    spec["spec"]["training"]["optimizer"]["learningRate"] = json!(1e-300);
    let still = run(&spec, "still", 1)?;
    spec["spec"]["data"]["augmentation"].take();
    let plain = run(&spec, "plain", 1)?;
    assert_eq!(
        still.metrics["validation"]["metrics"],
        plain.metrics["validation"]["metrics"]
    );
    let losses =
        |outcome: &outcome::Outcome| -> Vec<Value> { outcome.steps.iter().map(|step| step["loss"].clone()).collect() };
    assert!(
        losses(&still)
            .iter()
            .zip(losses(&plain))
            .all(|(changed, plain)| *changed != plain)
    );
    Ok(())
}
