//! What the operator's settings say of workers, where a resource says nothing.

use serde::{Deserialize, Serialize};

/// Settings of the operator for the pods that it makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkerSettings {
    /// Image that holds `firn-worker`, where the resource names none.
    pub image: String,
    /// URL of the coordinator as pods reach it.
    pub coordinator: String,
    /// Secret in the namespace of the job with `ca.crt`, the authority of the coordinator's certificate.
    pub ca_secret: String,
    /// Secret in the namespace of the job with `tls.crt` and `tls.key`, for a coordinator that asks for certificates.
    #[serde(default)]
    pub certificate_secret: Option<String>,
    /// Secret in the namespace of the job with `token`.
    pub token_secret: String,
    /// Seconds that ranks may take to hand over and leave when their pod is told to go.
    #[serde(default = "default_grace")]
    pub grace_seconds: u32,
}

fn default_grace() -> u32 {
    30
}
