//! Under which names a file keeps the tensors of an architecture.
//!
//! Inside Firn every tensor has one name: torchvision's for image models, Hugging Face's without prefix for BERT. A file may use
//! others; which ones is decided once, from the keys that it has.

use firn_core::spec::Architecture;

/// The naming scheme of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Naming {
    /// `conv1.weight`, `layer1.0.bn1.bias`, `fc.weight`; `features.0.0.weight`, `classifier.1.weight`.
    Torchvision {
        /// Name of the output layer.
        head: &'static str,
    },
    /// `resnet.encoder.stages.0.layers.0.layer.0.convolution.weight`, the prefix `resnet.` being optional.
    HuggingFaceResnet {
        /// `resnet.` or nothing.
        prefix: &'static str,
    },
    /// `bert.encoder.layer.0.…`, the prefix `bert.` being optional; old files say `gamma` and `beta` in `LayerNorm`.
    HuggingFaceBert {
        /// `bert.` or nothing.
        prefix: &'static str,
    },
}

impl Naming {
    /// The naming of Firn's own tensors, used when there is no file.
    pub(crate) fn own(architecture: Architecture) -> Self {
        match architecture {
            Architecture::MobilenetV2 => Self::Torchvision { head: "classifier.1" },
            Architecture::Bert => Self::HuggingFaceBert { prefix: "" },
            _ => Self::Torchvision { head: "fc" },
        }
    }

    /// The naming of a file with these keys; Firn's own where nothing speaks for another.
    pub(crate) fn detect<'a>(architecture: Architecture, keys: impl Iterator<Item = &'a str>) -> Self {
        let own = Self::own(architecture);
        for key in keys {
            match (&own, architecture) {
                (Self::HuggingFaceBert { .. }, _) if key.starts_with("bert.embeddings.") => {
                    return Self::HuggingFaceBert { prefix: "bert." };
                }
                (_, Architecture::MobilenetV2 | Architecture::Bert) => {}
                _ if key.starts_with("resnet.embedder.embedder.") => {
                    return Self::HuggingFaceResnet { prefix: "resnet." };
                }
                _ if key.starts_with("embedder.embedder.") => return Self::HuggingFaceResnet { prefix: "" },
                _ => {}
            }
        }
        own
    }

    /// The names under which the file may keep a tensor, the usual one first.
    pub(crate) fn candidates(&self, name: &str) -> Vec<String> {
        match self {
            Self::Torchvision { .. } => vec![name.to_owned()],
            Self::HuggingFaceResnet { prefix } => vec![format!("{prefix}{}", hugging_face_resnet(name))],
            Self::HuggingFaceBert { prefix } => {
                let usual = format!("{prefix}{name}");
                let old = usual
                    .replace("LayerNorm.weight", "LayerNorm.gamma")
                    .replace("LayerNorm.bias", "LayerNorm.beta");
                if old == usual { vec![usual] } else { vec![usual, old] }
            }
        }
    }

    /// The name of the output layer in models of this naming, without `.weight`.
    pub(crate) fn head(&self) -> &'static str {
        match self {
            Self::Torchvision { head } => head,
            Self::HuggingFaceResnet { .. } => "classifier.1",
            Self::HuggingFaceBert { .. } => "classifier",
        }
    }
}

/// torchvision's name of a ResNet tensor in Hugging Face's words.
fn hugging_face_resnet(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let unit = |part: &str| {
        if part.starts_with("bn") {
            "normalization"
        } else {
            "convolution"
        }
    };
    match parts.as_slice() {
        [stem, tail] => format!("embedder.embedder.{}.{tail}", unit(stem)),
        [layer, block, "downsample", index, tail] => {
            let unit = if *index == "1" { "normalization" } else { "convolution" };
            format!("encoder.stages.{}.layers.{block}.shortcut.{unit}.{tail}", before(layer))
        }
        [layer, block, part, tail] => {
            format!(
                "encoder.stages.{}.layers.{block}.layer.{}.{}.{tail}",
                before(layer),
                before(part),
                unit(part)
            )
        }
        _ => name.to_owned(),
    }
}

/// The digit at the end of a name that counts from 1, counted from 0.
fn before(name: &str) -> u32 {
    name.chars()
        .last()
        .and_then(|digit| digit.to_digit(10))
        .map_or(0, |digit| digit.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resnet_names_translate_to_hugging_faces() {
        let naming = Naming::HuggingFaceResnet { prefix: "resnet." };
        for (ours, theirs) in [
            ("conv1.weight", "resnet.embedder.embedder.convolution.weight"),
            ("bn1.running_var", "resnet.embedder.embedder.normalization.running_var"),
            (
                "layer2.1.conv3.weight",
                "resnet.encoder.stages.1.layers.1.layer.2.convolution.weight",
            ),
            (
                "layer4.0.bn1.bias",
                "resnet.encoder.stages.3.layers.0.layer.0.normalization.bias",
            ),
            (
                "layer3.0.downsample.0.weight",
                "resnet.encoder.stages.2.layers.0.shortcut.convolution.weight",
            ),
            (
                "layer3.0.downsample.1.running_mean",
                "resnet.encoder.stages.2.layers.0.shortcut.normalization.running_mean",
            ),
        ] {
            assert_eq!(naming.candidates(ours), [theirs]);
        }
    }

    #[test]
    fn the_naming_is_told_from_the_keys() {
        use Architecture::{Bert, Resnet50};
        let detect = |architecture, key: &str| Naming::detect(architecture, std::iter::once(key));
        assert_eq!(detect(Resnet50, "conv1.weight"), Naming::Torchvision { head: "fc" });
        let embedder = "resnet.embedder.embedder.convolution.weight";
        assert_eq!(
            detect(Resnet50, embedder),
            Naming::HuggingFaceResnet { prefix: "resnet." }
        );
        assert_eq!(
            detect(Bert, "bert.embeddings.LayerNorm.gamma"),
            Naming::HuggingFaceBert { prefix: "bert." }
        );
        assert_eq!(
            detect(Bert, "embeddings.LayerNorm.weight"),
            Naming::HuggingFaceBert { prefix: "" }
        );
    }

    #[test]
    fn old_bert_files_may_say_gamma_and_beta() {
        let naming = Naming::HuggingFaceBert { prefix: "bert." };
        assert_eq!(
            naming.candidates("embeddings.LayerNorm.weight"),
            ["bert.embeddings.LayerNorm.weight", "bert.embeddings.LayerNorm.gamma"]
        );
    }
}
