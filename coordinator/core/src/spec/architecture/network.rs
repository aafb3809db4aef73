//! Families of networks, the numbers that tell their members apart, and what follows from both for a spec.

use super::Pooling;
use super::configured::Configured;
use super::mobile::{Efficientnet, MobilenetV3};
use super::stages::Part::{self, Layers, Named, Numbered};
use crate::spec::Decayed;

/// The network of an architecture: its family, and the numbers that tell it from others of the family. `firn-models` builds it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Network {
    /// With ResNeXt and Wide ResNet.
    Resnet(Resnet),
    /// The residual networks for CIFAR-10.
    CifarResnet(CifarResnet),
    /// Of width 1.0.
    MobilenetV2,
    /// Large and small, of width 1.0.
    MobilenetV3(MobilenetV3),
    /// B0 to B7.
    Efficientnet(Efficientnet),
    /// With and without BatchNorm.
    Vgg(Vgg),
    /// Tiny to large.
    Convnext(Convnext),
    /// With DeiT and DINOv2.
    Vit(Vit),
    /// Tiny to base, of both versions.
    Swin(Swin),
    /// Sizes from the `config.json` beside the weights.
    Configured(Configured),
    /// The third version.
    InceptionV3,
    /// A file that says by itself what is computed.
    TorchScript,
    /// Sizes from the `config.json` beside the weights.
    Bert(BertKind),
    /// Sizes from the `config.json` beside the weights.
    ModernBert,
    /// Sizes from the `config.json` beside the weights.
    Gpt2,
    /// Sizes from the `config.json` beside the weights.
    Decoder(DecoderKind),
}

/// A residual network in four layers of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resnet {
    /// Of each layer.
    pub blocks: [usize; 4],
    /// Whether a block narrows, convolves and widens; else it convolves twice.
    pub bottleneck: bool,
    /// Groups of channels that are convolved by themselves.
    pub groups: i64,
    /// Channels of each group in the first layer.
    pub group_width: i64,
}

impl Resnet {
    pub(super) const fn basic(blocks: [usize; 4]) -> Self {
        Self {
            bottleneck: false,
            ..Self::bottlenecks(blocks)
        }
    }

    pub(super) const fn bottlenecks(blocks: [usize; 4]) -> Self {
        Self::grouped(blocks, 1, 64)
    }

    pub(super) const fn grouped(blocks: [usize; 4], groups: i64, group_width: i64) -> Self {
        Self {
            blocks,
            bottleneck: true,
            groups,
            group_width,
        }
    }
}

/// A residual network for images of 32 pixels a side, in three layers of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CifarResnet {
    /// Of each layer; a block has two layers with weights.
    pub blocks: usize,
}

impl CifarResnet {
    /// By its layers with weights: two a block, the first convolution and the output layer.
    pub(super) const fn of_depth(depth: usize) -> Self {
        Self {
            blocks: (depth - 2) / 6,
        }
    }
}

/// Blocks of convolutions, each ended by a maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vgg {
    /// Convolutions of each block.
    pub convolutions: [usize; 5],
    /// Whether BatchNorm follows each convolution.
    pub has_batch_norm: bool,
}

impl Vgg {
    pub(super) const fn plain(convolutions: [usize; 5]) -> Self {
        Self {
            convolutions,
            has_batch_norm: false,
        }
    }

    pub(super) const fn normalised(convolutions: [usize; 5]) -> Self {
        Self {
            convolutions,
            has_batch_norm: true,
        }
    }
}

/// The encoders that are built as BERT is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BertKind {
    /// BERT itself.
    Original,
    /// Positions are counted over the tokens that are not padding, from 2.
    Roberta,
    /// DistilBERT: no types of tokens, and names of its own.
    Distilled,
}

/// The decoders that are built as Llama is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecoderKind {
    /// Llama itself.
    Llama,
    /// Biases in queries, keys and values.
    Qwen2,
    /// Norms of each head of queries and keys.
    Qwen3,
}

/// ConvNeXt: four groups of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Convnext {
    /// Channels of each group.
    pub widths: [i64; 4],
    /// Blocks of each group.
    pub blocks: [usize; 4],
}

/// The Swin Transformer: four groups of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swin {
    /// Channels of the first group; each group has twice those of the one before.
    pub width: i64,
    /// Blocks of each group.
    pub blocks: [usize; 4],
    /// Heads of attention of each group.
    pub heads: [i64; 4],
    /// Patches a side of a window.
    pub window: i64,
    /// Which of both.
    pub version: SwinVersion,
}

/// The two forms of the Swin Transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwinVersion {
    /// Products of queries and keys, a table of biases, norms before the parts of a block.
    First,
    /// Their cosines, biases that a small network gives, norms behind the parts.
    Second,
}

/// A Vision Transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vit {
    /// Pixels a side of its images.
    pub image: u32,
    /// Pixels a side of a patch.
    pub patch: i64,
    /// Length of the state of a token.
    pub width: i64,
    /// Width of the feed-forward part.
    pub wide: i64,
    /// Of the encoder.
    pub layers: usize,
    /// Of each attention.
    pub heads: i64,
    /// Which of those that are built so.
    pub kind: VitKind,
}

/// The networks that are built as the Vision Transformer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VitKind {
    /// ViT itself, and DeiT.
    Original,
    /// What each part adds is scaled, and images of any size are taken.
    Dinov2 {
        /// Whether the feed-forward part has a gate.
        is_gated: bool,
        /// Tokens that stand for no patch and are read by no head.
        registers: i64,
    },
}

impl Vit {
    /// Patches of an image.
    pub fn patches(&self) -> i64 {
        (i64::from(self.image) / self.patch).pow(2)
    }

    /// Width of the feed-forward part without a gate, and with one: two thirds of it, as a multiple of 8.
    pub(super) const fn usual_width(width: i64, is_gated: bool) -> i64 {
        match is_gated {
            true => (4 * width * 2 / 3 + 7) / 8 * 8,
            false => 4 * width,
        }
    }
}

/// Pixels a side that the square images of a network may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crops {
    /// All its layers can take images of that many and more; 0 for text.
    From(u32),
    /// It has been made for images of that size alone.
    Only(u32),
}

/// What a spec has to know of a network.
pub(super) struct Traits {
    /// Input side first.
    pub(super) stages: Vec<Part>,
    pub(super) crops: Crops,
    pub(super) has_batch_norm: bool,
    /// Which tensors decay in the recipes that such networks are trained and fine-tuned by.
    pub(super) decayed: Decayed,
    /// How its token states may become one vector, the usual way first; for images the word has no meaning.
    pub(super) poolings: &'static [Pooling],
}

/// Each token sees all others.
const ENCODER_POOLINGS: [Pooling; 4] = [Pooling::Mean, Pooling::Cls, Pooling::Max, Pooling::Attention];
/// The last token alone sees all others, and the first one nothing but itself.
const DECODER_POOLINGS: [Pooling; 4] = [Pooling::Last, Pooling::Mean, Pooling::Max, Pooling::Attention];

impl Traits {
    fn of_images(stages: Vec<Part>, smallest_crop: u32, has_batch_norm: bool) -> Self {
        Self {
            stages,
            crops: Crops::From(smallest_crop),
            has_batch_norm,
            decayed: Decayed::All,
            poolings: &[Pooling::Mean],
        }
    }

    /// `after`: what follows the numbered layers.
    fn of_texts(after: &'static [&'static str], poolings: &'static [Pooling]) -> Self {
        Self {
            stages: vec![Named(&["embeddings"]), Layers("layer."), Named(after)],
            crops: Crops::From(0),
            has_batch_norm: false,
            decayed: Decayed::Weights,
            poolings,
        }
    }
}

impl Network {
    /// All but those that are convolutions and nothing else.
    pub(super) fn has_linear_layers(self) -> bool {
        !matches!(
            self,
            Self::Resnet(_) | Self::CifarResnet(_) | Self::MobilenetV2 | Self::Efficientnet(_) | Self::InceptionV3
        )
    }

    pub(super) fn traits(self) -> Traits {
        match self {
            Self::Resnet(_) => {
                let stages = vec![Named(&["stem", "layer1", "layer2", "layer3", "layer4", "pool"])];
                Traits::of_images(stages, 1, true)
            }
            Self::CifarResnet(_) => {
                let stages = vec![Named(&["stem", "layer1", "layer2", "layer3", "pool"])];
                Traits::of_images(stages, 1, true)
            }
            Self::MobilenetV2 => Traits::of_images(vec![Numbered("features.", 19), Named(&["pool"])], 1, true),
            Self::MobilenetV3(sizes) => {
                let features = Numbered("features.", sizes.blocks.len() + 2);
                Traits::of_images(vec![features, Named(&["pool", "classifier.0"])], 1, true)
            }
            Self::Efficientnet(_) => Traits::of_images(vec![Numbered("features.", 9), Named(&["pool"])], 1, true),
            Self::Vgg(sizes) => {
                let blocks = &["block1", "block2", "block3", "block4", "block5"];
                let stages = vec![Named(blocks), Named(&["pool", "classifier.0", "classifier.3"])];
                // Five times halved, an image of fewer pixels has none left.
                Traits::of_images(stages, 32, sizes.has_batch_norm)
            }
            Self::Convnext(_) | Self::Configured(Configured::Convnext) => {
                let stages = vec![Numbered("features.", 8), Named(&["pool", "classifier.0"])];
                // Five times halved, an image of fewer pixels has none left.
                Traits {
                    decayed: Decayed::Weights,
                    ..Traits::of_images(stages, 32, false)
                }
            }
            // Which images it takes, only the configuration says.
            Self::Configured(Configured::Vit) => Traits {
                decayed: Decayed::Weights,
                ..Traits::of_images(
                    vec![Named(&["embeddings"]), Layers("layer."), Named(&["norm", "pool"])],
                    1,
                    false,
                )
            },
            Self::Vit(sizes) => {
                let layers = Numbered("layer.", sizes.layers);
                let stages = vec![Named(&["embeddings"]), layers, Named(&["norm", "pool"])];
                Traits {
                    crops: match sizes.kind {
                        VitKind::Original => Crops::Only(sizes.image),
                        VitKind::Dinov2 { .. } => Crops::From(sizes.patch as u32),
                    },
                    decayed: Decayed::Weights,
                    ..Traits::of_images(stages, 0, false)
                }
            }
            Self::Swin(_) => {
                let stages = vec![Numbered("features.", 8), Named(&["norm", "pool"])];
                // A smaller image has no patch; what is missing of a window is zeros.
                Traits {
                    decayed: Decayed::Weights,
                    ..Traits::of_images(stages, 4, false)
                }
            }
            Self::InceptionV3 => Traits::of_images(vec![Named(INCEPTION)], 75, true),
            Self::TorchScript => Traits::of_images(vec![Named(&["script"])], 1, false),
            Self::Bert(_) => Traits::of_texts(&["pool"], &ENCODER_POOLINGS),
            Self::ModernBert => Traits::of_texts(&["norm", "pool", "transform"], &ENCODER_POOLINGS),
            Self::Gpt2 | Self::Decoder(_) => Traits::of_texts(&["norm", "pool"], &DECODER_POOLINGS),
        }
    }
}

/// The stages of Inception v3.
const INCEPTION: &[&str] = &[
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
];
