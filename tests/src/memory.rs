//! A control group with little memory.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::skip::skipped;

/// Groups that this process has made.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A control group whose processes may take so much memory together. Dropping it kills them and removes it.
pub struct SmallMemory(PathBuf);

impl SmallMemory {
    /// Makes one. None, and a line that says why, where none can be made.
    pub fn create(bytes: u64) -> Option<Self> {
        match Self::try_create(bytes) {
            Ok(group) => Some(group),
            Err(error) => {
                skipped(&format!(
                    "no control group with a memory limit can be made here: {error}"
                ));
                None
            }
        }
    }

    fn try_create(bytes: u64) -> io::Result<Self> {
        let name = format!(
            "firn-fault-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let first_version = Path::new("/sys/fs/cgroup/memory");
        let (folder, limit) = if first_version.exists() {
            (first_version, "memory.limit_in_bytes")
        } else {
            let root = Path::new("/sys/fs/cgroup");
            fs::write(root.join("cgroup.subtree_control"), "+memory")?;
            (root, "memory.max")
        };
        let group = Self(folder.join(name));
        fs::create_dir(&group.0)?;
        fs::write(group.0.join(limit), bytes.to_string())?;
        // Where memory can be swapped out, it does not run out. Without swap there is no such limit to set.
        let _ = fs::write(group.0.join("memory.swap.max"), "0");
        Ok(group)
    }

    /// A process and its future children live in the group from now on.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn take_in(&self, process: Pid) -> anyhow::Result<()> {
        Ok(fs::write(self.0.join("cgroup.procs"), process.to_string())?)
    }

    /// Whether a process was killed because there was no memory left.
    pub fn has_run_out(&self) -> bool {
        let files = ["memory.oom_control", "memory.events"].map(|name| fs::read_to_string(self.0.join(name)));
        let mut lines = files.iter().flatten().flat_map(|text| text.lines());
        lines.any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count != "0"))
    }

    fn processes(&self) -> Vec<Pid> {
        let listed = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        let numbers = listed.lines().filter_map(|line| line.parse().ok());
        numbers.map(Pid::from_raw).collect()
    }
}

impl Drop for SmallMemory {
    fn drop(&mut self) {
        // A process leaves its group when it is reaped, which may be left to others.
        for _ in 0..1000 {
            for process in self.processes() {
                let _ = kill(process, Signal::SIGKILL);
            }
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::park_timeout(crate::cluster::BETWEEN_LOOKS);
        }
    }
}

/// Of all processes in its group, this one is killed when memory runs out.
///
/// # Errors
/// If the process is gone.
pub fn is_killed_first(process: Pid) -> anyhow::Result<()> {
    Ok(fs::write(format!("/proc/{process}/oom_score_adj"), "1000")?)
}
