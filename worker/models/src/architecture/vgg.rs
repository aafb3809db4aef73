//! VGG (Simonyan & Zisserman 2014, <https://arxiv.org/abs/1409.1556>) as in torchvision, with and without BatchNorm.
//!
//! The two wide layers of the classifier are stages above the pool: freezing through `pool` trains them with their dropout of one half,
//! freezing all keeps them as they are. The output layer is the head. timm keeps the wide layers as convolutions, the first of them over the 7×7
//! pixels that the pool gives; the map of an image of 256 pixels and more it leaves as it is, and takes the mean over what the wide layers give.

use firn_core::spec::Vgg;
use tch::Tensor;

use super::Family;
use crate::{
    error::ModelError,
    layers::{
        activation::Activation,
        convolution::{BatchNorm, Geometry, Names, Unit},
        wide::Wide,
    },
    parameter_builder::ParameterBuilder,
    stage::{Features, Pass, Stage, Stages},
    weights::naming::{Dialect, Library, translated},
};

/// Channels of each block.
const WIDTHS: [i64; 5] = [64, 128, 256, 512, 512];
/// Rows and columns after the pool.
const POOLED: i64 = 7;
/// Length of the features of both wide layers.
const WIDE: i64 = 4096;
/// torchvision's probability that a unit of a wide layer is dropped in training.
const DROPOUT: f64 = 0.5;

/// The unit whose convolution stands at this place of torchvision's `features`.
fn unit(sizes: &Vgg, builder: &mut ParameterBuilder<'_>, place: usize, channels: [i64; 2]) -> Result<Unit, ModelError> {
    let (convolution, norm) = (format!("features.{place}"), format!("features.{}", place + 1));
    let geometry = Geometry::square(channels[0], channels[1], 3, 1).with_bias();
    if !sizes.has_batch_norm {
        return Unit::plain(builder, &convolution, geometry, Activation::Relu);
    }
    let names = Names {
        convolution: &convolution,
        norm: &norm,
    };
    Unit::normalised(builder, &names, geometry, Activation::Relu, BatchNorm::USUAL)
}

/// What lies below the wide layers has the same names in both.
const DIALECTS: &[Dialect] = &[
    Dialect::renamed(
        Library::Timm,
        "pre_logits.fc1.weight",
        "",
        |name| vec![translated(name, TIMM)],
        "head.fc",
    ),
    Dialect::torchvision("features.0.weight", "classifier.6"),
];

/// torchvision's words and timm's.
const TIMM: &[(&str, &str)] = &[
    ("classifier.0.", "pre_logits.fc1."),
    ("classifier.3.", "pre_logits.fc2."),
];

impl Family for Vgg {
    fn build(&self, builder: &mut ParameterBuilder<'_>) -> Result<Stages, ModelError> {
        let mut stages: Stages = Vec::new();
        let (mut place, mut inputs) = (0, 3);
        for (count, width) in self.convolutions.into_iter().zip(WIDTHS) {
            builder.enter(stages.len());
            let mut units = Vec::with_capacity(count);
            for _ in 0..count {
                units.push(unit(self, builder, place, [inputs, width])?);
                inputs = width;
                // Convolution, perhaps BatchNorm, ReLU.
                place += if self.has_batch_norm { 3 } else { 2 };
            }
            stages.push(Box::new(Block(units)));
            // The maximum at the end of the block.
            place += 1;
        }
        let is_timms = builder.library() == Library::Timm;
        stages.push(Box::new(Pool { is_timms }));
        for (name, channels, side) in [("classifier.0", inputs, POOLED), ("classifier.3", WIDE, 1)] {
            builder.enter(stages.len());
            let end = (Activation::Relu, DROPOUT);
            let wide = match (is_timms, side) {
                (true, POOLED) => Wide::convolved(builder, name, [WIDE, channels, side], end)?,
                (true, _) => Wide::convolved(builder, name, [WIDE, channels, side], end)?.averaged(),
                (false, _) => Wide::new(builder, name, [WIDE, channels * side * side], end)?,
            };
            stages.push(Box::new(wide));
        }
        Ok(stages)
    }

    fn feature_width(&self, _: Library) -> Option<i64> {
        Some(WIDE)
    }

    fn dialects(&self) -> &'static [Dialect] {
        DIALECTS
    }

    /// Measured on one thread with 16 images: 7.4 a second in parts of 4 against 6.8 at once (`vgg16_bn`), 13.3 against 12.7 (`vgg11`).
    fn samples_a_thread(&self) -> Option<i64> {
        Some(4)
    }
}

/// Convolutions, then the maximum of each 2×2 pixels.
struct Block(Vec<Unit>);

impl Stage for Block {
    fn forward(&self, input: Features, pass: &Pass<'_>) -> Result<Features, ModelError> {
        input.map(|tensor| {
            let mut units = self.0.iter();
            let output = units.try_fold(tensor, |tensor, unit| unit.forward(&tensor, pass.statistics))?;
            Ok(output.f_max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false)?)
        })
    }

    fn folded(&self) -> Result<Option<Box<dyn Stage>>, ModelError> {
        let units = self.0.iter().map(Unit::folded).collect::<Result<_, _>>()?;
        Ok(Some(Box::new(Self(units))))
    }

    fn derived(&self, into: &mut Vec<(String, Tensor)>) {
        self.0.iter().for_each(|unit| unit.derived(into));
    }
}

/// Means over 7×7 regions of the image, in one row: channel, row, column. timm's stay a map, whose larger sides are left as they are.
struct Pool {
    is_timms: bool,
}

impl Stage for Pool {
    fn forward(&self, input: Features, _: &Pass<'_>) -> Result<Features, ModelError> {
        input.map(|tensor| {
            if !self.is_timms {
                return Ok(tensor.f_adaptive_avg_pool2d([POOLED, POOLED])?.f_flatten(1, -1)?);
            }
            let (_, _, rows, columns) = tensor.size4()?;
            Ok(tensor.f_adaptive_avg_pool2d([rows.max(POOLED), columns.max(POOLED)])?)
        })
    }
}
