//! A refused job on the wire: INVALID_ARGUMENT with a `google.rpc.BadRequest`, one violation for each field.

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use super::Violation;

/// The answer to a job that cannot be run.
pub fn invalid_job(violations: &[Violation]) -> Status {
    let fields = violations
        .iter()
        .map(|found| FieldViolation::new(&found.field, &found.message))
        .collect::<Vec<_>>();
    let mut details = ErrorDetails::new();
    details.set_bad_request(fields);
    let message = match violations {
        [only] => format!("the job is not valid: {only}"),
        [first, rest @ ..] => format!("the job is not valid: {first} (and {} more)", rest.len()),
        [] => "the job is not valid".to_owned(),
    };
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// The violations that an answer holds; none if it is another error.
pub fn violations(status: &Status) -> Vec<Violation> {
    let fields = status
        .get_details_bad_request()
        .map(|refused| refused.field_violations)
        .unwrap_or_default();
    fields
        .into_iter()
        .map(|found| Violation {
            field: found.field,
            message: found.description,
        })
        .collect()
}
