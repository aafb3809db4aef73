//! What may be said of images that are mixed.

use super::violations::Violations;
use crate::spec::{JobSpec, LossSpec, Task};

const PATH: &str = "spec.training.mixing";

pub(super) fn check(spec: &JobSpec, violations: &mut Violations) {
    let Some(mixing) = &spec.training.mixing else {
        return;
    };
    violations.require(mixing.mixup_alpha.or(mixing.cutmix_alpha).is_some(), PATH, || {
        "must have mixupAlpha, cutmixAlpha or both".to_owned()
    });
    let loss = &spec.training.loss;
    let is_focal = matches!(loss, LossSpec::Focal { .. } | LossSpec::SigmoidFocal { .. });
    violations.require(!is_focal, "spec.training.loss.type", || {
        format!(
            "must be a cross-entropy where images are mixed, found `{}`: it has no shares of classes",
            loss.word()
        )
    });
    violations.require(spec.task != Task::Regression, PATH, || {
        "must be left out of a regression: labels are mixed as shares of classes".to_owned()
    });
}
