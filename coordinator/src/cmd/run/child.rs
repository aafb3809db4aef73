//! A process that `firn run` starts: tethered, in a process group of its own (so that Ctrl-C reaches only `firn run`),
//! writing to a log file.
//!
//! Dropping a [`Child`] kills it and waits until it is dead, so that no path out of `firn run` leaves one behind.

use std::{
    ffi::OsString,
    fs::{self, File},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};
use tokio::{process, time::timeout};

use crate::cmd::error::CommandError;

/// Lines of a log that are shown when its process fails.
const LAST_LINES: usize = 15;

/// What to start.
#[derive(Debug, Clone)]
pub(super) struct ChildPlan {
    /// For messages: `coordinator`, `worker local-0`.
    pub(super) name: String,
    /// The executable.
    pub(super) program: PathBuf,
    /// Its arguments.
    pub(super) arguments: Vec<OsString>,
    /// Variables that are set for it.
    pub(super) environment: Vec<(&'static str, String)>,
    /// Gets standard output and standard error.
    pub(super) log: PathBuf,
}

/// A process that runs.
pub(super) struct Child {
    name: String,
    log: PathBuf,
    process: process::Child,
}

impl Child {
    /// Starts a process. Must be called on the main thread: the tether breaks when the thread that started the process
    /// ends.
    pub(super) fn start(plan: ChildPlan, own_executable: &Path) -> Result<Self, CommandError> {
        let log = File::options()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&plan.log)
            .map_err(CommandError::file("create the log", &plan.log))?;
        let errors = log.try_clone().map_err(CommandError::file("open the log", &plan.log))?;
        let mut command = process::Command::new(own_executable);
        for (variable, _) in std::env::vars_os().filter(|(variable, _)| is_private(&variable.to_string_lossy())) {
            command.env_remove(variable);
        }
        command
            .args(["tether", "--parent", &std::process::id().to_string(), "--"])
            .arg(&plan.program)
            .args(&plan.arguments)
            .envs(plan.environment)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .kill_on_drop(true);
        let process = command.spawn().map_err(CommandError::file("start", &plan.program))?;
        Ok(Self {
            name: plan.name,
            log: plan.log,
            process,
        })
    }

    /// Waits until the process has ended; can be dropped and called again.
    pub(super) async fn ended(&mut self) -> Result<ExitStatus, CommandError> {
        self.process
            .wait()
            .await
            .map_err(|error| CommandError::Local(format!("cannot wait for the {}: {error}", self.name)))
    }

    /// The error for a process that should still run.
    pub(super) fn unexpected_end(&self, status: ExitStatus) -> CommandError {
        let mut message = format!(
            "the {} ended unexpectedly ({status}); its log is {}",
            self.name,
            self.log.display()
        );
        for line in self.last_lines() {
            message.push_str("\n  | ");
            message.push_str(&line);
        }
        CommandError::Local(message)
    }

    /// The last lines of its log.
    pub(super) fn last_lines(&self) -> Vec<String> {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..]
            .iter()
            .map(|line| (*line).to_owned())
            .collect()
    }

    /// Asks the process to end, and kills its group after `grace`.
    pub(super) async fn stop(&mut self, grace: Duration) {
        if let Some(group) = self.group() {
            // ESRCH: it has ended on its own.
            let _ = killpg(group, Signal::SIGTERM);
        }
        if timeout(grace, self.process.wait()).await.is_err() {
            self.kill();
        }
    }

    /// The process group, while the process has not been reaped: afterwards its number may belong to somebody else.
    fn group(&self) -> Option<Pid> {
        self.process
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .map(Pid::from_raw)
    }

    fn kill(&mut self) {
        let Some(group) = self.group() else { return };
        let _ = killpg(group, Signal::SIGKILL);
        // Blocks until the process is dead, which after SIGKILL is at once, and leaves the reaping to tokio.
        while waitid(Id::Pid(group), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Settings that mean the same whoever coordinates.
const OF_EVERY_PROCESS: [&str; 6] = [
    "FIRN_LOG",
    "FIRN_LOG_FORMAT",
    "FIRN_RANK_COMMAND",
    "FIRN_NCCL",
    "FIRN_COLLECTIVE_TIMEOUT",
    "FIRN_COORDINATOR_PATIENCE",
];

/// Settings of the person's other coordinator do not concern the private one.
fn is_private(variable: &str) -> bool {
    variable.starts_with("FIRN_") && !OF_EVERY_PROCESS.contains(&variable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_another_coordinator_are_kept_from_the_children() {
        for variable in ["FIRN_COORDINATOR", "FIRN_TOKEN", "FIRN_LISTEN", "FIRN_DATA_DIR"] {
            assert!(is_private(variable), "{variable}");
        }
        for variable in ["PATH", "FIRN_LOG", "FIRN_NCCL", "RUST_LOG", "CUDA_VISIBLE_DEVICES"] {
            assert!(!is_private(variable), "{variable}");
        }
    }
}
