//! What may be said of images that are mixed.

use super::violations::Violations;
use crate::spec::{JobSpec, Task};

const PATH: &str = "spec.training.mixing";

pub(super) fn check(spec: &JobSpec, violations: &mut Violations) {
    let Some(mixing) = &spec.training.mixing else {
        return;
    };
    violations.require(mixing.mixup_alpha.or(mixing.cutmix_alpha).is_some(), PATH, || {
        "must have mixupAlpha, cutmixAlpha or both".to_owned()
    });
    violations.require(spec.task != Task::Regression, PATH, || {
        "must be left out of a regression: labels are mixed as shares of classes".to_owned()
    });
}
