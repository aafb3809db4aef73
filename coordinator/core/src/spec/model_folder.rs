//! A folder of a published model, as transformers and timm write it, in the words of a spec: which architecture it is, and what comes before
//! the network.
//!
//! Only its small JSON files are looked at, by whoever sees the folder (`firn submit`, or the coordinator); here they are values. What the job
//! could not honour is refused by the file and the field. The sizes of texts are read by the ranks, as for any weights.

mod images;
mod timm;

use serde_json::Value;

use super::{Architecture, Modality, Network, Preprocessing, Word};
pub use images::{PREPROCESSOR, preprocessor_config};

/// The file that says what network it is.
pub const CONFIG: &str = "config.json";
/// The file that says how texts were cut into tokens.
pub const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// The JSON files of a folder, as far as they are there.
#[derive(Debug, Clone, Default)]
pub struct ModelFolder {
    /// `config.json`.
    pub config: Value,
    /// `preprocessor_config.json`; of images.
    pub preprocessor: Option<Value>,
    /// `tokenizer_config.json`; of texts.
    pub tokenizer: Option<Value>,
}

/// What a folder says of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    /// The network.
    pub architecture: Architecture,
    /// From file to network input; `None`: the folder does not say it.
    pub preprocessing: Option<Preprocessing>,
}

impl ModelFolder {
    /// What the folder says.
    ///
    /// # Errors
    /// The file and the field of the first thing that the job could not honour, with what was expected and found.
    pub fn describe(&self) -> Result<Described, String> {
        if self.config.get("model_type").is_none() && self.config["architecture"].is_string() {
            return timm::describe(&self.config);
        }
        let model_type = self.config["model_type"].as_str().unwrap_or_default();
        let architecture = self.architecture(model_type)?;
        let preprocessing = match (architecture.modality(), &self.preprocessor) {
            (Modality::Image, Some(preprocessor)) => Some(images::preprocessing(preprocessor)?),
            (Modality::Image, None) => None,
            (Modality::Text, _) => Some(self.text()),
        };
        Ok(Described {
            architecture,
            preprocessing,
        })
    }

    fn architecture(&self, model_type: &str) -> Result<Architecture, String> {
        let network = Network::of_configuration(model_type, &self.config);
        let network = network.map_err(|misfit| refused(CONFIG, &misfit.field, &misfit.expected, &misfit.found))?;
        let found = match network {
            Some(network) => network.architecture(),
            None => of_texts(model_type),
        };
        let decodes = of_texts(model_type).is_some() && self.config["is_decoder"] == true && is_encoder(model_type);
        match found {
            Some(_) if decodes => Err(refused(CONFIG, "is_decoder", "false", "true")),
            Some(architecture) => Ok(architecture),
            None if model_type.is_empty() => Err(refused(CONFIG, "model_type", &known(), "nothing")),
            None if network.is_some() => {
                let expected = "those of a network that `firn models` lists";
                Err(format!("`{CONFIG}`: its sizes: expected {expected}, found others"))
            }
            None => Err(refused(CONFIG, "model_type", &known(), &format!("`{model_type}`"))),
        }
    }

    /// A tokenizer that was trained on shorter texts than a job takes says so. Where it knows no end it says a very large number.
    fn text(&self) -> Preprocessing {
        let longest = self
            .tokenizer
            .as_ref()
            .and_then(|config| config["model_max_length"].as_u64());
        let longest = longest.and_then(|length| u32::try_from(length).ok());
        Preprocessing::Text {
            max_length: longest.filter(|length| (3..DEFAULT_LENGTH).contains(length)),
        }
    }
}

/// Tokens at which a job cuts texts that the network could take whole.
const DEFAULT_LENGTH: u32 = 256;

/// The architecture of texts whose word is the model type.
fn of_texts(model_type: &str) -> Option<Architecture> {
    let architecture = Architecture::from_word(model_type)?;
    let is_text = architecture.modality() == Modality::Text;
    (is_text && architecture.sizes_are_configured()).then_some(architecture)
}

/// Whether every token of the network sees all others.
fn is_encoder(model_type: &str) -> bool {
    matches!(model_type, "bert" | "roberta" | "distilbert" | "modernbert")
}

/// All model types, in words.
fn known() -> String {
    let texts = Architecture::WORDS
        .iter()
        .map(|(word, _)| *word)
        .filter(|word| of_texts(word).is_some());
    let all: Vec<String> = Network::MODEL_TYPES
        .into_iter()
        .chain(texts)
        .map(|word| format!("`{word}`"))
        .collect();
    format!("one of {}", all.join(", "))
}

fn refused(file: &str, field: &str, expected: &str, found: &str) -> String {
    format!("`{file}`: `{field}`: expected {expected}, found {found}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn described(config: Value) -> Result<Described, String> {
        ModelFolder {
            config,
            ..ModelFolder::default()
        }
        .describe()
    }

    #[test]
    fn texts_are_known_by_their_type() {
        for (model_type, architecture) in [
            ("bert", Architecture::Bert),
            ("distilbert", Architecture::Distilbert),
            ("gpt2", Architecture::Gpt2),
            ("llama", Architecture::Llama),
        ] {
            let found = described(json!({"model_type": model_type})).unwrap();
            assert_eq!(found.architecture, architecture);
            assert_eq!(found.preprocessing, Some(Preprocessing::Text { max_length: None }));
        }
    }

    #[test]
    fn a_tokenizer_of_short_texts_is_heeded() {
        for (length, expected) in [(json!(128), Some(128)), (json!(512), None), (json!(1e30), None)] {
            let folder = ModelFolder {
                config: json!({"model_type": "bert"}),
                tokenizer: Some(json!({"model_max_length": length})),
                ..ModelFolder::default()
            };
            let found = folder.describe().unwrap().preprocessing;
            assert_eq!(found, Some(Preprocessing::Text { max_length: expected }));
        }
    }

    #[test]
    fn what_is_not_built_is_refused_by_file_and_field() {
        for (config, begins) in [
            (
                json!({}),
                "`config.json`: `model_type`: expected one of `convnext`, `dinov2`, `dinov2_with_registers`, `resnet`, `swin`, `swinv2`, `vit`, `bert`",
            ),
            (
                json!({"model_type": "t5"}),
                "`config.json`: `model_type`: expected one of ",
            ),
            (
                json!({"model_type": "bert", "is_decoder": true}),
                "`config.json`: `is_decoder`: expected false, found true",
            ),
            (
                json!({"model_type": "vit", "hidden_act": "relu"}),
                "`config.json`: `hidden_act`: expected \"gelu\", found \"relu\"",
            ),
            (
                json!({"model_type": "resnet", "depths": [1, 1, 1, 1]}),
                "`config.json`: its sizes: expected those of a network that `firn models` lists, found others",
            ),
            (
                json!({"architecture": "nfnet_l0"}),
                "`config.json`: `architecture`: expected an architecture that `firn models` lists, found `nfnet_l0`",
            ),
        ] {
            let error = described(config).unwrap_err();
            assert!(error.starts_with(begins), "{error}");
        }
    }
}
