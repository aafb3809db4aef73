//! The network, its weights and its cut.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Architecture, Pooling, uri};

/// The network, its weights and its cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelSpec {
    /// The family and size.
    pub architecture: Architecture,
    /// A safetensors file under torchvision's, timm's or Hugging Face's key names, the `….safetensors.index.json` of a sharded one, or a folder
    /// that holds `model.safetensors` or its index. For text models a `config.json` beside it gives the sizes.
    #[serde(default, with = "uri::optional")]
    #[schemars(with = "Option<uri::Uri>", extend("x-firn-default" = "random weights from the seed, for tests and baselines"))]
    pub weights: Option<String>,
    /// A `tokenizer.json`; text models only.
    #[serde(default, with = "uri::optional")]
    #[schemars(with = "Option<uri::Uri>", extend("x-firn-default" = "the file beside the weights"))]
    pub tokenizer: Option<String>,
    /// What is frozen.
    pub freeze: Freeze,
    /// The new output layer.
    pub head: HeadSpec,
    /// How token states become one vector.
    #[schemars(extend("x-firn-modality" = "text", "x-firn-default" = "the architecture's own"))]
    pub pooling: Pooling,
}

/// The cut: everything below is frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "FreezeDocument", into = "FreezeDocument")]
pub enum Freeze {
    /// Only the head trains.
    All,
    /// Up to and including this stage of the architecture.
    Through(String),
    /// Everything trains.
    Nothing,
}

/// As it is written.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
struct FreezeDocument {
    /// The cut: `all` (only the head trains), `none` (everything trains), or the name of the last frozen stage of the architecture.
    #[schemars(extend("default" = "all"))]
    through: String,
}

impl From<FreezeDocument> for Freeze {
    fn from(written: FreezeDocument) -> Self {
        match written.through.as_str() {
            "all" => Self::All,
            "none" => Self::Nothing,
            _ => Self::Through(written.through),
        }
    }
}

impl From<Freeze> for FreezeDocument {
    fn from(freeze: Freeze) -> Self {
        let through = match freeze {
            Freeze::All => "all".to_owned(),
            Freeze::Nothing => "none".to_owned(),
            Freeze::Through(stage) => stage,
        };
        Self { through }
    }
}

/// The new output layer: dropout, then one linear layer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "HeadDocument", into = "HeadDocument")]
pub struct HeadSpec {
    /// Probability in [0, 1) that a feature is dropped in training.
    pub dropout: f64,
}

/// As it is written.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schemars(extend("x-firn-type" = "linear"))]
enum HeadDocument {
    /// One linear layer behind a dropout.
    Linear {
        /// Probability that a feature is dropped before the head in training.
        #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0, "default" = 0.0))]
        dropout: f64,
    },
}

impl From<HeadDocument> for HeadSpec {
    fn from(written: HeadDocument) -> Self {
        let HeadDocument::Linear { dropout } = written;
        Self { dropout }
    }
}

impl From<HeadSpec> for HeadDocument {
    fn from(HeadSpec { dropout }: HeadSpec) -> Self {
        Self::Linear { dropout }
    }
}
