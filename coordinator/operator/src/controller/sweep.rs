//! Jobs whose resource is gone, or over, are ended: also where the coordinator could not be reached when the resource went, or was restored from
//! a backup since.
//!
//! A resource is not held for long by a coordinator that does not answer. Its job is then remembered, or found by its labels after a new start:
//! they name the resource, and the operator that submitted it. What others have submitted is never touched.

use std::{collections::BTreeSet, time::Duration};

use firn_core::spec::JobSpec;
use firn_proto::v1alpha1 as wire;
use kube::{ResourceExt as _, runtime::reflector::Store};
use tracing::{info, warn};

use super::coordinator::CoordinatorError;
use super::plan;
use super::reconcile::Operator;
use crate::resource::FineTuneJob;

/// Label of a job: the uid of its resource.
const RESOURCE_LABEL: &str = "firn.dev/resource";
/// Label of a job: the uid of the lease of the operators that submitted it.
const OPERATOR_LABEL: &str = "firn.dev/operator";
/// Between two attempts to reach the coordinator.
const PAUSE: Duration = Duration::from_secs(2);

/// Notes on a job whose it is.
pub(super) fn label(spec: &mut JobSpec, resource: &str, operator: &str) {
    let labels = &mut spec.metadata.labels;
    labels.insert(RESOURCE_LABEL.to_owned(), resource.to_owned());
    labels.insert(OPERATOR_LABEL.to_owned(), operator.to_owned());
}

impl Operator {
    /// Ends jobs whose resource is gone, or over, now, whenever one was let go without the coordinator, and whenever that may be another one.
    pub(super) async fn sweep(&self, resources: &Store<FineTuneJob>, namespace: Option<&str>) {
        // A store that is never ready ends with the process.
        let _ = resources.wait_until_ready().await;
        loop {
            match self.end_orphans(resources, namespace).await {
                Ok(()) => tokio::select! {
                    () = self.let_go.notified() => {}
                    // Streams are opened one after the other.
                    () = self.jobs.perhaps_another_coordinator() => tokio::time::sleep(PAUSE).await,
                },
                Err(error) => {
                    warn!(%error, "jobs without a resource are looked for again later");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn end_orphans(
        &self,
        resources: &Store<FineTuneJob>,
        namespace: Option<&str>,
    ) -> Result<(), CoordinatorError> {
        let let_go = self.let_go.all();
        let jobs = self.coordinator.list(namespace.unwrap_or_default()).await?;
        let resources = resources.state();
        let living = resources.iter().filter(|resource| !plan::has_ended(resource));
        let there: BTreeSet<String> = living.filter_map(|resource| resource.uid()).collect();
        for job in jobs {
            let Some(uid) = self.uid_of(&job) else { continue };
            if has_ended(&job) || (there.contains(uid) && !let_go.contains(uid)) {
                continue;
            }
            let name = job
                .metadata
                .as_ref()
                .map(|metadata| metadata.resource_name.clone())
                .unwrap_or_default();
            info!(job = name, "its resource is gone, or over: it is ended");
            self.coordinator.cancel(name.clone()).await?;
            self.coordinator.revoke_tokens(&name).await?;
        }
        self.let_go.ended(&let_go);
        Ok(())
    }

    /// The job that was submitted for a resource, if there is one.
    pub(super) async fn submitted(
        &self,
        resource: &str,
        namespace: &str,
    ) -> Result<Option<wire::FineTuneJob>, CoordinatorError> {
        let jobs = self.coordinator.list(namespace).await?;
        let is_its = |job: &wire::FineTuneJob| self.uid_of(job).is_some_and(|uid| uid == resource);
        Ok(jobs.into_iter().find(is_its))
    }

    /// The uid of the resource of a job that this operator, or one before it under the same lease, has submitted.
    fn uid_of<'a>(&self, job: &'a wire::FineTuneJob) -> Option<&'a String> {
        let labels = &job.metadata.as_ref()?.labels;
        labels
            .get(RESOURCE_LABEL)
            .filter(|_| labels.get(OPERATOR_LABEL) == Some(&self.lease))
    }
}

fn has_ended(job: &wire::FineTuneJob) -> bool {
    let summary = job.status.as_ref().map(|status| status.summary.as_str());
    summary.is_some_and(super::remote::is_end)
}
