//! A rank that the kernel kills because memory ran out, in a control group with a real limit.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{coordinator::Coordinator, process::Agent};

/// Room for an agent with libtorch, and for a small rank.
const LIMIT: &str = "536870912";
/// `tail` keeps a line until it has all of it, and this one has no end.
const HUNGRY_OR_NOT: &str =
    r#"case $FIRN_PROCESS_ID in hungry*) exec tail /dev/zero;; *) echo ready; exec sleep 1000;; esac"#;

/// A control group with little memory. Dropping it removes it; all in it must have ended.
struct SmallGroup(PathBuf);

impl SmallGroup {
    fn create() -> io::Result<Self> {
        let name = format!("firn-test-{}", std::process::id());
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
        fs::write(group.0.join(limit), LIMIT)?;
        Ok(group)
    }
}

impl Drop for SmallGroup {
    fn drop(&mut self) {
        // A process that was just killed leaves its group when it is reaped, which the agent's end may have left to others.
        for _ in 0..1000 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_rank_that_runs_out_of_memory_is_told_apart_from_one_that_was_killed_by_hand() {
    let group = match SmallGroup::create() {
        Ok(group) => group,
        Err(error) => {
            // Written past the capture of the test harness, so that the skip is seen.
            let _ = writeln!(
                io::stderr(),
                "skipped: no control group with a memory limit can be made here: {error}"
            );
            return;
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start();
    let agent = Agent::start_in_group(folder.path(), coordinator.address, HUNGRY_OR_NOT, &group.0);
    let session = coordinator.session();

    session.start_rank("modest");
    let pid = session.wait_for_start();
    session.wait_for_line("ready");
    for hungry in ["hungry-1", "hungry-2"] {
        session.start_rank(hungry);
        let exit = session.wait_for_exit();
        assert_eq!((exit.process_id.as_str(), exit.signal), (hungry, Some(9)));
        assert!(exit.out_of_memory, "{}", agent.log());
    }
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
    let exit = session.wait_for_exit();
    assert_eq!((exit.process_id.as_str(), exit.signal), ("modest", Some(9)));
    assert!(
        !exit.out_of_memory,
        "every kill of the kernel explains one death: {}",
        agent.log()
    );
    drop(agent);
}
