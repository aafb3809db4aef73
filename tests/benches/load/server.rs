//! The server under load, as a process, and the processor time it takes.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use firn_tests::binaries::{Process, binary};
use nix::unistd::{SysconfVar, sysconf};

/// What takes longer has hung.
const START_LIMIT: Duration = Duration::from_secs(120);

/// A running server.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) address: String,
    /// From the start of the process to the address in its ready file.
    pub(crate) started_in: Duration,
}

/// A port that nobody has now.
pub(crate) fn free_address() -> anyhow::Result<String> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// `firn serve` on the data in `folder`.
pub(crate) fn serve(folder: &Path, address: &str) -> anyhow::Result<Server> {
    let ready = folder.join("address");
    let mut command = Command::new(binary("firn"));
    command
        .args(["serve", "--listen", address, "--data-dir"])
        .arg(folder.join("data"));
    command
        .arg("--ready-file")
        .arg(&ready)
        .env("FIRN_LOG", "warn")
        .env_remove("FIRN_COORDINATOR");
    start(command, folder, ready)
}

/// This program as the bare server.
pub(crate) fn bare(folder: &Path, answers: bool) -> anyhow::Result<Server> {
    let ready = folder.join("bare-address");
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["bare", "--ready-file"]).arg(&ready);
    if answers {
        command.arg("--answers");
    }
    start(command, folder, ready)
}

#[expect(
    clippy::disallowed_methods,
    reason = "another process writes the file, and its end must be noticed as well"
)]
fn start(mut command: Command, folder: &Path, ready: PathBuf) -> anyhow::Result<Server> {
    if ready.exists() {
        fs::remove_file(&ready)?;
    }
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join("server.log"))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let started = Instant::now();
    let mut process = Process::spawn(&mut command)?;
    while !ready.exists() {
        ensure!(
            started.elapsed() < START_LIMIT,
            "the server was not ready within {START_LIMIT:?}"
        );
        ensure!(
            !process.has_ended()?,
            "the server ended at its start: {}",
            fs::read_to_string(folder.join("server.log"))?
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    let started_in = started.elapsed();
    Ok(Server {
        process,
        address: fs::read_to_string(&ready)?.trim().to_owned(),
        started_in,
    })
}

impl Server {
    /// Processor time that the process has taken: fields 14 and 15 of `/proc/PID/stat` (proc(5)), user and system.
    pub(crate) fn processor_time(&self) -> anyhow::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.pid()))?;
        // The second field is a name in parentheses that may hold spaces.
        let (_, fields) = stat.rsplit_once(')').context("expected a name in parentheses")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        let per_second = sysconf(SysconfVar::CLK_TCK)?.context("the system has no clock tick")?;
        Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
    }

    /// Largest memory it has had resident, in MiB.
    pub(crate) fn peak_memory(&self) -> anyhow::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.pid()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .context("expected VmHWM")?;
        let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kibibytes / 1024.0)
    }
}
