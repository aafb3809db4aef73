//! Bits that flip: on disks, in checkpoints and the journal, and in the memory of a rank.

use std::{fs, path::PathBuf};

use firn_proto::v1alpha1 as wire;
use firn_tests::{
    bits,
    cluster::Cluster,
    jobs,
    submission::{self, Submission, has_lost, measured, step},
};
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// The files of checkpoints that the coordinator keeps for a job.
fn checkpoints(cluster: &Cluster, job: &Submission) -> anyhow::Result<Vec<PathBuf>> {
    let folder = cluster.data_folder().join("jobs").join(job.id()).join("checkpoints");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<anyhow::Result<_>>()?;
    files.retain(|path| path.is_file());
    files.sort_by_key(|path| fs::metadata(path).and_then(|file| file.modified()).ok());
    Ok(files)
}

/// Trains until there are two checkpoints, kills everything, damages so many of the newest files, and starts everything again.
async fn damage(name: &str, damaged: usize) -> anyhow::Result<(TempDir, Cluster, Submission, u64)> {
    let folder = TempDir::new()?;
    let mut cluster = Cluster::start(folder.path(), 2)?;
    let job = Submission::new(&cluster, &jobs::strict_fault_job(name, 12, (2, 2))?)?;
    let before = job.reaches_step(&cluster, 14).await?;
    for worker in cluster.workers() {
        worker.kill()?;
    }
    for rank in job.ranks() {
        // It may have ended with its agent.
        let _ = submission::send(rank, Signal::SIGKILL);
    }
    let files = checkpoints(&cluster, &job)?;
    anyhow::ensure!(files.len() >= 2, "at least two are kept, found {files:?}");
    for file in files.iter().rev().take(damaged.min(files.len())) {
        bits::flip_in_file(file)?;
    }
    for worker in 0..2 {
        cluster.restart_worker(worker)?;
    }
    Ok((folder, cluster, job, step(&before)))
}

#[tokio::test]
async fn a_checkpoint_with_a_flipped_bit_is_rejected_and_the_one_before_is_used() -> anyhow::Result<()> {
    let (_folder, cluster, job, _) = damage("bit-in-checkpoint", 1).await?;
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    let fates: Vec<&str> = ended.receipt.0["checkpoints"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|checkpoint| checkpoint["fate"].as_str())
        .collect();
    assert!(fates.contains(&"rejected"), "{fates:?}");
    let lost = ended.receipt.steps_taken_back();
    println!("measured: bit-in-checkpoint: {lost} steps taken back");
    assert!(
        (4..=8).contains(&lost),
        "one checkpoint further back, and {lost} steps were taken back"
    );
    Ok(())
}

#[tokio::test]
async fn when_no_checkpoint_can_be_read_the_job_fails_and_does_not_begin_anew_in_silence() -> anyhow::Result<()> {
    let (_folder, cluster, job, before) = damage("bits-in-all-checkpoints", usize::MAX).await?;
    let ended = job.ends(&cluster).await?;
    assert_eq!(ended.summary, "Failed");
    let failure = ended.failure.unwrap_or_default();
    assert!(
        failure.message.contains("the job does not begin anew by itself"),
        "{}",
        failure.message
    );
    assert!(before >= 14);
    Ok(())
}

#[tokio::test]
async fn a_journal_with_a_flipped_bit_is_found_out() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let mut cluster = Cluster::start(folder.path(), 1)?;
    let job = Submission::new(&cluster, &jobs::strict_fault_job("bit-in-journal", 4, (1, 1))?)?;
    job.ends_as_if_nothing_had_happened(&cluster).await?;
    cluster.kill_coordinator()?;
    let journal = cluster.data_folder().join("journal.redb");
    let whole = fs::read(&journal)?;
    // Inside the text of a record: the name of the job stands in its submission.
    let name = b"bit-in-journal";
    let at = whole.windows(name.len()).position(|window| window == name);
    let at = at.ok_or_else(|| anyhow::anyhow!("the journal does not hold the job's name as text"))?;
    let mut broken = whole.clone();
    broken[at] ^= 1;
    fs::write(&journal, broken)?;
    assert!(
        cluster.restart_coordinator().is_err(),
        "it does not start on such a journal"
    );
    let log = cluster.coordinator_log()?;
    assert!(log.contains("record"), "the record is named: {log}");

    fs::write(&journal, whole)?;
    cluster.restart_coordinator()?;
    job.proof(&cluster)?;
    Ok(())
}

#[tokio::test]
async fn a_rank_in_whose_memory_a_bit_of_the_trained_state_flips_is_named_and_replaced() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let name = "bit-in-memory";
    let mut cluster = Cluster::start(folder.path(), 3)?;
    let mut spec = jobs::fault_job(name, 60, (2, 3))?;
    // So little that no weight changes: what the first checkpoint holds is what the ranks hold.
    spec["spec"]["training"]["optimizer"]["learningRate"] = serde_json::json!(1e-30);
    let job = Submission::new(&cluster, &spec)?;
    let complete = |status: &wire::JobStatus| status.ranks.len() == 3 && status.summary == "Running";
    let before = job
        .until(&cluster, |status| complete(status) && step(status) >= 5)
        .await?;
    let first = checkpoints(&cluster, &job)?.into_iter().next();
    let weight = bits::tensor(&first.ok_or_else(|| anyhow::anyhow!("no checkpoint"))?, "weight")?;
    let victim = job.rank(&mut cluster, 2).await?;
    let flipped = submission::send(victim, Signal::SIGSTOP)?;
    let places = bits::flip_in_memory(victim, &weight)?;
    submission::send(victim, Signal::SIGCONT)?;
    assert!(places > 0, "the rank holds the weight");
    let after = job
        .until(&cluster, |status| has_lost(status, before.generation))
        .await?;
    measured(name, flipped, &after);
    let loss = after
        .losses
        .last()
        .and_then(|loss| loss.failure.clone())
        .unwrap_or_default();
    assert_eq!(
        (loss.reason.as_str(), loss.rank),
        ("HardwareSuspected", Some(2)),
        "{}",
        loss.message
    );
    assert!(
        loss.message.contains("has another trained state than the other ranks"),
        "{}",
        loss.message
    );
    job.succeeds(&cluster).await?;
    let taken_back = job.proof(&cluster)?.steps_taken_back();
    println!("measured: {name}: {taken_back} steps taken back");
    Ok(())
}
