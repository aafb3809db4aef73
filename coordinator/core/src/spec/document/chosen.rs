//! The two choices on which other defaults and rules depend: architecture and format.

use serde_json::Value;

use crate::spec::{Architecture, DataFormat, Modality, Word};

/// What was chosen, as far as it was understood.
pub(super) struct Chosen {
    architecture: Option<Architecture>,
    /// What the samples of the format are.
    format: Option<Modality>,
    /// The modality of the model, if the user chose it: fields of the other one may then be refused.
    pub(super) modality: Option<(Architecture, Modality)>,
    /// Fields about which nothing true can be said, because they depend on a choice that was not understood.
    pub(super) unreliable: &'static [&'static str],
}

impl Chosen {
    pub(super) fn of(document: &Value) -> Self {
        let architecture = document["spec"]["model"]["architecture"]
            .as_str()
            .and_then(Architecture::from_word);
        let format = document["spec"]["data"]["format"].as_str();
        let has_image_column = document["spec"]["data"]["columns"]["image"].is_string();
        let format_modality = format.and_then(|format| DataFormat::modality_of_word(format, has_image_column));
        let (modality, unreliable): (_, &'static [&'static str]) = match (architecture, format_modality) {
            (Some(architecture), Some(given)) => {
                let modality = architecture.modality();
                ((modality == given).then_some((architecture, modality)), &[])
            }
            (Some(architecture), None) => (Some((architecture, architecture.modality())), &["spec.data.columns"]),
            (None, _) => (
                None,
                &[
                    "spec.model.freeze",
                    "spec.model.tokenizer",
                    "spec.model.pooling",
                    "spec.data.format",
                    "spec.data.preprocessing",
                    "spec.training.batchNorm",
                ],
            ),
        };
        Self {
            architecture,
            format: format_modality,
            modality,
            unreliable,
        }
    }

    /// The architecture, or one that agrees with the format.
    pub(super) fn stand_in_architecture(&self) -> Architecture {
        self.architecture.unwrap_or(match self.format {
            Some(Modality::Text) => Architecture::Bert,
            Some(Modality::Image) | None => Architecture::Resnet18,
        })
    }

    /// Puts something that agrees with the one choice in the place of the other that was not understood.
    pub(super) fn stand_in(&self, document: &mut Value) {
        if self.architecture.is_some() && self.format.is_some() {
            return;
        }
        let architecture = self.stand_in_architecture();
        let format = match architecture.modality() {
            Modality::Image => "imagefolder",
            Modality::Text => "jsonl",
        };
        if self.architecture.is_none() {
            document["spec"]["model"]["architecture"] = architecture.word().into();
        }
        if self.format.is_none() {
            document["spec"]["data"]["format"] = format.into();
        }
    }
}
