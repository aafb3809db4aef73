//! Where the programs that a test needs are.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use firn_tests::skip::skipped;

/// Programs that are built.
#[derive(Debug, Clone)]
pub struct Programs(Vec<PathBuf>);

impl Programs {
    /// The store, the API server and `kubectl`; `None`, said aloud, if they are not there.
    pub fn of_api_server() -> Option<Self> {
        Self::find(&["etcd", "kube-apiserver", "kubectl"])
    }

    /// The same, and the controller manager and the scheduler.
    pub fn of_cluster() -> Option<Self> {
        Self::find(&[
            "etcd",
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kubectl",
        ])
    }

    /// Programs of `programs.sh` by their names, or by the names of their folders; `None`, said aloud, if one is not there.
    ///
    /// # Panics
    /// If there is no such program.
    pub fn find(names: &[&str]) -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs.sh");
        let output = Command::new("bash").arg(script).arg("--check").args(names).output();
        let output = output.expect("bash is there");
        if output.status.success() {
            let paths = String::from_utf8_lossy(&output.stdout);
            return Some(Self(paths.lines().map(PathBuf::from).collect()));
        }
        let talk = String::from_utf8_lossy(&output.stderr);
        assert!(talk.starts_with("not built"), "{talk}");
        skipped(&format!("{} (`make kubernetes` does)", talk.trim()));
        None
    }

    /// One of them.
    ///
    /// # Panics
    /// If it was not asked for.
    pub fn path(&self, name: &str) -> PathBuf {
        let found = self.0.iter().find(|path| path.ends_with(name));
        found.unwrap_or_else(|| panic!("{name} was not asked for")).clone()
    }
}
