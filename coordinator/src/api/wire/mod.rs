//! The only place where wire types become core types and back.
//!
//! Parse, don't validate: a [`firn_core::spec::JobSpec`] that left here can be run, as far as can be known without seeing the data, and
//! holds every default. A message that cannot become one is refused with all its violations at once, each with the path of the field
//! as users write it.

pub(crate) mod checkpoint;
pub(crate) mod dataset;
pub(crate) mod failure;
pub(crate) mod job_changes;
mod job_spec;
pub(crate) mod job_status;
pub(crate) mod names;
pub(crate) mod pass;
mod refusal;
pub(crate) mod step;
pub(crate) mod time;
mod verification;
pub(crate) mod worker;

#[cfg(test)]
mod tests;

pub(crate) use firn_core::spec::uri::path as path_of_uri;
pub use firn_core::spec::{API_VERSION, KIND, Violation};
pub use job_spec::{job_spec, stored_job};
pub use refusal::{invalid_job, violations};
pub(crate) use verification::verification_to_wire;
