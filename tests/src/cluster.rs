//! A coordinator and its workers on this machine.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use firn_proto::v1alpha1::{self as wire, job_service_client::JobServiceClient};
use tonic::transport::{Channel, Endpoint};

use crate::{
    binaries::{Process, binary, firn},
    network::Host,
};

/// What takes longer has hung: far above anything that these tests do.
const LIMIT: Duration = Duration::from_secs(300);

/// A running coordinator with workers. Dropping it kills everything.
pub struct Cluster {
    folder: PathBuf,
    address: String,
    coordinator: Process,
    workers: Vec<Process>,
}

impl Cluster {
    /// Starts a coordinator on a free port, and `workers` agents with one slot each; everything is kept in `folder`.
    pub fn start(folder: &Path, workers: usize) -> anyhow::Result<Self> {
        let coordinator = serve(folder, "127.0.0.1:0")?;
        let address = std::fs::read_to_string(folder.join("address"))?.trim().to_owned();
        let mut cluster = Self {
            folder: folder.to_owned(),
            address,
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
        let name = format!("worker-{}", self.workers.len());
        let log = File::create(self.folder.join(format!("{name}.log")))?;
        let program = binary("firn-worker");
        let mut command = host.map_or_else(|| Command::new(&program), |host| host.command(&program));
        command.args(["agent", "--cpu-slots", "1", "--threads-per-slot", "1", "--name", &name]);
        command.args(["--coordinator", &format!("http://{coordinator}")]);
        command.arg("--state-dir").arg(self.folder.join(&name));
        if let Some(host) = host {
            command.args(["--address", &host.address().to_string()]);
        }
        command.args(more);
        command.stdout(log.try_clone()?).stderr(log);
        self.workers.push(Process::spawn(&mut command)?);
        Ok(())
    }

    /// The agents, in the order in which they were started.
    pub fn workers(&mut self) -> &mut [Process] {
        &mut self.workers
    }

    /// `host:port` of the coordinator.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// kill -9 of the coordinator.
    pub fn kill_coordinator(&mut self) -> anyhow::Result<()> {
        self.coordinator.kill()
    }

    /// Starts the coordinator again, on the same folder and port.
    pub fn restart_coordinator(&mut self) -> anyhow::Result<()> {
        std::fs::remove_file(self.folder.join("address"))?;
        self.coordinator = serve(&self.folder, &self.address)?;
        Ok(())
    }

    /// `firn VERB …` against this coordinator.
    pub fn firn(&self, arguments: &[&str]) -> Command {
        let mut command = firn();
        command
            .args(arguments)
            .env("FIRN_COORDINATOR", format!("http://{}", self.address));
        command
    }

    /// A client of the coordinator.
    pub fn client(&self) -> anyhow::Result<JobServiceClient<Channel>> {
        let endpoint =
            Endpoint::from_shared(format!("http://{}", self.address))?.connect_timeout(Duration::from_secs(10));
        Ok(JobServiceClient::new(endpoint.connect_lazy()))
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

fn serve(folder: &Path, listen: &str) -> anyhow::Result<Process> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join("serve.log"))?;
    let ready = folder.join("address");
    let mut command = firn();
    command.args(["serve", "--listen", listen]);
    command
        .arg("--data-dir")
        .arg(folder.join("data"))
        .arg("--ready-file")
        .arg(&ready);
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
        std::thread::yield_now();
    }
    Ok(process)
}
