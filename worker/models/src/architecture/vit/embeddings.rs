//! From an image to states of tokens: patches behind the class token, each with its place added, and registers between them, which have no place.

use firn_core::spec::Vit;
use tch::Tensor;

use super::{DEVIATION, registers};
use crate::{
    error::ModelError,
    layers::{
        activation::Activation,
        convolution::{Geometry, Unit},
    },
    parameter_builder::{Initial, ParameterBuilder, Role},
    stage::{Features, Pass, Stage, Statistics},
    weights::naming::Library,
};

pub(super) struct Embeddings {
    class_token: Tensor,
    patches: Unit,
    positions: Tensor,
    /// Whether the first position is that of the class token; timm has added it to the token where there are registers.
    class_has_place: bool,
    /// `(1, registers, width)`.
    registers: Option<Tensor>,
    /// Whether positions are smoothed before they are taken for fewer patches, as timm does, and transformers where there are registers.
    is_smoothed: bool,
}

impl Embeddings {
    pub(super) fn new(sizes: &Vit, builder: &mut ParameterBuilder<'_>) -> Result<Self, ModelError> {
        let geometry = Geometry::square(3, sizes.width, sizes.patch, sizes.patch);
        let normal = Initial::Normal(DEVIATION);
        let registers = match registers(sizes.kind) {
            0 => None,
            count => {
                let shape = [1, count, sizes.width];
                Some(builder.tensor("register_tokens", &shape, Role::Parameter, Initial::Zeros)?)
            }
        };
        let class_has_place = registers.is_none() || builder.library() != Library::Timm;
        let class_token = builder.tensor("class_token", &[1, 1, sizes.width], Role::Parameter, Initial::Zeros)?;
        let places = [1, sizes.patches() + i64::from(class_has_place), sizes.width];
        Ok(Self {
            class_token,
            patches: Unit::plain(
                builder,
                "conv_proj",
                geometry.without_padding().with_bias(),
                Activation::None,
            )?,
            positions: builder.tensor("encoder.pos_embedding", &places, Role::Parameter, normal)?,
            class_has_place,
            is_smoothed: builder.library() != Library::HuggingFace || registers.is_some(),
            registers,
        })
    }

    /// Positions of the class token, if it has one, and so many rows and columns of patches, `(1, tokens, width)`: those of the file where it
    /// has as many, else between them, by cubic interpolation.
    fn positions(&self, [rows, columns]: [i64; 2]) -> Result<Tensor, ModelError> {
        let (_, places, width) = self.positions.size3()?;
        let before = i64::from(self.class_has_place);
        let side = (places - before).isqrt();
        if [rows, columns] == [side, side] {
            return Ok(self.positions.shallow_clone());
        }
        let patches = self.positions.f_narrow(1, before, places - before)?;
        let square = patches.f_view([1, side, side, width])?.f_permute([0, 3, 1, 2])?;
        let resized = match self.is_smoothed {
            true => square.f_internal_upsample_bicubic2d_aa([rows, columns], false, None, None)?,
            false => square.f_upsample_bicubic2d([rows, columns], false, None, None)?,
        };
        let resized = resized.f_permute([0, 2, 3, 1])?.f_reshape([1, -1, width])?;
        Ok(Tensor::f_cat(&[self.positions.f_narrow(1, 0, before)?, resized], 1)?)
    }
}

impl Stage for Embeddings {
    /// Pixels `(n, 3, h, w)` to states `(n, tokens, width)`.
    fn forward(&self, input: Features, _: &Pass<'_>) -> Result<Features, ModelError> {
        input.map(|pixels| {
            let patches = self.patches.forward(&pixels, Statistics::Running)?;
            let (batch, _, rows, columns) = patches.size4()?;
            let positions = self.positions([rows, columns])?;
            let patches = patches.f_flatten(2, -1)?.f_transpose(1, 2)?;
            let class_token = self.class_token.f_expand([batch, -1, -1], false)?;
            let states = match self.class_has_place {
                true => Tensor::f_cat(&[class_token, patches], 1)?.f_add(&positions)?,
                false => Tensor::f_cat(&[class_token, patches.f_add(&positions)?], 1)?,
            };
            let Some(registers) = &self.registers else {
                return Ok(states);
            };
            let (class, patches) = (states.f_narrow(1, 0, 1)?, states.f_narrow(1, 1, rows * columns)?);
            let registers = registers.f_expand([batch, -1, -1], false)?;
            Ok(Tensor::f_cat(&[class, registers, patches], 1)?)
        })
    }
}
