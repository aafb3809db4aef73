//! The network, its weights and its cut.

use schemars::{JsonSchema, Schema, schema_for};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Architecture, FreezeSpec, HeadSpec, LoraSpec, Pooling, uri};

/// The network, its weights and its cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = with_uri)]
pub struct ModelSpec {
    /// The family and size. Left out where `uri` is given.
    pub architecture: Architecture,
    /// A safetensors file under torchvision's, timm's or Hugging Face's key names, the `….safetensors.index.json` of a sharded one, or a folder
    /// that holds `model.safetensors` or its index. For text models a `config.json` beside it gives the sizes. `hf://org/name@commit/` is such a folder on the
    /// Hugging Face Hub: each worker fetches it.
    #[serde(default, with = "uri::optional")]
    #[schemars(with = "Option<uri::Uri>", extend("x-firn-default" = "random weights from the seed, for tests and baselines"))]
    pub weights: Option<String>,
    /// A `tokenizer.json`; text models only.
    #[serde(default, with = "uri::optional")]
    #[schemars(with = "Option<uri::Uri>", extend("x-firn-default" = "the file beside the weights"))]
    pub tokenizer: Option<String>,
    /// What is frozen.
    pub freeze: FreezeSpec,
    /// Low-rank adapters: above the cut they and the head train, and nothing else. Only for networks with linear layers.
    #[schemars(extend("x-firn-default" = "none", "x-firn-since" = 5))]
    pub lora: Option<LoraSpec>,
    /// The new output layers.
    pub head: HeadSpec,
    /// How token states become one vector.
    #[schemars(extend("x-firn-modality" = "text", "x-firn-default" = "the architecture's own"))]
    pub pooling: Pooling,
    /// Dropout inside the stages that train.
    #[schemars(extend(
        "x-firn-modality" = "text",
        "x-firn-default" = "`configuration` where stages train, else `none`",
        "x-firn-since" = 5
    ))]
    pub dropout: StageDropout,
}

/// Dropout inside the stages that train; the head has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StageDropout {
    /// As the `config.json` of the weights says, of states and of attention weights, where transformers has it: in BERT, RoBERTa, DistilBERT and GPT-2. The other
    /// text networks are published without.
    Configuration,
    /// All units are kept.
    None,
}

/// What may be written in place of architecture and weights. Whoever sees the folder reads it away ([`super::model_folder`]), so no job holds it.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "only its schema is used")]
struct WrittenFolder {
    /// A folder as transformers or timm writes it: its `config.json` gives the architecture and sizes, `preprocessor_config.json` the
    /// preprocessing, and weights and tokenizer are those in it. It is read where the job is submitted, or by the coordinator. `hf://org/name@revision` is one
    /// on the Hugging Face Hub; the revision, `main` where none is named, becomes the commit that it stands for now.
    #[schemars(with = "Option<uri::Uri>", extend("x-firn-since" = 5, "x-firn-default" = "none: `architecture` and `weights` are named"))]
    uri: Option<String>,
}

fn with_uri(schema: &mut Schema) {
    let folder = schema_for!(WrittenFolder);
    let written = folder.get("properties").and_then(Value::as_object).cloned();
    if let Some(fields) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        fields.extend(written.into_iter().flatten());
    }
}
