//! What the operator's settings say of workers, where a resource says nothing.

use std::path::PathBuf;

use k8s_openapi::api::networking::v1::{NetworkPolicyEgressRule, NetworkPolicyIngressRule};
use serde::{Deserialize, Serialize};

/// Settings of the operator for the pods that it makes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkerSettings {
    /// Image that holds `firn-worker`, where the resource names none.
    pub image: String,
    /// URL of the coordinator as pods reach it.
    pub coordinator: String,
    /// File of the operator with the authorities that signed the coordinator's certificate; required for `https`.
    #[serde(default)]
    pub authority: Option<PathBuf>,
    /// Folder of the operator with `tls.crt` and `tls.key`, which workers show to a coordinator that asks for certificates.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// User and group of pods; null: the cluster gives them.
    #[serde(default = "default_user")]
    pub user: Option<i64>,
    /// Seconds that ranks may take to hand over and leave when their pod is told to go.
    #[serde(default = "default_grace")]
    pub grace_seconds: u32,
    /// Where pods may connect to besides the others of their job: rules of a NetworkPolicy, which the operator makes for each job; absent: it
    /// makes none.
    #[serde(default)]
    pub egress: Option<Vec<NetworkPolicyEgressRule>>,
    /// Who may connect to pods besides the others of their job, where there are such policies.
    #[serde(default)]
    pub ingress: Vec<NetworkPolicyIngressRule>,
    /// Seconds after which a job is given up whose pods have never run and cannot start: no image, no Secret, no quota. 0: never.
    #[serde(default = "default_start_deadline")]
    pub start_deadline_seconds: u32,
}

/// One that is nobody's.
fn default_user() -> Option<i64> {
    Some(65_532)
}

fn default_grace() -> u32 {
    30
}

fn default_start_deadline() -> u32 {
    600
}
