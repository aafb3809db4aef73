//! A job on a cluster in which something breaks: what it does there, and what it must have come to in the end.

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use firn_proto::v1alpha1 as wire;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tonic::Code;

use crate::{
    binaries::processes_with,
    cluster::{BETWEEN_LOOKS, Cluster, LIMIT, worker_name},
    jobs,
    outcome::{self, Outcome},
};

/// Relative difference that single precision allows between different orders of summation.
const TOLERANCE: f64 = 1e-5;

/// A job that was submitted.
pub struct Submission {
    /// `jobs/{job}`.
    pub name: String,
    spec: Value,
    /// Whether an older build scored some of its epochs.
    is_upgraded: bool,
}

impl Submission {
    /// Submits a spec with `firn submit`, as soon as all agents of the cluster are attached.
    ///
    /// # Errors
    /// When the coordinator does not take it.
    pub fn new(cluster: &Cluster, spec: &Value) -> anyhow::Result<Self> {
        let id = spec["metadata"]["name"].as_str().unwrap_or("job");
        let folder = cluster.folder().join("specs").join(id);
        std::fs::create_dir_all(&folder)?;
        let file = jobs::write_spec(&folder, spec)?;
        cluster.all_attached()?;
        let output = cluster
            .firn(&["submit", &file.to_string_lossy(), "-o", "json"])
            .output()?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let job: Value = serde_json::from_slice(&output.stdout)?;
        let name = job["metadata"]["resourceName"].as_str();
        Ok(Self {
            name: name.context("a job has a resource name")?.to_owned(),
            spec: spec.clone(),
            is_upgraded: false,
        })
    }

    /// One that the cluster's coordinator has already.
    pub fn known(id: &str) -> Self {
        Self {
            name: format!("jobs/{id}"),
            spec: Value::Null,
            is_upgraded: false,
        }
    }

    /// The same job, of which an older build scored some epochs: with the metrics that it had.
    #[must_use]
    pub fn upgraded(self) -> Self {
        Self {
            is_upgraded: true,
            ..self
        }
    }

    /// The name without `jobs/`.
    pub fn id(&self) -> &str {
        self.name.trim_start_matches("jobs/")
    }

    /// Its status now.
    ///
    /// # Errors
    /// When the coordinator does not answer.
    pub async fn status(&self, cluster: &Cluster) -> anyhow::Result<wire::JobStatus> {
        self.until(cluster, |_| true).await
    }

    /// Follows the job until `reached` holds for its status, also through restarts of the coordinator.
    ///
    /// # Errors
    /// When the job has ended before that, or five minutes have passed.
    pub async fn until(
        &self,
        cluster: &Cluster,
        reached: impl Fn(&wire::JobStatus) -> bool,
    ) -> anyhow::Result<wire::JobStatus> {
        let mut last = None;
        let followed = tokio::time::timeout(LIMIT, self.follow(cluster, reached, &mut last)).await;
        let Ok(ended) = followed else {
            anyhow::bail!("waited {LIMIT:?} in vain: {last:#?}\n{}", self.logs(cluster));
        };
        match ended? {
            true => Ok(last.expect("what is reached was seen")),
            false => anyhow::bail!(
                "the job ended before what was waited for: {last:#?}\n{}",
                self.logs(cluster)
            ),
        }
    }

    /// True if `reached` held for `last`, false if the job has ended.
    async fn follow(
        &self,
        cluster: &Cluster,
        reached: impl Fn(&wire::JobStatus) -> bool,
        last: &mut Option<wire::JobStatus>,
    ) -> anyhow::Result<bool> {
        let mut client = cluster.client()?;
        loop {
            let request = wire::WatchJobRequest {
                name: self.name.clone(),
            };
            let broken = match client.watch_job(request).await {
                Ok(answer) => {
                    let mut snapshots = answer.into_inner();
                    loop {
                        match snapshots.message().await {
                            Ok(Some(job)) => {
                                let status = job.status.context("a job has a status")?;
                                let is_reached = reached(&status);
                                *last = Some(status);
                                if is_reached {
                                    return Ok(true);
                                }
                            }
                            Ok(None) => return Ok(false),
                            Err(status) => break status,
                        }
                    }
                }
                Err(status) => status,
            };
            anyhow::ensure!(is_away(broken.code()), "the coordinator answered {broken}");
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }

    /// Waits until so many steps are committed.
    ///
    /// # Errors
    /// When the job has ended before that.
    pub async fn reaches_step(&self, cluster: &Cluster, steps: u64) -> anyhow::Result<wire::JobStatus> {
        self.until(cluster, |status| step(status) >= steps).await
    }

    /// Waits until a gang that was formed after `generation` has committed more than it found.
    ///
    /// # Errors
    /// When the job has ended before that.
    pub async fn goes_on_after(&self, cluster: &Cluster, generation: u64) -> anyhow::Result<wire::JobStatus> {
        let found = Cell::new(None);
        self.until(cluster, |status| {
            if status.generation <= generation {
                return false;
            }
            let first = found.get().unwrap_or_else(|| step(status));
            found.set(Some(first));
            step(status) > first
        })
        .await
    }

    /// Waits for the end, which must be success.
    ///
    /// # Errors
    /// When the job fails.
    pub async fn succeeds(&self, cluster: &Cluster) -> anyhow::Result<wire::JobStatus> {
        let status = self.ends(cluster).await?;
        anyhow::ensure!(
            status.summary == "Succeeded",
            "the job {}: {:#?}\n{}",
            status.summary,
            status.failure,
            self.logs(cluster)
        );
        Ok(status)
    }

    /// Waits for the end, whatever it is.
    ///
    /// # Errors
    /// When it does not come.
    pub async fn ends(&self, cluster: &Cluster) -> anyhow::Result<wire::JobStatus> {
        let ends = |status: &wire::JobStatus| matches!(status.summary.as_str(), "Succeeded" | "Failed" | "Cancelled");
        self.until(cluster, ends).await
    }

    /// The process of a rank that has joined.
    ///
    /// # Errors
    /// When the job has no such rank now.
    pub async fn rank(&self, cluster: &mut Cluster, rank: u32) -> anyhow::Result<Pid> {
        let worker = self.worker_of(cluster, rank).await?;
        let ranks = self.ranks_on(cluster, worker);
        ranks
            .first()
            .copied()
            .with_context(|| format!("rank {rank} has no process on worker-{worker}"))
    }

    /// The number of the worker that a rank is on.
    ///
    /// # Errors
    /// When the job has no such rank now.
    pub async fn worker_of(&self, cluster: &mut Cluster, rank: u32) -> anyhow::Result<usize> {
        let status = self.status(cluster).await?;
        let placed = status.ranks.iter().find(|placed| placed.rank == rank);
        let placed = placed.with_context(|| format!("the job has no rank {rank}"))?;
        let workers = cluster.workers().len();
        let number = (0..workers).find(|number| worker_name(*number) == placed.worker);
        number.with_context(|| format!("no worker {}", placed.worker))
    }

    /// The job's processes on a worker.
    pub fn ranks_on(&self, cluster: &Cluster, worker: usize) -> Vec<Pid> {
        let all = cluster.ranks_on(worker);
        self.ranks().into_iter().filter(|pid| all.contains(pid)).collect()
    }

    /// The job's processes.
    pub fn ranks(&self) -> Vec<Pid> {
        let ranks = processes_with("FIRN_JOB", &self.name).into_iter();
        ranks.map(|(pid, _)| Pid::from_raw(pid)).collect()
    }

    /// The committed steps, in order.
    ///
    /// # Errors
    /// When the coordinator does not answer.
    pub async fn steps(&self, cluster: &Cluster) -> anyhow::Result<Vec<wire::Step>> {
        let mut steps: Vec<wire::Step> = Vec::new();
        loop {
            let request = wire::ListStepsRequest {
                name: self.name.clone(),
                first_step: steps.len() as u64,
                ..Default::default()
            };
            let page = cluster.client()?.list_steps(request).await?.into_inner().steps;
            if page.is_empty() {
                return Ok(steps);
            }
            steps.extend(page);
        }
    }

    /// What the ranks wrote, as `firn logs` shows it.
    pub fn logs(&self, cluster: &Cluster) -> String {
        let output = cluster.firn(&["logs", self.id()]).output();
        output.map_or_else(
            |error| error.to_string(),
            |output| String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    }

    /// The receipt of `firn verify`, which must be proven.
    ///
    /// # Errors
    /// When it is not.
    pub fn proof(&self, cluster: &Cluster) -> anyhow::Result<Receipt> {
        let output = cluster.firn(&["verify", self.id(), "-o", "json"]).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        anyhow::ensure!(
            output.status.success(),
            "not proven: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let receipt = Receipt(serde_json::from_str(&text)?);
        anyhow::ensure!(receipt.0["proven"] == true, "{text}");
        Ok(receipt)
    }

    /// The end of every test: the job succeeds, the journal proves that each sample counted once, and what was learned is what an
    /// undisturbed run learns: the same bytes in strict mode, else the same numbers to the precision of f32.
    ///
    /// # Errors
    /// When one of these does not hold.
    pub async fn ends_as_if_nothing_had_happened(&self, cluster: &Cluster) -> anyhow::Result<Ended> {
        let status = self.succeeds(cluster).await?;
        let receipt = self.proof(cluster)?;
        let folder = cluster.folder().join("artifacts").join(self.id());
        let to = folder.to_string_lossy();
        let output = cluster.firn(&["download", self.id(), "--directory", &to]).output()?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let outcome = Outcome::read(&folder)?;
        let mut expected = undisturbed(&self.spec)?;
        if self.is_upgraded {
            expected = Arc::new(expected.but_for_later_metrics(&outcome));
        }
        let strict = self.spec["spec"]["training"]["determinism"] == "strict";
        match strict {
            true if self.is_upgraded => outcome.learned_the_same_as(&expected)?,
            true => outcome.is_the_same_as(&expected)?,
            false => outcome.is_close_to(&expected, TOLERANCE)?,
        }
        Ok(Ended {
            status,
            receipt,
            outcome,
        })
    }
}

/// What a job came to.
pub struct Ended {
    /// Its last status.
    pub status: wire::JobStatus,
    /// What `firn verify` proved.
    pub receipt: Receipt,
    /// What it left.
    pub outcome: Outcome,
}

/// What `firn verify -o json` printed.
pub struct Receipt(pub Value);

impl Receipt {
    /// Steps that were committed and taken back.
    pub fn steps_taken_back(&self) -> u64 {
        let rollbacks = self.0["rollbacks"].as_array();
        let taken = rollbacks.into_iter().flatten();
        taken
            .map(|range| range["to"].as_u64().unwrap_or_default() - range["from"].as_u64().unwrap_or_default())
            .sum()
    }

    /// Where the state of each formation came from: `initial`, `checkpoint`, `rank`, …
    pub fn origins(&self) -> Vec<String> {
        let generations = self.0["generations"].as_array().into_iter().flatten();
        let origins = generations.filter_map(|generation| generation["origin"].as_str());
        origins.map(str::to_owned).collect()
    }
}

/// Committed steps.
pub fn step(status: &wire::JobStatus) -> u64 {
    status.progress.as_ref().map_or(0, |progress| progress.step)
}

/// Whether the newest loss is of this generation or a later one.
pub fn has_lost(status: &wire::JobStatus, generation: u64) -> bool {
    status.losses.iter().any(|loss| loss.generation >= generation)
}

/// How long after `moment` the newest loss was learned, as the coordinator's clock has it; it is the test's own.
pub fn detected_after(status: &wire::JobStatus, moment: SystemTime) -> Option<Duration> {
    let at = status.losses.last()?.time?;
    let seconds = Duration::new(at.seconds.try_into().ok()?, at.nanos.try_into().ok()?);
    (SystemTime::UNIX_EPOCH + seconds).duration_since(moment).ok()
}

/// Prints what the fault matrix tells of a fault that was made at `moment`.
pub fn measured(fault: &str, moment: SystemTime, status: &wire::JobStatus) {
    let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
    let detected = detected_after(status, moment).map_or("never".to_owned(), seconds);
    let went_on = seconds(moment.elapsed().unwrap_or_default());
    println!("measured: {fault}: detected after {detected}, next step committed after {went_on}");
    for loss in &status.losses {
        let failure = loss.failure.clone().unwrap_or_default();
        println!("  lost from generation {}: {}", loss.generation, failure.message);
    }
}

/// kill -9 or another signal.
pub fn send(pid: Pid, signal: Signal) -> anyhow::Result<SystemTime> {
    let now = SystemTime::now();
    kill(pid, signal).with_context(|| format!("{signal} to process {pid}"))?;
    Ok(now)
}

fn is_away(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal
    )
}

/// An outcome that may have to be found yet.
type Known = Arc<Mutex<Option<Arc<Outcome>>>>;

/// The outcome of a spec on one rank with nothing in its way; the tests of one binary share it.
fn undisturbed(spec: &Value) -> anyhow::Result<Arc<Outcome>> {
    static KNOWN: Mutex<BTreeMap<String, (usize, Known)>> = Mutex::new(BTreeMap::new());
    // Neither the name nor the number of ranks is part of what is learned.
    let mut plain = spec.clone();
    plain["metadata"]["name"] = "undisturbed".into();
    if let Some(fields) = plain["spec"].as_object_mut() {
        fields.remove("resources");
    }
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let number = known.len();
    let (folder, cell) = known
        .entry(plain.to_string())
        .or_insert_with(|| (number, Arc::default()))
        .clone();
    drop(known);
    // Whoever needs it meanwhile waits for it.
    let mut cell = cell.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(outcome) = &*cell {
        return Ok(Arc::clone(outcome));
    }
    let folder = jobs::shared_folder()?.join(format!("undisturbed-{folder}"));
    let outcome = Arc::new(outcome::run_to_success(&plain, &folder, 1)?);
    *cell = Some(Arc::clone(&outcome));
    Ok(outcome)
}
