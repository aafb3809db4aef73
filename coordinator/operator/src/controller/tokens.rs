//! Whether the coordinator knows the token that pods were given.
//!
//! One that was restored from a backup does not know what was issued since, whenever the job was taken in: it may have been resumed since, or its
//! Secret made anew. Its pods would come to it in vain for ever, so they are made anew. It is asked once for each token, and again when the
//! coordinator may be another one: when the stream of the job was opened anew, and by each operator that begins.

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt as _;

use super::reconcile::{Operator, ReconcileError};
use crate::resource::FineTuneJob;
use crate::workers::{TOKEN_ANNOTATION, workers_name};

/// A token that was known, and how often the stream of its job had been opened anew by then.
pub(super) type Known = (String, u64);

impl Operator {
    /// Whether the coordinator has lost the token of a Job's pods. Those of a Job that says nothing of it are trusted.
    pub(super) async fn has_lost_token(
        &self,
        resource: &FineTuneJob,
        job: Option<&Job>,
    ) -> Result<bool, ReconcileError> {
        let (Some(token), Some(uid)) = (job.and_then(token_of), resource.uid()) else {
            return Ok(false);
        };
        let known: Known = (token, self.jobs.reopened(&uid));
        if self.lock().get(&uid).and_then(|memory| memory.token.as_ref()) == Some(&known) {
            return Ok(false);
        }
        if self.coordinator.knows_token(&known.0).await? {
            self.lock().entry(uid).or_default().token = Some(known);
            return Ok(false);
        }
        // What is remembered of the cluster may be older than the cluster: another one may have been issued since.
        let name = workers_name(resource);
        let now = self.jobs_api(resource).get_opt(&name).await?;
        Ok(now.as_ref().and_then(token_of) == Some(known.0))
    }
}

fn token_of(job: &Job) -> Option<String> {
    job.annotations().get(TOKEN_ANNOTATION).cloned()
}
