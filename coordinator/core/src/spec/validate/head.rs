//! What the output layers must keep to beyond the ranges of their fields.

use super::violations::Violations;
use crate::spec::HeadSpec;

/// Beyond this many, layers of a head learn nothing more of fixed features.
const MOST_LAYERS: usize = 8;

pub(super) fn check(head: &HeadSpec, violations: &mut Violations) {
    if let HeadSpec::Mlp { hidden_sizes, .. } = head {
        let fits = (1..=MOST_LAYERS).contains(&hidden_sizes.len());
        violations.require(fits, "spec.model.head.hiddenSizes", || {
            format!("must be 1 to {MOST_LAYERS} sizes, found {}", hidden_sizes.len())
        });
    }
}
