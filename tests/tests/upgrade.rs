//! The program is upgraded while jobs wait and run: coordinator first, then agents one by one. Nothing is lost, and every job is proven.
//!
//! What an older build left on disk is a fixture, and needs no other program. Where both must live at once, an older build is needed:
//! `make upgrade` builds it into `.cache`, and `FIRN_OLDER_BUILD` names another folder with its two programs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use firn_tests::{
    binaries::{OLDER_BUILD, older_build, repository},
    cluster::{Cluster, Serving},
    jobs,
    skip::skipped,
    submission::{self, Submission},
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

fn older() -> Option<PathBuf> {
    let folder = older_build();
    if folder.is_none() {
        skipped(&format!(
            "there is no build {OLDER_BUILD}: run `make upgrade`, or set FIRN_OLDER_BUILD"
        ));
    }
    folder
}

/// The fixtures of builds.
fn builds() -> PathBuf {
    repository().join("tests/fixtures/builds")
}

/// A coordinator and agents of the older build.
fn older_cluster(folder: &Path, older: &Path, workers: usize) -> anyhow::Result<Cluster> {
    let mut cluster = Cluster::start_with(folder, 0, Serving::default().with_build(older))?;
    for _ in 0..workers {
        cluster.add_worker_of(older)?;
    }
    Ok(cluster)
}

fn upgrade_coordinator(cluster: &mut Cluster) -> anyhow::Result<()> {
    cluster.kill_coordinator()?;
    cluster.restart_coordinator_with(Serving::default())
}

/// One by one, each as soon as the job has taken in the one before.
async fn upgrade_agents(cluster: &mut Cluster, job: &Submission) -> anyhow::Result<()> {
    for worker in 0..cluster.workers().len() {
        let before = job.status(cluster).await?;
        cluster.workers()[worker].signal(Signal::SIGTERM)?;
        cluster.workers()[worker].wait()?;
        cluster.restart_worker(worker)?;
        job.until(cluster, |status| {
            status.generation > before.generation && status.ranks.len() == 2
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_job_goes_on_when_the_coordinator_is_upgraded_and_recovers_a_rank() -> anyhow::Result<()> {
    let Some(older) = older() else { return Ok(()) };
    let folder = TempDir::new()?;
    let mut cluster = older_cluster(folder.path(), &older, 2)?;
    let job = Submission::new(&cluster, &jobs::strict_fault_job("upgraded", 12, (1, 2))?)?.upgraded();
    job.reaches_step(&cluster, 6).await?;
    upgrade_coordinator(&mut cluster)?;
    let before = job.reaches_step(&cluster, 10).await?;
    let victim = job.rank(&mut cluster, 0).await?;
    submission::send(victim, Signal::SIGKILL)?;
    job.goes_on_after(&cluster, before.generation).await?;
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    assert_eq!(ended.receipt.steps_taken_back(), 0);
    Ok(())
}

#[tokio::test]
async fn a_job_goes_on_when_its_agents_are_upgraded_one_by_one() -> anyhow::Result<()> {
    let Some(older) = older() else { return Ok(()) };
    let folder = TempDir::new()?;
    let mut cluster = older_cluster(folder.path(), &older, 2)?;
    let job = Submission::new(&cluster, &jobs::long_fault_job("rolling", (1, 2))?)?.upgraded();
    job.reaches_step(&cluster, 16).await?;
    upgrade_coordinator(&mut cluster)?;
    upgrade_agents(&mut cluster, &job).await?;
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    assert_eq!(ended.status.losses, [], "leaving on purpose is no loss");
    Ok(())
}

#[tokio::test]
async fn a_job_that_waited_before_the_upgrade_runs_after_it_on_upgraded_workers() -> anyhow::Result<()> {
    let Some(older) = older() else { return Ok(()) };
    let folder = TempDir::new()?;
    let mut cluster = older_cluster(folder.path(), &older, 0)?;
    let job = Submission::new(&cluster, &jobs::strict_fault_job("waited", 2, (2, 2))?)?;
    upgrade_coordinator(&mut cluster)?;
    for _ in 0..2 {
        cluster.add_worker()?;
    }
    job.ends_as_if_nothing_had_happened(&cluster).await?;
    Ok(())
}

/// Texts that this build reads otherwise than the older one: rows that end with CR alone have lines now, and a tokenizer may ask to cut a text at
/// its start.
fn texts_job(name: &str, folder: &Path) -> anyhow::Result<Value> {
    unpack(&builds().join(format!("0.1.0-{OLDER_BUILD}")), "inputs", folder)?;
    let encoder = folder.join("inputs/encoder");
    fs::write(encoder.join("tokenizer_config.json"), r#"{"truncation_side": "left"}"#)?;
    let words = ["good", "bad", "film", "plot", "cast", "was", "the", "dull", "fine"];
    for (split, rows) in [("train", 200), ("validation", 24)] {
        let mut table = "text\tlabel\r".to_owned();
        for row in 0..rows {
            let text: Vec<&str> = (1..10).map(|place| words[row * place * 7 % 9]).collect();
            table += &format!("{}\t{}\r", text.join(" "), ["dislike", "like"][row % 2]);
        }
        fs::write(folder.join(format!("{split}.tsv")), table)?;
    }
    let uri = |name: &str| json!({"uri": folder.join(name)});
    let mut spec = jobs::image_job(name, folder);
    spec["spec"]["model"] = json!({"architecture": "bert", "weights": encoder.join("model.safetensors")});
    spec["spec"]["data"] = json!({
        "format": "tsv", "train": uri("train.tsv"), "validation": uri("validation.tsv"), "preprocessing": {"maxLength": 6}
    });
    spec["spec"]["training"] = json!({"epochs": 20, "batchSize": 4, "seed": 7, "determinism": "strict"});
    // It goes on only while both are there, so it cannot end between the upgrades of the two.
    spec["spec"]["resources"] = json!({"workers": {"min": 2, "max": 2}});
    Ok(spec)
}

#[tokio::test]
async fn a_job_keeps_the_samples_that_the_older_build_found_and_reads_them_alike() -> anyhow::Result<()> {
    let Some(older) = older() else { return Ok(()) };
    let folder = TempDir::new()?;
    let data = TempDir::new()?;
    let mut cluster = older_cluster(folder.path(), &older, 2)?;
    let before = Submission::new(&cluster, &texts_job("before", data.path())?)?;
    before.succeeds(&cluster).await?;
    let job = Submission::new(&cluster, &texts_job("after", data.path())?)?;
    job.reaches_step(&cluster, 6).await?;
    upgrade_coordinator(&mut cluster)?;
    upgrade_agents(&mut cluster, &job).await?;
    job.succeeds(&cluster).await?;
    job.proof(&cluster)?;
    let losses = async |job: &Submission| -> anyhow::Result<Vec<u64>> {
        let steps = job.steps(&cluster).await?;
        Ok(steps.iter().map(|step| step.loss.to_bits()).collect())
    };
    assert_eq!(losses(&job).await?, losses(&before).await?);
    Ok(())
}

/// Unpacks a part of a build's fixture.
fn unpack(build: &Path, part: &str, folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    let mut tar = Command::new("tar");
    let archive = build.join(format!("{part}.tar.gz"));
    let unpacked = tar.arg("-xzf").arg(archive).arg("-C").arg(folder).status()?;
    anyhow::ensure!(unpacked.success(), "cannot unpack {part} of {}", build.display());
    Ok(())
}

#[tokio::test]
async fn jobs_that_an_earlier_build_left_unfinished_are_finished_from_their_checkpoints() -> anyhow::Result<()> {
    for entry in fs::read_dir(builds())? {
        let build = entry?.path();
        if !build.is_dir() {
            continue;
        }
        let name = build.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Its specs name this place.
        unpack(
            &build,
            "inputs",
            &Path::new("/tmp").join(format!("firn-fixture-{name}")),
        )?;
        let folder = TempDir::new()?;
        unpack(&build, "data", folder.path())?;
        let mut cluster = Cluster::start_with(folder.path(), 0, Serving::with_short_times())?;
        for _ in 0..3 {
            cluster.add_worker()?;
        }
        for id in ["running", "queued"] {
            let job = Submission::known(id);
            job.succeeds(&cluster).await?;
            let receipt = job.proof(&cluster)?;
            if id == "running" {
                assert!(
                    receipt.origins().contains(&"checkpoint".to_owned()),
                    "{name}: {:?}",
                    receipt.origins()
                );
            }
        }
    }
    Ok(())
}
