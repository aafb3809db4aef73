//! A namespace of the cluster that the tests share.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use firn_kubernetes_tests::{Cluster, node::Image};
use serde_json::{Value, json};

/// Name of an image that holds this machine's programs.
pub(crate) const IMAGE: &str = "machine:test";
/// What takes longer has hung.
const LIMIT: &str = "--timeout=120s";

/// A namespace.
pub(crate) struct Place {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) namespace: &'static str,
}

/// It ends with the last test that uses it.
fn shared() -> Option<Arc<Cluster>> {
    static CLUSTER: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
    let mut shared = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(cluster) = shared.upgrade() {
        return Some(cluster);
    }
    let cluster = Arc::new(start()?);
    *shared = Arc::downgrade(&cluster);
    Some(cluster)
}

/// A cluster of two nodes.
pub(crate) fn start() -> Option<Cluster> {
    let cluster = Cluster::start(2)?;
    cluster.add_image(IMAGE, Image::of_this_machine()).unwrap();
    Some(cluster)
}

impl Place {
    /// `None`, said aloud, where there can be no cluster.
    pub(crate) fn new(namespace: &'static str) -> Option<Self> {
        Some(Self::on(shared()?, namespace))
    }

    pub(crate) fn on(cluster: Arc<Cluster>, namespace: &'static str) -> Self {
        cluster.create_namespace(namespace, &[]);
        Self { cluster, namespace }
    }

    pub(crate) fn kubectl(&self, arguments: &[&str], input: &str) -> String {
        let all = [&["--namespace", self.namespace], arguments].concat();
        self.cluster.kubectl().must(&all, input)
    }

    pub(crate) fn create(&self, object: &Value) {
        self.kubectl(&["create", "-f", "-"], &object.to_string());
    }

    pub(crate) fn get(&self, kind: &str, name: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["get", kind, name, "-o", "json"], "")).unwrap()
    }

    /// Waits until a field of an object holds a value.
    pub(crate) fn wait(&self, what: &str, path: &str, value: &str) {
        self.wait_for(what, &format!("jsonpath={{{path}}}={value}"));
    }

    pub(crate) fn wait_for(&self, what: &str, condition: &str) {
        let condition = format!("--for={condition}");
        let arguments = ["--namespace", self.namespace, "wait", &condition, what, LIMIT];
        let answer = self.cluster.kubectl().run(&arguments, "");
        if !answer.succeeded {
            let see = |arguments: &[&str]| {
                let all = [&["--namespace", self.namespace], arguments].concat();
                self.cluster.kubectl().run(&all, "").output
            };
            let (object, events) = (see(&["get", what, "-o", "yaml"]), see(&["get", "events"]));
            let name = what.rsplit('/').next().unwrap_or_default();
            let logs = self.cluster.logs(self.namespace, name);
            panic!("{condition}: {}\n{object}\n{events}\n{logs}", answer.talk);
        }
    }

    /// Runs a pod to its end; returns what it has left as its last words.
    pub(crate) fn outcome(&self, pod: &Value) -> String {
        self.create(pod);
        let name = pod["metadata"]["name"].as_str().unwrap();
        self.wait(&format!("pod/{name}"), ".status.phase", "Succeeded");
        let status = self.get("pod", name)["status"].clone();
        let message = &status["containerStatuses"][0]["state"]["terminated"]["message"];
        message.as_str().unwrap_or_default().to_owned()
    }

    /// The state of a pod's only container.
    pub(crate) fn state(&self, pod: &str) -> Value {
        self.get("pod", pod)["status"]["containerStatuses"][0]["state"].clone()
    }

    /// What happened to a pod, as an event tells.
    pub(crate) fn wait_for_event(&self, reason: &str, pod: &str) -> String {
        let field = format!("reason={reason},involvedObject.name={pod}");
        let arguments = [
            "--namespace",
            self.namespace,
            "get",
            "events",
            "--field-selector",
            &field,
        ];
        let event = self.cluster.kubectl().until(&arguments, |_| true);
        event["message"].as_str().unwrap_or_default().to_owned()
    }
}

/// A pod that runs a script once; what it writes to `/dev/termination-log` are its last words.
pub(crate) fn script(name: &str, text: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 20,
            "containers": [{"name": "main", "image": IMAGE, "command": ["bash", "-euc", text]}],
        },
    })
}

/// The same with more in its only container, and in its spec.
pub(crate) fn script_with(name: &str, text: &str, (container, spec): (Value, Value)) -> Value {
    let mut pod = script(name, text);
    for (place, more) in [("/spec/containers/0", container), ("/spec", spec)] {
        let fields = pod.pointer_mut(place).unwrap().as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
    }
    pod
}
