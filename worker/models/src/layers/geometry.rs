//! The shape of a convolution.

use tch::Tensor;

use crate::error::ModelError;

/// Size and movement of a kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geometry {
    pub(crate) inputs: i64,
    pub(crate) outputs: i64,
    /// Rows, columns.
    pub(crate) kernel: [i64; 2],
    pub(crate) stride: i64,
    /// Rows, columns of zeros on each side.
    pub(crate) padding: [i64; 2],
    pub(crate) groups: i64,
    /// Whether the convolution adds a number to each channel.
    pub(crate) bias: bool,
}

impl Geometry {
    /// A square kernel whose padding keeps the size at stride 1.
    pub(crate) fn square(inputs: i64, outputs: i64, kernel: i64, stride: i64) -> Self {
        Self {
            stride,
            ..Self::rectangle(inputs, outputs, [kernel; 2])
        }
    }

    /// A kernel of so many rows and columns at stride 1, whose padding keeps the size.
    pub(crate) fn rectangle(inputs: i64, outputs: i64, kernel: [i64; 2]) -> Self {
        Self {
            inputs,
            outputs,
            kernel,
            stride: 1,
            padding: kernel.map(|length| (length - 1) / 2),
            groups: 1,
            bias: false,
        }
    }

    /// Nothing is added at the borders.
    pub(crate) fn without_padding(self) -> Self {
        Self {
            padding: [0; 2],
            ..self
        }
    }

    pub(crate) fn with_bias(self) -> Self {
        Self { bias: true, ..self }
    }

    /// Each channel by itself.
    pub(crate) fn depthwise(channels: i64, kernel: i64, stride: i64) -> Self {
        Self::square(channels, channels, kernel, stride).grouped(channels)
    }

    /// Channels in so many groups, each by itself.
    pub(crate) fn grouped(self, groups: i64) -> Self {
        Self { groups, ..self }
    }

    pub(super) fn weight_shape(self) -> [i64; 4] {
        let [rows, columns] = self.kernel;
        [self.outputs, self.inputs / self.groups, rows, columns]
    }

    /// He's standard deviation over the outputs, as torchvision initialises convolutions.
    pub(super) fn deviation(self) -> f64 {
        let [rows, columns] = self.kernel;
        (2.0 / (self.outputs * rows * columns / self.groups) as f64).sqrt()
    }

    pub(super) fn convolve(self, input: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor, ModelError> {
        Ok(input.f_conv2d(weight, bias, [self.stride; 2], self.padding, [1, 1], self.groups)?)
    }
}
