//! The architectures that Firn builds, one row each: all that a spec must know of a network without seeing its weights.
//!
//! The rows are the one place where words, stage names and defaults stand; `firn-models` builds the stages under the names that are
//! read here, and a test there holds that each row describes what is built.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Preprocessing, Word};

/// The architectures that Firn builds itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// He et al. 2015, basic blocks 2-2-2-2.
    Resnet18,
    /// Basic blocks 3-4-6-3.
    Resnet34,
    /// Bottlenecks 3-4-6-3.
    Resnet50,
    /// Bottlenecks 3-4-23-3.
    Resnet101,
    /// Bottlenecks 3-8-36-3.
    Resnet152,
    /// Sandler et al. 2018, width 1.0.
    MobilenetV2,
    /// Simonyan & Zisserman 2014, 11 layers with weights.
    Vgg11,
    /// 13 layers.
    Vgg13,
    /// 16 layers.
    Vgg16,
    /// 19 layers.
    Vgg19,
    /// 11 layers, with BatchNorm.
    Vgg11Bn,
    /// 13 layers, with BatchNorm.
    Vgg13Bn,
    /// 16 layers, with BatchNorm.
    Vgg16Bn,
    /// 19 layers, with BatchNorm.
    Vgg19Bn,
    /// Szegedy et al. 2015, the third version.
    InceptionV3,
    /// Devlin et al. 2018; sizes from the `config.json` beside the weights.
    Bert,
    /// Radford et al. 2019; sizes from the `config.json` beside the weights.
    Gpt2,
}

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
}

/// One row: what a spec is read and checked against.
#[derive(Debug)]
struct Descriptor {
    architecture: Architecture,
    word: &'static str,
    /// Input side first.
    stages: &'static [StageNames],
    /// The preprocessing that its published weights were trained with.
    preprocessing: Preprocessing,
    /// Pixels of the smallest square image that all its layers can take; 0 for text.
    smallest_crop: u32,
    has_batch_norm: bool,
    /// How its token states may become one vector, the usual way first; for images the word has no meaning.
    poolings: &'static [Pooling],
}

/// Names of stages that follow each other.
#[derive(Debug)]
enum StageNames {
    Named(&'static [&'static str]),
    /// The prefix with 0, 1, … below the count.
    Numbered(&'static str, usize),
    /// The prefix with the number of each layer; how many there are, only the `config.json` of the weights says.
    Layers(&'static str),
}
use StageNames::{Layers, Named, Numbered};

/// torchvision's `IMAGENET1K_V1` presets.
const IMAGENET: Preprocessing = Preprocessing::Image {
    resize: 256,
    crop: 224,
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
};

/// The model's own maximum of tokens.
const TEXT: Preprocessing = Preprocessing::Text { max_length: None };

const fn resnet(architecture: Architecture, word: &'static str) -> Descriptor {
    Descriptor {
        architecture,
        word,
        stages: &[Named(&["stem", "layer1", "layer2", "layer3", "layer4", "pool"])],
        preprocessing: IMAGENET,
        smallest_crop: 1,
        has_batch_norm: true,
        poolings: &[Pooling::Mean],
    }
}

/// Five times halved, an image of fewer than 32 pixels has none left.
const fn vgg(architecture: Architecture, word: &'static str, has_batch_norm: bool) -> Descriptor {
    Descriptor {
        architecture,
        word,
        stages: &[Named(&[
            "block1",
            "block2",
            "block3",
            "block4",
            "block5",
            "pool",
            "classifier.0",
            "classifier.3",
        ])],
        preprocessing: IMAGENET,
        smallest_crop: 32,
        has_batch_norm,
        poolings: &[Pooling::Mean],
    }
}

const ROWS: &[Descriptor] = &[
    resnet(Architecture::Resnet18, "resnet18"),
    resnet(Architecture::Resnet34, "resnet34"),
    resnet(Architecture::Resnet50, "resnet50"),
    resnet(Architecture::Resnet101, "resnet101"),
    resnet(Architecture::Resnet152, "resnet152"),
    Descriptor {
        architecture: Architecture::MobilenetV2,
        word: "mobilenet_v2",
        stages: &[Numbered("features.", 19), Named(&["pool"])],
        preprocessing: IMAGENET,
        smallest_crop: 1,
        has_batch_norm: true,
        poolings: &[Pooling::Mean],
    },
    vgg(Architecture::Vgg11, "vgg11", false),
    vgg(Architecture::Vgg13, "vgg13", false),
    vgg(Architecture::Vgg16, "vgg16", false),
    vgg(Architecture::Vgg19, "vgg19", false),
    vgg(Architecture::Vgg11Bn, "vgg11_bn", true),
    vgg(Architecture::Vgg13Bn, "vgg13_bn", true),
    vgg(Architecture::Vgg16Bn, "vgg16_bn", true),
    vgg(Architecture::Vgg19Bn, "vgg19_bn", true),
    Descriptor {
        architecture: Architecture::InceptionV3,
        word: "inception_v3",
        stages: &[Named(&[
            "Conv2d_1a_3x3",
            "Conv2d_2a_3x3",
            "Conv2d_2b_3x3",
            "Conv2d_3b_1x1",
            "Conv2d_4a_3x3",
            "Mixed_5b",
            "Mixed_5c",
            "Mixed_5d",
            "Mixed_6a",
            "Mixed_6b",
            "Mixed_6c",
            "Mixed_6d",
            "Mixed_6e",
            "Mixed_7a",
            "Mixed_7b",
            "Mixed_7c",
            "pool",
        ])],
        // torchvision normalises as for the others, and the network undoes it (`transform_input`): together that is this.
        preprocessing: Preprocessing::Image {
            resize: 342,
            crop: 299,
            mean: [0.5; 3],
            std: [0.5; 3],
        },
        smallest_crop: 75,
        has_batch_norm: true,
        poolings: &[Pooling::Mean],
    },
    Descriptor {
        architecture: Architecture::Bert,
        word: "bert",
        stages: &[Named(&["embeddings"]), Layers("layer."), Named(&["pool"])],
        preprocessing: TEXT,
        smallest_crop: 0,
        has_batch_norm: false,
        poolings: &[Pooling::Mean, Pooling::Cls],
    },
    Descriptor {
        architecture: Architecture::Gpt2,
        word: "gpt2",
        stages: &[Named(&["embeddings"]), Layers("layer."), Named(&["norm", "pool"])],
        preprocessing: TEXT,
        smallest_crop: 0,
        has_batch_norm: false,
        // Its first token has seen nothing but itself.
        poolings: &[Pooling::Last, Pooling::Mean],
    },
];

const fn words() -> [(&'static str, Architecture); ROWS.len()] {
    let mut words = [("", Architecture::Resnet18); ROWS.len()];
    let mut row = 0;
    while row < ROWS.len() {
        words[row] = (ROWS[row].word, ROWS[row].architecture);
        row += 1;
    }
    words
}

impl Word for Architecture {
    const WORDS: &'static [(&'static str, Self)] = &words();
}

impl Architecture {
    fn row(self) -> &'static Descriptor {
        let row = ROWS.iter().find(|row| row.architecture == self);
        row.expect("every architecture has a row")
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

    /// Pixels of the smallest square image that all its layers can take; 0 for text.
    pub fn smallest_crop(self) -> u32 {
        self.row().smallest_crop
    }

    /// Whether the network has BatchNorm layers.
    pub fn has_batch_norm(self) -> bool {
        self.row().has_batch_norm
    }

    /// How token states may become one vector, the default first.
    pub fn poolings(self) -> &'static [Pooling] {
        self.row().poolings
    }

    /// The stages that the cut can stand after, input side first, of a network whose configuration asks for so many layers; for images
    /// the number has no meaning.
    pub fn stages(self, layers: usize) -> Vec<String> {
        let names = |part: &StageNames| -> Vec<String> {
            let numbered = |prefix: &str, count| (0..count).map(|number| format!("{prefix}{number}")).collect();
            match *part {
                Named(names) => names.iter().map(|&name| name.to_owned()).collect(),
                Numbered(prefix, count) => numbered(prefix, count),
                Layers(prefix) => numbered(prefix, layers),
            }
        };
        self.row().stages.iter().flat_map(names).collect()
    }

    /// Whether a network of this architecture, of whichever size, may have a stage of this name.
    pub fn may_have_stage(self, stage: &str) -> bool {
        let is_layer = |part: &StageNames| match part {
            Layers(prefix) => stage
                .strip_prefix(prefix)
                .is_some_and(|layer| layer.parse::<u16>().is_ok()),
            Named(_) | Numbered(..) => false,
        };
        self.row().stages.iter().any(is_layer) || self.stages(0).iter().any(|known| known == stage)
    }

    /// The stages in words, for messages and references.
    pub fn stages_in_words(self) -> String {
        let row = self.row();
        let mut parts = Vec::new();
        for part in row.stages {
            match *part {
                Named(names) => parts.extend(names.iter().map(|&name| name.to_owned())),
                Numbered(prefix, count) => parts.push(format!("{prefix}0 to {prefix}{}", count - 1)),
                Layers(prefix) => parts.push(format!("{prefix}0, {prefix}1, …")),
            }
        }
        match parts.split_last() {
            Some((last, before)) if row.stages.len() > 1 => format!("{} and {last}", before.join(", ")),
            _ => parts.join(", "),
        }
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
        assert!(!Architecture::Bert.may_have_stage("layer.x"));
        assert!(!Architecture::MobilenetV2.may_have_stage("features.19"));
        assert_eq!(
            Architecture::Bert.stages(2),
            ["embeddings", "layer.0", "layer.1", "pool"]
        );
    }
}
