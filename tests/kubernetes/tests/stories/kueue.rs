//! Kueue beside the release, and its queues.

use std::sync::{Mutex, PoisonError};

use firn_kubernetes_tests::{Programs, install_kueue};
use serde_json::{Value, json};

use crate::release::{Story, TEAMS};

const VERSION: &str = "kueue.x-k8s.io/v1beta2";

/// The release, with Kueue. `None`, said aloud, where it is not built.
pub(crate) fn begin() -> Option<Story> {
    static IS_INSTALLED: Mutex<bool> = Mutex::new(false);
    let programs = Programs::find(&["kueue", "helm"])?;
    let story = Story::begin()?;
    let mut is_installed = IS_INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*is_installed {
        install_kueue(&story.cluster, &programs, ("role", "control"));
        *is_installed = true;
        story.figure("Kueue serves");
    }
    Some(story)
}

/// A ClusterQueue, with a LocalQueue of the same name in the first team's namespace.
pub(crate) struct Queue<'a> {
    story: &'a Story,
    name: &'static str,
}

impl<'a> Queue<'a> {
    /// With so many processors of each flavor; that is a label `side` of nodes, or `plain`, which is any node.
    pub(crate) fn create(story: &'a Story, name: &'static str, spec: &Value, flavors: &[(&str, u32)]) -> Self {
        let queue = Self { story, name };
        let made = flavors.iter().map(|(flavor, _)| {
            let labels = match *flavor {
                "plain" => json!({}),
                side => json!({"side": side}),
            };
            json!({"apiVersion": VERSION, "kind": "ResourceFlavor", "metadata": {"name": flavor}, "spec": {"nodeLabels": labels}})
        });
        let mut cluster_queue =
            json!({"apiVersion": VERSION, "kind": "ClusterQueue", "metadata": {"name": name}, "spec": spec});
        cluster_queue["spec"]["namespaceSelector"] = json!({});
        cluster_queue["spec"]["resourceGroups"] = quota(flavors);
        let local_queue = json!({"apiVersion": VERSION, "kind": "LocalQueue",
                                 "metadata": {"name": name, "namespace": TEAMS[0]}, "spec": {"clusterQueue": name}});
        let objects: Vec<Value> = made.chain([cluster_queue, local_queue]).collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        story
            .kubectl()
            .must(&["apply", "--server-side", "-f", "-"], &list.to_string());
        queue
    }

    /// The same job, in this queue.
    pub(crate) fn governs(&self, mut job: Value) -> Value {
        job["metadata"]["labels"] = json!({"kueue.x-k8s.io/queue-name": self.name});
        job
    }

    /// So many processors of each flavor from now on.
    pub(crate) fn give(&self, flavors: &[(&str, u32)]) {
        self.change(&json!({"resourceGroups": quota(flavors)}));
    }

    pub(crate) fn change(&self, spec: &Value) {
        let patch = json!({"spec": spec}).to_string();
        let arguments = ["patch", "clusterqueue", self.name, "--type", "merge", "-p", &patch];
        self.story.kubectl().must(&arguments, "");
    }

    /// Without a job in it, it goes at once.
    pub(crate) fn delete(self) {
        self.story
            .team(&["delete", "localqueue", self.name, "--timeout=60s"], "");
        self.story
            .kubectl()
            .must(&["delete", "clusterqueue", self.name, "--timeout=60s"], "");
    }
}

fn quota(flavors: &[(&str, u32)]) -> Value {
    let flavors: Vec<Value> = flavors
        .iter()
        .map(|(flavor, processors)| {
            let resources = json!([
                {"name": "cpu", "nominalQuota": processors},
                {"name": "memory", "nominalQuota": "64Gi"},
            ]);
            json!({"name": flavor, "resources": resources})
        })
        .collect();
    json!([{"coveredResources": ["cpu", "memory"], "flavors": flavors}])
}
