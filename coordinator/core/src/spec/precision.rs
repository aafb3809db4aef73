//! The precision of what is frozen.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The precision of the products below the cut. What trains is computed in single precision either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Precision {
    /// Single precision.
    #[default]
    #[serde(rename = "fp32")]
    Single,
    /// Convolutions and linear layers round input, weights and output to bfloat16, as under `torch.autocast`. A worker whose processor has no
    /// instructions for it refuses the job. The log says how far the features are from those in single precision.
    #[serde(rename = "bf16")]
    #[schemars(extend("x-firn-since" = 5))]
    Bfloat16,
}
