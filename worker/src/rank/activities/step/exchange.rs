//! What the ranks of a gang tell each other in the middle of a step: the statistics of a batch that they share.
//!
//! A row of double precision travels as two numbers of single precision each, since collectives move these; together they keep 48 bits. All rows lie in
//! one table, in which each rank fills its own row and leaves the others 0, so that a sum brings them together.

use std::cell::RefCell;

use firn_models::{Exchange, ModelError};
use tch::{Kind, Tensor};

use crate::rank::{failure::RankFailure, membership::gang::Gang, stop_reason::StopReason};

/// Over a gang.
pub(crate) struct GangExchange<'a> {
    gang: RefCell<&'a mut Gang>,
    /// Why it failed: the model only learns that it did.
    failed: RefCell<Option<StopReason>>,
}

impl<'a> GangExchange<'a> {
    pub(crate) fn new(gang: &'a mut Gang) -> Self {
        Self {
            gang: RefCell::new(gang),
            failed: RefCell::default(),
        }
    }

    /// Why an exchange has failed, if one has.
    pub(crate) fn failed(self) -> Option<StopReason> {
        self.failed.into_inner()
    }

    fn sum(&self, row: &Tensor) -> Result<Tensor, StopReason> {
        let mut gang = self.gang.borrow_mut();
        let (rank, ranks) = (i64::from(gang.rank), i64::from(gang.world_size));
        let halves = halves(row)?;
        let width = halves.numel() as i64;
        let mut table = Tensor::f_zeros([ranks * width], (Kind::Float, gang.device)).map_err(RankFailure::from)?;
        table
            .f_narrow(0, rank * width, width)
            .and_then(|mut own| own.f_copy_(&halves))
            .map_err(RankFailure::from)?;
        gang.all_reduce_sum(&mut table)?;
        Ok(whole(&table, ranks)?)
    }
}

/// Numbers of double precision as twice as many of single precision: what each rounds to, and then what is left.
fn halves(row: &Tensor) -> Result<Tensor, RankFailure> {
    let upper = row.f_to_kind(Kind::Float)?;
    let lower = row.f_sub(&upper.f_to_kind(Kind::Double)?)?.f_to_kind(Kind::Float)?;
    // Nothing is left of what is not finite.
    let lower = lower.f_nan_to_num(0.0, 0.0, 0.0)?;
    Ok(Tensor::f_cat(&[upper, lower], 0)?)
}

/// The rows of a table of halves.
fn whole(table: &Tensor, ranks: i64) -> Result<Tensor, RankFailure> {
    let table = table.f_to_device(tch::Device::Cpu)?.f_to_kind(Kind::Double)?;
    let table = table.f_view([ranks, 2, -1])?;
    Ok(table.f_select(1, 0)?.f_add(&table.f_select(1, 1)?)?)
}

impl Exchange for GangExchange<'_> {
    fn rows(&self, row: &Tensor) -> Result<Tensor, ModelError> {
        let _no_grad = tch::no_grad_guard();
        self.sum(row).map_err(|reason| {
            let said = reason.to_string();
            *self.failed.borrow_mut() = Some(reason);
            ModelError::NotExchanged { reason: said }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rank::activities::step::tests::{on_all, ring};

    #[test]
    fn all_ranks_see_the_rows_of_all_to_48_bits() {
        let number = |rank: u32, place: u32| f64::from(rank + 1) * 1e6 + 1.0 / (f64::from(place) + 3.0);
        let rows = on_all(ring(3), |mut gang| {
            let rank = gang.rank;
            let row: Vec<f64> = (0..5).map(|place| number(rank, place)).collect();
            let exchange = GangExchange::new(&mut gang);
            let rows = exchange.rows(&Tensor::from_slice(&row)).unwrap();
            assert_eq!(rows.size(), [3, 5]);
            Vec::<f64>::try_from(rows.reshape([-1])).unwrap()
        });
        for found in &rows {
            assert_eq!(found, &rows[0]);
            for (place, found) in found.iter().enumerate() {
                let expected = number(place as u32 / 5, place as u32 % 5);
                assert!(
                    (found - expected).abs() <= expected * 2f64.powi(-47),
                    "expected {expected}, found {found}"
                );
            }
        }
    }
}
