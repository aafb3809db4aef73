//! What the output layers must keep to beyond the ranges of their fields.

use super::violations::Violations;
use crate::spec::{HeadSpec, JobSpec, Task, Word};

/// Beyond this many, layers of a head learn nothing more of fixed features.
const MOST_LAYERS: usize = 8;

pub(super) fn check(spec: &JobSpec, violations: &mut Violations) {
    match &spec.model.head {
        HeadSpec::Mlp { hidden_sizes, .. } => {
            let fits = (1..=MOST_LAYERS).contains(&hidden_sizes.len());
            violations.require(fits, "spec.model.head.hiddenSizes", || {
                format!("must be 1 to {MOST_LAYERS} sizes, found {}", hidden_sizes.len())
            });
        }
        HeadSpec::Ordinal { .. } => {
            violations.require(spec.task == Task::Classification, "spec.model.head.type", || {
                format!("must not be `ordinal` for {}: only classes are ranks", spec.task.word())
            });
        }
        HeadSpec::Linear { .. } | HeadSpec::Cosine { .. } => {}
    }
}
