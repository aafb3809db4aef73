//! The table of architectures: one row each. The type, its words, and the marks of what is newer are made of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::configured::Configured;
use super::mobile::{self, Efficientnet};
use super::network::Network::{self, Gpt2, InceptionV3, MobilenetV2};
use super::network::{BertKind, CifarResnet, Convnext, DecoderKind, Resnet, Swin, SwinVersion, Vgg, Vit, VitKind};
use crate::spec::{CropMode, Interpolation, Preprocessing};

/// What stands in a row beside its words.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) architecture: Architecture,
    pub(super) network: Network,
    /// What its published weights were trained with.
    pub(super) preprocessing: Preprocessing,
}

/// A row: what it is, in a sentence; its word and its name; the revision of the protocol since which it is known, if that is one that is
/// marked; its network; the preprocessing of its published weights.
macro_rules! architectures {
    ($($(#[$about:meta])* $word:literal $name:ident $(since $since:literal)? = $network:expr, $preprocessing:expr;)*) => {
        /// The architectures that Firn builds itself.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        pub enum Architecture {
            $(
                $(#[$about])*
                #[serde(rename = $word)]
                $(#[schemars(extend("x-firn-since" = $since))])?
                $name,
            )*
        }

        /// All of them, with their words.
        pub(super) const WORDS: &[(&str, Architecture)] = &[$(($word, Architecture::$name)),*];

        /// In the order of the type.
        pub(super) const ROWS: &[Row] = &[
            $(Row { architecture: Architecture::$name, network: $network, preprocessing: $preprocessing }),*
        ];
    };
}

/// Of most published weights: torchvision's `IMAGENET1K_V1`.
const IMAGENET: Preprocessing = imagenet(256, 224);
/// The model's own maximum of tokens.
const TEXT: Preprocessing = Preprocessing::Text { max_length: None };
/// As transformers prepares images for a Vision Transformer, whatever their proportions.
const SQUASHED: Preprocessing = symmetric(224, 224, CropMode::Squash);
/// torchvision normalises as for the others, and the network undoes it (`transform_input`): together that is this.
const INCEPTION: Preprocessing = symmetric(342, 299, CropMode::Center);

/// To numbers from -1 to 1.
const fn symmetric(resize: u32, crop: u32, crop_mode: CropMode) -> Preprocessing {
    Preprocessing::Image {
        resize,
        interpolation: Interpolation::Bilinear,
        crop_mode,
        crop,
        mean: [0.5; 3],
        std: [0.5; 3],
    }
}

const fn imagenet(resize: u32, crop: u32) -> Preprocessing {
    image(resize, crop, Interpolation::Bilinear)
}

const fn bicubic(resize: u32, crop: u32) -> Preprocessing {
    image(resize, crop, Interpolation::Bicubic)
}

const fn image(resize: u32, crop: u32, interpolation: Interpolation) -> Preprocessing {
    Preprocessing::Image {
        resize,
        interpolation,
        crop_mode: CropMode::Center,
        crop,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    }
}

const fn basic(blocks: [usize; 4]) -> Network {
    Network::Resnet(Resnet::basic(blocks))
}

const fn bottlenecks(blocks: [usize; 4]) -> Network {
    Network::Resnet(Resnet::bottlenecks(blocks))
}

const fn grouped(blocks: [usize; 4], groups: i64, width: i64) -> Network {
    Network::Resnet(Resnet::grouped(blocks, groups, width))
}

const fn cifar(depth: usize) -> Network {
    Network::CifarResnet(CifarResnet::of_depth(depth))
}

const fn vgg(convolutions: [usize; 5]) -> Network {
    Network::Vgg(Vgg::plain(convolutions))
}

const fn vgg_bn(convolutions: [usize; 5]) -> Network {
    Network::Vgg(Vgg::normalised(convolutions))
}

const fn vit(patch: i64, width: i64, layers: usize, heads: i64) -> Network {
    Network::Vit(Vit {
        image: 224,
        patch,
        width,
        wide: Vit::usual_width(width, false),
        layers,
        heads,
        kind: VitKind::Original,
    })
}

const fn dinov2(width: i64, layers: usize, heads: i64, is_gated: bool) -> Network {
    dinov2_with((width, layers, heads, is_gated), 0)
}

const fn dinov2_with_registers(width: i64, layers: usize, heads: i64, is_gated: bool) -> Network {
    dinov2_with((width, layers, heads, is_gated), 4)
}

const fn dinov2_with((width, layers, heads, is_gated): (i64, usize, i64, bool), registers: i64) -> Network {
    Network::Vit(Vit {
        image: 518,
        patch: 14,
        width,
        wide: Vit::usual_width(width, is_gated),
        layers,
        heads,
        kind: VitKind::Dinov2 { is_gated, registers },
    })
}

const LARGE: Network = Network::MobilenetV3(mobile::MobilenetV3::LARGE);
const SMALL: Network = Network::MobilenetV3(mobile::MobilenetV3::SMALL);

const fn efficientnet(width: f64, depth: f64) -> Network {
    Network::Efficientnet(Efficientnet {
        width,
        depth,
        is_ported: false,
    })
}

/// With the BatchNorm of TensorFlow.
const fn ported_efficientnet(width: f64, depth: f64) -> Network {
    Network::Efficientnet(Efficientnet {
        width,
        depth,
        is_ported: true,
    })
}

const fn convnext(width: i64, blocks: [usize; 4]) -> Network {
    Network::Convnext(Convnext {
        widths: [width, 2 * width, 4 * width, 8 * width],
        blocks,
    })
}

const fn swin(width: i64, third: usize, heads: [i64; 4]) -> Network {
    swin_of((width, third, heads), 7, SwinVersion::First)
}

const fn swin_v2(width: i64, third: usize, heads: [i64; 4]) -> Network {
    swin_of((width, third, heads), 8, SwinVersion::Second)
}

const fn swin_of((width, third, heads): (i64, usize, [i64; 4]), window: i64, version: SwinVersion) -> Network {
    Network::Swin(Swin {
        width,
        blocks: [2, 2, third, 2],
        heads,
        window,
        version,
    })
}

architectures! {
    /// He et al. 2015, basic blocks 2-2-2-2.
    "resnet18" Resnet18 = basic([2, 2, 2, 2]), IMAGENET;
    /// Basic blocks 3-4-6-3.
    "resnet34" Resnet34 = basic([3, 4, 6, 3]), IMAGENET;
    /// Bottlenecks 3-4-6-3.
    "resnet50" Resnet50 = bottlenecks([3, 4, 6, 3]), IMAGENET;
    /// Bottlenecks 3-4-23-3.
    "resnet101" Resnet101 = bottlenecks([3, 4, 23, 3]), IMAGENET;
    /// Bottlenecks 3-8-36-3.
    "resnet152" Resnet152 = bottlenecks([3, 8, 36, 3]), IMAGENET;
    /// Xie et al. 2016: bottlenecks 3-4-6-3 in 32 groups of 4 channels.
    "resnext50_32x4d" Resnext50_32x4d since 5 = grouped([3, 4, 6, 3], 32, 4), IMAGENET;
    /// Bottlenecks 3-4-23-3 in 32 groups of 8 channels.
    "resnext101_32x8d" Resnext101_32x8d since 5 = grouped([3, 4, 23, 3], 32, 8), IMAGENET;
    /// Bottlenecks 3-4-23-3 in 64 groups of 4 channels.
    "resnext101_64x4d" Resnext101_64x4d since 5 = grouped([3, 4, 23, 3], 64, 4), imagenet(232, 224);
    /// Zagoruyko & Komodakis 2016: `resnet50` with bottlenecks of twice the width.
    "wide_resnet50_2" WideResnet50_2 since 5 = grouped([3, 4, 6, 3], 1, 128), IMAGENET;
    /// `resnet101` with bottlenecks of twice the width.
    "wide_resnet101_2" WideResnet101_2 since 5 = grouped([3, 4, 23, 3], 1, 128), IMAGENET;
    /// He et al. 2015, section 4.2: for images of 32 pixels as those of CIFAR-10, 20 layers with weights in blocks 3-3-3.
    "resnet20_cifar" Resnet20Cifar since 5 = cifar(20), imagenet(32, 32);
    /// Blocks 5-5-5.
    "resnet32_cifar" Resnet32Cifar since 5 = cifar(32), imagenet(32, 32);
    /// Blocks 7-7-7.
    "resnet44_cifar" Resnet44Cifar since 5 = cifar(44), imagenet(32, 32);
    /// Blocks 9-9-9.
    "resnet56_cifar" Resnet56Cifar since 5 = cifar(56), imagenet(32, 32);
    /// Blocks 18-18-18.
    "resnet110_cifar" Resnet110Cifar since 5 = cifar(110), imagenet(32, 32);
    /// Sandler et al. 2018, width 1.0.
    "mobilenet_v2" MobilenetV2 = MobilenetV2, IMAGENET;
    /// Howard et al. 2019, "large", width 1.0.
    "mobilenet_v3_large" MobilenetV3Large since 5 = LARGE, IMAGENET;
    /// "Small", width 1.0.
    "mobilenet_v3_small" MobilenetV3Small since 5 = SMALL, IMAGENET;
    /// Tan & Le 2019, the smallest.
    "efficientnet_b0" EfficientnetB0 since 5 = efficientnet(1.0, 1.0), bicubic(256, 224);
    /// Its depth 1.1.
    "efficientnet_b1" EfficientnetB1 since 5 = efficientnet(1.0, 1.1), bicubic(256, 240);
    /// Width 1.1, depth 1.2.
    "efficientnet_b2" EfficientnetB2 since 5 = efficientnet(1.1, 1.2), bicubic(288, 288);
    /// Width 1.2, depth 1.4.
    "efficientnet_b3" EfficientnetB3 since 5 = efficientnet(1.2, 1.4), bicubic(320, 300);
    /// Width 1.4, depth 1.8.
    "efficientnet_b4" EfficientnetB4 since 5 = efficientnet(1.4, 1.8), bicubic(384, 380);
    /// Width 1.6, depth 2.2.
    "efficientnet_b5" EfficientnetB5 since 5 = ported_efficientnet(1.6, 2.2), bicubic(456, 456);
    /// Width 1.8, depth 2.6.
    "efficientnet_b6" EfficientnetB6 since 5 = ported_efficientnet(1.8, 2.6), bicubic(528, 528);
    /// Width 2.0, depth 3.1.
    "efficientnet_b7" EfficientnetB7 since 5 = ported_efficientnet(2.0, 3.1), bicubic(600, 600);
    /// Simonyan & Zisserman 2014, 11 layers with weights.
    "vgg11" Vgg11 = vgg([1, 1, 2, 2, 2]), IMAGENET;
    /// 13 layers.
    "vgg13" Vgg13 = vgg([2, 2, 2, 2, 2]), IMAGENET;
    /// 16 layers.
    "vgg16" Vgg16 = vgg([2, 2, 3, 3, 3]), IMAGENET;
    /// 19 layers.
    "vgg19" Vgg19 = vgg([2, 2, 4, 4, 4]), IMAGENET;
    /// 11 layers, with BatchNorm.
    "vgg11_bn" Vgg11Bn = vgg_bn([1, 1, 2, 2, 2]), IMAGENET;
    /// 13 layers, with BatchNorm.
    "vgg13_bn" Vgg13Bn = vgg_bn([2, 2, 2, 2, 2]), IMAGENET;
    /// 16 layers, with BatchNorm.
    "vgg16_bn" Vgg16Bn = vgg_bn([2, 2, 3, 3, 3]), IMAGENET;
    /// 19 layers, with BatchNorm.
    "vgg19_bn" Vgg19Bn = vgg_bn([2, 2, 4, 4, 4]), IMAGENET;
    /// Szegedy et al. 2015, the third version.
    "inception_v3" InceptionV3 = InceptionV3, INCEPTION;
    /// Liu et al. 2022, "tiny": 96 channels at first, blocks 3-3-9-3.
    "convnext_tiny" ConvnextTiny since 5 = convnext(96, [3, 3, 9, 3]), imagenet(236, 224);
    /// "Small": blocks 3-3-27-3.
    "convnext_small" ConvnextSmall since 5 = convnext(96, [3, 3, 27, 3]), imagenet(230, 224);
    /// "Base": 128 channels at first.
    "convnext_base" ConvnextBase since 5 = convnext(128, [3, 3, 27, 3]), imagenet(232, 224);
    /// "Large": 192 channels at first.
    "convnext_large" ConvnextLarge since 5 = convnext(192, [3, 3, 27, 3]), imagenet(232, 224);
    /// Dosovitskiy et al. 2020: the Vision Transformer "base", patches of 16 pixels.
    "vit_b_16" VitB16 since 5 = vit(16, 768, 12, 12), IMAGENET;
    /// "Base", patches of 32 pixels.
    "vit_b_32" VitB32 since 5 = vit(32, 768, 12, 12), IMAGENET;
    /// "Large", patches of 16 pixels.
    "vit_l_16" VitL16 since 5 = vit(16, 1024, 24, 16), imagenet(242, 224);
    /// "Large", patches of 32 pixels.
    "vit_l_32" VitL32 since 5 = vit(32, 1024, 24, 16), IMAGENET;
    /// "Huge", patches of 14 pixels.
    "vit_h_14" VitH14 since 5 = vit(14, 1280, 32, 16), bicubic(224, 224);
    /// Touvron et al. 2020, without distillation: `vit_b_16` with states of 192 numbers and 3 heads.
    "deit_tiny_patch16_224" DeitTinyPatch16_224 since 5 = vit(16, 192, 12, 3), bicubic(248, 224);
    /// States of 384 numbers and 6 heads.
    "deit_small_patch16_224" DeitSmallPatch16_224 since 5 = vit(16, 384, 12, 6), bicubic(248, 224);
    /// The network of `vit_b_16`, trained as DeiT.
    "deit_base_patch16_224" DeitBasePatch16_224 since 5 = vit(16, 768, 12, 12), bicubic(248, 224);
    /// Oquab et al. 2023: DINOv2 with states of 384 numbers, patches of 14 pixels.
    "dinov2_vits14" Dinov2VitS14 since 5 = dinov2(384, 12, 6, false), bicubic(256, 224);
    /// States of 768 numbers.
    "dinov2_vitb14" Dinov2VitB14 since 5 = dinov2(768, 12, 12, false), bicubic(256, 224);
    /// States of 1024 numbers, 24 layers.
    "dinov2_vitl14" Dinov2VitL14 since 5 = dinov2(1024, 24, 16, false), bicubic(256, 224);
    /// States of 1536 numbers, 40 layers with a gate.
    "dinov2_vitg14" Dinov2VitG14 since 5 = dinov2(1536, 40, 24, true), bicubic(256, 224);
    /// Darcet et al. 2023: `dinov2_vits14` with four registers, tokens that hold what belongs to no patch.
    "dinov2_vits14_reg" Dinov2VitS14Reg since 5 = dinov2_with_registers(384, 12, 6, false), bicubic(256, 224);
    /// `dinov2_vitb14` with four registers.
    "dinov2_vitb14_reg" Dinov2VitB14Reg since 5 = dinov2_with_registers(768, 12, 12, false), bicubic(256, 224);
    /// `dinov2_vitl14` with four registers.
    "dinov2_vitl14_reg" Dinov2VitL14Reg since 5 = dinov2_with_registers(1024, 24, 16, false), bicubic(256, 224);
    /// `dinov2_vitg14` with four registers.
    "dinov2_vitg14_reg" Dinov2VitG14Reg since 5 = dinov2_with_registers(1536, 40, 24, true), bicubic(256, 224);
    /// Liu et al. 2021: the Swin Transformer "tiny", 96 channels at first, blocks 2-2-6-2.
    "swin_t" SwinT since 5 = swin(96, 6, [3, 6, 12, 24]), bicubic(232, 224);
    /// "Small": blocks 2-2-18-2.
    "swin_s" SwinS since 5 = swin(96, 18, [3, 6, 12, 24]), bicubic(246, 224);
    /// "Base": 128 channels at first.
    "swin_b" SwinB since 5 = swin(128, 18, [4, 8, 16, 32]), bicubic(238, 224);
    /// Liu et al. 2022: the Swin Transformer V2 "tiny", with windows of 8 patches.
    "swin_v2_t" SwinV2T since 5 = swin_v2(96, 6, [3, 6, 12, 24]), bicubic(260, 256);
    /// "Small": blocks 2-2-18-2.
    "swin_v2_s" SwinV2S since 5 = swin_v2(96, 18, [3, 6, 12, 24]), bicubic(260, 256);
    /// "Base": 128 channels at first.
    "swin_v2_b" SwinV2B since 5 = swin_v2(128, 18, [4, 8, 16, 32]), bicubic(272, 256);
    /// Any network of images as a TorchScript file (`weights`), frozen as one stage; a vector of each image, or what it gives of every pixel,
    /// averaged, is what the head takes. Its program runs in the ranks: take it from whom you trust.
    "torchscript" TorchScript since 5 = Network::TorchScript, IMAGENET;
    /// ConvNeXt under transformers' names; sizes from the `config.json` beside the weights.
    "convnext" Convnext since 5 = Network::Configured(Configured::Convnext), IMAGENET;
    /// The Vision Transformer under transformers' names; sizes from the `config.json` beside the weights.
    "vit" Vit since 5 = Network::Configured(Configured::Vit), SQUASHED;
    /// Devlin et al. 2018; sizes from the `config.json` beside the weights.
    "bert" Bert = Network::Bert(BertKind::Original), TEXT;
    /// Liu et al. 2019; sizes from the `config.json` beside the weights.
    "roberta" Roberta since 5 = Network::Bert(BertKind::Roberta), TEXT;
    /// Sanh et al. 2019; sizes from the `config.json` beside the weights.
    "distilbert" Distilbert since 5 = Network::Bert(BertKind::Distilled), TEXT;
    /// Warner et al. 2024; sizes from the `config.json` beside the weights.
    "modernbert" ModernBert since 5 = Network::ModernBert, TEXT;
    /// Radford et al. 2019; sizes from the `config.json` beside the weights.
    "gpt2" Gpt2 = Gpt2, TEXT;
    /// Touvron et al. 2023, with Llama 2 and 3, TinyLlama and SmolLM2; sizes from the `config.json` beside the weights.
    "llama" Llama since 5 = Network::Decoder(DecoderKind::Llama), TEXT;
    /// Yang et al. 2024, with Qwen2.5; sizes from the `config.json` beside the weights.
    "qwen2" Qwen2 since 5 = Network::Decoder(DecoderKind::Qwen2), TEXT;
    /// Yang et al. 2025; sizes from the `config.json` beside the weights.
    "qwen3" Qwen3 since 5 = Network::Decoder(DecoderKind::Qwen3), TEXT;
}
