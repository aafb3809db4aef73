//! ResNet (He et al. 2015, <https://arxiv.org/abs/1512.03385>) as in torchvision: the stride of a bottleneck is on its 3×3
//! convolution ("v1.5"), not on the first 1×1 of the paper.

use crate::{
    assembly::Assembly,
    convolution::{Activation, Geometry, Names, Unit},
    error::ModelError,
    stage::{Block, Shortcut, Stage},
};

/// Stages, input side first.
pub(crate) const STAGES: [&str; 6] = ["stem", "layer1", "layer2", "layer3", "layer4", "pool"];

/// Blocks of each layer, and their kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Depth {
    blocks: [usize; 4],
    bottleneck: bool,
}

impl Depth {
    pub(crate) const RESNET18: Self = Self {
        blocks: [2, 2, 2, 2],
        bottleneck: false,
    };
    pub(crate) const RESNET34: Self = Self {
        blocks: [3, 4, 6, 3],
        bottleneck: false,
    };
    pub(crate) const RESNET50: Self = Self {
        blocks: [3, 4, 6, 3],
        bottleneck: true,
    };
    pub(crate) const RESNET101: Self = Self {
        blocks: [3, 4, 23, 3],
        bottleneck: true,
    };
    pub(crate) const RESNET152: Self = Self {
        blocks: [3, 8, 36, 3],
        bottleneck: true,
    };

    /// A bottleneck widens its result four times.
    fn expansion(self) -> i64 {
        if self.bottleneck { 4 } else { 1 }
    }

    pub(crate) fn feature_width(self) -> i64 {
        512 * self.expansion()
    }
}

pub(crate) fn build(depth: Depth, assembly: &mut Assembly<'_>) -> Result<Vec<Stage>, ModelError> {
    assembly.enter(0);
    let geometry = Geometry {
        inputs: 3,
        outputs: 64,
        kernel: 7,
        stride: 2,
        groups: 1,
    };
    let names = Names {
        convolution: "conv1",
        norm: "bn1",
    };
    let mut stages = vec![Stage::Stem(Unit::new(assembly, &names, geometry, Activation::Relu)?)];
    let mut inputs = 64;
    for (layer, count) in depth.blocks.into_iter().enumerate() {
        assembly.enter(layer + 1);
        let width = 64 << layer;
        let mut blocks = Vec::with_capacity(count);
        for block in 0..count {
            let stride = if layer > 0 && block == 0 { 2 } else { 1 };
            let name = format!("layer{}.{block}", layer + 1);
            blocks.push(residual(depth, assembly, &name, Size { inputs, width, stride })?);
            inputs = width * depth.expansion();
        }
        stages.push(Stage::Blocks(blocks));
    }
    stages.push(Stage::PixelMean);
    Ok(stages)
}

/// Size of one block.
#[derive(Clone, Copy)]
struct Size {
    inputs: i64,
    width: i64,
    stride: i64,
}

fn residual(depth: Depth, assembly: &mut Assembly<'_>, block: &str, size: Size) -> Result<Block, ModelError> {
    let Size { inputs, width, stride } = size;
    let outputs = width * depth.expansion();
    let geometry = |inputs, outputs, kernel, stride| Geometry {
        inputs,
        outputs,
        kernel,
        stride,
        groups: 1,
    };
    let geometries = if depth.bottleneck {
        vec![
            geometry(inputs, width, 1, 1),
            geometry(width, width, 3, stride),
            geometry(width, outputs, 1, 1),
        ]
    } else {
        vec![geometry(inputs, width, 3, stride), geometry(width, outputs, 3, 1)]
    };
    let last = geometries.len() - 1;
    let mut units = Vec::with_capacity(geometries.len());
    for (index, geometry) in geometries.into_iter().enumerate() {
        let (convolution, norm) = (format!("{block}.conv{}", index + 1), format!("{block}.bn{}", index + 1));
        let activation = if index == last {
            Activation::None
        } else {
            Activation::Relu
        };
        units.push(Unit::new(
            assembly,
            &Names {
                convolution: &convolution,
                norm: &norm,
            },
            geometry,
            activation,
        )?);
    }
    let shortcut = if stride == 1 && inputs == outputs {
        Shortcut::Identity
    } else {
        let (convolution, norm) = (format!("{block}.downsample.0"), format!("{block}.downsample.1"));
        let names = Names {
            convolution: &convolution,
            norm: &norm,
        };
        Shortcut::Projection(Unit::new(
            assembly,
            &names,
            geometry(inputs, outputs, 1, stride),
            Activation::None,
        )?)
    };
    Ok(Block {
        units,
        shortcut,
        relu: true,
    })
}
