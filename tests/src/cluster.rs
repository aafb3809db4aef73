//! A coordinator and its workers on this machine.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use firn_proto::v1alpha1::{self as wire, job_service_client::JobServiceClient};
use nix::{sys::signal::Signal, unistd::Pid};
use serde_json::Value;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::{
    binaries::{Process, binary_of, firn_of, processes_with},
    network::Host,
};

/// What takes longer has hung: far above anything that these tests do.
pub const LIMIT: Duration = Duration::from_secs(300);
/// Between two looks at what tells nobody when it changes, such as a file that is to appear.
pub const BETWEEN_LOOKS: Duration = Duration::from_millis(2);
/// Variable in the environment of a rank: the process id of its agent.
const AGENT: &str = "FIRN_AGENT_PID";

/// How a coordinator is started, beside the address and the folder.
#[derive(Clone, Debug, Default)]
pub struct Serving {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    data: Option<PathBuf>,
    build: Option<PathBuf>,
    token_file: Option<PathBuf>,
}

/// Calls of a test, with the token of those that it shows.
pub type Calls = InterceptedService<Channel, Token>;

/// Shown with each call, if there is one.
#[derive(Clone, Debug, Default)]
pub struct Token(Option<MetadataValue<Ascii>>);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

impl Serving {
    /// With leases and time-outs that let a test wait for their ends. `FIRN_TEST_DEFAULT_TIMES=1` leaves them as users have them, which
    /// is how the times in the fault matrix were measured.
    pub fn with_short_times() -> Self {
        match std::env::var_os("FIRN_TEST_DEFAULT_TIMES") {
            Some(_) => Self::default(),
            None => Self::default()
                .with("--lease-seconds", "5")
                .with("--rank-lease-seconds", "5")
                .with("--hang-seconds", "7"),
        }
    }

    /// With one more flag.
    pub fn with(mut self, flag: &str, value: &str) -> Self {
        self.arguments.extend([flag.to_owned(), value.to_owned()]);
        self
    }

    /// With administrators who show the token in this file, as the test itself does then. Agents are given theirs when they are started.
    pub fn with_token_file(mut self, path: &Path) -> Self {
        self.token_file = Some(path.to_owned());
        self.with("--token-file", &path.to_string_lossy())
    }

    /// With a variable in its environment.
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// As another build, whose programs lie in this folder.
    pub fn with_build(mut self, folder: &Path) -> Self {
        self.build = Some(folder.to_owned());
        self
    }

    /// With its data in another folder than the cluster's.
    pub fn with_data(mut self, folder: &Path) -> Self {
        self.data = Some(folder.to_owned());
        self
    }
}

/// A running coordinator with workers. Dropping it kills everything.
pub struct Cluster {
    folder: PathBuf,
    address: String,
    serving: Serving,
    coordinator: Process,
    workers: Vec<Process>,
}

impl Cluster {
    /// Starts a coordinator on a free port, and `workers` agents with one slot each; everything is kept in `folder`.
    pub fn start(folder: &Path, workers: usize) -> anyhow::Result<Self> {
        Self::start_with(folder, workers, Serving::default())
    }

    /// The same, with a coordinator of another kind.
    pub fn start_with(folder: &Path, workers: usize, serving: Serving) -> anyhow::Result<Self> {
        let coordinator = serve(folder, "127.0.0.1:0", &serving)?;
        let address = std::fs::read_to_string(folder.join("address"))?.trim().to_owned();
        let mut cluster = Self {
            folder: folder.to_owned(),
            address,
            serving,
            coordinator,
            workers: Vec::new(),
        };
        for _ in 0..workers {
            cluster.add_worker()?;
        }
        Ok(cluster)
    }

    /// Starts one more agent with one slot.
    pub fn add_worker(&mut self) -> anyhow::Result<()> {
        let address = self.address.clone();
        self.add_worker_through(&address, None, &[])
    }

    /// The same, for an agent that finds the coordinator at another `host:port` (a proxy's), on a host of its own if one is given, and with
    /// `more` arguments. Its ranks use the same address.
    pub fn add_worker_through(&mut self, coordinator: &str, host: Option<&Host>, more: &[&str]) -> anyhow::Result<()> {
        let number = self.workers.len();
        let worker = self.start_agent((number, None), coordinator, host, more)?;
        self.workers.push(worker);
        Ok(())
    }

    /// Starts one more agent, of an older build in a folder.
    pub fn add_worker_of(&mut self, build: &Path) -> anyhow::Result<()> {
        let (number, address) = (self.workers.len(), self.address.clone());
        let worker = self.start_agent((number, Some(build)), &address, None, &[])?;
        self.workers.push(worker);
        Ok(())
    }

    /// Starts an agent anew that has ended, under its name and on its folder.
    pub fn restart_worker(&mut self, number: usize) -> anyhow::Result<()> {
        self.restart_worker_with(number, &[])
    }

    /// The same, with `more` arguments.
    pub fn restart_worker_with(&mut self, number: usize, more: &[&str]) -> anyhow::Result<()> {
        let address = self.address.clone();
        self.workers[number] = self.start_agent((number, None), &address, None, more)?;
        Ok(())
    }

    fn start_agent(
        &self,
        (number, build): (usize, Option<&Path>),
        coordinator: &str,
        host: Option<&Host>,
        more: &[&str],
    ) -> anyhow::Result<Process> {
        let name = worker_name(number);
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join(format!("{name}.log")))?;
        let program = binary_of(build, "firn-worker");
        let mut command = host.map_or_else(|| Command::new(&program), |host| host.command(&program));
        command.args(["agent", "--cpu-slots", "1", "--threads-per-slot", "1", "--name", &name]);
        command.args(["--coordinator", &format!("http://{coordinator}")]);
        command.arg("--state-dir").arg(self.folder.join(&name));
        if let Some(host) = host {
            command.args(["--address", &host.address().to_string()]);
        }
        command.args(more);
        command.stdout(log.try_clone()?).stderr(log);
        Process::spawn(&mut command)
    }

    /// Waits until the coordinator knows all agents, so that a job that is submitted then begins on all that it may have. All that were
    /// started must live.
    pub fn all_attached(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let output = self.firn(&["workers", "-o", "json"]).output()?;
            let known: Value = serde_json::from_slice(&output.stdout)?;
            let known = known["workers"].as_array().map_or(&[][..], Vec::as_slice);
            let wanted = self.workers.len();
            if known.iter().filter(|worker| worker["state"] == "Ready").count() >= wanted {
                return Ok(());
            }
            anyhow::ensure!(
                began.elapsed() < LIMIT,
                "expected {wanted} ready workers, found {known:?}"
            );
            std::thread::park_timeout(BETWEEN_LOOKS);
        }
    }

    /// The agents, in the order in which they were started: `worker-0`, `worker-1`, …
    pub fn workers(&mut self) -> &mut [Process] {
        &mut self.workers
    }

    /// The rank processes that an agent has, of all jobs.
    pub fn ranks_on(&self, worker: usize) -> Vec<Pid> {
        let agent = self.workers[worker].pid();
        let ranks = processes_with(AGENT, &agent.to_string()).into_iter();
        ranks.map(|(pid, _)| Pid::from_raw(pid)).collect()
    }

    /// `host:port` of the coordinator.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where everything is kept.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the coordinator keeps its data.
    pub fn data_folder(&self) -> PathBuf {
        data_folder(&self.folder, &self.serving)
    }

    /// What the coordinator has written to its log so far.
    pub fn coordinator_log(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.folder.join("serve.log"))?)
    }

    /// The coordinator's process.
    pub fn coordinator(&mut self) -> &mut Process {
        &mut self.coordinator
    }

    /// kill -9 of the coordinator.
    pub fn kill_coordinator(&mut self) -> anyhow::Result<()> {
        self.coordinator.kill()
    }

    /// Starts the coordinator again, on the same folder and port.
    pub fn restart_coordinator(&mut self) -> anyhow::Result<()> {
        let serving = self.serving.clone();
        self.restart_coordinator_with(serving)
    }

    /// The same, as another kind.
    pub fn restart_coordinator_with(&mut self, serving: Serving) -> anyhow::Result<()> {
        // It is not there if the last start did not succeed.
        let _ = std::fs::remove_file(self.folder.join("address"));
        self.serving = serving;
        self.coordinator = serve(&self.folder, &self.address, &self.serving)?;
        Ok(())
    }

    /// `firn VERB …` of the coordinator's build against it.
    pub fn firn(&self, arguments: &[&str]) -> Command {
        let mut command = firn_of(self.serving.build.as_deref());
        command
            .args(arguments)
            .env("FIRN_COORDINATOR", format!("http://{}", self.address));
        if let Some(token_file) = &self.serving.token_file {
            command.env("FIRN_TOKEN_FILE", token_file);
        }
        command
    }

    /// A client of the coordinator.
    pub fn client(&self) -> anyhow::Result<JobServiceClient<Calls>> {
        let endpoint =
            Endpoint::from_shared(format!("http://{}", self.address))?.connect_timeout(Duration::from_secs(10));
        let token = match &self.serving.token_file {
            Some(path) => Some(format!("Bearer {}", std::fs::read_to_string(path)?.trim()).parse()?),
            None => None,
        };
        Ok(JobServiceClient::with_interceptor(
            endpoint.connect_lazy(),
            Token(token),
        ))
    }

    /// Follows a job until `reached` holds for a snapshot, which is returned.
    ///
    /// # Errors
    /// When the stream ends before that.
    pub async fn watch_until(
        &self,
        name: &str,
        reached: impl Fn(&wire::JobStatus) -> bool,
    ) -> anyhow::Result<wire::FineTuneJob> {
        tokio::time::timeout(LIMIT, self.follow(name, reached)).await?
    }

    async fn follow(
        &self,
        name: &str,
        reached: impl Fn(&wire::JobStatus) -> bool,
    ) -> anyhow::Result<wire::FineTuneJob> {
        let mut client = self.client()?;
        let mut snapshots = client
            .watch_job(wire::WatchJobRequest { name: name.to_owned() })
            .await?
            .into_inner();
        let mut last = None;
        while let Some(job) = snapshots.message().await? {
            if job.status.as_ref().is_some_and(&reached) {
                return Ok(job);
            }
            last = Some(job);
        }
        anyhow::bail!("the job ended before what was waited for: {last:?}")
    }
}

/// Bytes of the coordinator's log that a test leaves when it fails.
const LOG_TAIL: usize = 30_000;

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.coordinator_log().unwrap_or_default();
            let begin = log.ceil_char_boundary(log.len().saturating_sub(LOG_TAIL));
            println!("the coordinator's log:\n{}", &log[begin..]);
        }
        // A process that is stopped is killed like any other, but its children hear of its end only when they go on.
        for number in 0..self.workers.len() {
            for rank in self.ranks_on(number) {
                let _ = nix::sys::signal::kill(rank, Signal::SIGKILL);
            }
        }
    }
}

/// The name of an agent.
pub fn worker_name(number: usize) -> String {
    format!("worker-{number}")
}

fn data_folder(folder: &Path, serving: &Serving) -> PathBuf {
    serving.data.clone().unwrap_or_else(|| folder.join("data"))
}

fn serve(folder: &Path, listen: &str, serving: &Serving) -> anyhow::Result<Process> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join("serve.log"))?;
    let ready = folder.join("address");
    let mut command = firn_of(serving.build.as_deref());
    command.args(["serve", "--listen", listen]);
    command
        .arg("--data-dir")
        .arg(data_folder(folder, serving))
        .arg("--ready-file")
        .arg(&ready);
    command.args(&serving.arguments);
    command.envs(serving.environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let mut process = Process::spawn(&mut command)?;
    let started = Instant::now();
    while !ready.exists() {
        anyhow::ensure!(
            started.elapsed() < LIMIT,
            "the coordinator was not ready within {LIMIT:?}"
        );
        anyhow::ensure!(
            !process.has_ended()?,
            "the coordinator ended at its start; see {}",
            folder.join("serve.log").display()
        );
        std::thread::park_timeout(BETWEEN_LOOKS);
    }
    Ok(process)
}
