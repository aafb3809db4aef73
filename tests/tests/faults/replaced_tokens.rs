//! Tokens are replaced while a job trains: agents and ranks are refused, read the new one, and go on.

use std::{fs, path::Path, time::Instant};

use firn_tests::{
    cluster::{BETWEEN_LOOKS, Cluster, LIMIT, Serving, worker_name},
    jobs,
    submission::Submission,
};
use serde_json::Value;
use tempfile::TempDir;

/// `firn token …`, and its answer.
fn token(cluster: &Cluster, arguments: &[&str]) -> anyhow::Result<Value> {
    let all = [&["token"], arguments, &["-o", "json"]].concat();
    let output = cluster.firn(&all).output()?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// As a cluster swaps a secret: another file takes the place of the one before.
fn put_secret(file: &Path, token: &Value) -> anyhow::Result<()> {
    let new = file.with_extension("new");
    fs::write(&new, token["secret"].as_str().unwrap_or_default())?;
    Ok(fs::rename(new, file)?)
}

fn waits_for(file: &Path, words: &str) -> anyhow::Result<()> {
    let began = Instant::now();
    while !fs::read_to_string(file)?.contains(words) {
        anyhow::ensure!(began.elapsed() < LIMIT, "{} never said: {words}", file.display());
        std::thread::park_timeout(BETWEEN_LOOKS);
    }
    Ok(())
}

#[tokio::test]
async fn the_token_of_agents_and_ranks_is_replaced_while_they_train_and_nothing_is_lost() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let (people, machines) = (folder.path().join("people"), folder.path().join("machines"));
    fs::write(&people, "0123456789abcdef0123456789abcdef")?;
    let mut cluster = Cluster::start_with(folder.path(), 0, Serving::default().with_token_file(&people))?;
    let issued = token(
        &cluster,
        &["create", "--role", "agent", "--description", "all machines"],
    )?;
    let id = issued["name"].as_str().unwrap_or_default().to_owned();
    put_secret(&machines, &issued)?;
    let address = cluster.address().to_owned();
    for _ in 0..2 {
        cluster.add_worker_through(&address, None, &["--token-file", &machines.to_string_lossy()])?;
    }
    let job = Submission::new(&cluster, &jobs::fault_job("tokens-replaced", 12, (2, 2))?)?;
    job.reaches_step(&cluster, 5).await?;

    // With a grace nobody notices.
    put_secret(&machines, &token(&cluster, &["rotate", &id, "--grace", "1h"])?)?;
    let reached = job.reaches_step(&cluster, 10).await?;
    assert_eq!(reached.losses.len(), 0, "{:?}", reached.losses);

    // Without one they are refused, and stay.
    let replaced = token(&cluster, &["rotate", &id])?;
    for number in 0..2 {
        let log = folder.path().join(format!("{}.log", worker_name(number)));
        waits_for(&log, "the token is not known to this coordinator")?;
    }
    put_secret(&machines, &replaced)?;
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    assert_eq!(ended.status.generation, 1, "{:?}", ended.status.losses);
    assert_eq!((ended.status.losses.len(), ended.receipt.steps_taken_back()), (0, 0));
    let logs = cluster.firn(&["logs", job.id()]).output()?;
    let logs = String::from_utf8_lossy(&logs.stdout);
    assert!(
        logs.contains("the token or the certificates have been replaced"),
        "{logs}"
    );
    Ok(())
}
