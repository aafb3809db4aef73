//! Images that are mixed with each other in training.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Training images that are mixed with the one before them in the global batch, and their labels with its labels: mixup (Zhang et al. 2018) and CutMix (Yun et
/// al. 2019), as torchvision's `MixUp` and `CutMix`. The loss is that of soft targets then, in every step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MixingSpec {
    /// Mixup: of the Beta(α, α) distribution of how much of its own pixels an image keeps.
    #[schemars(extend("exclusiveMinimum" = 0.0, "x-firn-default" = "no mixup"))]
    pub mixup_alpha: Option<f64>,
    /// CutMix: of the Beta(α, α) distribution of how much of its own area an image keeps.
    #[schemars(extend("exclusiveMinimum" = 0.0, "x-firn-default" = "no CutMix"))]
    pub cutmix_alpha: Option<f64>,
    /// How often the images of a step are mixed.
    #[schemars(range(min = 0.0, max = 1.0), extend("default" = 1.0))]
    pub probability: f64,
    /// Where there are both: how often it is CutMix.
    #[schemars(range(min = 0.0, max = 1.0), extend("default" = 0.5))]
    pub switch_probability: f64,
}
