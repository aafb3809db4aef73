//! MobileNetV2 (Sandler et al. 2018, <https://arxiv.org/abs/1801.04381>) of width 1.0, as in torchvision.

use crate::{
    assembly::Assembly,
    convolution::{Activation, Geometry, Names, Unit},
    error::ModelError,
    stage::{Block, Shortcut, Stage},
};

/// Channels after the last convolution.
pub(crate) const FEATURE_WIDTH: i64 = 1280;

/// The paper's table 2: expansion, output channels, repetitions, stride of the first.
const BOTTLENECKS: [(i64, i64, usize, i64); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];

/// `features.0` … `features.18`, `pool`.
pub(crate) fn stage_names() -> Vec<String> {
    (0..19)
        .map(|index| format!("features.{index}"))
        .chain(std::iter::once("pool".to_owned()))
        .collect()
}

pub(crate) fn build(assembly: &mut Assembly<'_>) -> Result<Vec<Stage>, ModelError> {
    assembly.enter(0);
    let first = Geometry {
        inputs: 3,
        outputs: 32,
        kernel: 3,
        stride: 2,
        groups: 1,
    };
    let mut stages = vec![single(unit(assembly, "features.0", first)?)];
    let mut inputs = 32;
    for (expansion, outputs, count, first_stride) in BOTTLENECKS {
        for index in 0..count {
            let stage = stages.len();
            assembly.enter(stage);
            let stride = if index == 0 { first_stride } else { 1 };
            let block = inverted_residual(
                assembly,
                stage,
                expansion,
                Size {
                    inputs,
                    outputs,
                    stride,
                },
            )?;
            stages.push(Stage::Blocks(vec![block]));
            inputs = outputs;
        }
    }
    assembly.enter(stages.len());
    let last = Geometry {
        inputs,
        outputs: FEATURE_WIDTH,
        kernel: 1,
        stride: 1,
        groups: 1,
    };
    stages.push(single(unit(assembly, "features.18", last)?));
    stages.push(Stage::PixelMean);
    Ok(stages)
}

/// Size of one block.
#[derive(Clone, Copy)]
struct Size {
    inputs: i64,
    outputs: i64,
    stride: i64,
}

/// Widen (1×1), convolve each channel by itself (3×3), narrow (1×1, no activation).
fn inverted_residual(
    assembly: &mut Assembly<'_>,
    stage: usize,
    expansion: i64,
    size: Size,
) -> Result<Block, ModelError> {
    let Size {
        inputs,
        outputs,
        stride,
    } = size;
    let hidden = inputs * expansion;
    let prefix = format!("features.{stage}.conv");
    let mut units = Vec::with_capacity(3);
    if expansion != 1 {
        let widen = Geometry {
            inputs,
            outputs: hidden,
            kernel: 1,
            stride: 1,
            groups: 1,
        };
        units.push(unit(assembly, &format!("{prefix}.0"), widen)?);
    }
    let depthwise = Geometry {
        inputs: hidden,
        outputs: hidden,
        kernel: 3,
        stride,
        groups: hidden,
    };
    units.push(unit(assembly, &format!("{prefix}.{}", units.len()), depthwise)?);
    let narrow = Geometry {
        inputs: hidden,
        outputs,
        kernel: 1,
        stride: 1,
        groups: 1,
    };
    let (convolution, norm) = (
        format!("{prefix}.{}", units.len()),
        format!("{prefix}.{}", units.len() + 1),
    );
    let names = Names {
        convolution: &convolution,
        norm: &norm,
    };
    units.push(Unit::new(assembly, &names, narrow, Activation::None)?);
    let shortcut = if stride == 1 && inputs == outputs {
        Shortcut::Identity
    } else {
        Shortcut::None
    };
    Ok(Block {
        units,
        shortcut,
        relu: false,
    })
}

/// torchvision's `Conv2dNormActivation`: `.0` convolves, `.1` normalises.
fn unit(assembly: &mut Assembly<'_>, prefix: &str, geometry: Geometry) -> Result<Unit, ModelError> {
    let (convolution, norm) = (format!("{prefix}.0"), format!("{prefix}.1"));
    Unit::new(
        assembly,
        &Names {
            convolution: &convolution,
            norm: &norm,
        },
        geometry,
        Activation::Relu6,
    )
}

fn single(unit: Unit) -> Stage {
    Stage::Blocks(vec![Block {
        units: vec![unit],
        shortcut: Shortcut::None,
        relu: false,
    }])
}
