//! The names of the tensors in each library; Firn's own of ViT are torchvision's, and those of DINOv2 timm's.

use crate::weights::naming::{Dialect, Library, translated};

pub(super) const ORIGINAL: &[Dialect] = &[
    HUGGING_FACE,
    Dialect {
        anchor: "embeddings.cls_token",
        prefix: "",
        ..HUGGING_FACE
    },
    IN_TIMM,
    Dialect {
        // Files of torchvision 0.11 and before.
        names: |name| vec![name.to_owned(), translated(name, OLD_TORCHVISION)],
        ..Dialect::torchvision("class_token", "heads.head")
    },
];

/// transformers has a mask beside the weights, for training of another kind.
pub(super) const DINOV2: &[Dialect] = &[
    HUGGING_FACE_DINOV2,
    Dialect {
        anchor: "embeddings.cls_token",
        prefix: "",
        ..HUGGING_FACE_DINOV2
    },
    IN_TIMM,
];

/// Of DINOv2 with registers, the authors' last: the class token has a position of its own in their files, and none in timm's.
pub(super) const DINOV2_WITH_REGISTERS: &[Dialect] = &[
    HUGGING_FACE_WITH_REGISTERS,
    Dialect {
        anchor: "embeddings.register_tokens",
        prefix: "",
        ..HUGGING_FACE_WITH_REGISTERS
    },
    Dialect::renamed(
        Library::Timm,
        "reg_token",
        "",
        |name| {
            let words = [
                ("register_tokens", "reg_token"),
                ("mlp.w12", "mlp.fc1"),
                ("mlp.w3", "mlp.fc2"),
            ];
            vec![translated(&translated(name, TIMM), &words)]
        },
        "head",
    ),
    Dialect {
        keeps_extras: true,
        ..Dialect::renamed(
            Library::Dinov2,
            "register_tokens",
            "",
            |name| vec![translated(name, TIMM)],
            "head",
        )
    },
];

const HUGGING_FACE_WITH_REGISTERS: Dialect = Dialect {
    anchor: "dinov2_with_registers.embeddings.register_tokens",
    prefix: "dinov2_with_registers.",
    exported_prefix: "dinov2_with_registers.",
    ..HUGGING_FACE_DINOV2
};

/// timm's; and those of the authors of DINOv2, who differ in the gated part alone.
const IN_TIMM: Dialect = Dialect::renamed(
    Library::Timm,
    "cls_token",
    "",
    |name| {
        let authors = translated(name, TIMM);
        let timm = translated(&authors, &[("mlp.w12", "mlp.fc1"), ("mlp.w3", "mlp.fc2")]);
        match timm == authors {
            true => vec![timm],
            false => vec![timm, authors],
        }
    },
    "head",
);

const HUGGING_FACE_DINOV2: Dialect = Dialect {
    keeps_extras: true,
    ..Dialect::renamed(
        Library::HuggingFace,
        "dinov2.embeddings.cls_token",
        "dinov2.",
        |name| {
            let name = translated(name, HUGGING_FACE_DINOV2_BOTH);
            vec![
                translated(&name, HUGGING_FACE_DINOV2_5),
                translated(&name, HUGGING_FACE_DINOV2_FILES),
            ]
        },
        "classifier",
    )
};

const HUGGING_FACE: Dialect = Dialect::renamed(
    Library::HuggingFace,
    "vit.embeddings.cls_token",
    "vit.",
    |name| {
        let name = translated(name, HUGGING_FACE_OUTSIDE);
        // As transformers 5 names its layers, and as published files do.
        vec![translated(&name, HUGGING_FACE_5), translated(&name, HUGGING_FACE_FILES)]
    },
    "classifier",
);

const TIMM: &[(&str, &str)] = &[
    ("class_token", "cls_token"),
    ("encoder.pos_embedding", "pos_embed"),
    ("conv_proj", "patch_embed.proj"),
    ("encoder.layers.encoder_layer_", "blocks."),
    ("encoder.ln.", "norm."),
    ("ln_1", "norm1"),
    ("ln_2", "norm2"),
    ("self_attention.in_proj_", "attn.qkv."),
    ("self_attention.out_proj", "attn.proj"),
    ("mlp.0", "mlp.fc1"),
    ("mlp.3", "mlp.fc2"),
    ("scale_1", "ls1.gamma"),
    ("scale_2", "ls2.gamma"),
];

const OLD_TORCHVISION: &[(&str, &str)] = &[("mlp.0", "mlp.linear_1"), ("mlp.3", "mlp.linear_2")];

const HUGGING_FACE_OUTSIDE: &[(&str, &str)] = &[
    ("class_token", "embeddings.cls_token"),
    ("encoder.pos_embedding", "embeddings.position_embeddings"),
    ("conv_proj", "embeddings.patch_embeddings.projection"),
    ("encoder.ln.", "layernorm."),
    ("ln_1", "layernorm_before"),
    ("ln_2", "layernorm_after"),
];

const HUGGING_FACE_5: &[(&str, &str)] = &[
    ("encoder.layers.encoder_layer_", "layers."),
    ("self_attention.query", "attention.q_proj"),
    ("self_attention.key", "attention.k_proj"),
    ("self_attention.value", "attention.v_proj"),
    ("self_attention.out_proj", "attention.o_proj"),
    ("mlp.0", "mlp.fc1"),
    ("mlp.3", "mlp.fc2"),
];

const HUGGING_FACE_FILES: &[(&str, &str)] = &[
    ("encoder.layers.encoder_layer_", "encoder.layer."),
    ("self_attention.out_proj", "attention.output.dense"),
    ("self_attention.", "attention.attention."),
    ("mlp.0", "intermediate.dense"),
    ("mlp.3", "output.dense"),
];

const HUGGING_FACE_DINOV2_BOTH: &[(&str, &str)] = &[
    ("mask_token", "embeddings.mask_token"),
    ("register_tokens", "embeddings.register_tokens"),
    ("class_token", "embeddings.cls_token"),
    ("encoder.pos_embedding", "embeddings.position_embeddings"),
    ("conv_proj", "embeddings.patch_embeddings.projection"),
    ("encoder.ln.", "layernorm."),
    ("encoder.layers.encoder_layer_", "encoder.layer."),
    ("ln_1", "norm1"),
    ("ln_2", "norm2"),
    ("mlp.0", "mlp.fc1"),
    ("mlp.3", "mlp.fc2"),
    ("scale_1", "layer_scale1.lambda1"),
    ("scale_2", "layer_scale2.lambda1"),
];

const HUGGING_FACE_DINOV2_5: &[(&str, &str)] = &[
    ("self_attention.query", "attention.q_proj"),
    ("self_attention.key", "attention.k_proj"),
    ("self_attention.value", "attention.v_proj"),
    ("self_attention.out_proj", "attention.o_proj"),
    ("mlp.gate", "mlp.gate_proj"),
    ("mlp.up", "mlp.up_proj"),
    ("mlp.w12", "mlp.weights_in"),
    ("mlp.w3", "mlp.down_proj"),
];

const HUGGING_FACE_DINOV2_FILES: &[(&str, &str)] = &[
    ("self_attention.out_proj", "attention.output.dense"),
    ("self_attention.", "attention.attention."),
    ("mlp.w12", "mlp.weights_in"),
    ("mlp.w3", "mlp.weights_out"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Under the names that each library gives the tensors of the first layer.
    #[test]
    fn names_translate_to_those_of_the_libraries() {
        let names = |library, name: &str| {
            let dialect = ORIGINAL.iter().find(|dialect| dialect.library == library).unwrap();
            (dialect.names)(name)
        };
        let layer = "encoder.layers.encoder_layer_0";
        for (name, timm) in [
            ("class_token", "cls_token"),
            ("encoder.pos_embedding", "pos_embed"),
            ("conv_proj.bias", "patch_embed.proj.bias"),
            ("encoder.ln.weight", "norm.weight"),
            ("ln_1.weight", "blocks.0.norm1.weight"),
            ("ln_2.bias", "blocks.0.norm2.bias"),
            ("self_attention.in_proj_weight", "blocks.0.attn.qkv.weight"),
            ("self_attention.in_proj_bias", "blocks.0.attn.qkv.bias"),
            ("self_attention.out_proj.bias", "blocks.0.attn.proj.bias"),
            ("mlp.0.weight", "blocks.0.mlp.fc1.weight"),
            ("mlp.3.weight", "blocks.0.mlp.fc2.weight"),
        ] {
            let name = if timm.starts_with("blocks") {
                format!("{layer}.{name}")
            } else {
                name.to_owned()
            };
            assert_eq!(names(Library::Timm, &name), [timm]);
        }
        for (name, files) in [
            ("self_attention.query.weight", "attention.attention.query.weight"),
            ("self_attention.out_proj.bias", "attention.output.dense.bias"),
            ("ln_2.bias", "layernorm_after.bias"),
            ("mlp.0.weight", "intermediate.dense.weight"),
            ("mlp.3.bias", "output.dense.bias"),
        ] {
            let found = names(Library::HuggingFace, &format!("{layer}.{name}"));
            assert_eq!(found[1], format!("encoder.layer.0.{files}"));
        }
    }

    #[test]
    fn names_of_dinov2_translate_to_those_of_the_libraries_and_of_its_authors() {
        let layer = "encoder.layers.encoder_layer_7";
        for (name, timm, files) in [
            ("scale_1", "ls1.gamma", "layer_scale1.lambda1"),
            ("ln_2.bias", "norm2.bias", "norm2.bias"),
            ("mlp.3.weight", "mlp.fc2.weight", "mlp.fc2.weight"),
            ("mlp.w12.bias", "mlp.fc1.bias", "mlp.weights_in.bias"),
            ("mlp.w3.bias", "mlp.fc2.bias", "mlp.weights_out.bias"),
        ] {
            let name = format!("{layer}.{name}");
            assert_eq!((IN_TIMM.names)(&name)[0], format!("blocks.7.{timm}"));
            assert_eq!(
                (HUGGING_FACE_DINOV2.names)(&name)[1],
                format!("encoder.layer.7.{files}")
            );
        }
        let authors = (IN_TIMM.names)(&format!("{layer}.mlp.w12.bias"));
        assert_eq!(authors[1], "blocks.7.mlp.w12.bias");
    }
}
