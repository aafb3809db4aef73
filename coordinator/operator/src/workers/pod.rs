//! A worker's pod: what the agent needs, what the resource asks for, and as few rights as the strictest policy allows.

use firn_core::spec::{DeviceRequest, JobSpec};
use serde_json::{Map, Value, json};

use super::{CONTAINER, JOB_LABEL, WorkerSettings, identity};
use crate::resource::{FineTuneJob, WorkerTemplate};

/// Seconds between the agent's own grace and the moment in which the kubelet kills it: it has to tell how its ranks ended.
const MARGIN: u32 = 15;
/// Where a worker finds with what it shows who it is.
const IDENTITY: &str = "/etc/firn/identity";

/// A patch that does not give a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchError {
    /// What is wrong with it.
    pub reason: String,
}

impl std::fmt::Display for PatchError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "spec.worker.template: {}", self.reason)
    }
}

impl std::error::Error for PatchError {}

/// The template of the pods.
///
/// # Errors
/// If the patch of the resource is no patch of a pod.
pub(super) fn template(
    resource: &FineTuneJob,
    (name, spec): (&str, &JobSpec),
    settings: &WorkerSettings,
) -> Result<Value, PatchError> {
    let own = resource.metadata.name.as_deref().unwrap_or_default();
    let worker = resource.spec.cluster.worker.clone().unwrap_or_default();
    let mut labels = json!({JOB_LABEL: own, "app.kubernetes.io/name": "firn-worker"});
    extend(&mut labels, &worker.labels);
    let mut template = json!({
        "metadata": {"labels": labels, "annotations": worker.annotations},
        "spec": {
            "restartPolicy": "Never",
            // A worker asks nothing of the cluster.
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": settings.grace_seconds + MARGIN,
            "securityContext": security(settings.user),
            "topologySpreadConstraints": [{
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {JOB_LABEL: own}},
            }],
            "containers": [container((name, spec), &worker, settings)],
            "volumes": volumes(resource, &worker),
        },
    });
    placement(&mut template["spec"], &worker);
    merge(&mut template, &Value::Object(worker.template));
    Ok(template)
}

fn security(user: Option<i64>) -> Value {
    let mut context = json!({
        "runAsNonRoot": true,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    if let Some(user) = user {
        for field in ["runAsUser", "runAsGroup", "fsGroup"] {
            context[field] = json!(user);
        }
    }
    context
}

fn container((name, spec): (&str, &JobSpec), worker: &WorkerTemplate, settings: &WorkerSettings) -> Value {
    let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
    let index = "metadata.annotations['batch.kubernetes.io/job-completion-index']";
    let mut env = vec![
        json!({"name": "FIRN_INDEX", "valueFrom": field(index)}),
        json!({"name": "FIRN_ADDRESS", "valueFrom": field("status.podIP")}),
        json!({"name": "FIRN_COORDINATOR", "value": settings.coordinator}),
        json!({"name": "FIRN_FOR_JOB", "value": name}),
        // The replacement of a worker has its name.
        json!({"name": "FIRN_WORKER_NAME", "value": format!("{name}-$(FIRN_INDEX)")}),
        json!({"name": "FIRN_TOKEN_FILE", "value": format!("{IDENTITY}/{}", identity::TOKEN)}),
        json!({"name": "FIRN_STATE_DIR", "value": "/var/lib/firn/worker"}),
        json!({"name": "FIRN_GRACE", "value": format!("{}s", settings.grace_seconds)}),
        // Libraries that keep files ask for a home.
        json!({"name": "HOME", "value": "/var/lib/firn"}),
    ];
    let mut file = |variable: &str, name: &str| {
        env.push(json!({"name": variable, "value": format!("{IDENTITY}/{name}")}));
    };
    if settings.authority.is_some() {
        file("FIRN_CA", identity::AUTHORITY);
    }
    if settings.certificate.is_some() {
        file("FIRN_CERT", identity::CERTIFICATE);
        file("FIRN_KEY", identity::KEY);
    }
    if spec.resources.device == DeviceRequest::Cpu {
        let slots = spec.resources.slots_per_worker.to_string();
        env.push(json!({"name": "FIRN_CPU_SLOTS", "value": slots}));
    }
    env.extend(worker.env.iter().map(|variable| json!(variable)));
    let mut mounts = vec![
        json!({"name": "firn-state", "mountPath": "/var/lib/firn"}),
        json!({"name": "firn-scratch", "mountPath": "/tmp"}),
        json!({"name": "firn-shared-memory", "mountPath": "/dev/shm"}),
        json!({"name": "firn-identity", "mountPath": IDENTITY, "readOnly": true}),
    ];
    mounts.extend(worker.volume_mounts.iter().map(|mount| json!(mount)));
    let mut container = json!({
        "name": CONTAINER,
        "image": worker.image.as_deref().unwrap_or(&settings.image),
        "args": ["agent"],
        "env": env,
        "resources": resources(spec, worker),
        "volumeMounts": mounts,
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
    });
    if let Some(policy) = &worker.image_pull_policy {
        container["imagePullPolicy"] = json!(policy);
    }
    if !worker.env_from.is_empty() {
        container["envFrom"] = json!(worker.env_from);
    }
    container
}

/// As many GPUs as ranks, where GPUs are asked for by name; on a request of `auto` the resource says whether there are any.
fn resources(spec: &JobSpec, worker: &WorkerTemplate) -> Value {
    const GPU: &str = "nvidia.com/gpu";
    let mut resources = json!(worker.resources.clone().unwrap_or_default());
    if spec.resources.device == DeviceRequest::Gpu && resources["limits"].get(GPU).is_none() {
        resources["limits"][GPU] = json!(spec.resources.slots_per_worker.to_string());
    }
    resources
}

fn volumes(resource: &FineTuneJob, worker: &WorkerTemplate) -> Value {
    let mut volumes = vec![
        json!({"name": "firn-state", "emptyDir": {}}),
        json!({"name": "firn-scratch", "emptyDir": {}}),
        json!({"name": "firn-shared-memory", "emptyDir": {"medium": "Memory"}}),
        // Readable for the group that the volumes are given to.
        json!({"name": "firn-identity", "secret": {"secretName": identity::secret_name(resource), "defaultMode": 0o440}}),
    ];
    volumes.extend(worker.volumes.iter().map(|volume| json!(volume)));
    json!(volumes)
}

/// Where the pods may run, as the resource says.
fn placement(spec: &mut Value, worker: &WorkerTemplate) {
    let written = [
        ("nodeSelector", json!(worker.node_selector)),
        ("tolerations", json!(worker.tolerations)),
        ("affinity", json!(worker.affinity)),
        ("topologySpreadConstraints", json!(worker.topology_spread_constraints)),
        ("imagePullSecrets", json!(worker.image_pull_secrets)),
        ("priorityClassName", json!(worker.priority_class_name)),
        ("runtimeClassName", json!(worker.runtime_class_name)),
    ];
    for (name, value) in written {
        let is_empty = match &value {
            Value::Null => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            _ => false,
        };
        if !is_empty {
            spec[name] = value;
        }
    }
}

fn extend(labels: &mut Value, more: &std::collections::BTreeMap<String, String>) {
    for (name, value) in more {
        if labels.get(name).is_none() {
            labels[name] = json!(value);
        }
    }
}

/// A strategic merge: fields of objects one by one, items of lists by their `name`, everything else in place of what was there; `null` takes
/// a field out.
fn merge(value: &mut Value, patch: &Value) {
    match (value, patch) {
        (Value::Object(fields), Value::Object(patched)) => merge_fields(fields, patched),
        (Value::Array(items), Value::Array(patched)) if patched.iter().all(|item| item["name"].is_string()) => {
            for item in patched {
                match items.iter_mut().find(|known| known["name"] == item["name"]) {
                    Some(known) => merge(known, item),
                    None => items.push(item.clone()),
                }
            }
        }
        (value, patch) => *value = patch.clone(),
    }
}

fn merge_fields(fields: &mut Map<String, Value>, patched: &Map<String, Value>) {
    for (name, patch) in patched {
        match (fields.get_mut(name), patch) {
            (_, Value::Null) => {
                fields.shift_remove(name);
            }
            (Some(known), patch) => merge(known, patch),
            (None, patch) => {
                fields.insert(name.clone(), patch.clone());
            }
        }
    }
}
