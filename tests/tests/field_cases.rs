//! What people really bring: inputs that stand beside the project, in `../shared/field-cases`. Skipped visibly where they are absent.

use std::{fs, path::PathBuf};

use firn_tests::{
    binaries::{firn, repository},
    skip::skipped,
};
use serde_json::Value;
use tempfile::TempDir;

/// The folder of a case; none, and a line that says so, where it is not there.
fn case(name: &str) -> Option<PathBuf> {
    let folder = repository().join("../shared/field-cases").join(name);
    if !folder.is_dir() {
        skipped(&format!("{} is not there", folder.display()));
        return None;
    }
    Some(folder)
}

#[test]
fn a_job_of_a_thousand_classes_with_validation_and_test_leaves_its_artifacts_and_is_proven() -> anyhow::Result<()> {
    let Some(case) = case("classes-1000-val-test") else {
        return Ok(());
    };
    let folder = TempDir::new()?;
    let run = firn()
        .arg("run")
        .arg(case.join("job.yaml"))
        .args(["--keep-data", "kept"])
        .current_dir(folder.path())
        .output()?;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr)
    );
    assert!(run.status.success(), "{said}");
    let data = folder.path().join("kept/coordinator").to_string_lossy().into_owned();
    let proof = firn()
        .args(["verify", "many-1000-e1-t1", "--data-dir", &data, "-o", "json"])
        .output()?;
    let receipt: Value = serde_json::from_slice(&proof.stdout)?;
    assert_eq!(receipt["proven"], true, "{receipt:#}");
    let evaluations = receipt["passes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|pass| pass["kind"] == "evaluate");
    let unchecked: Vec<&Value> = evaluations.map(|pass| &pass["uncheckedMetrics"]).collect();
    assert_eq!(
        unchecked,
        [&Value::Array(Vec::new()); 2],
        "all metrics follow from what is left"
    );
    let artifacts: Vec<String> = fs::read_dir(folder.path().join("firn-artifacts/many-1000-e1-t1"))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<anyhow::Result<_>>()?;
    for name in ["head.safetensors", "metrics.json", "predictions_test.csv"] {
        assert!(
            artifacts.iter().any(|found| found == name),
            "{name} is missing in {artifacts:?}"
        );
    }
    Ok(())
}

/// Runs a case that is refused, and gives what was said.
fn refused(case: &std::path::Path) -> anyhow::Result<String> {
    let folder = TempDir::new()?;
    let run = firn()
        .arg("run")
        .arg(case.join("job.yaml"))
        .current_dir(folder.path())
        .output()?;
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(!run.status.success(), "{said}");
    Ok(said)
}

/// The same of a case that takes the demo's encoder, which its spec calls `MINILM`.
fn refused_with_minilm(name: &str) -> anyhow::Result<Option<String>> {
    let encoder = repository().join(".cache/minilm");
    let Some(case) = case(name) else { return Ok(None) };
    if !encoder.is_dir() {
        skipped(&format!("{} is not there; `make minilm` gets it", encoder.display()));
        return Ok(None);
    }
    let folder = TempDir::new()?;
    for file in fs::read_dir(&case)? {
        let file = file?;
        let bytes = fs::read(file.path())?;
        let text = String::from_utf8(bytes)?.replace("MINILM", &encoder.to_string_lossy());
        fs::write(folder.path().join(file.file_name()), text)?;
    }
    refused(folder.path()).map(Some)
}

#[test]
fn words_for_no_label_are_counted_and_the_setting_for_them_is_named() -> anyhow::Result<()> {
    let Some(said) = refused_with_minilm("csv-nan-labels")? else {
        return Ok(());
    };
    for expected in [
        "4 of 16 rows cannot be used",
        "line 14: the label (`label`) is `NaN`, a missing value",
        "data.missingLabels can leave such rows out (drop)",
    ] {
        assert!(said.contains(expected), "{said}");
    }
    Ok(())
}

#[test]
fn a_table_with_another_separator_is_told_how_to_say_so() -> anyhow::Result<()> {
    let Some(said) = refused_with_minilm("csv-semicolon")? else {
        return Ok(());
    };
    let expected = "it seems to be separated by `;`: set data.delimiter: \";\"";
    assert!(said.contains(expected), "{said}");
    Ok(())
}

#[test]
fn a_row_without_text_is_set_aside_where_the_spec_allows_it() -> anyhow::Result<()> {
    let Some(case) = case("csv-empty-text-quarantine") else {
        return Ok(());
    };
    let folder = TempDir::new()?;
    let run = firn()
        .args(["run", "-o", "json"])
        .arg(case.join("job.yaml"))
        .current_dir(folder.path())
        .output()?;
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(run.status.success(), "{said}");
    let job: Value = serde_json::from_slice(&run.stdout)?;
    let quarantined = &job["status"]["quarantined"];
    let reasons: Vec<_> = quarantined
        .as_array()
        .into_iter()
        .flatten()
        .map(|sample| &sample["reason"])
        .collect();
    assert!(!reasons.is_empty(), "{job:#}");
    assert!(
        reasons.iter().all(|reason| **reason == "the text (`text`) is empty"),
        "{reasons:?}"
    );
    Ok(())
}

#[test]
fn a_token_that_the_weights_do_not_know_is_named_before_the_first_step() -> anyhow::Result<()> {
    let Some(case) = case("tokenizer-id-beyond-embedding") else {
        return Ok(());
    };
    let said = refused(&case)?;
    let expected = "sample 3 of train (train.csv:5) is corrupt: token `<url>` has id 29, but the model's table of embeddings has 28 rows";
    assert!(said.contains(expected), "{said}");
    assert!(said.contains("classes: neg "), "the classes are named: {said}");
    assert!(!said.contains("epoch 1/"), "no step was taken: {said}");
    Ok(())
}

#[test]
fn a_job_whose_weights_lie_in_shards_succeeds_by_their_index_and_by_their_folder() -> anyhow::Result<()> {
    let Some(case) = case("weights-sharded") else {
        return Ok(());
    };
    let by_index = fs::read_to_string(case.join("job.yaml"))?;
    let by_folder = by_index.replace("weights: model.safetensors.index.json", "weights: ./");
    assert_ne!(by_index, by_folder);
    for spec in [by_index, by_folder] {
        let folder = TempDir::new()?;
        for file in fs::read_dir(&case)? {
            let file = file?;
            fs::copy(file.path(), folder.path().join(file.file_name()))?;
        }
        let job = folder.path().join("job.yaml");
        fs::remove_file(&job)?;
        fs::write(&job, spec)?;
        let run = firn().arg("run").arg(&job).current_dir(folder.path()).output()?;
        let said = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "{said}");
        assert!(
            folder
                .path()
                .join("firn-artifacts/b-shard-index/model.safetensors")
                .exists()
        );
    }
    Ok(())
}
