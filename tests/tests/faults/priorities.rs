//! A job of higher priority takes the slots of a lower one, which loses nothing by it.

use std::time::SystemTime;

use firn_proto::v1alpha1 as wire;
use firn_tests::{
    chance::Chance,
    cluster::Cluster,
    jobs,
    submission::{Submission, measured},
};
use serde_json::json;
use tempfile::TempDir;

/// Whether the job waits because another has taken its slots.
fn is_preempted(status: &wire::JobStatus) -> bool {
    let mut conditions = status.conditions.iter();
    conditions
        .any(|condition| condition.r#type == "Queued" && condition.status == "True" && condition.reason == "Preempted")
}

#[tokio::test]
async fn a_job_of_higher_priority_takes_the_slots_of_a_lower_one_that_goes_on_later() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let name = "preempted-by-priority";
    let cluster = Cluster::start(folder.path(), 2)?;
    let low = Submission::new(&cluster, &jobs::strict_fault_job(name, 12, (2, 2))?)?;
    let before = low.reaches_step(&cluster, Chance::new(name).between(1, 24)).await?;

    let mut urgent = jobs::strict_fault_job("urgent", 1, (2, 2))?;
    urgent["spec"]["scheduling"] = json!({"priority": 10});
    let told = SystemTime::now();
    let high = Submission::new(&cluster, &urgent)?;
    let waiting = low.until(&cluster, is_preempted).await?;
    println!(
        "measured: {name}: the lower one waits after {:.2} s",
        told.elapsed()?.as_secs_f64()
    );
    let queued = waiting.conditions.iter().find(|condition| condition.r#type == "Queued");
    let message = &queued.expect("it waits").message;
    assert!(message.contains("gave its slots up to jobs/urgent"), "{message}");
    let ended = high.ends_as_if_nothing_had_happened(&cluster).await?;
    assert_eq!(ended.receipt.steps_taken_back(), 0);

    let after = low.goes_on_after(&cluster, before.generation).await?;
    measured(name, told, &after);
    let ended = low.ends_as_if_nothing_had_happened(&cluster).await?;
    assert_eq!(ended.receipt.steps_taken_back(), 0, "zero steps lost");
    assert_eq!((ended.status.losses.len(), ended.status.restarts), (0, 0));
    Ok(())
}
