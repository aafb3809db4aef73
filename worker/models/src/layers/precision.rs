//! Products in bfloat16, below the cut.
//!
//! Convolutions and linear layers take their input and their weights rounded to bfloat16, add up in single precision, and round what they give; all else
//! (norms, activations, softmax, sums of branches) stays in single precision. These are the layers that gain by it, and the ones that
//! `torch.autocast("cpu", dtype=torch.bfloat16)` computes so. As there, whether it is so is a property of the thread that computes, like
//! `no_grad`, and no argument of every layer. The weights stay as they are, so the proof of the frozen part says of them what it always says.

use std::cell::Cell;

use firn_core::spec::Precision;
use tch::{Kind, Tensor};

use crate::error::ModelError;

thread_local! {
    static REDUCED: Cell<bool> = const { Cell::new(false) };
}

/// Does some work in which products have this precision.
pub(crate) fn within<T>(precision: Precision, work: impl FnOnce() -> T) -> T {
    /// Also where the work panics.
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            REDUCED.set(self.0);
        }
    }
    let _before = Before(REDUCED.replace(precision == Precision::Bfloat16));
    work()
}

/// What `multiply` makes of input, weight and bias, in the precision of the work.
pub(crate) fn product(
    input: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    multiply: impl FnOnce(&Tensor, &Tensor, Option<&Tensor>) -> Result<Tensor, ModelError>,
) -> Result<Tensor, ModelError> {
    if !REDUCED.get() {
        return multiply(input, weight, bias);
    }
    let reduced = |tensor: &Tensor| tensor.f_to_kind(Kind::BFloat16);
    let bias = bias.map(reduced).transpose()?;
    let product = multiply(&reduced(input)?, &reduced(weight)?, bias.as_ref())?;
    Ok(product.f_to_kind(Kind::Float)?)
}

/// Whether the processor multiplies numbers of bfloat16 by itself. Where it does not, libtorch computes the same, and slower than in single precision.
pub fn has_bfloat16() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512bf16");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("bf16");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}
