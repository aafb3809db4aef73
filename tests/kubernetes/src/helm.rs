//! `helm`, with the chart of this repository.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use firn_tests::binaries::repository;
use serde::Deserialize as _;
use serde_json::Value;
use tempfile::TempDir;

use crate::{Answer, Kubectl, Programs};

/// The program, and the cluster that it speaks to.
#[derive(Debug)]
pub struct Helm {
    program: PathBuf,
    kubeconfig: Option<PathBuf>,
    /// What it keeps for itself.
    home: TempDir,
}

impl Helm {
    /// Without a cluster: for what only looks at the chart.
    ///
    /// # Panics
    /// If `helm` is not among the programs.
    pub fn new(programs: &Programs) -> Self {
        Self {
            program: programs.path("helm"),
            kubeconfig: None,
            home: tempfile::tempdir().expect("a folder can be made"),
        }
    }

    /// On a cluster, as its administrator.
    ///
    /// # Panics
    /// If `helm` is not among the programs.
    pub fn on(programs: &Programs, kubectl: &Kubectl) -> Self {
        Self {
            kubeconfig: Some(kubectl.kubeconfig().to_owned()),
            ..Self::new(programs)
        }
    }

    /// Folder of the chart.
    pub fn chart() -> PathBuf {
        repository().join("deploy/helm/firn")
    }

    /// Runs a command.
    pub fn run(&self, arguments: &[&str]) -> Answer {
        let mut command = Command::new(&self.program);
        // A cluster of the user is nobody's business here.
        let none = self.home.path().join("none");
        command
            .args(arguments)
            .current_dir(repository())
            .env("HOME", self.home.path())
            .env("KUBECONFIG", self.kubeconfig.as_deref().unwrap_or(&none));
        Answer::of(&mut command, "")
    }

    /// Runs a command that must succeed, and returns what it printed.
    ///
    /// # Panics
    /// If it fails, or warns.
    pub fn must(&self, arguments: &[&str]) -> String {
        let command = format!("helm {}", arguments.join(" "));
        self.run(arguments).without_warning(&command)
    }

    /// What the chart makes of a file of values, for a release `firn` in the namespace `firn-system`, as text.
    ///
    /// # Panics
    /// If it makes nothing of it.
    pub fn render(&self, values: &Path, more: &[&str]) -> String {
        let (chart, values) = (Self::chart(), values.display().to_string());
        let chart = chart.display().to_string();
        let fixed = [
            "template",
            "firn",
            &chart,
            "--namespace",
            "firn-system",
            "--values",
            &values,
        ];
        self.must(&[&fixed, more].concat())
    }
}

/// The documents of a YAML text; empty ones are left out.
///
/// # Panics
/// If it is no YAML.
pub fn documents(text: &str) -> Vec<Value> {
    let documents = serde_yaml_ng::Deserializer::from_str(text);
    let documents = documents.map(|document| Value::deserialize(document).expect("it is YAML"));
    documents.filter(|document| !document.is_null()).collect()
}
