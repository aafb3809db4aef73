//! Where the programs of the control plane are.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use firn_tests::skip::skipped;

/// The folder that holds them.
#[derive(Debug, Clone)]
pub struct Programs(PathBuf);

impl Programs {
    /// The store, the API server and `kubectl`; `None`, said aloud, if they are not there.
    pub fn of_api_server() -> Option<Self> {
        Self::find(&["etcd", "kube-apiserver", "kubectl"])
    }

    fn find(names: &[&str]) -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("control_plane.sh");
        let output = Command::new("bash").arg(script).arg("--check").args(names).output();
        let output = output.expect("bash is there");
        if output.status.success() {
            return Some(Self(String::from_utf8_lossy(&output.stdout).trim().into()));
        }
        skipped(&format!(
            "{} (`make kubernetes` does)",
            String::from_utf8_lossy(&output.stderr).trim()
        ));
        None
    }

    /// One of them.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}
