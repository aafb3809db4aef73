//! Count, mean and squared distances of the values of each channel, and how those of several parts of a batch become those of all of it.

use tch::{Device, Kind, Tensor};

use crate::error::ModelError;

/// Values of each channel, over some samples.
pub(super) struct Moments {
    pub(super) count: f64,
    /// `(c)`, double precision, on the CPU.
    pub(super) mean: Tensor,
    /// Sums of squared distances from it.
    pub(super) squares: Tensor,
}

impl Moments {
    /// Of `(n, c, h, w)`.
    pub(super) fn of(values: &Tensor) -> Result<Self, ModelError> {
        let (samples, channels, rows, columns) = values.size4()?;
        let count = (samples * rows * columns) as f64;
        let zeros = || Tensor::f_zeros([channels], (Kind::Double, Device::Cpu));
        if count == 0.0 {
            return Ok(Self {
                count,
                mean: zeros()?,
                squares: zeros()?,
            });
        }
        let mean = values.f_mean_dim(OVER_SAMPLES.as_slice(), true, Kind::Double)?;
        let squares = values.f_to_kind(Kind::Double)?.f_sub(&mean)?.f_square()?;
        let squares = squares.f_sum_dim_intlist(OVER_SAMPLES.as_slice(), false, Kind::Double)?;
        Ok(Self {
            count,
            mean: mean.f_flatten(0, -1)?.f_to_device(Device::Cpu)?,
            squares: squares.f_to_device(Device::Cpu)?,
        })
    }

    /// Of the samples of both: equations 2.1 of Chan, Golub & LeVeque 1979.
    fn with(self, other: Self) -> Result<Self, ModelError> {
        let count = self.count + other.count;
        if count == 0.0 {
            return Ok(self);
        }
        let delta = other.mean.f_sub(&self.mean)?;
        let between = delta.f_square()?.f_mul_scalar(self.count * other.count / count)?;
        Ok(Self {
            count,
            mean: self.mean.f_add(&delta.f_mul_scalar(other.count / count)?)?,
            squares: self.squares.f_add(&other.squares)?.f_add(&between)?,
        })
    }

    pub(super) fn row(&self) -> Result<Tensor, ModelError> {
        let count = Tensor::f_from_slice(&[self.count])?;
        Ok(Tensor::f_cat(&[&count, &self.mean, &self.squares], 0)?)
    }

    /// Of all rows of a table, merged in their order; `None` where it has none.
    pub(super) fn of_rows(rows: &Tensor) -> Result<Option<Self>, ModelError> {
        let mut merged: Option<Self> = None;
        for row in 0..rows.size2()?.0 {
            let moments = Self::of_row(&rows.f_get(row)?)?;
            merged = Some(match merged {
                Some(before) => before.with(moments)?,
                None => moments,
            });
        }
        Ok(merged)
    }

    fn of_row(row: &Tensor) -> Result<Self, ModelError> {
        let channels = (row.size1()? - 1) / 2;
        Ok(Self {
            count: row.f_double_value(&[0])?,
            mean: row.f_narrow(0, 1, channels)?,
            squares: row.f_narrow(0, 1 + channels, channels)?,
        })
    }
}

/// All dimensions but that of the channels.
pub(super) const OVER_SAMPLES: [i64; 3] = [0, 2, 3];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_moments_are_those_of_all_values_whatever_the_parts() {
        let values = Tensor::randn([7, 3, 2, 2], (Kind::Float, Device::Cpu))
            .f_add_scalar(1e3)
            .unwrap();
        let whole = Moments::of(&values).unwrap();
        for parts in [[0, 7, 0], [1, 4, 2], [3, 0, 4], [0, 0, 7]] {
            let mut begin = 0;
            let mut merged: Option<Moments> = None;
            for part in parts {
                let moments = Moments::of(&values.narrow(0, begin, part)).unwrap();
                let moments = Moments::of_row(&moments.row().unwrap()).unwrap();
                merged = Some(match merged {
                    Some(before) => before.with(moments).unwrap(),
                    None => moments,
                });
                begin += part;
            }
            let merged = merged.unwrap();
            assert!((merged.count - whole.count).abs() < f64::EPSILON);
            for (ours, expected) in [(&merged.mean, &whole.mean), (&merged.squares, &whole.squares)] {
                let difference = f64::try_from((ours - expected).abs().max()).unwrap();
                assert!(difference < 1e-9, "{parts:?}: {difference}");
            }
        }
    }
}
