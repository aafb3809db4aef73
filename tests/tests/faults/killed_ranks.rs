//! kill -9 of ranks, at random steps and at chosen calls.

use std::time::Duration;

use firn_tests::{
    chance::Chance,
    cluster::Cluster,
    jobs,
    proxy::calls::{CallProxy, Delivery, Fault},
    submission::{self, Submission, measured},
};
use nix::sys::signal::Signal;
use serde_json::json;
use tempfile::TempDir;
use walkdir::WalkDir;

use super::at_most_an_epoch_was_lost;

/// Kills a rank of a gang of two at a random step; the other one goes on alone, and a replacement comes.
async fn lose_a_rank(name: &str, rank: u32, strict: bool) -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let spec = match strict {
        true => jobs::strict_fault_job(name, 12, (1, 2))?,
        false => jobs::fault_job(name, 12, (1, 2))?,
    };
    let mut cluster = Cluster::start(folder.path(), 2)?;
    let job = Submission::new(&cluster, &spec)?;
    let at = Chance::new(name).between(1, 24);
    let before = job.reaches_step(&cluster, at).await?;
    let victim = job.rank(&mut cluster, rank).await?;
    let killed = submission::send(victim, Signal::SIGKILL)?;
    let after = job.goes_on_after(&cluster, before.generation).await?;
    measured(name, killed, &after);

    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    assert_eq!(ended.status.losses.len(), 1);
    let loss = ended.status.losses[0].failure.clone().unwrap_or_default();
    assert_eq!((loss.reason.as_str(), loss.rank), ("NodeFailures", Some(rank)));
    assert!(
        loss.message.contains("was killed by signal 9 (SIGKILL)"),
        "{}",
        loss.message
    );
    assert_eq!(ended.receipt.steps_taken_back(), 0, "the survivor had them all");
    Ok(())
}

#[tokio::test]
async fn rank_0_is_killed_and_the_other_goes_on_from_its_last_step() -> anyhow::Result<()> {
    lose_a_rank("rank-0-killed", 0, true).await
}

#[tokio::test]
async fn rank_1_is_killed_and_the_other_goes_on_from_its_last_step() -> anyhow::Result<()> {
    lose_a_rank("rank-1-killed", 1, false).await
}

#[tokio::test]
async fn all_ranks_are_killed_and_the_job_goes_on_from_its_newest_checkpoint() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let name = "all-ranks-killed";
    let cluster = Cluster::start(folder.path(), 2)?;
    let job = Submission::new(&cluster, &jobs::strict_fault_job(name, 12, (2, 2))?)?;
    let at = Chance::new(name).between(5, 24);
    let before = job.reaches_step(&cluster, at).await?;
    let mut killed = std::time::SystemTime::now();
    for victim in job.ranks() {
        killed = submission::send(victim, Signal::SIGKILL)?;
    }
    let after = job.goes_on_after(&cluster, before.generation).await?;
    measured(name, killed, &after);

    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    at_most_an_epoch_was_lost(name, &ended);
    let origins = ended.receipt.origins();
    assert!(origins.contains(&"checkpoint".to_owned()), "{origins:?}");
    assert!(ended.status.losses.len() <= 2, "{:?}", ended.status.losses);
    Ok(())
}

#[tokio::test]
async fn rank_0_is_killed_while_it_checks_the_artifacts_and_another_one_leaves_them() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let name = "killed-at-the-end";
    let mut spec = jobs::strict_fault_job(name, 2, (1, 2))?;
    spec["spec"]["artifacts"]["mergedModel"] = true.into();
    let mut cluster = Cluster::start(folder.path(), 2)?;
    let job = Submission::new(&cluster, &spec)?;
    job.reaches_step(&cluster, 1).await?;
    let victim = job.rank(&mut cluster, 0).await?;
    // The last file before the check, in the scratch folder of one of the workers.
    let is_written = || {
        let mut files = WalkDir::new(folder.path()).into_iter().flatten();
        files.any(|file| file.file_name() == "model.safetensors")
    };
    let appears = async {
        while !is_written() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), appears).await?;
    let killed = submission::send(victim, Signal::SIGKILL)?;

    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    measured(name, killed, &ended.status);
    // The other rank had nothing left to do. Where it is named rank 0 before it has gone, that it goes is a second loss of the same two seconds.
    assert_eq!(ended.status.restarts, 1);
    let card = std::fs::read_to_string(cluster.folder().join("artifacts").join(job.id()).join("README.md"))?;
    assert!(
        card.contains("Loaded again from these files, the network predicts all 24 samples of validation"),
        "{card}"
    );
    Ok(())
}

#[tokio::test]
async fn a_second_rank_is_killed_while_the_gang_forms_anew() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let name = "killed-twice";
    let mut cluster = Cluster::start(folder.path(), 3)?;
    let job = Submission::new(&cluster, &jobs::strict_fault_job(name, 12, (1, 3))?)?;
    let before = job.reaches_step(&cluster, Chance::new(name).between(1, 24)).await?;
    let victims = [job.rank(&mut cluster, 0).await?, job.rank(&mut cluster, 2).await?];
    submission::send(victims[0], Signal::SIGKILL)?;
    let formed = job
        .until(&cluster, |status| status.generation > before.generation)
        .await?;
    let killed = submission::send(victims[1], Signal::SIGKILL)?;
    let after = job.goes_on_after(&cluster, formed.generation).await?;
    measured(name, killed, &after);

    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    assert_eq!(
        ended.receipt.steps_taken_back(),
        0,
        "one rank was left, and it had them all"
    );
    Ok(())
}

/// Calls of a rank, in the order in which a job comes to them.
const CALLS: [&str; 8] = [
    "Enrol",
    "RegisterModel",
    "Join",
    "CommitSteps",
    "Upload",
    "LeaseShard",
    "CompleteShard",
    "FinishJob",
];

#[tokio::test]
async fn a_rank_is_killed_at_every_call_when_the_coordinator_has_acted_and_it_does_not_know() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let name = "killed-at-calls";
    let mut cluster = Cluster::start(folder.path(), 0)?;
    let mut proxies = Vec::new();
    for _ in 0..3 {
        let proxy = CallProxy::start(cluster.address())?;
        cluster.add_worker_through(&proxy.address().to_string(), None, &[])?;
        proxies.push(proxy);
    }
    let ask = |call: &str| {
        proxies
            .iter()
            .for_each(|proxy| proxy.inject(call, Fault::LoseAnswer, 1))
    };
    ask(CALLS[0]);
    let mut spec = jobs::strict_fault_job(name, 12, (1, 2))?;
    // Four ranks go before there is a checkpoint: on a slow machine none within two seconds of another.
    spec["spec"]["restartPolicy"] = json!({"maxRestarts": 10});
    let job = Submission::new(&cluster, &spec)?;
    for (number, call) in CALLS.iter().enumerate() {
        let wanted = |delivery: &Delivery| delivery.method == *call;
        let [first, second, third] = &proxies[..] else {
            anyhow::bail!("three proxies");
        };
        let worker = tokio::select! {
            made = first.wait_for(wanted) => made.map(|_| 0),
            made = second.wait_for(wanted) => made.map(|_| 1),
            made = third.wait_for(wanted) => made.map(|_| 2),
        }?;
        for victim in job.ranks_on(&cluster, worker) {
            submission::send(victim, Signal::SIGKILL)?;
        }
        proxies.iter().for_each(CallProxy::clear);
        if let Some(next) = CALLS.get(number + 1) {
            ask(next);
        }
    }
    job.ends_as_if_nothing_had_happened(&cluster).await?;
    Ok(())
}
