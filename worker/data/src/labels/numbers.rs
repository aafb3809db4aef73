//! One or several numbers for each sample, and the scale by which the network learns them.

use firn_core::task::regression;

use crate::format::{Listed, Listing};
use crate::{DataError, Split, Target};

/// Larger ones leave no room for the squares of their sums.
const LARGEST: f64 = 1e100;

pub(crate) struct Numbers {
    /// The label columns, in the order of the network's outputs.
    columns: Vec<String>,
}

impl Numbers {
    pub(super) fn new(columns: &[String]) -> Self {
        let columns = columns.to_vec();
        Self { columns }
    }

    pub(super) fn targets(&self, listing: &Listing) -> Result<Vec<Target>, DataError> {
        let number = |written: &String| written.parse().ok().filter(|number: &f64| number.abs() <= LARGEST);
        let mut targets = Vec::with_capacity(listing.samples.len());
        let (mut first, mut wrong) = (None, 0);
        for listed in &listing.samples {
            let numbers: Vec<Option<f64>> = listed.labels.iter().map(number).collect();
            if let Some(column) = numbers.iter().position(Option::is_none) {
                wrong += numbers.iter().filter(|number| number.is_none()).count();
                first = first.or(Some((listed, column)));
            }
            targets.push(Target::Numbers(numbers.into_iter().flatten().collect()));
        }
        match first {
            None => Ok(targets),
            Some((listed, column)) => Err(self.not_a_number(listing, (listed, column), wrong)),
        }
    }

    fn not_a_number(&self, listing: &Listing, (first, column): (&Listed, usize), wrong: usize) -> DataError {
        let values = listing.samples.len() * self.columns.len();
        DataError::NotANumber {
            split: listing.split,
            sample: first.id.clone(),
            column: self.columns[column].clone(),
            found: first.labels[column].clone(),
            more: match wrong {
                1 => String::new(),
                wrong => format!("; {wrong} of {values} values are none"),
            },
        }
    }

    /// What is learned, in the order of the network's outputs, by the mean and the deviation of train.
    pub(super) fn scales(self, train: &Split) -> Result<Vec<regression::Target>, DataError> {
        let scale = |(place, name): (usize, String)| {
            let values: Vec<f64> = train
                .samples
                .iter()
                .map(|sample| sample.target.numbers()[place])
                .collect();
            if values.windows(2).all(|pair| pair[0] == pair[1]) {
                return Err(DataError::ConstantTarget {
                    column: name,
                    samples: values.len(),
                    value: values.first().map(f64::to_string).unwrap_or_default(),
                });
            }
            let (mean, std) = mean_and_deviation(&values);
            Ok(regression::Target { name, mean, std })
        };
        self.columns.into_iter().enumerate().map(scale).collect()
    }
}

/// As scikit-learn's `StandardScaler`: the deviation of the population. In two passes, so that a large mean costs no digit of the deviation;
/// what rounding left of the mean is put right on the way.
fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let first = values.iter().sum::<f64>() / count;
    let mean = first + values.iter().map(|value| value - first).sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / count).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deviation_is_that_of_the_population() {
        assert_eq!(
            mean_and_deviation(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]),
            (5.0, 2.0)
        );
        assert_eq!(mean_and_deviation(&[1e9 + 2.0, 1e9 + 4.0]), (1e9 + 3.0, 1.0));
    }
}
