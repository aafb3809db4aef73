//! What is wrong with a spec, field by field, in the words that people read.

use std::fmt;

use crate::spec::{hub, schema};

/// Something in a spec that cannot be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field as users write it: `spec.training.optimizer.learningRate`.
    pub field: String,
    /// What was expected and what was found; lower case, no full stop.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.field, self.message)
    }
}

/// All that is found, and how it is worded.
#[derive(Default)]
pub(super) struct Violations {
    pub(super) found: Vec<Violation>,
}

impl Violations {
    pub(super) fn add(&mut self, field: &str, message: String) {
        self.found.push(Violation {
            field: field.to_owned(),
            message,
        });
    }

    pub(super) fn require(&mut self, holds: bool, field: &str, message: impl FnOnce() -> String) {
        if !holds {
            self.add(field, message());
        }
    }

    /// Whether something is wrong with the field already.
    pub(super) fn has(&self, field: &str) -> bool {
        self.found.iter().any(|found| found.field == field)
    }

    /// Brings what was found into the order of the fields.
    pub(super) fn sort(&mut self) {
        let mut fields = Vec::new();
        schema::walk(&mut |path, _| fields.push(path.to_owned()));
        // Names in a map and places in a list stand where their field stands.
        let place = |found: &Violation| fields.iter().rposition(|field| within(&found.field, field));
        self.found.sort_by_key(place);
    }

    pub(super) fn absolute(&mut self, field: &str, path: Option<&String>) {
        if let Some(path) = path {
            self.require(path.starts_with('/') && !path.contains('\0'), field, || {
                match path.starts_with(hub::SCHEME) {
                    true => format!(
                        "must be an absolute path on the workers: `{}` names models alone, found `{path}`",
                        hub::SCHEME
                    ),
                    false => format!("must be an absolute path on the workers, found `{path}`"),
                }
            });
        }
    }
}

/// Whether a path is `whole` or stands in it.
pub(in crate::spec) fn within(field: &str, whole: &str) -> bool {
    field
        .strip_prefix(whole)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}
