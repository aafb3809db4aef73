//! A job as it travels ↔ a job that can be run. Both are the same document, so the fields are named in neither direction.

use firn_core::spec::{JobSpec, Violation, to_value};
use firn_proto::v1alpha1::FineTuneJob;

/// Turns a submitted job into a validated spec in which every default is filled in.
///
/// # Errors
/// Everything that is wrong with it.
pub fn job_spec(job: &FineTuneJob) -> Result<JobSpec, Vec<Violation>> {
    JobSpec::from_document(to_value(job).expect("a message is plain data"))
}

/// The job as it is shown and stored, every default written out: [`job_spec`] of it is the same spec again. What the coordinator adds
/// (resource name, creation time, status) is left empty.
pub fn stored_job(spec: &JobSpec) -> FineTuneJob {
    serde_json::from_value(spec.to_document()).expect("a spec has the fields of the message")
}
