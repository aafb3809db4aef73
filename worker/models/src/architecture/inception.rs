//! Inception v3 (Szegedy et al. 2015, <https://arxiv.org/abs/1512.00567>) as in torchvision.
//!
//! Its published weights expect pixels in [-1, 1], which torchvision's `transform_input` makes of an image that was normalised by the means
//! of ImageNet. Here the row of the architecture has mean and standard deviation 0.5, which is the same to the last digits; whoever gives
//! others gets what they say, as in every architecture.
//!
//! The auxiliary head stands beside `Mixed_6e`, and trains where that stage does. Files that were saved without it are taken as they are.

use serde_json::{Map, Value, json};
use tch::Tensor;

use super::Family;
use crate::{
    error::ModelError,
    layers::{
        activation::Activation,
        convolution::{BatchNorm, Geometry, Names, Unit},
        pooling::PixelMean,
    },
    parameter_builder::ParameterBuilder,
    stage::{Auxiliary, AuxiliaryOutput, Features, Pass, Stage, Stages},
    weights::naming::{Dialect, Library},
};

/// torchvision's in this network.
const BATCH_NORM: BatchNorm = BatchNorm {
    epsilon: 1e-3,
    ..BatchNorm::USUAL
};
/// Channels after the last stage.
const FEATURE_WIDTH: i64 = 2048;
/// Its loss weighs what it does in PyTorch's tutorial on fine-tuning torchvision's models.
const AUXILIARY: AuxiliaryOutput = AuxiliaryOutput {
    name: "AuxLogits.fc",
    width: 768,
    weight: 0.4,
    smallest_crop: 299,
};

pub(super) struct InceptionV3;

const DIALECTS: &[Dialect] = &[Dialect::torchvision("Conv2d_1a_3x3.conv.weight", "fc")];

/// It is fastest with the whole batch at once (16 images on one thread: 16.2 a second, 14.7 in parts of 4).
impl Family for InceptionV3 {
    fn build(&self, builder: &mut ParameterBuilder<'_>) -> Result<Stages, ModelError> {
        let mut stages: Stages = Vec::new();
        for (name, inputs, layers) in plan() {
            builder.enter(stages.len());
            let layers = build(&layers, builder, name, inputs)?.0;
            let auxiliary = match name {
                "Mixed_6e" if builder.has("AuxLogits.conv0.conv.weight") => Some(auxiliary(builder)?),
                _ => None,
            };
            stages.push(Box::new(Mixed { layers, auxiliary }));
        }
        stages.push(Box::new(PixelMean));
        Ok(stages)
    }

    fn feature_width(&self, _: Library) -> Option<i64> {
        Some(FEATURE_WIDTH)
    }

    fn dialects(&self) -> &'static [Dialect] {
        DIALECTS
    }

    fn configuration(&self, _: Library) -> Map<String, Value> {
        // The images of the job are normalised by its spec alone.
        Map::from_iter([("transform_input".to_owned(), json!(false))])
    }
}

/// A layer before its tensors are known.
enum Plan {
    /// torchvision's `BasicConv2d` of this name (empty: the name of the stage): outputs, rows and columns of the kernel.
    Same(&'static str, i64, [i64; 2]),
    /// The same without padding, at this stride.
    Valid(&'static str, i64, i64, i64),
    Average,
    Maximum,
    Branches(Vec<Vec<Plan>>),
}
use Plan::{Average, Branches, Maximum, Same, Valid};

/// The stages before the last pool: name, channels that come in, layers.
fn plan() -> Vec<(&'static str, i64, Vec<Plan>)> {
    vec![
        ("Conv2d_1a_3x3", 3, vec![Valid("", 32, 3, 2)]),
        ("Conv2d_2a_3x3", 32, vec![Valid("", 32, 3, 1)]),
        ("Conv2d_2b_3x3", 32, vec![Same("", 64, [3, 3]), Maximum]),
        ("Conv2d_3b_1x1", 64, vec![Valid("", 80, 1, 1)]),
        ("Conv2d_4a_3x3", 80, vec![Valid("", 192, 3, 1), Maximum]),
        ("Mixed_5b", 192, a(32)),
        ("Mixed_5c", 256, a(64)),
        ("Mixed_5d", 288, a(64)),
        ("Mixed_6a", 288, b()),
        ("Mixed_6b", 768, c(128)),
        ("Mixed_6c", 768, c(160)),
        ("Mixed_6d", 768, c(160)),
        ("Mixed_6e", 768, c(192)),
        ("Mixed_7a", 768, d()),
        ("Mixed_7b", 1280, e()),
        ("Mixed_7c", 2048, e()),
    ]
}

/// The paper's figure 5; `pooled`: channels of the branch that pools.
fn a(pooled: i64) -> Vec<Plan> {
    vec![Branches(vec![
        vec![Same("branch1x1", 64, [1, 1])],
        vec![Same("branch5x5_1", 48, [1, 1]), Same("branch5x5_2", 64, [5, 5])],
        vec![
            Same("branch3x3dbl_1", 64, [1, 1]),
            Same("branch3x3dbl_2", 96, [3, 3]),
            Same("branch3x3dbl_3", 96, [3, 3]),
        ],
        vec![Average, Same("branch_pool", pooled, [1, 1])],
    ])]
}

/// Halves rows and columns: figure 10.
fn b() -> Vec<Plan> {
    vec![Branches(vec![
        vec![Valid("branch3x3", 384, 3, 2)],
        vec![
            Same("branch3x3dbl_1", 64, [1, 1]),
            Same("branch3x3dbl_2", 96, [3, 3]),
            Valid("branch3x3dbl_3", 96, 3, 2),
        ],
        vec![Maximum],
    ])]
}

/// Figure 6; `width`: channels between the long kernels.
fn c(width: i64) -> Vec<Plan> {
    vec![Branches(vec![
        vec![Same("branch1x1", 192, [1, 1])],
        vec![
            Same("branch7x7_1", width, [1, 1]),
            Same("branch7x7_2", width, [1, 7]),
            Same("branch7x7_3", 192, [7, 1]),
        ],
        vec![
            Same("branch7x7dbl_1", width, [1, 1]),
            Same("branch7x7dbl_2", width, [7, 1]),
            Same("branch7x7dbl_3", width, [1, 7]),
            Same("branch7x7dbl_4", width, [7, 1]),
            Same("branch7x7dbl_5", 192, [1, 7]),
        ],
        vec![Average, Same("branch_pool", 192, [1, 1])],
    ])]
}

/// Halves rows and columns once more.
fn d() -> Vec<Plan> {
    vec![Branches(vec![
        vec![Same("branch3x3_1", 192, [1, 1]), Valid("branch3x3_2", 320, 3, 2)],
        vec![
            Same("branch7x7x3_1", 192, [1, 1]),
            Same("branch7x7x3_2", 192, [1, 7]),
            Same("branch7x7x3_3", 192, [7, 1]),
            Valid("branch7x7x3_4", 192, 3, 2),
        ],
        vec![Maximum],
    ])]
}

/// Figure 7: two branches fork at their ends.
fn e() -> Vec<Plan> {
    let fork = |wide, high| Branches(vec![vec![Same(wide, 384, [1, 3])], vec![Same(high, 384, [3, 1])]]);
    vec![Branches(vec![
        vec![Same("branch1x1", 320, [1, 1])],
        vec![Same("branch3x3_1", 384, [1, 1]), fork("branch3x3_2a", "branch3x3_2b")],
        vec![
            Same("branch3x3dbl_1", 448, [1, 1]),
            Same("branch3x3dbl_2", 384, [3, 3]),
            fork("branch3x3dbl_3a", "branch3x3dbl_3b"),
        ],
        vec![Average, Same("branch_pool", 192, [1, 1])],
    ])]
}

/// Layers with their tensors, and the channels that come out of them.
fn build(
    plan: &[Plan],
    builder: &mut ParameterBuilder<'_>,
    stage: &str,
    mut channels: i64,
) -> Result<(Vec<Layer>, i64), ModelError> {
    let mut layers = Vec::with_capacity(plan.len());
    for layer in plan {
        layers.push(match layer {
            Same(name, outputs, kernel) => {
                let geometry = Geometry::rectangle(channels, *outputs, *kernel);
                channels = *outputs;
                Layer::Unit(unit(builder, stage, name, geometry)?)
            }
            Valid(name, outputs, kernel, stride) => {
                let geometry = Geometry::square(channels, *outputs, *kernel, *stride).without_padding();
                channels = *outputs;
                Layer::Unit(unit(builder, stage, name, geometry)?)
            }
            Average => Layer::Average,
            Maximum => Layer::Maximum,
            Branches(branches) => {
                let build = |branch: &Vec<Plan>| build(branch, builder, stage, channels);
                let built = branches.iter().map(build).collect::<Result<Vec<_>, _>>()?;
                channels = built.iter().map(|(_, outputs)| outputs).sum();
                Layer::Branches(built.into_iter().map(|(layers, _)| layers).collect())
            }
        });
    }
    Ok((layers, channels))
}

/// torchvision's `BasicConv2d`.
fn unit(builder: &mut ParameterBuilder<'_>, stage: &str, name: &str, geometry: Geometry) -> Result<Unit, ModelError> {
    let prefix = match name {
        "" => stage.to_owned(),
        name => format!("{stage}.{name}"),
    };
    let (convolution, norm) = (format!("{prefix}.conv"), format!("{prefix}.bn"));
    let names = Names {
        convolution: &convolution,
        norm: &norm,
    };
    Unit::normalised(builder, &names, geometry, Activation::Relu, BATCH_NORM)
}

/// From 17×17 pixels to one vector a sample.
fn auxiliary(builder: &mut ParameterBuilder<'_>) -> Result<Auxiliary, ModelError> {
    let plan = [Valid("conv0", 128, 1, 1), Valid("conv1", AUXILIARY.width, 5, 1)];
    let layers = build(&plan, builder, "AuxLogits", 768)?.0;
    Ok(Auxiliary {
        output: AUXILIARY,
        path: Box::new(AuxiliaryPath(layers)),
    })
}

enum Layer {
    Unit(Unit),
    /// Mean of 3×3 pixels at stride 1, the zeros around the image counted in.
    Average,
    /// Maximum of 3×3 pixels at stride 2.
    Maximum,
    /// Beside each other, their channels one after the other.
    Branches(Vec<Vec<Layer>>),
}

impl Layer {
    fn forward(&self, input: &Tensor, pass: &Pass<'_>) -> Result<Tensor, ModelError> {
        Ok(match self {
            Self::Unit(unit) => unit.forward(input, pass.statistics)?,
            Self::Average => input.f_avg_pool2d([3, 3], [1, 1], [1, 1], false, true, None)?,
            Self::Maximum => input.f_max_pool2d([3, 3], [2, 2], [0, 0], [1, 1], false)?,
            Self::Branches(branches) => {
                let input = pass.statistics.branching(input.shallow_clone())?;
                let outputs = branches.iter().map(|branch| sequence(branch, &input, pass));
                Tensor::f_cat(&outputs.collect::<Result<Vec<_>, _>>()?, 1)?
            }
        })
    }

    fn folded(&self) -> Result<Self, ModelError> {
        Ok(match self {
            Self::Unit(unit) => Self::Unit(unit.folded()?),
            Self::Average => Self::Average,
            Self::Maximum => Self::Maximum,
            Self::Branches(branches) => {
                let folded = branches.iter().map(|branch| folded(branch));
                Self::Branches(folded.collect::<Result<_, _>>()?)
            }
        })
    }

    fn derived(&self, into: &mut Vec<(String, Tensor)>) {
        match self {
            Self::Unit(unit) => unit.derived(into),
            Self::Average | Self::Maximum => {}
            Self::Branches(branches) => branches.iter().flatten().for_each(|layer| layer.derived(into)),
        }
    }
}

fn sequence(layers: &[Layer], input: &Tensor, pass: &Pass<'_>) -> Result<Tensor, ModelError> {
    let mut layers = layers.iter();
    layers.try_fold(input.shallow_clone(), |tensor, layer| layer.forward(&tensor, pass))
}

fn folded(layers: &[Layer]) -> Result<Vec<Layer>, ModelError> {
    layers.iter().map(Layer::folded).collect()
}

/// A stage, and the auxiliary head if it stands beside this one.
struct Mixed {
    layers: Vec<Layer>,
    auxiliary: Option<Auxiliary>,
}

impl Stage for Mixed {
    fn forward(&self, input: Features, pass: &Pass<'_>) -> Result<Features, ModelError> {
        input.map(|tensor| sequence(&self.layers, &tensor, pass))
    }

    fn folded(&self) -> Result<Option<Box<dyn Stage>>, ModelError> {
        Ok(Some(Box::new(Self {
            layers: folded(&self.layers)?,
            auxiliary: None,
        })))
    }

    fn derived(&self, into: &mut Vec<(String, Tensor)>) {
        self.layers.iter().for_each(|layer| layer.derived(into));
    }

    fn auxiliary(&self) -> Option<&Auxiliary> {
        self.auxiliary.as_ref()
    }
}

/// Means over regions of 5×5 pixels, two convolutions, the mean of what is left.
struct AuxiliaryPath(Vec<Layer>);

impl Stage for AuxiliaryPath {
    fn forward(&self, input: Features, pass: &Pass<'_>) -> Result<Features, ModelError> {
        let pooled = input.map(|tensor| Ok(tensor.f_avg_pool2d([5, 5], [3, 3], [0, 0], false, true, None)?))?;
        PixelMean.forward(pooled.map(|tensor| sequence(&self.0, &tensor, pass))?, pass)
    }
}
