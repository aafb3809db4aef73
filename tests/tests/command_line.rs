//! The command line as a user meets it: exit codes, messages, and no process left behind.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::Stdio,
    time::{Duration, Instant},
};

use firn_tests::{
    binaries::{Process, firn, processes_with},
    cluster::Cluster,
    jobs, outcome,
    submission::Submission,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Marks the processes of one test: children inherit the environment, except what begins with `FIRN_`.
const MARK: &str = "BLACK_BOX_TEST";

#[test]
fn a_run_succeeds_prints_its_metrics_and_leaves_no_process_behind() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let data = jobs::three_classes(&folder.path().join("data"))?;
    let file = jobs::write_spec(folder.path(), &jobs::image_job("success", &data))?;
    let output = firn()
        .env(MARK, "success")
        .arg("run")
        .arg(file)
        .args(["--workers", "2"])
        .current_dir(folder.path())
        .output()?;
    let stdout = String::from_utf8(output.stdout)?;
    assert!(
        output.status.success(),
        "{stdout}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for expected in ["accuracy", "f1_macro", "beech", "metrics.json", "model.safetensors"] {
        assert!(stdout.contains(expected), "{expected} is missing in {stdout}");
    }
    assert_eq!(processes_with(MARK, "success"), []);
    Ok(())
}

/// Starts a run that would take very long, and waits until its first step is committed.
fn endless_run(folder: &TempDir, mark: &str) -> anyhow::Result<Process> {
    let data = jobs::three_classes(&folder.path().join("data"))?;
    let mut spec = jobs::image_job("endless", &data);
    spec["spec"]["training"]["epochs"] = json!(10_000);
    let file = jobs::write_spec(folder.path(), &spec)?;
    let (reader, writer) = std::io::pipe()?;
    let mut command = firn();
    command
        .env(MARK, mark)
        .arg("run")
        .arg(file)
        .args(["--workers", "2"])
        .current_dir(folder.path());
    command.stdout(Stdio::null()).stderr(writer);
    let process = Process::spawn(&mut command)?;
    drop(command);
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next().transpose()? {
        if line.contains("epoch 1/") {
            // Someone must go on reading, or the run would block on a full pipe.
            std::thread::spawn(move || lines.for_each(drop));
            return Ok(process);
        }
    }
    anyhow::bail!("the run ended before its first epoch")
}

#[test]
fn interrupting_a_run_cancels_the_job_and_leaves_no_process_behind() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let mut process = endless_run(&folder, "interrupted")?;
    let before = processes_with(MARK, "interrupted");
    assert!(
        before.len() >= 6,
        "firn run, a coordinator, two agents and two ranks: {before:#?}"
    );
    process.signal(Signal::SIGINT)?;
    assert_eq!(process.wait()?, Some(3));
    assert_eq!(processes_with(MARK, "interrupted"), []);
    Ok(())
}

#[test]
fn killing_a_run_takes_everything_with_it() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let mut process = endless_run(&folder, "killed")?;
    process.kill()?;
    // The kernel ends the children; there is no event to wait for from outside but their disappearance.
    let killed = Instant::now();
    while !processes_with(MARK, "killed").is_empty() {
        assert!(
            killed.elapsed() < Duration::from_secs(60),
            "{:#?}",
            processes_with(MARK, "killed")
        );
        std::thread::yield_now();
    }
    Ok(())
}

#[test]
fn an_invalid_spec_is_refused_with_exit_code_2() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let data = jobs::three_classes(&folder.path().join("data"))?;
    let mut spec = jobs::image_job("typo", &data);
    spec["spec"]["training"]["optimiser"] = json!({"type": "adamw"});
    let output = outcome::run(&spec, folder.path(), 1)?;
    let stderr = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(
        stderr.contains("spec.training.optimiser") && stderr.contains("optimizer"),
        "{stderr}"
    );
    Ok(())
}

#[test]
fn a_coordinator_that_is_not_there_gives_exit_code_4() -> anyhow::Result<()> {
    // Held, so that nobody else serves there, and not served.
    let port = tokio::net::TcpSocket::new_v4()?;
    port.bind("127.0.0.1:0".parse()?)?;
    let address = port.local_addr()?;
    let output = firn()
        .args(["list", "--coordinator", &format!("http://{address}")])
        .output()?;
    assert_eq!(
        output.status.code(),
        Some(4),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[test]
fn a_corrupt_image_fails_the_job_by_name_unless_the_spec_allows_to_set_it_aside() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let data = jobs::three_classes(&folder.path().join("data"))?;
    let victim = data.join("train/beech/007.png");
    let bytes = std::fs::read(&victim)?;
    std::fs::write(&victim, &bytes[..bytes.len() / 2])?;

    let mut spec = jobs::image_job("corrupt", &data);
    let output = outcome::run(&spec, &folder.path().join("strict"), 2)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("beech/007.png"), "{text}");

    spec["spec"]["data"]["quarantine"] = json!({"maxSamples": 1});
    let finished = outcome::run_to_success(&spec, &folder.path().join("tolerant"), 2)?;
    let listed = finished.metrics["quarantined"].to_string();
    assert!(listed.contains("beech/007.png"), "{listed}");
    let samples: u64 = finished.steps.iter().filter_map(|step| step["samples"].as_u64()).sum();
    assert_eq!(samples, 2 * 52, "the corrupt one of 53 takes no part");
    Ok(())
}

/// What `firn` prints as JSON.
fn printed(cluster: &Cluster, arguments: &[&str]) -> anyhow::Result<Value> {
    let output = cluster.firn(arguments).output()?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[tokio::test]
async fn what_a_job_leaves_and_what_is_shown_of_it_can_be_submitted_again_as_it_is() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let cluster = Cluster::start(folder.path(), 1)?;
    let job = Submission::new(&cluster, &jobs::fault_job("first", 1, (1, 1))?)?;
    job.succeeds(&cluster).await?;
    let shown = printed(&cluster, &["get", "first", "-o", "json"])?;

    let left = folder.path().join("left");
    let directory = left.to_string_lossy();
    let arguments = [
        "download",
        "first",
        "--artifact",
        "spec.json",
        "--directory",
        &directory,
    ];
    assert!(cluster.firn(&arguments).output()?.status.success());
    let printed_file = folder.path().join("printed.json");
    fs::write(&printed_file, serde_json::to_vec(&shown)?)?;

    for file in [left.join("spec.json"), printed_file] {
        let again = printed(&cluster, &["submit", &file.to_string_lossy(), "-o", "json"])?;
        assert_eq!(again["spec"], shown["spec"], "{}", file.display());
        assert_eq!(again["metadata"]["name"], "first");
    }
    Ok(())
}
