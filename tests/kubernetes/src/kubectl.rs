//! `kubectl`, as a person uses it.

use std::{
    io::BufReader,
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

    /// Watches objects until one is as it should be, and returns it: `get ftj NAME`.
    ///
    /// # Panics
    /// If none is within five minutes, with the last that was seen.
    pub fn until(&self, arguments: &[&str], is_so: impl Fn(&Value) -> bool) -> Value {
        let mut child = self
            .command()
            .args(arguments)
            .args(["--watch", "-o", "json", "--request-timeout=300s"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("kubectl was built");
        let output = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        let mut last = Value::Null;
        let found = serde_json::Deserializer::from_reader(output)
            .into_iter()
            .map_while(Result::ok)
            .any(|object: Value| {
                last = object;
                is_so(&last)
            });
        // It may have ended by itself.
        let _ = child.kill();
        child.wait().expect("kubectl ends");
        assert!(found, "kubectl {}: {last:#}", arguments.join(" "));
        last
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
