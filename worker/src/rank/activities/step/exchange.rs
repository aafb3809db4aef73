//! What the ranks of a gang tell each other in the middle of a step: the statistics of a batch that they share.
//!
//! A row of double precision travels as two numbers of single precision each, since collectives move these; together they keep 48 bits. All rows lie in
//! one table, in which each rank fills its own rows and leaves the others 0, so that a sum brings them together. There is a row for each rank, or, in a strict job, for
//! each slice; there it loses the same bits on one rank as on several, and no -0.0 is in it, which the sum would make 0.0.

use std::{cell::RefCell, ops::Range};

use firn_core::slices;
use firn_models::{Exchange, ModelError};
use tch::{Device, Kind, Tensor};

use crate::rank::{failure::RankFailure, membership::gang::Gang, stop_reason::StopReason};

/// Over a gang.
pub(crate) struct GangExchange<'a> {
    gang: RefCell<&'a mut Gang>,
    /// The rows of this rank.
    own: Range<u32>,
    /// Rows of all ranks.
    all: u32,
    /// Why it failed: the model only learns that it did.
    failed: RefCell<Option<StopReason>>,
}

impl<'a> GangExchange<'a> {
    /// With one row a rank.
    pub(crate) fn of_ranks(gang: &'a mut Gang) -> Self {
        let (own, all) = (gang.rank..gang.rank + 1, gang.world_size);
        Self::new(gang, own, all)
    }

    /// With one row for each of a job's `count` slices.
    pub(crate) fn of_slices(gang: &'a mut Gang, count: u32) -> Self {
        let own = slices::of_rank(count, gang.rank, gang.world_size);
        Self::new(gang, own, count)
    }

    fn new(gang: &'a mut Gang, own: Range<u32>, all: u32) -> Self {
        Self {
            gang: RefCell::new(gang),
            own,
            all,
            failed: RefCell::default(),
        }
    }

    /// Why an exchange has failed, if one has.
    pub(crate) fn failed(self) -> Option<StopReason> {
        self.failed.into_inner()
    }

    fn sum(&self, own: &Tensor) -> Result<Tensor, StopReason> {
        let mut gang = self.gang.borrow_mut();
        let mut table = self.table(own, gang.device)?;
        gang.all_reduce_sum(&mut table)?;
        Ok(whole(&table, i64::from(self.all))?)
    }

    /// Of halves, flat; the rows of other ranks are 0.
    fn table(&self, own: &Tensor, device: Device) -> Result<Tensor, RankFailure> {
        let halves = halves(own)?;
        let (rows, width) = halves.size2()?;
        assert_eq!(rows, self.own.len() as i64, "a rank fills its own rows");
        let table = Tensor::f_zeros([i64::from(self.all), width], (Kind::Float, device))?;
        let mut place = table.f_narrow(0, i64::from(self.own.start), rows)?;
        place.f_copy_(&halves)?;
        Ok(table.f_flatten(0, -1)?)
    }
}

/// Rows of double precision as rows of twice as many numbers of single precision: what each rounds to, and then what is left.
fn halves(rows: &Tensor) -> Result<Tensor, RankFailure> {
    let upper = rows.f_to_kind(Kind::Float)?;
    let lower = rows.f_sub(&upper.f_to_kind(Kind::Double)?)?.f_to_kind(Kind::Float)?;
    // Nothing is left of what is not finite.
    let lower = lower.f_nan_to_num(0.0, 0.0, 0.0)?;
    Ok(Tensor::f_cat(&[upper, lower], 1)?.f_add_scalar(0.0)?)
}

/// The rows of a table of halves.
fn whole(table: &Tensor, rows: i64) -> Result<Tensor, RankFailure> {
    let table = table.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?;
    let table = table.f_view([rows, 2, -1])?;
    Ok(table.f_select(1, 0)?.f_add(&table.f_select(1, 1)?)?)
}

impl Exchange for GangExchange<'_> {
    fn rows(&self, own: &Tensor) -> Result<Tensor, ModelError> {
        let _no_grad = tch::no_grad_guard();
        self.sum(own).map_err(|reason| {
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
            let exchange = GangExchange::of_ranks(&mut gang);
            let rows = exchange.rows(&Tensor::from_slice(&row).view([1, -1])).unwrap();
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

    #[test]
    fn rows_of_slices_are_the_same_bits_on_any_number_of_ranks() {
        let number = |slice: u32, place: u32| match place {
            0 => -0.0,
            1 => f64::NAN,
            _ => f64::from(slice + 1) / (f64::from(place) + 3.0),
        };
        let rows = |world| {
            on_all(ring(world), |mut gang| {
                let exchange = GangExchange::of_slices(&mut gang, 8);
                let own = exchange.own.clone();
                let numbers: Vec<f64> = own
                    .clone()
                    .flat_map(|slice| (0..4).map(move |place| number(slice, place)))
                    .collect();
                let own = Tensor::from_slice(&numbers).view([own.len() as i64, 4]);
                let rows = exchange.rows(&own).unwrap();
                assert_eq!(rows.size(), [8, 4]);
                let rows = Vec::<f64>::try_from(rows.reshape([-1])).unwrap();
                rows.into_iter().map(f64::to_bits).collect::<Vec<_>>()
            })
        };
        let alone = rows(1).remove(0);
        assert_eq!(alone[4], 0, "-0.0 is 0.0 on one rank, too");
        for world in [2, 3, 8] {
            for found in rows(world) {
                assert_eq!(found, alone, "{world} ranks");
            }
        }
    }
}
