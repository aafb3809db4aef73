//! Which samples a rank computes together in a step.
//!
//! A *summand* is summed up before anything else is added to it: a rank's whole part of the global batch, or, in strict mode, one slice. It is
//! computed in micro-batches that are cut by place in the epoch's order. A sample that is set aside leaves a gap and shifts nobody, so
//! the others meet the same neighbours in the same shapes, whenever it was found to be corrupt.

use std::ops::Range;

use firn_core::{
    order, slices,
    spec::{Determinism, TrainingSpec},
};

/// Its micro-batches: places in the epoch's order.
pub(crate) type Summand = Vec<Range<u64>>;

/// The summands of a rank of `world_size` in the step over `global_batch`, in micro-batches of at most `micro_batch` places.
pub(crate) fn of_rank(
    training: &TrainingSpec,
    micro_batch: usize,
    (rank, world_size): (u32, u32),
    global_batch: Range<u64>,
) -> Vec<Summand> {
    let parts: Vec<Range<u64>> = match training.determinism {
        Determinism::Default => vec![order::rank_part(global_batch, rank, world_size)],
        Determinism::Strict => {
            let count = slices::of_job(training);
            slices::of_rank(count, rank, world_size)
                .map(|slice| slices::places(slice, count, global_batch.clone()))
                .collect()
        }
    };
    parts.into_iter().map(|part| micro_batches(part, micro_batch)).collect()
}

/// Cuts a range into pieces of `size`; the last one may be smaller.
pub(crate) fn micro_batches(range: Range<u64>, size: usize) -> Summand {
    range
        .clone()
        .step_by(size)
        .map(|begin| begin..range.end.min(begin + size as u64))
        .collect()
}
