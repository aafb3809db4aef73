//! `firn lr-find`: a range test on a real gang, of which nothing stays but its report.

use std::{fs, path::Path};

use anyhow::Context as _;
use firn_tests::{cluster::Cluster, jobs};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The report on a gang of so many workers, which must leave nothing behind.
fn found(folder: &Path, spec: &Value, workers: usize) -> anyhow::Result<Value> {
    fs::create_dir_all(folder)?;
    let cluster = Cluster::start(folder, workers)?;
    let mut spec = spec.clone();
    spec["spec"]["resources"] = json!({"workers": {"min": workers, "max": workers}});
    let file = jobs::write_spec(folder, &spec)?;
    let (file, plot) = (file.to_string_lossy(), folder.join("plot.svg"));
    let arguments = [
        "lr-find", &*file, "--min", "1e-6", "--max", "30", "--steps", "60", "-o", "json", "--plot",
    ];
    let output = cluster.firn(&arguments).arg(&plot).output()?;
    let talk = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{}: {talk}", output.status);
    let svg = fs::read_to_string(&plot).context("the plot")?;
    assert!(svg.starts_with("<svg ") && svg.contains("<polyline"), "{svg}");
    let listed = cluster.firn(&["list", "-o", "json"]).output()?;
    let listed: Value = serde_json::from_slice(&listed.stdout)?;
    assert_eq!(listed["jobs"], json!([]), "nothing is left of the job");
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn numbers(report: &Value, field: &str) -> Vec<f64> {
    let points = report["points"].as_array().into_iter().flatten();
    points.filter_map(|point| point[field].as_f64()).collect()
}

#[test]
fn a_range_test_ends_where_the_loss_diverges_and_suggests_the_same_on_one_and_on_two_workers() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let data = jobs::three_classes(&folder.path().join("data"))?;
    let mut spec = jobs::image_job("rates", &data);
    spec["spec"]["training"] = json!({
        "epochs": 2, "batchSize": 16, "seed": 3, "optimizer": {"type": "sgd", "learningRate": 0.1, "momentum": 0.9},
        "earlyStopping": {"metric": "validation/accuracy"}, "schedule": {"type": "cosine", "warmupRatio": 0.1}
    });
    let alone = found(&folder.path().join("one"), &spec, 1)?;
    let (rates, losses) = (numbers(&alone, "learningRate"), numbers(&alone, "loss"));
    println!(
        "measured: ended {} after {} steps, suggested {}",
        alone["end"],
        rates.len(),
        alone["suggestion"]
    );
    assert_eq!(alone["end"], "Diverged", "{alone}");
    assert!(rates.len() > 10 && rates.len() < 60, "{rates:?}");
    for (step, rate) in rates.iter().enumerate() {
        let expected = 1e-6 * 3e7f64.powf(step as f64 / 59.0);
        assert!(
            (rate - expected).abs() < 1e-9 * expected,
            "step {step}: {rate}, expected {expected}"
        );
    }
    let suggestion = alone["suggestion"].as_f64().context("no suggestion")?;
    assert!(
        rates.contains(&suggestion) && suggestion < rates[rates.len() - 1],
        "{suggestion}"
    );
    let together = found(&folder.path().join("two"), &spec, 2)?;
    assert_eq!(together["suggestion"], alone["suggestion"]);
    let other = numbers(&together, "loss");
    assert_eq!(other.len(), losses.len());
    // What diverges makes much of the last bits.
    for (one, other) in losses.iter().zip(&other).take(losses.len() - 10) {
        assert!((one - other).abs() < 1e-5 * one.abs(), "{one}, {other}");
    }
    Ok(())
}

#[test]
fn what_cannot_be_tested_is_refused_and_leaves_nothing() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let cluster = Cluster::start(folder.path(), 0)?;
    let data = jobs::three_classes(&folder.path().join("data"))?;
    let mut spec = jobs::image_job("rates", &data);
    let file = jobs::write_spec(folder.path(), &spec)?;
    let told = |arguments: &[&str]| -> anyhow::Result<(Option<i32>, String)> {
        let output = cluster
            .firn(&["lr-find", &*file.to_string_lossy()])
            .args(arguments)
            .output()?;
        Ok((output.status.code(), String::from_utf8(output.stderr)?))
    };
    let (code, message) = told(&["--min", "1", "--max", "1e-3"])?;
    assert_eq!(code, Some(2), "{message}");
    assert!(
        message.contains("--min: expected a rate below --max (0.001), found 1"),
        "{message}"
    );
    let (code, message) = told(&["--steps", "3"])?;
    assert_eq!(code, Some(2), "{message}");
    let (code, message) = told(&["--timeout", "1s"])?;
    assert_eq!(code, Some(5), "nobody works: {message}");
    spec["spec"]["training"]["epoch"] = json!(3);
    jobs::write_spec(folder.path(), &spec)?;
    let (code, message) = told(&[])?;
    assert_eq!(code, Some(2), "{message}");
    assert!(message.contains("did you mean `epochs`?"), "{message}");
    let listed = cluster.firn(&["list", "-o", "json"]).output()?;
    let listed: Value = serde_json::from_slice(&listed.stdout)?;
    assert_eq!(listed["jobs"], json!([]));
    Ok(())
}
