//! The names of Swin's tensors in each library; Firn's own are torchvision's.

use crate::weights::naming::{Dialect, Library, numbered_feature, translated};

pub(super) const FIRST: &[Dialect] = &[
    HUGGING_FACE,
    Dialect {
        anchor: BARE,
        prefix: "",
        ..HUGGING_FACE
    },
    IN_TIMM,
    IN_TORCHVISION,
];

/// Of the second version.
pub(super) const SECOND: &[Dialect] = &[
    HUGGING_FACE_SECOND,
    Dialect {
        anchor: BARE,
        prefix: "",
        ..HUGGING_FACE_SECOND
    },
    IN_TIMM,
    IN_TORCHVISION,
];

const BARE: &str = "embeddings.patch_embeddings.projection.weight";

const IN_TIMM: Dialect = Dialect::renamed(
    Library::Timm,
    "patch_embed.proj.weight",
    "",
    |name| vec![timm(name)],
    "head.fc",
);

const IN_TORCHVISION: Dialect = Dialect::torchvision("features.0.0.weight", "head");

const HUGGING_FACE_SECOND: Dialect = Dialect::renamed(
    Library::HuggingFace,
    "swinv2.embeddings.patch_embeddings.projection.weight",
    "swinv2.",
    |name| vec![hugging_face(name, HUGGING_FACE_FILES)],
    "classifier",
);

const HUGGING_FACE: Dialect = Dialect::renamed(
    Library::HuggingFace,
    "swin.embeddings.patch_embeddings.projection.weight",
    "swin.",
    // As transformers 5 names its layers, and as published files do.
    |name| {
        [HUGGING_FACE_5, HUGGING_FACE_FILES]
            .map(|words| hugging_face(name, words))
            .to_vec()
    },
    "classifier",
);

const HUGGING_FACE_5: &[(&str, &str)] = &[
    ("attn.query", "attention.q_proj"),
    ("attn.key", "attention.k_proj"),
    ("attn.value", "attention.v_proj"),
    ("attn.proj", "attention.o_proj"),
    ("attn.relative", "attention.relative_position_bias.relative"),
    ("mlp.0", "mlp.fc1"),
    ("mlp.3", "mlp.fc2"),
    ("norm1", "layernorm_before"),
    ("norm2", "layernorm_after"),
];

const HUGGING_FACE_FILES: &[(&str, &str)] = &[
    ("attn.proj", "attention.output.dense"),
    ("attn.cpb_mlp", "attention.self.continuous_position_bias_mlp"),
    ("attn.", "attention.self."),
    ("mlp.0", "intermediate.dense"),
    ("mlp.3", "output.dense"),
    ("norm1", "layernorm_before"),
    ("norm2", "layernorm_after"),
];

/// torchvision's `features.N`: the patches (0), groups of blocks (odd), what halves the image before a group (even), which transformers counts to
/// the group before.
fn hugging_face(name: &str, words: &[(&str, &str)]) -> String {
    match numbered_feature(name) {
        Some((0, tail)) => {
            let words = [("0.", "patch_embeddings.projection."), ("2.", "norm.")];
            format!("embeddings.{}", translated(tail, &words))
        }
        Some((number, tail)) if number % 2 == 1 => {
            format!("encoder.layers.{}.blocks.{}", number / 2, block(tail, words))
        }
        Some((number, tail)) => format!("encoder.layers.{}.downsample.{tail}", number / 2 - 1),
        None => format!("layer{name}"),
    }
}

/// The name of a tensor of a block; its number stays, and the first of the words that it begins with is replaced.
fn block(tail: &str, words: &[(&str, &str)]) -> String {
    let Some((index, tail)) = tail.split_once('.') else {
        return tail.to_owned();
    };
    let replaced = words
        .iter()
        .find_map(|(ours, theirs)| Some(format!("{theirs}{}", tail.strip_prefix(ours)?)));
    format!("{index}.{}", replaced.unwrap_or_else(|| tail.to_owned()))
}

fn timm(name: &str) -> String {
    match numbered_feature(name) {
        Some((0, tail)) => format!("patch_embed.{}", translated(tail, &[("0.", "proj."), ("2.", "norm.")])),
        Some((number, tail)) if number % 2 == 1 => {
            let words = [("mlp.0", "mlp.fc1"), ("mlp.3", "mlp.fc2")];
            format!("layers.{}.blocks.{}", number / 2, block(tail, &words))
        }
        Some((number, tail)) => format!("layers.{}.downsample.{tail}", number / 2),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_translate_to_those_of_the_libraries() {
        for (ours, in_timm, in_files) in [
            (
                "features.0.0.weight",
                "patch_embed.proj.weight",
                "embeddings.patch_embeddings.projection.weight",
            ),
            ("features.0.2.bias", "patch_embed.norm.bias", "embeddings.norm.bias"),
            (
                "features.5.3.norm1.weight",
                "layers.2.blocks.3.norm1.weight",
                "encoder.layers.2.blocks.3.layernorm_before.weight",
            ),
            (
                "features.1.0.attn.relative_position_bias_table",
                "layers.0.blocks.0.attn.relative_position_bias_table",
                "encoder.layers.0.blocks.0.attention.self.relative_position_bias_table",
            ),
            (
                "features.7.1.mlp.3.bias",
                "layers.3.blocks.1.mlp.fc2.bias",
                "encoder.layers.3.blocks.1.output.dense.bias",
            ),
            (
                "features.2.reduction.weight",
                "layers.1.downsample.reduction.weight",
                "encoder.layers.0.downsample.reduction.weight",
            ),
            (
                "features.1.0.attn.cpb_mlp.0.weight",
                "layers.0.blocks.0.attn.cpb_mlp.0.weight",
                "encoder.layers.0.blocks.0.attention.self.continuous_position_bias_mlp.0.weight",
            ),
            ("norm.weight", "norm.weight", "layernorm.weight"),
        ] {
            assert_eq!(timm(ours), in_timm);
            assert_eq!((HUGGING_FACE.names)(ours)[1], in_files);
        }
        let query = (HUGGING_FACE.names)("features.3.1.attn.query.bias");
        let expected = ["q_proj", "self.query"].map(|part| format!("encoder.layers.1.blocks.1.attention.{part}.bias"));
        assert_eq!(query, expected);
    }
}
