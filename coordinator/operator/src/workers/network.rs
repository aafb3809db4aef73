//! With whom the pods of a job may speak: with each other, and with those that the operator's settings name.

use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt as _;
use serde_json::json;

use super::{JOB_LABEL, WorkerSettings, job::owner, workers_name};
use crate::resource::FineTuneJob;

/// The policy of a resource's pods; `None`: the settings want none. No policy that is written before there are jobs can say "of the same job".
pub fn network_policy(resource: &FineTuneJob, settings: &WorkerSettings) -> Option<NetworkPolicy> {
    let egress = settings.egress.as_ref()?;
    let pods = json!({"matchLabels": {JOB_LABEL: resource.name_any()}});
    let each_other = json!([{"podSelector": pods}]);
    let mut out = vec![json!({"to": each_other})];
    out.extend(egress.iter().map(|rule| json!(rule)));
    let mut into = vec![json!({"from": each_other})];
    into.extend(settings.ingress.iter().map(|rule| json!(rule)));
    let policy = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": workers_name(resource),
            "namespace": resource.namespace(),
            "labels": {JOB_LABEL: resource.name_any(), "app.kubernetes.io/managed-by": "firn-operator"},
            "ownerReferences": [owner(resource)],
        },
        "spec": {
            "podSelector": pods,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": into,
            "egress": out,
        },
    });
    Some(serde_json::from_value(policy).expect("this is a NetworkPolicy"))
}
