//! The only place where wire types become core types and back.
//!
//! Parse, don't validate: a [`firn_core::spec::JobSpec`] that left here can be run, as far as can be known without seeing the data, and
//! holds every default. A message that cannot become one is refused with all its violations at once, each with the path of the field
//! as users write it.

pub(crate) mod checkpoint;
mod data;
pub(crate) mod dataset;
mod duration;
pub(crate) mod failure;
mod fields;
mod job_spec;
pub(crate) mod job_status;
pub(crate) mod names;
pub(crate) mod pass;
mod predictions;
mod refusal;
pub(crate) mod step;
mod stored_job;
pub(crate) mod time;
mod training;
mod uri;
mod verification;
pub(crate) mod worker;

#[cfg(test)]
mod tests;

pub use fields::Violation;
pub use job_spec::{API_VERSION, KIND, job_spec};
pub use refusal::{invalid_job, violations};
pub use stored_job::stored_job;
pub(crate) use uri::path as path_of_uri;
pub(crate) use verification::verification_to_wire;
