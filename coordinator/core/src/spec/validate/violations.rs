//! What is wrong with a spec, field by field, in the words that people read.

use std::fmt;

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

    /// The number is finite and in the set that `range` describes.
    pub(super) fn number(&mut self, field: &str, value: f64, holds: bool, range: &str) {
        self.require(value.is_finite() && holds, field, || {
            format!("must be {range}, found {}", number(value))
        });
    }

    pub(super) fn fraction(&mut self, field: &str, value: f64) {
        self.number(field, value, (0.0..1.0).contains(&value), "at least 0 and below 1");
    }

    pub(super) fn count(&mut self, field: &str, value: u32, least: u32, most: u32) {
        self.require((least..=most).contains(&value), field, || {
            format!("must be from {least} to {most}, found {value}")
        });
    }

    pub(super) fn absolute(&mut self, field: &str, path: Option<&String>) {
        if let Some(path) = path {
            self.require(path.starts_with('/') && !path.contains('\0'), field, || {
                format!("must be an absolute path on the workers, found `{path}`")
            });
        }
    }
}

/// As people write it: whole numbers without a fraction, small ones with an exponent.
pub(super) fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        format!("{value:.0}")
    } else {
        format!("{value:?}")
    }
}
