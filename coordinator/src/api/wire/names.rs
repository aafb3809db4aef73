//! Resource names and identities.

use firn_core::identifiers::{Generation, JobId, RankIdentity};
use firn_proto::v1alpha1 as proto;
use tonic::Status;

use crate::api::refusal::invalid;

/// `jobs/{job}` of a job.
pub(crate) fn job_name(job: &JobId) -> String {
    format!("jobs/{job}")
}

/// The job that a resource name names.
pub(crate) fn job_id(field: &str, name: &str) -> Result<JobId, Status> {
    match name.strip_prefix("jobs/") {
        Some(id) if !id.is_empty() && !id.contains('/') => Ok(JobId::from(id)),
        _ => Err(invalid(field, format!("expected `jobs/{{job}}`, found `{name}`"))),
    }
}

/// Who calls.
pub(crate) fn identity(identity: Option<proto::RankIdentity>) -> Result<RankIdentity, Status> {
    let identity = identity.ok_or_else(|| invalid("identity", "expected the caller's identity, found none"))?;
    if identity.process_id.is_empty() {
        return Err(invalid(
            "identity.process_id",
            "expected the id given in StartRank, found none",
        ));
    }
    Ok(RankIdentity {
        job: job_id("identity.job", &identity.job)?,
        process: identity.process_id.into(),
        generation: Generation(identity.generation),
        coordinator_epoch: identity.coordinator_epoch,
    })
}

/// A message that must be there.
pub(crate) fn present<T>(field: &str, message: Option<T>) -> Result<T, Status> {
    message.ok_or_else(|| invalid(field, "expected a value, found none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_resource_names_of_jobs_name_jobs() {
        assert_eq!(job_id("name", "jobs/ants-2").unwrap().as_str(), "ants-2");
        for name in ["", "ants", "jobs/", "jobs/a/b", "workers/a"] {
            assert!(job_id("name", name).is_err(), "{name}");
        }
    }
}
