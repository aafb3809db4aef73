//! The binaries under test.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ lies in the repository")
}

/// Path of `firn` or `firn-worker`, beside the test binary's own folder.
///
/// # Panics
/// When it has not been built: `make test` builds it first.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let folder = test.ancestors().nth(2).expect("tests lie in target/PROFILE/deps");
    let path = folder.join(name);
    assert!(path.exists(), "{} is not built: run `make build` first", path.display());
    path
}

/// The build that upgrades begin with.
pub const OLDER_BUILD: &str = "da01602";

/// Folder with `firn` and `firn-worker` of an older build: that of `FIRN_OLDER_BUILD`, or the one that `make upgrade` has built. `None`:
/// there is neither.
pub fn older_build() -> Option<PathBuf> {
    let named = std::env::var_os("FIRN_OLDER_BUILD").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| repository().join(".cache/builds").join(OLDER_BUILD));
    ["firn", "firn-worker"]
        .iter()
        .all(|name| folder.join(name).is_file())
        .then_some(folder)
}

/// A program of an older build in `folder`, or of the one under test.
pub fn binary_of(build: Option<&Path>, name: &str) -> PathBuf {
    build.map_or_else(|| binary(name), |folder| folder.join(name))
}

/// `firn` with the worker under test and nothing of the user's own settings.
pub fn firn() -> Command {
    firn_of(None)
}

/// The same, of an older build in a folder.
pub fn firn_of(build: Option<&Path>) -> Command {
    let mut command = Command::new(binary_of(build, "firn"));
    command
        .env("FIRN_WORKER", binary("firn-worker"))
        .env_remove("FIRN_COORDINATOR")
        .env("NO_COLOR", "1");
    command.env("FIRN_CONFIG", "/dev/null");
    command
}

/// A process that is killed when the test ends.
pub struct Process(Child);

impl Process {
    /// Starts it.
    pub fn spawn(command: &mut Command) -> anyhow::Result<Self> {
        Ok(Self(command.spawn()?))
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id().cast_signed())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        Ok(kill(self.pid(), signal)?)
    }

    /// kill -9, and waits until it is gone.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    /// Waits for its end; returns the exit code, or `None` if a signal ended it.
    pub fn wait(&mut self) -> anyhow::Result<Option<i32>> {
        Ok(self.0.wait()?.code())
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> anyhow::Result<bool> {
        Ok(self.0.try_wait()?.is_some())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Processes of this machine whose environment holds `NAME=value`, with their command lines.
pub fn processes_with(name: &str, value: &str) -> Vec<(i32, String)> {
    let wanted = format!("{name}={value}");
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc is mounted").flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        // Processes end while we look at them.
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == wanted.as_bytes())
        {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if !line.is_empty() {
                found.push((pid, String::from_utf8_lossy(&line).replace('\0', " ")));
            }
        }
    }
    found
}
