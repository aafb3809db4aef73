//! The architectures that Firn builds, one row each: all that a spec must know of a network without seeing its weights, and the numbers that
//! it is built from.
//!
//! A row of the [table](table) is all that a variant needs which is only other numbers. Stage names and the like follow from the family
//! ([`network`]); `firn-models` builds the stages under the names that are read here, and a test there holds that each row describes what is
//! built.

mod configured;
mod facts;
mod mobile;
mod network;
mod stages;
mod table;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::configured::{Configured, Misfit};
pub use self::facts::StageFacts;
pub use self::mobile::{Efficientnet, MobileBlock, MobilenetV3};
pub use self::network::{
    BertKind, CifarResnet, Convnext, Crops, DecoderKind, Network, Resnet, Swin, SwinVersion, Vgg, Vit, VitKind,
};
pub use self::table::Architecture;
use self::table::{ROWS, Row, WORDS};
use super::{Decayed, Preprocessing, Word};

/// What a model takes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Modality {
    /// RGB images.
    Image,
    /// Token sequences.
    Text,
}

/// How token states become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Mean over the tokens that are not padding.
    Mean,
    /// State of the first token.
    Cls,
    /// State of the last token that is not padding.
    Last,
    /// The largest value of each unit over the tokens that are not padding.
    #[schemars(extend("x-firn-since" = 5))]
    Max,
    /// A mean of the tokens that are not padding, by weights that are learned with the head (Yang et al. 2016).
    #[schemars(extend("x-firn-since" = 5))]
    Attention,
    /// None: each word keeps the state of its first token. That of token classification, and of no other task.
    #[schemars(extend("x-firn-since" = 5))]
    None,
}

impl Word for Architecture {
    const WORDS: &'static [(&'static str, Self)] = WORDS;
}

impl Architecture {
    fn row(self) -> &'static Row {
        let row = ROWS.iter().find(|row| row.architecture == self);
        row.expect("every architecture has a row")
    }

    /// What is built.
    pub fn network(self) -> Network {
        self.row().network
    }

    /// What it takes in.
    pub fn modality(self) -> Modality {
        match self.row().preprocessing {
            Preprocessing::Image { .. } => Modality::Image,
            Preprocessing::Text { .. } => Modality::Text,
        }
    }

    /// The preprocessing its published weights were trained with.
    pub fn default_preprocessing(self) -> Preprocessing {
        self.row().preprocessing.clone()
    }

    /// Pixels a side that its square images may have.
    pub fn crops(self) -> Crops {
        self.network().traits().crops
    }

    /// Which tensors decay, where the spec does not say it: as in the recipes that such networks are trained and fine-tuned by.
    pub fn default_decayed(self) -> Decayed {
        self.network().traits().decayed
    }

    /// Whether its sizes are those of the `config.json` beside the weights.
    pub fn sizes_are_configured(self) -> bool {
        matches!(self.network(), Network::Configured(_))
            || stages::are_counted_elsewhere(&self.network().traits().stages)
    }

    /// Whether the network has BatchNorm layers.
    pub fn has_batch_norm(self) -> bool {
        self.network().traits().has_batch_norm
    }

    /// Whether the network has linear layers besides the head, as adapters stand beside.
    pub fn has_linear_layers(self) -> bool {
        self.network().has_linear_layers()
    }

    /// How token states may become one vector, the default first.
    pub fn poolings(self) -> &'static [Pooling] {
        self.network().traits().poolings
    }

    /// The stages that the cut can stand after, input side first, of a network whose configuration asks for so many layers; for images
    /// the number has no meaning.
    pub fn stages(self, layers: usize) -> Vec<String> {
        stages::names(&self.network().traits().stages, layers)
    }

    /// Whether a network of this architecture, of whichever size, may have a stage of this name.
    pub fn may_have_stage(self, stage: &str) -> bool {
        self.stage_place(stage).is_some()
    }

    /// Where that stage stands: stages on the input side are less.
    pub(in crate::spec) fn stage_place(self, stage: &str) -> Option<(usize, usize)> {
        stages::place(&self.network().traits().stages, stage)
    }

    /// The stages in words, for messages and references.
    pub fn stages_in_words(self) -> String {
        stages::in_words(&self.network().traits().stages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_architecture_has_one_row_and_its_word_is_that_of_the_stored_json() {
        for &(word, architecture) in Architecture::WORDS {
            assert_eq!(serde_json::to_value(architecture).unwrap(), word);
            assert_eq!(ROWS.iter().filter(|row| row.architecture == architecture).count(), 1);
        }
    }

    #[test]
    fn layers_are_stages_by_their_number() {
        assert!(Architecture::Bert.may_have_stage("layer.11"));
        for no_layer in ["layer.x", "layer.+1", "layer.01", "layer."] {
            assert!(!Architecture::Bert.may_have_stage(no_layer));
        }
        let places = ["embeddings", "layer.2", "layer.10", "pool"].map(|stage| Architecture::Bert.stage_place(stage));
        assert!(places.is_sorted() && places[0].is_some(), "{places:?}");
        assert!(!Architecture::MobilenetV2.may_have_stage("features.19"));
        assert_eq!(
            Architecture::Bert.stages(2),
            ["embeddings", "layer.0", "layer.1", "pool"]
        );
    }

    #[test]
    fn stages_are_told_in_words() {
        assert_eq!(
            Architecture::Resnet18.stages_in_words(),
            "stem, layer1, layer2, layer3, layer4, pool"
        );
        assert_eq!(
            Architecture::MobilenetV2.stages_in_words(),
            "features.0 to features.18 and pool"
        );
    }
}
