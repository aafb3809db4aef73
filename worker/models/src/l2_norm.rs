//! The length of a tensor, the same on every rank.
//!
//! All ranks hold the same numbers, and each computes the norm for itself. Where it limits or scales a step it is part of the result, so a rank
//! with more threads, or with wider registers, must not find another last digit: libtorch's own reduction is cut by both.

use tch::{Device, Tensor};

use crate::error::ModelError;

/// Numbers that are copied out of the tensor at a time.
const PIECE: usize = 64 << 10;
/// Sums that run beside each other: number i is added to sum i mod 16, so that the compiler can use the registers as it likes.
const LANES: usize = 16;

/// √Σx² of all its numbers, which are single precision: summed in double precision and in an order that the length alone decides. On a GPU: libtorch's own, in single precision, which is
/// the same on GPUs of one kind.
pub fn l2_norm(tensor: &Tensor) -> Result<f64, ModelError> {
    if tensor.device() != Device::Cpu {
        return Ok(f64::try_from(tensor.f_norm()?)?);
    }
    let flat = tensor.f_detach()?.f_reshape([-1])?;
    let mut lanes = [0.0_f64; LANES];
    let mut piece = vec![0.0_f32; PIECE.min(flat.numel())];
    for begin in (0..flat.numel()).step_by(PIECE) {
        let length = PIECE.min(flat.numel() - begin);
        flat.f_narrow(0, begin as i64, length as i64)?
            .f_copy_data(&mut piece[..length], length)?;
        for numbers in piece[..length].chunks(LANES) {
            for (lane, number) in lanes.iter_mut().zip(numbers) {
                *lane += f64::from(*number) * f64::from(*number);
            }
        }
    }
    Ok(lanes.iter().sum::<f64>().sqrt())
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    #[test]
    fn the_norm_is_libtorchs_in_double_precision() {
        for length in [0, 1, 17, 65_536, 200_003] {
            let flat = Tensor::randn([length], (Kind::Float, Device::Cpu));
            let expected = f64::try_from(flat.to_kind(Kind::Double).norm()).unwrap();
            let found = l2_norm(&flat).unwrap();
            assert!(
                (found - expected).abs() <= 1e-12 * expected,
                "{length}: {found} and {expected}"
            );
        }
    }

    #[test]
    fn one_number_that_is_not_finite_is_enough() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut numbers = vec![1.0; 100_000];
            numbers[77_777] = value;
            assert!(!l2_norm(&Tensor::from_slice(&numbers)).unwrap().is_finite());
        }
    }
}
