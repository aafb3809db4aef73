//! `kubectl`, as a person uses it.

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::Value;

/// The program, and the cluster that it speaks to.
#[derive(Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

/// What it answered.
#[derive(Debug)]
pub struct Answer {
    /// Whether it ended with 0.
    pub succeeded: bool,
    /// What it printed.
    pub output: String,
    /// What it said: errors and warnings.
    pub talk: String,
}

impl Kubectl {
    pub(crate) fn new(program: PathBuf, kubeconfig: PathBuf) -> Self {
        Self { program, kubeconfig }
    }

    /// Runs a command with something on its input.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn run(&self, arguments: &[&str], input: &str) -> Answer {
        let mut child = Command::new(&self.program)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(arguments)
            // Its cache of what the server serves belongs to this cluster.
            .env("HOME", self.kubeconfig.parent().unwrap_or(&self.kubeconfig))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl was built");
        let mut stdin = child.stdin.take().expect("its input is a pipe");
        // It may end without reading what it does not need.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().expect("kubectl ends");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        Answer {
            succeeded: output.status.success(),
            output: text(&output.stdout),
            talk: text(&output.stderr),
        }
    }

    /// Runs a command that must succeed without a warning, and returns what it printed.
    ///
    /// # Panics
    /// If it fails, or warns.
    pub fn must(&self, arguments: &[&str], input: &str) -> String {
        let answer = self.run(arguments, input);
        assert!(
            answer.succeeded && answer.talk.is_empty(),
            "kubectl {}: {} {}",
            arguments.join(" "),
            answer.output,
            answer.talk
        );
        answer.output
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
        let name = definition["metadata"]["name"].as_str().unwrap_or_default();
        self.must(
            &[
                "wait",
                "--for=condition=Established",
                &format!("crd/{name}"),
                "--timeout=60s",
            ],
            "",
        );
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
