//! A job gives slots back on purpose while it trains: all of them when it is suspended, some when it is scaled down.

use std::{fs, time::SystemTime};

use firn_proto::v1alpha1 as wire;
use firn_tests::{
    chance::Chance,
    cluster::Cluster,
    jobs,
    submission::{Submission, measured, step},
};
use tempfile::TempDir;

/// `firn` with these arguments.
fn firn(cluster: &Cluster, arguments: &[&str]) -> anyhow::Result<String> {
    let output = cluster.firn(arguments).output()?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Slots that a process holds.
async fn taken(cluster: &Cluster) -> anyhow::Result<usize> {
    let answer = cluster.client()?.list_workers(wire::ListWorkersRequest {}).await?;
    let workers = answer.into_inner().workers;
    let slots = workers.iter().flat_map(|worker| &worker.slots);
    Ok(slots.filter(|slot| !slot.job.is_empty()).count())
}

fn joined(status: &wire::JobStatus) -> usize {
    status.ranks.iter().filter(|rank| rank.state == "Joined").count()
}

#[tokio::test]
async fn a_suspended_job_frees_its_slots_and_goes_on_from_the_step_at_which_it_was_suspended() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let name = "suspended";
    let cluster = Cluster::start(folder.path(), 2)?;
    let job = Submission::new(&cluster, &jobs::strict_fault_job(name, 12, (2, 2))?)?;
    let before = job.reaches_step(&cluster, Chance::new(name).between(1, 24)).await?;
    let told = SystemTime::now();
    let shown = firn(&cluster, &["suspend", job.id(), "--wait"])?;
    println!(
        "measured: {name}: the slots are free after {:.2} s",
        told.elapsed()?.as_secs_f64()
    );
    assert_eq!(shown, format!("{} Suspended\n", job.id()));
    assert_eq!((taken(&cluster).await?, job.ranks().len()), (0, 0));
    let suspended = job.status(&cluster).await?;
    assert!(step(&suspended) >= step(&before));

    firn(&cluster, &["resume", job.id()])?;
    let after = job.goes_on_after(&cluster, before.generation).await?;
    measured(name, told, &after);
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    assert_eq!(ended.receipt.steps_taken_back(), 0, "no step is repeated");
    assert_eq!((ended.status.losses.len(), ended.status.restarts), (0, 0));
    Ok(())
}

#[tokio::test]
async fn a_job_is_scaled_to_one_worker_and_back_to_two_while_it_trains() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let name = "scaled";
    let mut cluster = Cluster::start(folder.path(), 2)?;
    let job = Submission::new(&cluster, &jobs::long_fault_job(name, (1, 2))?)?;
    let before = job.reaches_step(&cluster, Chance::new(name).between(1, 12)).await?;
    let last = cluster.ranks_on(1);
    assert_eq!(last.len(), 1, "both workers have a rank");
    firn(&cluster, &["scale", job.id(), "--max", "1"])?;
    let after = job.goes_on_after(&cluster, before.generation).await?;
    assert_eq!(joined(&after), 1);
    assert!(
        job.rank(&mut cluster, 0).await? != last[0],
        "the worker whose name comes last leaves"
    );

    firn(&cluster, &["scale", job.id(), "--max", "3"])?;
    job.until(&cluster, |status| joined(status) == 2 && status.summary == "Running")
        .await?;
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    assert_eq!(ended.receipt.steps_taken_back(), 0);
    assert_eq!((ended.status.losses.len(), ended.status.restarts), (0, 0));
    let left = cluster.folder().join("artifacts").join(job.id()).join("spec.json");
    let spec: serde_json::Value = serde_json::from_slice(&fs::read(left)?)?;
    assert_eq!(spec["spec"]["resources"]["workers"]["max"], 3, "as it was changed last");
    Ok(())
}
