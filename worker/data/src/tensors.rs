//! Network input of a batch as plain memory: named arrays, which a rank hands to the network without knowing how they were made.

/// Network input of some samples, side by side.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensors {
    /// How many samples; the first axis of each array.
    pub samples: usize,
    /// A modality always gives the same ones, in the same order.
    pub arrays: Vec<RawTensor>,
}

/// One array.
#[derive(Debug, Clone, PartialEq)]
pub struct RawTensor {
    /// `pixels`, `ids` or `mask`.
    pub name: &'static str,
    /// Of one sample, without the axis of the batch.
    pub shape: Vec<usize>,
    /// `samples` times the product of `shape` numbers, the last axis innermost.
    pub values: Values,
}

/// The numbers of an array.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Pixels, as they were decoded: the rank normalises them where it computes.
    Bytes(Vec<u8>),
    /// Numbers that a network takes as they are.
    Floats(Vec<f32>),
    /// Token ids and masks.
    Integers(Vec<i64>),
}

impl Tensors {
    /// Those of the first samples.
    #[must_use]
    pub fn first(&self, samples: usize) -> Self {
        let cut = |array: &RawTensor| {
            let count = samples * array.shape.iter().product::<usize>();
            RawTensor {
                name: array.name,
                shape: array.shape.clone(),
                values: match &array.values {
                    Values::Bytes(values) => Values::Bytes(values[..count].to_vec()),
                    Values::Floats(values) => Values::Floats(values[..count].to_vec()),
                    Values::Integers(values) => Values::Integers(values[..count].to_vec()),
                },
            }
        };
        Self {
            samples,
            arrays: self.arrays.iter().map(cut).collect(),
        }
    }
}
