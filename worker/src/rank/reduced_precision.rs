//! Products in bfloat16 below the cut: whether this machine has them, and what they change.

use firn_core::spec::{Precision, TrainingSpec};
use firn_models::has_bfloat16;
use tch::{Device, Kind, Tensor};
use tracing::{info, warn};

use super::{failure::RankFailure, job_data::JobData, learner::Learner};

/// Samples of train that the features are compared on.
const COMPARED: u64 = 8;

/// Refuses a job that this machine would compute slower than in single precision. That is a loss of this rank, not the end of the job: others go on,
/// and take somebody else in.
///
/// # Errors
/// Names the field.
pub(crate) fn check(training: &TrainingSpec, device: Device) -> Result<(), RankFailure> {
    is_fit(training.frozen_precision, device, has_bfloat16())
}

fn is_fit(precision: Precision, device: Device, has_bfloat16: bool) -> Result<(), RankFailure> {
    match precision {
        Precision::Bfloat16 if device == Device::Cpu && !has_bfloat16 => Err(RankFailure::Machine(
            "spec.training.frozenPrecision: the processor of this worker has no instructions for bfloat16 (AVX512_BF16), and would be slower with it than \
             with `fp32`"
                .to_owned(),
        )),
        Precision::Single | Precision::Bfloat16 => Ok(()),
    }
}

/// Says in the log how far the features of some training samples are from those in single precision.
///
/// # Errors
/// Those of libtorch.
pub(crate) fn tell(training: &TrainingSpec, data: &JobData, learner: &Learner) -> Result<(), RankFailure> {
    if training.frozen_precision == Precision::Single {
        return Ok(());
    }
    let split = &data.dataset.train;
    let samples = 0..COMPARED.min(split.samples.len() as u64);
    let batch = data.load(split, std::iter::once(samples), None).next();
    let Some(batch) = batch.filter(|batch| !batch.indices.is_empty()) else {
        warn!("the first training samples are corrupt, so nothing is said of the precision of features");
        return Ok(());
    };
    let input = learner.scorer().inputs.of(&batch)?;
    let reduced = learner.model().features(&input)?.tensor;
    let single = learner.model().features_in_single_precision(&input)?.tensor;
    let (relative, largest) = deviation(&reduced, &single)?;
    info!(
        samples = batch.indices.len(),
        relative, largest, "features in bfloat16, against those in single precision"
    );
    Ok(())
}

/// The L2 norm of the difference by that of the reference, and the largest difference.
fn deviation(found: &Tensor, reference: &Tensor) -> Result<(f64, f64), RankFailure> {
    let norm = |tensor: &Tensor| -> Result<f64, RankFailure> {
        let squares = tensor.f_to_kind(Kind::Double)?.f_square()?.f_sum(Kind::Double)?;
        Ok(f64::try_from(squares)?.sqrt())
    };
    let difference = found.f_sub(reference)?;
    let largest = f64::try_from(difference.f_abs()?.f_max()?)?;
    Ok((norm(&difference)? / norm(reference)?.max(f64::MIN_POSITIVE), largest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_without_the_instructions_refuses_and_names_the_field() {
        let refused = is_fit(Precision::Bfloat16, Device::Cpu, false).unwrap_err().to_string();
        assert!(
            refused.contains(
                "spec.training.frozenPrecision: the processor of this worker has no instructions for bfloat16"
            ),
            "{refused}"
        );
        is_fit(Precision::Bfloat16, Device::Cpu, true).unwrap();
        is_fit(Precision::Single, Device::Cpu, false).unwrap();
        is_fit(Precision::Bfloat16, Device::Cuda(0), false).unwrap();
    }

    #[test]
    fn the_deviation_is_that_of_the_norms() {
        let (relative, largest) =
            deviation(&Tensor::from_slice(&[3.0f32, 4.5]), &Tensor::from_slice(&[3.0f32, 4.0])).unwrap();
        assert!((relative - 0.1).abs() < 1e-9 && (largest - 0.5).abs() < 1e-9);
    }
}
