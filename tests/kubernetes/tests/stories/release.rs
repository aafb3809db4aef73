//! A cluster with the chart in it: one node for coordinator and operators, and others for workers.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};

use firn_kubernetes_tests::{Answer, Cluster, Helm, Kubectl, Programs};
use firn_tests::{
    binaries::firn,
    jobs::{image_job, three_classes},
    proxy::link::LinkProxy,
    submission::Receipt,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::installation::{add_images, administrator, charted, clear, forward, values_of_the_tests};

/// Where the chart is.
pub(crate) const HOME: &str = "firn-system";
/// Namespaces of those who train.
pub(crate) const TEAMS: [&str; 2] = ["team-a", "team-b"];
/// What takes longer has hung.
const LIMIT: &str = "--timeout=300s";

/// The release.
pub(crate) struct Release {
    pub(crate) cluster: Cluster,
    helm: Helm,
    /// Leads to the coordinator, under a name that its certificate has.
    forwarded: Mutex<LinkProxy>,
    /// What an administrator of Firn has.
    folder: TempDir,
}

/// The release for one story, which nobody else disturbs.
pub(crate) struct Story {
    release: &'static Release,
    _turn: MutexGuard<'static, ()>,
    began: Instant,
}

impl std::ops::Deref for Story {
    type Target = Release;

    fn deref(&self) -> &Release {
        self.release
    }
}

impl Story {
    /// `None`, said aloud, where there can be no cluster.
    pub(crate) fn begin() -> Option<Self> {
        static TURN: Mutex<()> = Mutex::new(());
        static RELEASE: LazyLock<Option<Release>> = LazyLock::new(Release::install);
        let release = RELEASE.as_ref()?;
        let turn = TURN.lock();
        if turn.is_err() {
            // Whoever had it before has failed in the middle of a story.
            release.begin_anew();
            TURN.clear_poison();
        }
        Some(Self {
            release,
            _turn: turn.unwrap_or_else(PoisonError::into_inner),
            began: Instant::now(),
        })
    }

    /// Prints a figure.
    pub(crate) fn figure(&self, text: &str) {
        println!("{:5.1} s  {text}", self.began.elapsed().as_secs_f64());
    }
}

impl Release {
    fn install() -> Option<Self> {
        let programs = Programs::find(&["control-plane", "helm"])?;
        let mut cluster = Cluster::start(0)?;
        cluster.add_node(&[("role", "control")], &[]).unwrap();
        for _ in 0..2 {
            cluster.add_node(&[("role", "work")], &[]).unwrap();
        }
        add_images(&cluster);
        let kubectl = cluster.kubectl();
        cluster.wait_for_nodes();
        let policy = "pod-security.kubernetes.io/enforce=restricted";
        for namespace in [&[HOME], TEAMS.as_slice()].concat() {
            cluster.create_namespace(namespace, &[policy]);
        }
        let values = cluster.folder().join("values.yaml");
        fs::write(&values, values_of_the_tests().to_string()).unwrap();
        let helm = Helm::on(&programs, kubectl);
        let installed = charted(&helm, &cluster, "install", &[]);
        let logs = cluster.logs(HOME, "firn");
        assert!(installed.succeeded, "{}\n{logs}", installed.talk);
        let folder = tempfile::tempdir().unwrap();
        administrator(kubectl, folder.path());
        let release = Self {
            forwarded: Mutex::new(forward(kubectl)),
            folder,
            cluster,
            helm,
        };
        TEAMS.iter().for_each(|team| release.share_data(team));
        Some(release)
    }

    /// The release goes. Definition, claim and Secrets stay.
    pub(crate) fn uninstall(&self) {
        let arguments = ["uninstall", "firn", "--namespace", HOME, "--wait", "--timeout", "5m"];
        let gone = self.helm.run(&arguments);
        assert!(gone.succeeded, "{}\n{}", gone.talk, self.scene());
    }

    /// It comes back, with more values, and maybe without being waited for.
    pub(crate) fn install_again(&self, more: &[&str]) {
        let installed = charted(&self.helm, &self.cluster, "install", more);
        assert!(installed.succeeded, "{}\n{}", installed.talk, self.scene());
        *self.forwarded() = forward(self.kubectl());
    }

    /// As it was at first, whatever a story has done to it that has failed.
    fn begin_anew(&self) {
        println!("the story before has failed: the release is made anew");
        clear(&self.helm, self.kubectl());
        self.install_again(&["--take-ownership", "--force-conflicts"]);
        for key in ["tls.crt", "tls.key"] {
            // They are there only in some stories.
            let _ = fs::remove_file(self.file(key));
        }
        administrator(self.kubectl(), self.folder.path());
    }

    fn forwarded(&self) -> MutexGuard<'_, LinkProxy> {
        self.forwarded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The release again, with more values.
    pub(crate) fn upgrade(&self, more: &[&str]) {
        let upgraded = charted(&self.helm, &self.cluster, "upgrade", more);
        assert!(upgraded.succeeded, "{}\n{}", upgraded.talk, self.scene());
    }

    /// Train and validation images of three classes, on a volume that the pods of a namespace mount.
    fn share_data(&self, team: &str) {
        let folder = self.cluster.folder().join("data");
        if !folder.exists() {
            three_classes(&folder).unwrap();
        }
        let name = format!("pictures-{team}");
        let spec = json!({"accessModes": ["ReadOnlyMany"], "storageClassName": "", "volumeName": name,
                          "resources": {"requests": {"storage": "1Gi"}}});
        let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": {
            "accessModes": ["ReadOnlyMany"], "storageClassName": "", "capacity": {"storage": "1Gi"}, "hostPath": {"path": folder}}});
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
                           "metadata": {"name": "pictures", "namespace": team}, "spec": spec});
        for object in [volume, claim] {
            self.kubectl().must(&["create", "-f", "-"], &object.to_string());
        }
    }

    pub(crate) fn kubectl(&self) -> &Kubectl {
        self.cluster.kubectl()
    }

    /// `kubectl` in the first team's namespace.
    pub(crate) fn team(&self, arguments: &[&str], input: &str) -> String {
        self.kubectl()
            .must(&[&["--namespace", TEAMS[0]], arguments].concat(), input)
    }

    pub(crate) fn apply(&self, job: &Value) {
        self.team(&["apply", "-f", "-"], &job.to_string());
    }

    pub(crate) fn get(&self, kind: &str, name: &str) -> Value {
        serde_json::from_str(&self.team(&["get", kind, name, "-o", "json"], "")).unwrap()
    }

    pub(crate) fn patch(&self, job: &str, spec: &Value) {
        let patch = json!({"spec": spec}).to_string();
        self.team(&["patch", "ftj", job, "--type", "merge", "-p", &patch], "");
    }

    /// Waits as `kubectl wait` does.
    pub(crate) fn wait(&self, what: &str, condition: &str) {
        let condition = format!("--for={condition}");
        let arguments = ["--namespace", TEAMS[0], "wait", &condition, what, LIMIT];
        let answer = self.kubectl().run(&arguments, "");
        assert!(answer.succeeded, "{condition}: {}\n{}", answer.talk, self.scene());
    }

    /// Waits until all pods of a job are gone.
    pub(crate) fn has_no_pods(&self, job: &str) {
        let label = format!("firn.dev/job={job}");
        self.team(&["wait", "--for=delete", "pod", "-l", &label, "--timeout=120s"], "");
    }

    /// Watches a job until its status is as it should be.
    pub(crate) fn until(&self, job: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let arguments = ["--namespace", TEAMS[0], "get", "ftj", job];
        self.kubectl().until(&arguments, |object| is_so(&object["status"]))["status"].clone()
    }

    /// Watches objects for a minute. Returns every version of each that there was.
    pub(crate) fn watch_for_a_minute(&self, objects: &[&str]) -> Vec<Vec<Value>> {
        let watch = |object: &str| {
            let arguments = [
                "--namespace",
                TEAMS[0],
                "get",
                object,
                "--watch",
                "-o",
                "json",
                "--request-timeout=60s",
            ];
            let watched = self.kubectl().run(&arguments, "");
            let seen = serde_json::Deserializer::from_str(&watched.output).into_iter();
            seen.collect::<Result<Vec<Value>, _>>().unwrap()
        };
        let watch = &watch;
        thread::scope(|scope| {
            let watches: Vec<_> = objects
                .iter()
                .map(|object| scope.spawn(move || watch(object)))
                .collect();
            watches.into_iter().map(|watch| watch.join().unwrap()).collect()
        })
    }

    /// Waits until so many workers train, and so many steps of training are done.
    pub(crate) fn trains(&self, job: &str, workers: u64, steps: u64) -> Value {
        self.until(job, |status| {
            let ended = ["Succeeded", "Failed", "Cancelled"]
                .iter()
                .any(|end| status["summary"] == *end);
            assert!(!ended, "it is over too early: {status}\n{}", self.scene());
            status["summary"] == "Running" && status["workers"]["ready"] == workers && step(status) >= steps
        })
    }

    /// Names of the pods of a job that are not to go and have not ended, with their nodes, in the order of their indices.
    pub(crate) fn pods(&self, job: &str) -> Vec<(String, String)> {
        let label = format!("firn.dev/job={job}");
        let list = self.team(&["get", "pod", "-l", &label, "-o", "json"], "");
        let list: Value = serde_json::from_str(&list).unwrap();
        let is_living = |pod: &&Value| {
            let phase = pod["status"]["phase"].as_str().unwrap_or_default();
            pod["metadata"]["deletionTimestamp"].is_null() && ["Pending", "Running"].contains(&phase)
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut pods: Vec<(String, String)> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(is_living)
            .map(|pod| (text(&pod["metadata"]["name"]), text(&pod["spec"]["nodeName"])))
            .collect();
        pods.sort();
        pods
    }

    /// Where the coordinator is reached through a port that is forwarded.
    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.forwarded().address().port())
    }

    /// `firn`, as an administrator whose port is forwarded to the coordinator.
    pub(crate) fn firn(&self, arguments: &[&str]) -> Command {
        let mut command = firn();
        command
            .args(arguments)
            .args(["--coordinator", &self.url()])
            .arg("--ca")
            .arg(self.file("ca.crt"))
            .arg("--token-file")
            .arg(self.file("token"));
        if self.file("tls.crt").exists() {
            command
                .arg("--cert")
                .arg(self.file("tls.crt"))
                .arg("--key")
                .arg(self.file("tls.key"));
        }
        command
    }

    /// A file of the administrator: `token`, `ca.crt`; `tls.crt` and `tls.key` while certificates are asked for.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The job succeeds, and `firn verify` proves that every sample counted once. Returns its last status and its receipt.
    pub(crate) fn succeeds(&self, job: &str) -> (Value, Receipt) {
        self.wait(&format!("ftj/{job}"), "condition=Succeeded");
        let status = self.get("ftj", job)["status"].clone();
        let name = status["job"].as_str().unwrap().to_owned();
        let output = self.firn(&["verify", &name, "-o", "json"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let receipt = Receipt(serde_json::from_str(&text).unwrap());
        assert_eq!(receipt.0["proven"], true, "{text}");
        (status, receipt)
    }

    /// The resource goes, and all that belongs to it.
    pub(crate) fn delete(&self, job: &str) {
        self.team(&["delete", "ftj", job, "--timeout=120s"], "");
        self.wait(&format!("job/{job}-workers"), "delete");
    }

    /// What there is, for whoever looks why a story went wrong.
    pub(crate) fn scene(&self) -> String {
        let see = |arguments: &[&str]| self.kubectl().run(arguments, "").output;
        [
            see(&["get", "ftj,job,pod", "--all-namespaces", "-o", "wide"]),
            see(&["get", "ftj", "--all-namespaces", "-o", "yaml"]),
            see(&["get", "events", "--namespace", TEAMS[0], "--sort-by=.lastTimestamp"]),
            self.cluster.logs(HOME, "firn-operator"),
            self.cluster.logs(TEAMS[0], ""),
        ]
        .join("\n")
    }
}

/// The rows that a verb of `firn` lists as JSON.
pub(crate) fn rows(listed: &Answer, field: &str) -> Vec<Value> {
    let document: Value = serde_json::from_str(&listed.output).unwrap_or_else(|_| panic!("{}", listed.talk));
    document[field]
        .as_array()
        .unwrap_or_else(|| panic!("{document}"))
        .clone()
}

/// Steps of training that are done.
pub(crate) fn step(status: &Value) -> u64 {
    status["progress"]["step"].as_u64().unwrap_or_default()
}

/// A job of 14 steps an epoch (two workers take some fifty steps a second) whose workers are pods with a slot each, on the nodes for workers.
pub(crate) fn job(name: &str, epochs: u32, (min, max): (u32, u32)) -> Value {
    let mut job = image_job(name, "/data".as_ref());
    job["spec"]["training"] = json!({
        "epochs": epochs, "batchSize": 4, "seed": 11, "determinism": "strict",
        "optimizer": {"type": "adamw", "learningRate": 0.001},
    });
    job["spec"]["artifacts"] = json!({"mergedModel": false});
    job["spec"]["resources"] = json!({"workers": {"min": min, "max": max}, "device": "cpu"});
    job["spec"]["worker"] = json!({
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
        "nodeSelector": {"role": "work"},
        "env": [{"name": "FIRN_THREADS_PER_SLOT", "value": "1"}],
        "volumes": [{"name": "pictures", "persistentVolumeClaim": {"claimName": "pictures", "readOnly": true}}],
        "volumeMounts": [{"name": "pictures", "mountPath": "/data", "readOnly": true}],
    });
    job
}
