//! Low-rank adapters.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Low-rank adapters beside linear layers, which train in their place: LoRA (Hu et al. 2021, arXiv 2106.09685), as in PEFT.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoraSpec {
    /// Rows of A and columns of B, whose product is added to a weight.
    #[schemars(range(min = 1, max = 1024), extend("default" = 8))]
    pub rank: u32,
    /// The product counts alpha / rank times.
    #[schemars(extend("exclusiveMinimum" = 0.0, "default" = 16.0))]
    pub alpha: f64,
    /// Probability that a unit is dropped before A in training.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0, "default" = 0.0))]
    pub dropout: f64,
    /// Names of linear layers as the library has them, or their ends behind a dot: `query`, `attn.c_attn`.
    #[serde(default)]
    #[schemars(extend("x-firn-default" = "all linear layers above the cut"))]
    pub targets: Vec<String>,
}

impl LoraSpec {
    /// What the product of the two matrices is multiplied with.
    pub fn scale(&self) -> f64 {
        self.alpha / f64::from(self.rank)
    }
}
