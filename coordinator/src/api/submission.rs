//! Into which namespace a caller may submit.

use firn_proto::v1alpha1::FineTuneJob;
use tonic::Status;

use crate::access::Caller;

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
