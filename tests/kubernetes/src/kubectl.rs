//! `kubectl`, as a person uses it.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::Answer;

/// The program, and the cluster that it speaks to.
#[derive(Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    pub(crate) fn new(program: PathBuf, kubeconfig: PathBuf) -> Self {
        Self { program, kubeconfig }
    }

    /// The file that names the cluster, for programs that find theirs in `KUBECONFIG`.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Runs a command with something on its input.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn run(&self, arguments: &[&str], input: &str) -> Answer {
        Answer::of(self.command().args(arguments), input)
    }

    /// The program with its cluster, for whoever runs it in another way.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            // Its cache of what the server serves belongs to this cluster.
            .env("HOME", self.kubeconfig.parent().unwrap_or(&self.kubeconfig));
        command
    }

    /// Runs a command that must succeed without a warning, and returns what it printed.
    ///
    /// # Panics
    /// If it fails, or warns.
    pub fn must(&self, arguments: &[&str], input: &str) -> String {
        let command = format!("kubectl {}", arguments.join(" "));
        self.run(arguments, input).without_warning(&command)
    }

    /// The first line of a command that goes on, such as a watch.
    ///
    /// # Panics
    /// If it ends without a line; it may take two minutes.
    pub fn first_line(&self, arguments: &[&str]) -> String {
        let mut child = self
            .command()
            .args(arguments)
            .arg("--request-timeout=120s")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("kubectl was built");
        let output = child.stdout.take().expect("its output is a pipe");
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).expect("it says text");
        // It may have ended by itself.
        let _ = child.kill();
        child.wait().expect("kubectl ends");
        assert!(!line.is_empty(), "kubectl {}: nothing came", arguments.join(" "));
        line.trim_end().to_owned()
    }

    /// Applies a document.
    pub fn apply(&self, document: &Value) -> Answer {
        self.run(&["apply", "--server-side", "-f", "-"], &document.to_string())
    }

    /// Applies a CustomResourceDefinition, and waits until the server serves it.
    ///
    /// # Panics
    /// If it is refused, or warned of.
    pub fn define(&self, definition: &Value) {
        let applied = self.apply(definition);
        assert!(
            applied.succeeded && applied.talk.is_empty(),
            "{} {}",
            applied.output,
            applied.talk
        );
        let name = format!("crd/{}", definition["metadata"]["name"].as_str().unwrap_or_default());
        // A definition that has no conditions yet is none that `kubectl wait` can wait for a condition of.
        self.must(
            &["wait", "--for=jsonpath={.status.conditions}", &name, "--timeout=60s"],
            "",
        );
        self.must(&["wait", "--for=condition=Established", &name, "--timeout=60s"], "");
    }

    /// A resource, as the server keeps it.
    ///
    /// # Panics
    /// If it is not there.
    pub fn get(&self, kind: &str, name: &str) -> Value {
        let text = self.must(&["get", kind, name, "-o", "json"], "");
        serde_json::from_str(&text).expect("the answer is JSON")
    }
}
