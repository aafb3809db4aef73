//! Networks of images whose sizes are those of a `config.json` of transformers: what it says, and what of it is not built.
//!
//! A field that is left out has the value that transformers gives it.

use serde_json::{Value, json};

use super::Architecture;
use super::network::{Convnext, Network, Resnet, Swin, SwinVersion, Vit, VitKind};
use super::table::ROWS;

/// A field of a `config.json` that says something else than is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// Its name.
    pub field: String,
    /// What would be right.
    pub expected: String,
    /// What it says.
    pub found: String,
}

/// A family of images that is built in the sizes of a `config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Configured {
    /// The Vision Transformer.
    Vit,
    /// ConvNeXt.
    Convnext,
}

impl Network {
    /// The types that [`Self::of_configuration`] knows.
    pub const MODEL_TYPES: [&str; 7] = [
        "convnext",
        "dinov2",
        "dinov2_with_registers",
        "resnet",
        "swin",
        "swinv2",
        "vit",
    ];

    /// The network of images that a configuration of this `model_type` describes; `None` for other types.
    ///
    /// # Errors
    /// The first field that says something else than is built.
    pub fn of_configuration(model_type: &str, config: &Value) -> Result<Option<Self>, Misfit> {
        Ok(match model_type {
            "vit" => Some(Self::Vit(Vit::of_configuration(config)?)),
            "convnext" => Some(Self::Convnext(Convnext::of_configuration(config)?)),
            "dinov2" => Some(Self::Vit(Vit::of_dinov2(config, 0)?)),
            "dinov2_with_registers" => {
                let registers = Fields(config).size("num_register_tokens", 4)?;
                Some(Self::Vit(Vit::of_dinov2(config, registers)?))
            }
            "swin" => Some(Self::Swin(Swin::of_configuration(config, SwinVersion::First)?)),
            "swinv2" => {
                Fields(config).is("pretrained_window_sizes", &json!([0, 0, 0, 0]))?;
                Some(Self::Swin(Swin::of_configuration(config, SwinVersion::Second)?))
            }
            "resnet" => Some(Self::Resnet(Resnet::of_configuration(config)?)),
            _ => None,
        })
    }

    /// The architecture of exactly this network, or the one whose sizes are read from the configuration.
    pub fn architecture(&self) -> Option<Architecture> {
        let configured = match self {
            Self::Vit(sizes) if sizes.kind == VitKind::Original => Some(Self::Configured(Configured::Vit)),
            Self::Convnext(_) => Some(Self::Configured(Configured::Convnext)),
            _ => None,
        };
        let of = |network: &Self| ROWS.iter().find(|row| row.network == *network);
        let row = of(self).or_else(|| of(&configured?))?;
        Some(row.architecture)
    }
}

impl Vit {
    /// That of transformers' `ViTConfig`.
    ///
    /// # Errors
    /// The first field that says something else than is built.
    pub fn of_configuration(config: &Value) -> Result<Self, Misfit> {
        let fields = Fields(config);
        fields.is("hidden_act", &"gelu".into())?;
        fields.is("num_channels", &3.into())?;
        fields.is("qkv_bias", &true.into())?;
        fields.is("layer_norm_eps", &1e-12.into())?;
        let sizes = Self {
            image: fields.size("image_size", 224)? as u32,
            patch: fields.size("patch_size", 16)?,
            width: fields.size("hidden_size", 768)?,
            wide: fields.size("intermediate_size", 3072)?,
            layers: fields.size("num_hidden_layers", 12)? as usize,
            heads: fields.size("num_attention_heads", 12)?,
            kind: VitKind::Original,
        };
        fields.multiple("image_size", i64::from(sizes.image), "patch_size", sizes.patch)?;
        fields.multiple("hidden_size", sizes.width, "num_attention_heads", sizes.heads)?;
        Ok(sizes)
    }

    /// That of transformers' `Dinov2Config`, or of its `Dinov2WithRegistersConfig`.
    fn of_dinov2(config: &Value, registers: i64) -> Result<Self, Misfit> {
        let fields = Fields(config);
        fields.is("hidden_act", &"gelu".into())?;
        fields.is("num_channels", &3.into())?;
        fields.is("qkv_bias", &true.into())?;
        fields.is("mlp_ratio", &4.into())?;
        fields.is("layer_norm_eps", &1e-6.into())?;
        let is_gated = config.get("use_swiglu_ffn").is_some_and(|found| *found == true);
        let width = fields.size("hidden_size", 768)?;
        Ok(Self {
            image: fields.size("image_size", 224)? as u32,
            patch: fields.size("patch_size", if registers == 0 { 14 } else { 16 })?,
            width,
            wide: Self::usual_width(width, is_gated),
            layers: fields.size("num_hidden_layers", 12)? as usize,
            heads: fields.size("num_attention_heads", 12)?,
            kind: VitKind::Dinov2 { is_gated, registers },
        })
    }
}

impl Swin {
    /// That of transformers' `SwinConfig` or `Swinv2Config`.
    ///
    /// # Errors
    /// The first field that says something else than is built.
    pub fn of_configuration(config: &Value, version: SwinVersion) -> Result<Self, Misfit> {
        let fields = Fields(config);
        fields.is("hidden_act", &"gelu".into())?;
        fields.is("num_channels", &3.into())?;
        fields.is("qkv_bias", &true.into())?;
        fields.is("mlp_ratio", &4.into())?;
        fields.is("patch_size", &4.into())?;
        fields.is("use_absolute_embeddings", &false.into())?;
        fields.is("layer_norm_eps", &1e-5.into())?;
        Ok(Self {
            width: fields.size("embed_dim", 96)?,
            blocks: fields.sizes("depths", [2, 2, 6, 2])?.map(|blocks| blocks as usize),
            heads: fields.sizes("num_heads", [3, 6, 12, 24])?,
            window: fields.size("window_size", 7)?,
            version,
        })
    }
}

impl Convnext {
    /// That of transformers' `ConvNextConfig`.
    ///
    /// # Errors
    /// The first field that says something else than is built.
    pub fn of_configuration(config: &Value) -> Result<Self, Misfit> {
        let fields = Fields(config);
        fields.is("hidden_act", &"gelu".into())?;
        fields.is("num_channels", &3.into())?;
        fields.is("patch_size", &4.into())?;
        fields.is("num_stages", &4.into())?;
        fields.is("layer_norm_eps", &1e-12.into())?;
        Ok(Self {
            widths: fields.sizes("hidden_sizes", [96, 192, 384, 768])?,
            blocks: fields.sizes("depths", [3, 3, 9, 3])?.map(|blocks| blocks as usize),
        })
    }
}

impl Resnet {
    /// That of transformers' `ResNetConfig`, of the published widths.
    ///
    /// # Errors
    /// The first field that says something else than is built.
    pub fn of_configuration(config: &Value) -> Result<Self, Misfit> {
        let fields = Fields(config);
        fields.is("hidden_act", &"relu".into())?;
        fields.is("num_channels", &3.into())?;
        fields.is("embedding_size", &64.into())?;
        fields.is("downsample_in_first_stage", &false.into())?;
        fields.is("downsample_in_bottleneck", &false.into())?;
        let layer_type = config.get("layer_type").and_then(Value::as_str).unwrap_or("bottleneck");
        let depths = fields.sizes("depths", [3, 4, 6, 3])?.map(|blocks| blocks as usize);
        let (sizes, widths) = match layer_type {
            "basic" => (Self::basic(depths), [64, 128, 256, 512]),
            "bottleneck" => (Self::bottlenecks(depths), [256, 512, 1024, 2048]),
            other => return Err(misfit("layer_type", "`basic` or `bottleneck`", format!("`{other}`"))),
        };
        match fields.sizes("hidden_sizes", [256, 512, 1024, 2048])? {
            found if found == widths => Ok(sizes),
            found => Err(misfit("hidden_sizes", &format!("{widths:?}"), format!("{found:?}"))),
        }
    }
}

/// The fields of a configuration.
struct Fields<'a>(&'a Value);

impl Fields<'_> {
    /// Refuses a field that is there and says anything else.
    fn is(&self, field: &str, accepted: &Value) -> Result<(), Misfit> {
        match self.0.get(field) {
            None => Ok(()),
            Some(found) if found == accepted || (found.is_number() && found.as_f64() == accepted.as_f64()) => Ok(()),
            Some(found) => Err(misfit(field, &accepted.to_string(), found.to_string())),
        }
    }

    fn size(&self, field: &str, otherwise: i64) -> Result<i64, Misfit> {
        self.0.get(field).map_or(Ok(otherwise), |found| size(field, found))
    }

    fn sizes(&self, field: &str, otherwise: [i64; 4]) -> Result<[i64; 4], Misfit> {
        let Some(found) = self.0.get(field) else {
            return Ok(otherwise);
        };
        let items = found.as_array().into_iter().flatten();
        let sizes = items.map(|item| size(field, item)).collect::<Result<Vec<_>, _>>()?;
        sizes
            .try_into()
            .map_err(|_| misfit(field, "four whole numbers", found.to_string()))
    }

    fn multiple(&self, field: &str, size: i64, of: &str, divisor: i64) -> Result<(), Misfit> {
        match size % divisor {
            0 => Ok(()),
            _ => Err(misfit(
                field,
                &format!("a multiple of {of} ({divisor})"),
                size.to_string(),
            )),
        }
    }
}

/// Larger numbers are no sizes of networks.
const LARGEST: i64 = 1 << 24;

fn size(field: &str, found: &Value) -> Result<i64, Misfit> {
    let whole = found.as_i64().filter(|size| (1..LARGEST).contains(size));
    whole.ok_or_else(|| misfit(field, "a whole number from 1 to 16777215", found.to_string()))
}

fn misfit(field: &str, expected: &str, found: String) -> Misfit {
    Misfit {
        field: field.to_owned(),
        expected: expected.to_owned(),
        found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Word;

    fn architecture(model_type: &str, config: Value) -> Result<&'static str, String> {
        let network = Network::of_configuration(model_type, &config);
        let network = network.map_err(|misfit| format!("{}: {}, {}", misfit.field, misfit.expected, misfit.found))?;
        let known = network.and_then(|network| network.architecture());
        Ok(known.map_or("none", |architecture| architecture.word()))
    }

    #[test]
    fn every_type_that_is_listed_is_known() {
        for model_type in Network::MODEL_TYPES {
            assert_ne!(
                Network::of_configuration(model_type, &json!({})),
                Ok(None),
                "{model_type}"
            );
        }
    }

    #[test]
    fn sizes_of_a_row_are_that_row_and_others_are_read_from_the_file() {
        for (model_type, config, expected) in [
            ("vit", json!({}), "vit_b_16"),
            ("vit", json!({"patch_size": 32}), "vit_b_32"),
            ("vit", json!({"image_size": 384}), "vit"),
            ("convnext", json!({}), "convnext_tiny"),
            ("convnext", json!({"depths": [2, 2, 6, 2]}), "convnext"),
            ("resnet", json!({}), "resnet50"),
            (
                "resnet",
                json!({"layer_type": "basic", "depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512]}),
                "resnet18",
            ),
            ("resnet", json!({"depths": [2, 2, 2, 2]}), "none"),
            ("swin", json!({}), "swin_t"),
            ("swin", json!({"window_size": 12}), "none"),
            ("swinv2", json!({"window_size": 8}), "swin_v2_t"),
            ("swinv2", json!({"window_size": 16}), "none"),
            (
                "dinov2",
                json!({"image_size": 518, "hidden_size": 384, "num_attention_heads": 6}),
                "dinov2_vits14",
            ),
            (
                "dinov2_with_registers",
                json!({"image_size": 518, "patch_size": 14, "hidden_size": 384, "num_attention_heads": 6}),
                "dinov2_vits14_reg",
            ),
            (
                "dinov2_with_registers",
                json!({"image_size": 518, "patch_size": 14, "hidden_size": 384, "num_attention_heads": 6, "num_register_tokens": 8}),
                "none",
            ),
            ("t5", json!({}), "none"),
        ] {
            assert_eq!(
                architecture(model_type, config.clone()).as_deref(),
                Ok(expected),
                "{config}"
            );
        }
    }

    #[test]
    fn what_is_not_built_is_named() {
        for (model_type, config, expected) in [
            ("vit", json!({"hidden_act": "relu"}), "hidden_act: \"gelu\", \"relu\""),
            ("vit", json!({"qkv_bias": false}), "qkv_bias: true, false"),
            ("vit", json!({"layer_norm_eps": 1e-6}), "layer_norm_eps: 1e-12, 1e-6"),
            (
                "vit",
                json!({"image_size": 225}),
                "image_size: a multiple of patch_size (16), 225",
            ),
            (
                "vit",
                json!({"hidden_size": 0}),
                "hidden_size: a whole number from 1 to 16777215, 0",
            ),
            (
                "swinv2",
                json!({"pretrained_window_sizes": [12, 12, 12, 6]}),
                "pretrained_window_sizes: [0,0,0,0], [12,12,12,6]",
            ),
            (
                "convnext",
                json!({"depths": [1, 2]}),
                "depths: four whole numbers, [1,2]",
            ),
            ("resnet", json!({"embedding_size": 32}), "embedding_size: 64, 32"),
            (
                "resnet",
                json!({"hidden_sizes": [8, 16, 32, 64]}),
                "hidden_sizes: [256, 512, 1024, 2048], [8, 16, 32, 64]",
            ),
        ] {
            assert_eq!(architecture(model_type, config), Err(expected.to_owned()));
        }
    }
}
