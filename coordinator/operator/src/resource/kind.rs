//! The resource as a value, with which a client of the API server can work.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{Metadata, NamespaceResourceScope, Resource};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{ClusterFields, PLURAL, ResourceStatus};
use firn_core::spec::{API_VERSION, JobSpec, KIND, Violation};

/// A `FineTuneJob`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FineTuneJob {
    /// Name, namespace, labels, and what the API server keeps.
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: ResourceSpec,
    /// What is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ResourceStatus>,
}

/// The spec of a job, and beside it what only a cluster reads.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ResourceSpec {
    /// What only a cluster reads.
    #[serde(flatten)]
    pub cluster: ClusterFields,
    /// The job's own sections, as they are written.
    #[serde(flatten)]
    pub job: Map<String, Value>,
}

impl Resource for FineTuneJob {
    type Scope = NamespaceResourceScope;

    const API_VERSION: &'static str = API_VERSION;
    const GROUP: &'static str = super::GROUP;
    const KIND: &'static str = KIND;
    const URL_PATH_SEGMENT: &'static str = PLURAL;
    const VERSION: &'static str = super::VERSION;
}

impl Metadata for FineTuneJob {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl FineTuneJob {
    /// The document that a coordinator is given: the job in its namespace, without what only a cluster reads.
    pub fn document(&self) -> Value {
        json!({
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {
                "name": self.metadata.name,
                "namespace": self.metadata.namespace,
                "labels": self.metadata.labels,
            },
            "spec": self.spec.job,
        })
    }

    /// The job, every default filled in.
    ///
    /// # Errors
    /// Everything that a coordinator would refuse, by its field.
    pub fn job(&self) -> Result<JobSpec, Vec<Violation>> {
        JobSpec::from_document(self.document())
    }
}
