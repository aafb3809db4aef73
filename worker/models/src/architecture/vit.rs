//! The Vision Transformer (Dosovitskiy et al. 2020, <https://arxiv.org/abs/2010.11929>) as in torchvision, for images of one size.
//! DeiT (Touvron et al. 2020, <https://arxiv.org/abs/2012.12877>) without a distillation token is the same network. DINOv2 (Oquab et al. 2023,
//! <https://arxiv.org/abs/2304.07193>) scales what each part adds to the states, takes images of any size, and feeds its largest member
//! forward through a gate. Some of its members have registers (Darcet et al. 2023, <https://arxiv.org/abs/2309.16588>): tokens beside those of the patches.
//!
//! An image becomes a row of patches behind a class token, and the state of that token is what a head reads. torchvision and timm keep query,
//! key and value in one matrix and add 1e-6 to a variance; transformers keeps three matrices and adds 1e-12. Its head of DINOv2 reads the mean of
//! the patches, too. A file is computed as the library computes whose names it has. As in the text models, there is no dropout inside,
//! and no stochastic depth.

mod embeddings;
mod layer;
mod names;
#[cfg(test)]
mod tests;

use firn_core::spec::{Vit, VitKind};
use serde_json::{Map, Value, json};
use tch::{Device, Kind, Tensor};

use self::{embeddings::Embeddings, layer::Layer};
use super::{Family, Opened};
use crate::{
    error::ModelError,
    layers::norm::LayerNorm,
    parameter_builder::{NamedTensor, ParameterBuilder},
    stage::{Features, Pass, Stage, Stages},
    weights::naming::{Dialect, Library},
};

/// The usual standard deviation of weights without a file.
const DEVIATION: f64 = 0.02;

/// What the library adds to a variance.
fn epsilon(kind: VitKind, library: Library) -> f64 {
    match (kind, library) {
        (VitKind::Original, Library::HuggingFace) => 1e-12,
        (VitKind::Original | VitKind::Dinov2 { .. }, _) => 1e-6,
    }
}

fn norm(sizes: &Vit, name: &str, builder: &mut ParameterBuilder<'_>) -> Result<LayerNorm, ModelError> {
    let epsilon = epsilon(sizes.kind, builder.library());
    LayerNorm::new(builder, name, sizes.width, epsilon)
}

/// Whether the head reads the mean of the patches beside the class token.
fn reads_patches(kind: VitKind, library: Library) -> bool {
    matches!(kind, VitKind::Dinov2 { .. }) && library == Library::HuggingFace
}

/// Tokens that stand for no patch, beside the class token.
fn registers(kind: VitKind) -> i64 {
    match kind {
        VitKind::Original => 0,
        VitKind::Dinov2 { registers, .. } => registers,
    }
}

impl Family for Vit {
    fn build(&self, builder: &mut ParameterBuilder<'_>) -> Result<Stages, ModelError> {
        builder.enter(0);
        let mut stages: Stages = vec![Box::new(Embeddings::new(self, builder)?)];
        for layer in 0..self.layers {
            builder.enter(stages.len());
            let name = format!("encoder.layers.encoder_layer_{layer}");
            stages.push(Box::new(Layer::new(self, &name, builder)?));
        }
        builder.enter(stages.len());
        stages.push(Box::new(norm(self, "encoder.ln", builder)?));
        stages.push(match reads_patches(self.kind, builder.library()) {
            true => Box::new(ClassTokenAndPatches {
                registers: registers(self.kind),
            }),
            false => Box::new(ClassToken),
        });
        Ok(stages)
    }

    fn feature_width(&self, library: Library) -> Option<i64> {
        match reads_patches(self.kind, library) {
            true => Some(2 * self.width),
            false => Some(self.width),
        }
    }

    fn dialects(&self) -> &'static [Dialect] {
        match self.kind {
            VitKind::Original => names::ORIGINAL,
            VitKind::Dinov2 { registers: 0, .. } => names::DINOV2,
            VitKind::Dinov2 { .. } => names::DINOV2_WITH_REGISTERS,
        }
    }

    fn layers(&self) -> usize {
        self.layers
    }

    fn only_image(&self) -> Option<u32> {
        match self.kind {
            VitKind::Original => Some(self.image),
            VitKind::Dinov2 { .. } => None,
        }
    }

    /// transformers keeps what hides a patch in the training of DINOv2 itself.
    fn constants(&self, library: Library) -> Result<Vec<(String, Tensor)>, ModelError> {
        match reads_patches(self.kind, library) {
            true => {
                let hidden = Tensor::f_zeros([1, self.width], (Kind::Float, Device::Cpu))?;
                Ok(vec![("mask_token".to_owned(), hidden)])
            }
            false => Ok(Vec::new()),
        }
    }

    fn opened(&self, library: Library, _: &[NamedTensor]) -> Option<Opened> {
        (library == Library::HuggingFace).then_some(Opened::ByClass(match self.kind {
            VitKind::Original => "ViTForImageClassification",
            VitKind::Dinov2 { registers: 0, .. } => "Dinov2ForImageClassification",
            VitKind::Dinov2 { .. } => "Dinov2WithRegistersForImageClassification",
        }))
    }

    fn configuration(&self, library: Library) -> Map<String, Value> {
        if library != Library::HuggingFace {
            return Map::new();
        }
        let mut fields = json!({
            "image_size": self.image,
            "patch_size": self.patch,
            "hidden_size": self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "hidden_act": "gelu",
            "qkv_bias": true,
            "layer_norm_eps": epsilon(self.kind, library),
        });
        let own = match self.kind {
            VitKind::Original => json!({
                "model_type": "vit",
                "intermediate_size": self.wide,
            }),
            VitKind::Dinov2 { is_gated, registers: 0 } => json!({
                "model_type": "dinov2",
                "mlp_ratio": 4,
                "use_swiglu_ffn": is_gated,
            }),
            VitKind::Dinov2 { is_gated, registers } => json!({
                "model_type": "dinov2_with_registers",
                "mlp_ratio": 4,
                "use_swiglu_ffn": is_gated,
                "num_register_tokens": registers,
            }),
        };
        let fields = fields.as_object_mut().expect("it was made as an object");
        fields.extend(own.as_object().cloned().unwrap_or_default());
        std::mem::take(fields)
    }
}

/// States `(n, tokens, width)` to that of the class token, `(n, width)`.
struct ClassToken;

impl Stage for ClassToken {
    fn forward(&self, input: Features, _: &Pass<'_>) -> Result<Features, ModelError> {
        input.map(|states| Ok(states.f_select(1, 0)?))
    }
}

/// States `(n, tokens, width)` to that of the class token and the mean of those of patches, `(n, 2 · width)`.
struct ClassTokenAndPatches {
    /// Tokens between both.
    registers: i64,
}

impl Stage for ClassTokenAndPatches {
    fn forward(&self, input: Features, _: &Pass<'_>) -> Result<Features, ModelError> {
        input.map(|states| {
            let before = 1 + self.registers;
            let patches = states.f_narrow(1, before, states.size()[1] - before)?;
            let mean = patches.f_mean_dim([1_i64].as_slice(), false, Kind::Float)?;
            Ok(Tensor::f_cat(&[states.f_select(1, 0)?, mean], 1)?)
        })
    }
}
