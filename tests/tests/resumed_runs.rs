//! `firn run` is killed with all its processes, and another `firn run --resume` ends what it began.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use firn_tests::{
    binaries::{Process, firn, processes_with},
    jobs,
    outcome::{self, Outcome},
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Marks the processes of one test: children inherit the environment, except what begins with `FIRN_`.
const MARK: &str = "BLACK_BOX_TEST";

/// A folder with data and the spec of a job.
struct Workplace {
    folder: TempDir,
    name: &'static str,
    spec: Value,
    file: PathBuf,
}

impl Workplace {
    fn new(name: &'static str, change: impl FnOnce(&mut Value)) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let data = jobs::three_classes(&folder.path().join("data"))?;
        let mut spec = jobs::image_job(name, &data);
        change(&mut spec);
        let file = jobs::write_spec(folder.path(), &spec)?;
        Ok(Self {
            folder,
            name,
            spec,
            file,
        })
    }

    fn artifacts(&self) -> PathBuf {
        self.folder.path().join("firn-artifacts").join(self.name)
    }

    /// `firn ARGUMENTS` in the folder.
    fn firn(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = firn();
        command
            .args(arguments)
            .env(MARK, self.name)
            .current_dir(self.folder.path());
        command
    }

    fn path(&self) -> &str {
        self.file.to_str().expect("temporary folders have names in UTF-8")
    }

    /// Starts `firn run`, waits until `is_time`, and kills it; everything it started dies with it.
    fn kill_a_run_when(&self, more: &[&str], is_time: impl Fn(&str) -> anyhow::Result<bool>) -> anyhow::Result<()> {
        let (reader, writer) = std::io::pipe()?;
        let mut command = self.firn(&["run", self.path(), "--workers", "2"]);
        command.args(more).stdout(Stdio::null()).stderr(writer);
        let mut process = Process::spawn(&mut command)?;
        drop(command);
        let mut lines = BufReader::new(reader).lines();
        let mut said = Vec::new();
        loop {
            let Some(line) = lines.next().transpose()? else {
                anyhow::bail!("the run ended by itself:\n{}", said.join("\n"));
            };
            if is_time(&line)? {
                break;
            }
            said.push(line);
        }
        process.kill()?;
        // The kernel ends the children; there is no event to wait for from outside but their disappearance.
        let killed = Instant::now();
        while !processes_with(MARK, self.name).is_empty() {
            anyhow::ensure!(killed.elapsed() < Duration::from_secs(60), "processes are left");
            std::thread::yield_now();
        }
        Ok(())
    }
}

fn talk(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn verify(workplace: &Workplace, data: &Path) -> anyhow::Result<(Option<i32>, Value)> {
    let folder = data.to_str().expect("temporary folders have names in UTF-8");
    let output = workplace
        .firn(&["verify", workplace.name, "--data-dir", folder, "-o", "json"])
        .output()?;
    let receipt =
        serde_json::from_slice(&output.stdout).map_err(|error| anyhow::anyhow!("{error}: {}", talk(&output)))?;
    Ok((output.status.code(), receipt))
}

#[test]
fn a_killed_run_is_resumed_from_its_newest_checkpoint_and_leaves_what_an_undisturbed_one_leaves() -> anyhow::Result<()>
{
    let workplace = Workplace::new("resumed", |spec| spec["spec"]["training"]["epochs"] = json!(6))?;
    workplace.kill_a_run_when(&[], |line| Ok(line.contains("epoch 2/6: validation")))?;
    let left = workplace.artifacts().join(".firn-run");
    let (code, receipt) = verify(&workplace, &left.join("coordinator"))?;
    assert_eq!(
        (code, &receipt["proven"], &receipt["outcome"]),
        (Some(0), &json!(true), &Value::Null),
        "{receipt}"
    );

    let plain = workplace.firn(&["run", workplace.path(), "--workers", "2"]).output()?;
    assert_eq!(plain.status.code(), Some(2), "{}", talk(&plain));
    assert!(
        talk(&plain).contains("an unfinished run of resumed is kept in "),
        "{}",
        talk(&plain)
    );
    assert!(talk(&plain).contains("firn run --resume "), "{}", talk(&plain));

    let resumed = workplace.firn(&["run", "--resume"]).output()?;
    let text = talk(&resumed);
    assert!(resumed.status.success(), "{text}");
    assert!(text.contains("resuming job resumed: "), "{text}");
    assert!(text.contains("goes on from the checkpoint after step "), "{text}");
    assert!(String::from_utf8_lossy(&resumed.stdout).contains("metrics.json"));
    assert!(!left.exists(), "nothing is left to resume");
    assert_eq!(processes_with(MARK, workplace.name), []);

    let found = Outcome::read(&workplace.artifacts())?;
    let numbers: Vec<u64> = found.steps.iter().filter_map(|step| step["step"].as_u64()).collect();
    assert_eq!(numbers, (0..24).collect::<Vec<_>>(), "6 epochs of 4 steps, each once");
    let undisturbed = outcome::run_to_success(&workplace.spec, &workplace.folder.path().join("undisturbed"), 2)?;
    for (step, (found, expected)) in found.losses().into_iter().zip(undisturbed.losses()).enumerate() {
        assert!(
            (found - expected).abs() < 1e-4,
            "step {step}: expected loss {expected}, found {found}"
        );
    }
    assert_eq!(found.metrics["bestEpoch"], undisturbed.metrics["bestEpoch"]);
    assert_eq!(
        found.metrics["validation"]["confusion"],
        undisturbed.metrics["validation"]["confusion"]
    );

    let again = workplace.firn(&["run", "--resume"]).output()?;
    assert_eq!(again.status.code(), Some(2));
    assert!(talk(&again).contains("nothing to resume"), "{}", talk(&again));
    Ok(())
}

#[test]
fn a_run_that_was_killed_before_its_first_checkpoint_says_that_it_begins_anew_and_counts_no_loss() -> anyhow::Result<()>
{
    let workplace = Workplace::new("early", |spec| {
        spec["spec"]["training"] = json!({"epochs": 2, "batchSize": 2, "seed": 7});
        spec["spec"]["restartPolicy"] = json!({"maxRestarts": 0});
    })?;
    let kept = workplace.folder.path().join("kept");
    let keep = [
        "--keep-data",
        kept.to_str().expect("temporary folders have names in UTF-8"),
    ];
    workplace.kill_a_run_when(&keep, |line| {
        if !line.contains("epoch 1/2") {
            return Ok(false);
        }
        let address = format!(
            "http://{}",
            std::fs::read_to_string(kept.join("coordinator.address"))?.trim()
        );
        let address = address.replace("http://http://", "http://");
        loop {
            let output = workplace
                .firn(&["get", "early", "-o", "json", "--coordinator", &address])
                .output()?;
            let job: Value = serde_json::from_slice(&output.stdout)?;
            if job["status"]["progress"]["step"].as_u64() >= Some(3) {
                return Ok(true);
            }
        }
    })?;

    let mut command = workplace.firn(&["run", "--resume", workplace.path()]);
    let resumed = command.args(keep).output()?;
    let text = talk(&resumed);
    assert!(resumed.status.success(), "{text}");
    assert!(
        text.contains("begins anew at step 0, because no checkpoint was stored yet"),
        "{text}"
    );
    let (code, receipt) = verify(&workplace, &kept.join("coordinator"))?;
    assert_eq!((code, &receipt["findings"]), (Some(0), &json!([])), "{receipt}");
    assert_eq!(receipt["rollbacks"][0]["recomputed"], true, "{receipt}");
    assert_eq!(
        receipt["losses"],
        json!([]),
        "ranks that went with their run are no loss: {receipt}"
    );
    assert_eq!(receipt["weights"]["state"], "verified", "{receipt}");
    Ok(())
}

#[test]
fn with_nothing_to_resume_nothing_is_started() -> anyhow::Result<()> {
    let workplace = Workplace::new("nothing", |_| {})?;
    for arguments in [&["run", "--resume"][..], &["run", "--resume", workplace.path()]] {
        let output = workplace.firn(arguments).output()?;
        assert_eq!(output.status.code(), Some(2), "{}", talk(&output));
        assert!(talk(&output).contains("nothing to resume"), "{}", talk(&output));
    }
    assert!(!workplace.artifacts().exists());
    Ok(())
}
