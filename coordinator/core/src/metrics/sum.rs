//! Sums of floats that keep their digits, however many are added.
//!
//! A plain sum of ten million numbers may be wrong in its ninth digit, and is another one for each order of them. Here the part that rounding
//! takes from each addition is kept and added at the end (Kahan 1965, with Knuth's exact difference, as Ogita, Rump & Oishi, "Accurate sum and
//! dot product", 2005, have it): the error is one rounding of the result, and a second-order part that ten million terms do not let be seen.

/// A sum so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sum {
    total: f64,
    /// What rounding took from `total`.
    lost: f64,
}

impl Sum {
    /// Adds a number.
    pub fn add(&mut self, number: f64) {
        let total = self.total + number;
        let added = total - self.total;
        self.lost += (self.total - (total - added)) + (number - added);
        self.total = total;
    }

    /// The sum, rounded once. Not finite if something that was added is not, or if it is too large.
    pub fn value(self) -> f64 {
        match self.total.is_finite() {
            true => self.total + self.lost,
            false => self.total,
        }
    }
}

impl FromIterator<f64> for Sum {
    fn from_iter<I: IntoIterator<Item = f64>>(numbers: I) -> Self {
        let mut sum = Self::default();
        numbers.into_iter().for_each(|number| sum.add(number));
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_plain_sum_loses_is_kept() {
        let numbers = [1e16, 1.0, 1.0, -1e16];
        assert_eq!(numbers.iter().sum::<f64>(), 0.0);
        assert_eq!(numbers.into_iter().collect::<Sum>().value(), 2.0);
        assert_eq!(Sum::default().value(), 0.0);
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        assert_eq!([1.0, f64::INFINITY].into_iter().collect::<Sum>().value(), f64::INFINITY);
        assert!([1.0, f64::NAN].into_iter().collect::<Sum>().value().is_nan());
        assert_eq!([f64::MAX, f64::MAX].into_iter().collect::<Sum>().value(), f64::INFINITY);
    }
}
