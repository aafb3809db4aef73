//! A job whose numbers break: single steps are skipped, and if that does not help it fails and says so.

use firn_proto::v1alpha1 as wire;
use firn_tests::{cluster::Cluster, jobs};
use serde_json::json;
use tempfile::TempDir;

#[tokio::test]
async fn a_job_that_diverges_fails_with_a_numerical_error_after_skipped_steps_that_the_ledger_tells_of()
-> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let data = jobs::three_classes(&folder.path().join("data"))?;
    let mut spec = jobs::image_job("diverges", &data);
    spec["spec"]["resources"] = json!({"workers": {"min": 2, "max": 2}});
    // The first update throws the head out of the range of single precision: no later loss is a number.
    spec["spec"]["training"] = json!({
        "epochs": 2, "batchSize": 8, "seed": 7,
        "optimizer": {"type": "sgd", "learningRate": 1e38, "momentum": 0}
    });
    let file = jobs::write_spec(folder.path(), &spec)?;
    let cluster = Cluster::start(folder.path(), 2)?;
    let submitted = cluster.firn(&["submit", &file.to_string_lossy()]).output()?;
    anyhow::ensure!(
        submitted.status.success(),
        "{}",
        String::from_utf8_lossy(&submitted.stderr)
    );

    let name = "jobs/diverges".to_owned();
    let failed = cluster.watch_until(&name, |status| status.summary == "Failed").await?;
    let conditions = failed.status.unwrap_or_default().conditions;
    let cause = conditions.iter().find(|condition| condition.r#type == "Failed");
    let cause = cause.expect("a failed job says why");
    assert_eq!(cause.reason, "NumericalError");
    assert!(cause.message.contains("the loss is NaN"), "{}", cause.message);

    let request = wire::ListStepsRequest {
        name,
        ..Default::default()
    };
    let steps = cluster.client()?.list_steps(request).await?.into_inner().steps;
    let skipped: Vec<bool> = steps.iter().map(|step| step.skipped).collect();
    assert_eq!(skipped, [false, true, true, true]);
    assert!(steps[0].loss > 0.0);
    assert!(steps[1..].iter().all(|step| step.loss == 0.0 && step.samples == 8));
    Ok(())
}
