//! What the operator says of a resource: its status, and events.

use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use kube::{
    Resource as _, ResourceExt as _,
    api::{Patch, PatchParams},
    runtime::events::{Event, EventType},
};
use serde_json::{Value, json};

use super::hindrance::{CLUSTER_REFUSED, INVALID_TEMPLATE, RECONCILED};
use super::making::if_there;
use super::reconcile::{FIELD_MANAGER, Operator, ReconcileError};
use crate::resource::{FineTuneJob, ResourceStatus, StatusCondition};

/// Between two writes of a status of which only the progress has changed.
pub(super) const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// Longest note of an event, in characters: the API server takes 1,024 bytes.
const LONGEST_NOTE: usize = 1000;

impl Operator {
    /// Writes the status, or says in how long that is to be tried: progress alone is written every few seconds.
    pub(super) async fn write_status(
        &self,
        resource: &FineTuneJob,
        status: &ResourceStatus,
    ) -> Result<Option<Duration>, ReconcileError> {
        let uid = resource.uid().unwrap_or_default();
        let before = resource.status.clone().unwrap_or_default();
        let last = self.lock().entry(uid.clone()).or_default().written;
        let elapsed = last.map_or(PROGRESS_INTERVAL, |at| at.elapsed());
        if status.differs_by_progress_alone(&before) && elapsed < PROGRESS_INTERVAL {
            return Ok(Some(PROGRESS_INTERVAL.saturating_sub(elapsed)));
        }
        let mut document = json!({
            "apiVersion": FineTuneJob::api_version(&()),
            "kind": FineTuneJob::kind(&()),
            "status": status,
        });
        drop_nulls(&mut document);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let api = self.api(resource);
        let written = api
            .patch_status(&resource.name_any(), &params, &Patch::Apply(document))
            .await;
        if if_there(written)?.is_none() {
            return Ok(None);
        }
        self.lock().entry(uid).or_default().written = Some(Instant::now());
        for condition in news(&before, status) {
            self.publish(resource, condition).await?;
        }
        Ok(None)
    }

    /// An error stands on the resource as a condition, beside what is known of the job.
    pub(super) async fn tell(&self, resource: &FineTuneJob, error: &ReconcileError) -> Result<(), ReconcileError> {
        let Some(reason) = reason(error) else { return Ok(()) };
        let uid = resource.uid().unwrap_or_default();
        let before = resource.status.clone().unwrap_or_default();
        let mut status = self
            .jobs
            .get(&uid)
            .map_or_else(|| before.clone(), |remote| remote.status);
        status.observed_generation = resource.metadata.generation;
        status.summary.get_or_insert_with(|| "Pending".to_owned());
        for own in StatusCondition::OF_THE_OPERATOR {
            if let Some(condition) = before.condition(own) {
                status.set_condition(condition.clone());
            }
        }
        let now = Timestamp::now();
        let told = StatusCondition::new(RECONCILED, false, reason, &error.to_string());
        status.set_condition(told.since(&before, now));
        if status != before {
            self.write_status(resource, &status).await?;
        }
        Ok(())
    }

    async fn publish(&self, resource: &FineTuneJob, condition: &StatusCondition) -> Result<(), ReconcileError> {
        let event = Event {
            type_: match condition.is_bad() {
                true => EventType::Warning,
                false => EventType::Normal,
            },
            reason: condition.reason.clone(),
            note: Some(condition.message.chars().take(LONGEST_NOTE).collect()),
            action: condition.r#type.clone(),
            secondary: None,
        };
        self.recorder.publish(&event, &resource.object_ref(&())).await?;
        Ok(())
    }
}

/// What an error is called on a resource; `None`: nothing could be written either.
fn reason(error: &ReconcileError) -> Option<&'static str> {
    Some(match error {
        ReconcileError::Cluster(_) if error.is_refusal() => CLUSTER_REFUSED,
        ReconcileError::Cluster(_) => return None,
        ReconcileError::Coordinator(error) => error.reason(),
        ReconcileError::Pods(_) => INVALID_TEMPLATE,
        ReconcileError::Files(_) => "MissingFile",
        ReconcileError::NameTaken { .. } => "NameTaken",
    })
}

/// Conditions that say something new: each is one event. Another number in the sentence of a condition is none.
fn news<'a>(before: &ResourceStatus, after: &'a ResourceStatus) -> Vec<&'a StatusCondition> {
    let is_new = |condition: &&StatusCondition| {
        let known = before.condition(&condition.r#type);
        known.is_none_or(|known| (&known.status, &known.reason) != (&condition.status, &condition.reason))
    };
    after.conditions.iter().filter(is_new).collect()
}

/// What is not there is left out: the API server would take it for the wish to take it out.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
