//! Losses that come again and again: a worker is set aside, and a job gives up in the end and says why.

use std::time::{Duration, SystemTime};

use firn_proto::v1alpha1 as wire;
use firn_tests::{
    cluster::{BETWEEN_LOOKS, Cluster, worker_name},
    jobs,
    submission::{self, Submission, step},
};
use nix::sys::signal::Signal;
use serde_json::json;
use tempfile::TempDir;

/// A little more than what the coordinator takes for one loss.
const LOSS_WINDOW: Duration = Duration::from_millis(2100);

async fn state_of(cluster: &Cluster, worker: usize) -> anyhow::Result<String> {
    let workers = cluster
        .client()?
        .list_workers(wire::ListWorkersRequest::default())
        .await?;
    let workers = workers.into_inner().workers.into_iter();
    let named = workers.filter(|known| known.name == worker_name(worker));
    Ok(named.map(|worker| worker.state).next_back().unwrap_or_default())
}

#[tokio::test]
async fn a_worker_on_which_three_ranks_die_within_ten_minutes_is_set_aside() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let name = "set-aside";
    let mut cluster = Cluster::start(folder.path(), 1)?;
    let mut spec = jobs::long_fault_job(name, (1, 1))?;
    spec["spec"]["restartPolicy"] = json!({"maxRestarts": 10});
    // Three windows of losses pass before the third: also on a machine that trains several times as fast, it is not over by then.
    spec["spec"]["training"]["epochs"] = json!(32);
    let job = Submission::new(&cluster, &spec)?;
    for failures in 1..=3 {
        // Losses that are closer to each other count as one.
        let ready = |status: &wire::JobStatus| {
            let since = submission::detected_after(status, SystemTime::UNIX_EPOCH);
            let is_later = since.is_none_or(|since| SystemTime::UNIX_EPOCH + since + LOSS_WINDOW < SystemTime::now());
            status.summary == "Running" && step(status) > 0 && is_later
        };
        let before = job.until(&cluster, ready).await?;
        if failures == 3 {
            cluster.add_worker()?;
            while state_of(&cluster, 1).await? != "Ready" {
                tokio::time::sleep(BETWEEN_LOOKS).await;
            }
        }
        let victim = job.ranks_on(&cluster, 0);
        submission::send(victim[0], Signal::SIGKILL)?;
        job.until(&cluster, |status| status.losses.len() > before.losses.len())
            .await?;
    }
    let moved = |status: &wire::JobStatus| {
        status.summary == "Running" && status.ranks.iter().all(|rank| rank.worker == worker_name(1))
    };
    job.until(&cluster, moved).await?;
    assert_eq!(state_of(&cluster, 0).await?, "SetAside");
    job.ends_as_if_nothing_had_happened(&cluster).await?;
    Ok(())
}

#[tokio::test]
async fn a_job_that_loses_ranks_beyond_its_limit_fails_and_tells_the_first_cause() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let name = "gives-up";
    let cluster = Cluster::start(folder.path(), 1)?;
    let mut spec = jobs::fault_job(name, 400, (1, 1))?;
    spec["spec"]["restartPolicy"] = json!({"maxRestarts": 0});
    let job = Submission::new(&cluster, &spec)?;
    job.reaches_step(&cluster, 2).await?;
    for victim in job.ranks() {
        submission::send(victim, Signal::SIGKILL)?;
    }
    let ended = job.ends(&cluster).await?;
    assert_eq!(ended.summary, "Failed");
    let failure = ended.failure.unwrap_or_default();
    assert_eq!((failure.reason.as_str(), failure.rank), ("NodeFailures", Some(0)));
    assert!(!failure.host.is_empty());
    assert!(failure.message.contains("signal 9 (SIGKILL)"), "{}", failure.message);
    assert!(failure.message.contains("no restart is allowed"), "{}", failure.message);
    assert!(!failure.last_log_lines.is_empty(), "what it wrote last is shown");
    let shown = cluster.firn(&["get", job.id()]).output()?;
    let shown = String::from_utf8_lossy(&shown.stdout);
    assert!(
        shown.contains("signal 9 (SIGKILL)") && shown.contains("rank 0"),
        "{shown}"
    );
    job.proof(&cluster)?;
    Ok(())
}
