//! What becomes of a job before it is read as a spec: into which namespace its caller may submit it, and what the folder of its model says.

use firn_proto::v1alpha1::FineTuneJob;
use tonic::Status;

use super::wire;
use crate::{access::Caller, model_folder};

/// The job with what the folder of its model says, if it names one that is seen here.
pub(super) async fn with_its_folder(mut job: FineTuneJob) -> Result<FineTuneJob, Status> {
    let read = tokio::task::spawn_blocking(move || model_folder::read(&mut job).map(|()| job)).await;
    let read = read.map_err(|error| Status::internal(format!("reading the folder of a model: {error}")))?;
    read.map_err(|unread| wire::invalid_job(&[unread.into_violation()]))
}

/// A job that names no namespace gets that of the caller's token; one that names another is refused.
pub(super) fn claim(caller: &Caller, job: Option<&mut FineTuneJob>) -> Result<(), Status> {
    let Some(own) = caller.namespace() else {
        return caller.may_do_everywhere("CreateJob");
    };
    let Some(job) = job else { return Ok(()) };
    let metadata = job.metadata.get_or_insert_default();
    if metadata.namespace.is_empty() {
        own.clone_into(&mut metadata.namespace);
    }
    caller.may_use(&metadata.namespace)
}
