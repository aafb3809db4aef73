//! kill -9 of the coordinator or of a rank: nothing acknowledged is lost, and running jobs finish.

use firn_proto::v1alpha1 as wire;
use firn_tests::{binaries, cluster::Cluster, jobs};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use tempfile::TempDir;

fn submit(cluster: &Cluster, folder: &std::path::Path, spec: &serde_json::Value) -> anyhow::Result<String> {
    std::fs::create_dir_all(folder)?;
    let file = jobs::write_spec(folder, spec)?;
    let output = cluster
        .firn(&["submit", &file.to_string_lossy(), "-o", "json"])
        .output()?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let job: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    Ok(job["metadata"]["resourceName"]
        .as_str()
        .expect("a job has a resource name")
        .to_owned())
}

async fn committed_steps(cluster: &Cluster, name: String) -> anyhow::Result<Vec<wire::Step>> {
    let request = wire::ListStepsRequest {
        name,
        ..Default::default()
    };
    Ok(cluster.client()?.list_steps(request).await?.into_inner().steps)
}

#[tokio::test]
async fn a_waiting_job_survives_and_runs_when_a_worker_comes() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let data = jobs::three_classes(&folder.path().join("data"))?;
    let mut cluster = Cluster::start(folder.path(), 0)?;
    let name = submit(&cluster, folder.path(), &jobs::image_job("waits", &data))?;
    let waiting = cluster.watch_until(&name, |status| status.summary == "Queued").await?;

    cluster.kill_coordinator()?;
    cluster.restart_coordinator()?;
    let after = cluster.watch_until(&name, |status| status.summary == "Queued").await?;
    assert_eq!(waiting.spec, after.spec);
    assert_eq!(waiting.metadata, after.metadata);

    cluster.add_worker()?;
    cluster
        .watch_until(&name, |status| status.summary == "Succeeded")
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_running_job_goes_on_in_the_same_processes_and_finishes() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let data = jobs::three_classes(&folder.path().join("data"))?;
    let mut spec = jobs::image_job("runs", &data);
    spec["spec"]["training"]["epochs"] = json!(12);
    spec["spec"]["resources"] = json!({"workers": {"min": 2, "max": 2}});
    let mut cluster = Cluster::start(folder.path(), 2)?;
    let name = submit(&cluster, folder.path(), &spec)?;
    let committed = |status: &wire::JobStatus| status.progress.as_ref().map_or(0, |progress| progress.step);
    let before = cluster.watch_until(&name, |status| committed(status) >= 3).await?;

    cluster.kill_coordinator()?;
    cluster.restart_coordinator()?;
    let after = cluster.watch_until(&name, |_| true).await?;
    assert!(
        committed(&after.status.expect("a job has a status")) >= committed(&before.status.expect("a job has a status"))
    );

    let ended = cluster
        .watch_until(&name, |status| status.summary == "Succeeded")
        .await?;
    let status = ended.status.expect("a job has a status");
    assert_eq!(status.restarts, 0, "the ranks waited for the coordinator");
    let steps = committed_steps(&cluster, name).await?;
    let numbers: Vec<u64> = steps.iter().map(|step| step.step).collect();
    assert_eq!(
        numbers,
        (0..48).collect::<Vec<_>>(),
        "12 epochs of 4 steps, each committed once"
    );
    assert!(steps.iter().all(|step| step.samples == 16 || step.samples == 5));
    Ok(())
}

#[tokio::test]
async fn a_killed_rank_is_replaced_while_the_other_goes_on_and_every_step_counts_once() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let data = jobs::three_classes(&folder.path().join("data"))?;
    let mut spec = jobs::image_job("loses-a-rank", &data);
    spec["spec"]["training"]["epochs"] = json!(12);
    spec["spec"]["resources"] = json!({"workers": {"min": 2, "max": 2}});
    let cluster = Cluster::start(folder.path(), 2)?;
    let name = submit(&cluster, folder.path(), &spec)?;
    let committed = |status: &wire::JobStatus| status.progress.as_ref().map_or(0, |progress| progress.step);
    cluster.watch_until(&name, |status| committed(status) >= 6).await?;

    let ranks = binaries::processes_with("FIRN_JOB", &name);
    let (victim, _) = ranks.first().expect("the job runs, so it has ranks");
    kill(Pid::from_raw(*victim), Signal::SIGKILL)?;

    let ended = cluster
        .watch_until(&name, |status| status.summary == "Succeeded")
        .await?;
    let status = ended.status.expect("a job has a status");
    assert!(status.generation >= 2, "the gang was formed anew");
    let failures: Vec<_> = status.losses.iter().filter_map(|loss| loss.failure.as_ref()).collect();
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert!(
        failures[0].message.ends_with("was killed by signal 9 (SIGKILL)"),
        "{}",
        failures[0].message
    );
    let steps = committed_steps(&cluster, name).await?;
    let numbers: Vec<u64> = steps.iter().map(|step| step.step).collect();
    assert_eq!(
        numbers,
        (0..48).collect::<Vec<_>>(),
        "12 epochs of 4 steps, each committed once"
    );
    Ok(())
}
