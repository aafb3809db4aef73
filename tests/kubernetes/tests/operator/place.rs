//! A namespace with a coordinator and operators of its own, on the cluster that all tests share.

use std::{fs::File, path::Path, process::Command, sync::LazyLock, time::Instant};

use firn_kubernetes_tests::{ControlPlane, Kubectl, Programs, probes};
use firn_operator::resource;
use firn_tests::{
    binaries::{Process, binary},
    cluster::{BETWEEN_LOOKS, Cluster, LIMIT, Serving},
    jobs::image_job,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// With the definition in place; `None`, said aloud, where the programs are not there.
static CLUSTER: LazyLock<Option<ControlPlane>> = LazyLock::new(|| {
    let cluster = ControlPlane::start(&Programs::of_api_server()?).unwrap_or_else(|error| panic!("{error:#}"));
    cluster.kubectl().define(&resource::crd());
    Some(cluster)
});

/// A namespace with a coordinator and an operator of its own.
pub(crate) struct Place {
    pub(crate) kubectl: &'static Kubectl,
    pub(crate) namespace: &'static str,
    pub(crate) folder: TempDir,
    pub(crate) coordinator: Cluster,
    /// Of the operator.
    pub(crate) settings: Value,
}

impl Place {
    pub(crate) fn new(namespace: &'static str) -> Option<Self> {
        Some(Self::on(CLUSTER.as_ref()?.kubectl(), namespace))
    }

    /// On a cluster of one's own.
    pub(crate) fn on(kubectl: &'static Kubectl, namespace: &'static str) -> Self {
        kubectl.must(&["create", "namespace", namespace], "");
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("administrator");
        std::fs::write(&token, "0123456789abcdef0123456789abcdef").unwrap();
        let serving = Serving::with_short_times().with_token_file(&token);
        let coordinator = Cluster::start_with(folder.path(), 0, serving).unwrap();
        let settings = json!({
            "image": "firn-worker:test",
            "coordinator": format!("http://{}", coordinator.address()),
            "egress": [{"ports": [{"port": 7070, "protocol": "TCP"}]}],
        });
        Self {
            kubectl,
            namespace,
            folder,
            coordinator,
            settings,
        }
    }

    pub(crate) fn operator(&self, name: &str) -> Process {
        std::fs::write(self.folder.path().join("settings.yaml"), self.settings.to_string()).unwrap();
        let log = File::create(self.folder.path().join(format!("{name}.log"))).unwrap();
        let mut command = Command::new(binary("firn-operator"));
        command
            .args([
                "run",
                "--name",
                name,
                "--namespace",
                self.namespace,
                "--watch-namespace",
                self.namespace,
            ])
            .arg("--settings")
            .arg(self.folder.path().join("settings.yaml"))
            .env("KUBECONFIG", self.kubectl.kubeconfig())
            .env("FIRN_COORDINATOR", format!("http://{}", self.coordinator.address()))
            .env("FIRN_TOKEN_FILE", self.folder.path().join("administrator"))
            .env("FIRN_CONFIG", "/dev/null")
            .env("FIRN_HEALTH_LISTEN", "127.0.0.1:0")
            .stderr(log);
        Process::spawn(&mut command).unwrap()
    }

    /// Waits until the plain port of an operator answers something.
    pub(crate) fn answers(&self, name: &str, path: &str, expected: &str) {
        let began = Instant::now();
        loop {
            let answer = probes::ask(&self.log(name), path).unwrap_or_default();
            if answer.contains(expected) {
                return;
            }
            assert!(began.elapsed() < LIMIT, "{path} of {name}: {answer}");
            std::thread::park_timeout(BETWEEN_LOOKS);
        }
    }

    pub(crate) fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(format!("{name}.log"))).unwrap_or_default()
    }

    pub(crate) fn kubectl(&self, arguments: &[&str], input: &str) -> String {
        let all = [&["--namespace", self.namespace], arguments].concat();
        self.kubectl.must(&all, input)
    }

    pub(crate) fn create(&self, job: &Value) {
        self.kubectl(&["create", "-f", "-"], &job.to_string());
    }

    pub(crate) fn get(&self, kind: &str, name: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["get", kind, name, "-o", "json"], "")).unwrap()
    }

    /// Waits until a field holds a value; the limit is only for what has gone wrong.
    pub(crate) fn wait(&self, what: &str, path: &str, value: &str) {
        self.kubectl(&["wait", "--for=create", what, "--timeout=120s"], "");
        let condition = format!("--for=jsonpath={{{path}}}={value}");
        let all = [
            "--namespace",
            self.namespace,
            "wait",
            &condition,
            what,
            "--timeout=120s",
        ];
        let answer = self.kubectl.run(&all, "");
        let shown = self
            .kubectl
            .run(&["--namespace", self.namespace, "get", what, "-o", "yaml"], "");
        let logs: Vec<String> = ["one", "two"].iter().map(|name| self.log(name)).collect();
        assert!(
            answer.succeeded,
            "{condition}: {}\n{}\n{}",
            answer.talk,
            shown.output,
            logs.join("\n")
        );
    }

    /// Waits until a job has ended at the coordinator.
    pub(crate) fn ends(&self, name: &str) {
        let told = self
            .coordinator
            .firn(&["wait", name, "--timeout", "120s"])
            .output()
            .unwrap();
        let jobs = self.jobs();
        let told = String::from_utf8_lossy(&told.stderr);
        assert!(
            jobs.contains(&(name.to_owned(), "Cancelled".to_owned())),
            "{jobs:?} {told}"
        );
    }

    /// What the pods of a resource show to the coordinator.
    pub(crate) fn token(&self, name: &str) -> String {
        let pods = self.get("job", &format!("{name}-workers"));
        let volumes = pods["spec"]["template"]["spec"]["volumes"].as_array().unwrap().clone();
        let secrets = volumes
            .iter()
            .find_map(|volume| volume["secret"]["secretName"].as_str());
        let template = "--template={{index .data \"token\" | base64decode}}";
        self.kubectl(&["get", "secret", secrets.unwrap(), template], "")
    }

    pub(crate) fn patch(&self, name: &str, spec: &Value) {
        let patch = json!({"spec": spec}).to_string();
        self.kubectl(&["patch", "ftj", name, "--type", "merge", "-p", &patch], "");
    }

    /// The coordinator's jobs: their names and summaries.
    pub(crate) fn jobs(&self) -> Vec<(String, String)> {
        let output = self
            .coordinator
            .firn(&["list", "--limit", "0", "-o", "json"])
            .output()
            .unwrap();
        let jobs: Value = serde_json::from_slice(&output.stdout).unwrap();
        let jobs = jobs["jobs"].as_array().or(jobs.as_array()).unwrap().clone();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let told = |job: &Value| (text(&job["metadata"]["name"]), text(&job["status"]["summary"]));
        jobs.iter().map(told).collect()
    }
}

pub(crate) fn job(name: &str, data: &Path) -> Value {
    let mut job = image_job(name, data);
    job["spec"]["resources"] = json!({"workers": {"min": 1, "max": 2}, "device": "cpu"});
    job
}

/// The condition of a type, or null.
pub(crate) fn condition(resource: &Value, kind: &str) -> Value {
    let conditions = resource["status"]["conditions"].as_array().unwrap().iter();
    conditions
        .filter(|condition| condition["type"] == kind)
        .cloned()
        .next_back()
        .unwrap_or_default()
}
