//! When a batch does not fit: the micro-batch that would.
//!
//! The same samples are tried in halves, quarters and so on, until a part fits. How much that is depends on what else is in the memory and
//! on the longest sample, so nothing but a trial tells. A learner that chose the size itself goes on with the one that fits
//! ([`super::Learner::make_do`]). One that was told it would run out of memory again, so the job fails at once, with a number that the
//! user can write into the spec.

use tch::Device;

use crate::rank::failure::RankFailure;

/// Turns a failure for want of memory into advice; other failures stay as they are. `samples` did not fit; `trial` computes so many
/// of them as the failed attempt did. `train_batch_norm`: whether a batch's statistics are part of the result.
pub(crate) fn explain<T>(
    (device, train_batch_norm): (Device, bool),
    samples: usize,
    failure: RankFailure,
    trial: impl Fn(usize) -> Result<T, RankFailure>,
) -> RankFailure {
    if !failure.is_out_of_memory() {
        return failure;
    }
    RankFailure::OutOfMemory {
        // Statistics of BatchNorm that trains are those of the whole batch, which is then one micro-batch.
        field: match train_batch_norm {
            true => "spec.training.batchSize",
            false => "spec.training.microBatchSize",
        },
        samples,
        device: match device {
            Device::Cuda(ordinal) => format!("cuda:{ordinal}"),
            _ => "this machine".to_owned(),
        },
        fits: largest_that_fits(samples, |samples| trial(samples).is_ok()),
    }
}

/// The largest of `failed` / 2, / 4, …, 1 that fits; `None` if none does.
fn largest_that_fits(failed: usize, mut fits: impl FnMut(usize) -> bool) -> Option<usize> {
    let halves = std::iter::successors(Some(failed / 2), |samples| Some(samples / 2));
    halves.take_while(|samples| *samples > 0).find(|samples| fits(*samples))
}

#[cfg(test)]
mod tests {
    use firn_data::{Batch, RawTensor, Targets, Tensors, Values};

    use super::*;
    use crate::rank::learner::mixing::Lesson;

    #[test]
    fn the_largest_half_that_fits_is_named() {
        let mut tried = Vec::new();
        let fits = largest_that_fits(256, |samples| {
            tried.push(samples);
            samples <= 70
        });
        assert_eq!((fits, tried), (Some(64), vec![128, 64]));
        assert_eq!(largest_that_fits(3, |samples| samples == 1), Some(1));
        assert_eq!(largest_that_fits(8, |_| false), None);
        assert_eq!(largest_that_fits(1, |_| true), None);
    }

    #[test]
    fn a_part_of_a_batch_is_its_first_samples() {
        let tokens = |samples, ids: &[i64], mask: &[i64]| Tensors {
            samples,
            arrays: [("ids", ids), ("mask", mask)]
                .map(|(name, values)| RawTensor {
                    name,
                    shape: vec![2],
                    values: Values::Integers(values.to_vec()),
                })
                .into(),
        };
        let batch = Batch {
            indices: vec![4, 9, 2],
            turns: vec![4, 9, 2],
            targets: Targets::Classes(vec![0, 1, 1]),
            tensors: tokens(3, &[1, 2, 3, 4, 5, 6], &[1, 1, 1, 0, 1, 1]),
            corrupt: Vec::new(),
        };
        let part = Lesson::from(batch).first(2).batch;
        assert_eq!((part.indices, part.targets), (vec![4, 9], Targets::Classes(vec![0, 1])));
        assert_eq!(part.tensors, tokens(2, &[1, 2, 3, 4], &[1, 1, 1, 0]));
    }

    #[test]
    fn the_advice_names_the_field_and_both_sizes() {
        let failure = |fits| RankFailure::OutOfMemory {
            field: "spec.training.microBatchSize",
            samples: 256,
            device: "cuda:0".to_owned(),
            fits,
        };
        assert_eq!(
            failure(Some(64)).to_string(),
            "spec.training.microBatchSize: 256 does not fit in the memory of cuda:0; 64 does"
        );
        assert_eq!(
            failure(None).to_string(),
            "spec.training.microBatchSize: 256 does not fit in the memory of cuda:0; no smaller one does"
        );
        assert_eq!((failure(None).reason(), failure(None).exit_code()), ("OutOfMemory", 10));
    }
}
