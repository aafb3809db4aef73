//! How the samples of an epoch are chosen.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the samples of an epoch are chosen. Either way the epoch has as many places as there are training samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Each sample once, in an order that is new in each epoch.
    #[default]
    Shuffle,
    /// Each place is drawn, with replacement: every class is equally likely, and so is every sample of a class. As
    /// `torch.utils.data.WeightedRandomSampler` with weights of 1 / n_class. What is random about a sample (augmentation, dropout) differs each
    /// time it is drawn. Classification only.
    #[schemars(extend("x-firn-since" = 5))]
    Balanced,
}
