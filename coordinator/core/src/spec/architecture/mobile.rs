//! The numbers of MobileNetV3 and EfficientNet.

/// MobileNetV3 of width 1.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MobilenetV3 {
    /// Between the first and the last convolution.
    pub blocks: &'static [MobileBlock],
    /// Units of the layer between pool and head.
    pub wide: i64,
}

/// A block of MobileNetV3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MobileBlock {
    /// Rows and columns of the kernel.
    pub kernel: i64,
    /// Channels between the first and the last convolution.
    pub expanded: i64,
    /// Channels that come out.
    pub outputs: i64,
    /// Whether the channels are weighed.
    pub has_excitation: bool,
    /// Whether its activation is hard swish; else it is ReLU.
    pub is_hard: bool,
    /// 2: rows and columns are halved.
    pub stride: i64,
}

/// `weighed`, `hard`: as the paper's columns SE and NL say.
const fn block(kernel: i64, [expanded, outputs]: [i64; 2], [weighed, hard]: [bool; 2], stride: i64) -> MobileBlock {
    MobileBlock {
        kernel,
        expanded,
        outputs,
        has_excitation: weighed,
        is_hard: hard,
        stride,
    }
}

impl MobilenetV3 {
    /// The paper's table 1.
    pub(super) const LARGE: Self = Self {
        blocks: &[
            block(3, [16, 16], [false, false], 1),
            block(3, [64, 24], [false, false], 2),
            block(3, [72, 24], [false, false], 1),
            block(5, [72, 40], [true, false], 2),
            block(5, [120, 40], [true, false], 1),
            block(5, [120, 40], [true, false], 1),
            block(3, [240, 80], [false, true], 2),
            block(3, [200, 80], [false, true], 1),
            block(3, [184, 80], [false, true], 1),
            block(3, [184, 80], [false, true], 1),
            block(3, [480, 112], [true, true], 1),
            block(3, [672, 112], [true, true], 1),
            block(5, [672, 160], [true, true], 2),
            block(5, [960, 160], [true, true], 1),
            block(5, [960, 160], [true, true], 1),
        ],
        wide: 1280,
    };
    /// The paper's table 2.
    pub(super) const SMALL: Self = Self {
        blocks: &[
            block(3, [16, 16], [true, false], 2),
            block(3, [72, 24], [false, false], 2),
            block(3, [88, 24], [false, false], 1),
            block(5, [96, 40], [true, true], 2),
            block(5, [240, 40], [true, true], 1),
            block(5, [240, 40], [true, true], 1),
            block(5, [120, 48], [true, true], 1),
            block(5, [144, 48], [true, true], 1),
            block(5, [288, 96], [true, true], 2),
            block(5, [576, 96], [true, true], 1),
            block(5, [576, 96], [true, true], 1),
        ],
        wide: 1024,
    };

    /// Channels that the excitation of so many squeezes them to.
    pub fn squeezed(channels: i64) -> i64 {
        eights((channels / 4) as f64)
    }
}

/// EfficientNet: the width and depth of its smallest member, multiplied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Efficientnet {
    /// Factor of the channels.
    pub width: f64,
    /// Factor of the blocks.
    pub depth: f64,
    /// Whether its published weights come from TensorFlow, whose BatchNorm adds another number to the variance.
    pub is_ported: bool,
}

impl Efficientnet {
    /// So many channels of the smallest member in this one.
    pub fn channels(&self, channels: i64) -> i64 {
        eights(channels as f64 * self.width)
    }

    /// So many blocks of the smallest member in this one.
    pub fn blocks(&self, blocks: usize) -> usize {
        (blocks as f64 * self.depth).ceil() as usize
    }
}

/// The nearest multiple of 8, but never less than nine tenths.
fn eights(channels: f64) -> i64 {
    let nearest = ((channels + 4.0) as i64 / 8 * 8).max(8);
    match (nearest as f64) < 0.9 * channels {
        true => nearest + 8,
        false => nearest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_multiples_of_eight_that_are_not_much_smaller() {
        let found: Vec<i64> = [1.0, 18.0, 20.0, 25.0, 28.0].into_iter().map(eights).collect();
        assert_eq!(found, [8, 24, 24, 24, 32]);
    }
}
