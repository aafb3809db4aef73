//! One optimizer update from one global batch: each rank computes its part, and the sums over the gang are what is learned from.
//!
//! How the ranks' sums come together is decided by the job: in one all-reduce, or, in strict mode, in the one order of [`strict`].

mod exchange;
mod strict;

#[cfg(test)]
mod tests;

use std::time::Instant;

use firn_core::{slices, spec::Determinism};

use tch::Tensor;

use self::exchange::GangExchange;
use crate::rank::{
    learner::{
        Learner,
        computation::Computation,
        mixing::Lesson,
        outcome::{Outcome, Position, Spent},
    },
    membership::gang::Gang,
    stop_reason::StopReason,
};

/// Computes this rank's part from `batches`, sums over the gang, and updates the model.
///
/// `summands` has the number of micro-batches of each summand that is this rank's, in order: its whole part of the global batch, or, in strict
/// mode, each of its slices. `batches` gives them one after the other.
///
/// # Errors
/// Those of `batches` and of the gang; the model is then as it was before the step.
pub(crate) fn run<B: Into<Lesson>>(
    learner: &mut Learner,
    gang: &mut Gang,
    position: Position,
    summands: &[usize],
    mut batches: impl Iterator<Item = Result<B, StopReason>>,
) -> Result<Outcome, StopReason> {
    learner.step(position, |computation, spent| match computation.training.determinism {
        Determinism::Default => {
            let all = summands.iter().sum();
            let mut summed = match computation.training.train_batch_norm && gang.world_size > 1 {
                true => {
                    let exchange = GangExchange::of_ranks(gang);
                    shared_sums(computation, position, (&[all], batches), exchange, spent)?.remove(0)
                }
                false => computation.sums(position, batches.take(all), spent)?,
            };
            let began = Instant::now();
            gang.all_reduce_sum(&mut summed)?;
            spent.reduce += began.elapsed();
            Ok(summed)
        }
        Determinism::Strict => {
            let count = slices::of_job(&computation.training);
            let mut mine = strict::Slices::new(count, gang, computation.length());
            if computation.training.train_batch_norm {
                let exchange = GangExchange::of_slices(gang, count);
                for sums in shared_sums(computation, position, (summands, batches), exchange, spent)? {
                    mine.add(sums)?;
                }
            } else {
                for count in summands {
                    mine.add(computation.sums(position, batches.by_ref().take(*count), spent)?)?;
                }
            }
            let began = Instant::now();
            let summed = mine.exchange(gang)?;
            spent.reduce += began.elapsed();
            Ok(summed)
        }
    })
}

/// The sums of each of this rank's summands, where BatchNorm normalises by the whole batch of the gang.
fn shared_sums<B: Into<Lesson>>(
    computation: &Computation,
    position: Position,
    batches: (&[usize], impl Iterator<Item = Result<B, StopReason>>),
    exchange: GangExchange<'_>,
    spent: &mut Spent,
) -> Result<Vec<Tensor>, StopReason> {
    let sums = computation.shared_sums(position, batches, &exchange, spent);
    match exchange.failed() {
        Some(reason) => Err(reason),
        None => sums,
    }
}
