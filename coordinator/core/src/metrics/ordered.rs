//! Numbers in rising order, equal ones together: what every metric is made of that compares samples with each other.

use std::cmp::Ordering;

/// The places of numbers in rising order of these, in runs of equal ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ordered {
    places: Vec<u32>,
    /// Where each run ends in `places`.
    ends: Vec<u32>,
}

impl Ordered {
    /// `None` if one is not a number, or if there are more than can be counted in 32 bits.
    pub(super) fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut placed = Vec::new();
        for (place, number) in numbers.into_iter().enumerate() {
            if number.is_nan() {
                return None;
            }
            // The number of all has to fit, too.
            u32::try_from(place + 1).ok()?;
            placed.push((number, place as u32));
        }
        // Zero has two bit patterns and one value, which is why they are not compared as totally ordered ones.
        placed.sort_unstable_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal));
        let mut ends = Vec::new();
        let mut end = 0;
        for run in placed.chunk_by(|a, b| a.0 == b.0) {
            end += run.len() as u32;
            ends.push(end);
        }
        let places = placed.into_iter().map(|(_, place)| place).collect();
        Some(Self { places, ends })
    }

    /// All places, in rising order of their numbers.
    pub(super) fn places(&self) -> &[u32] {
        &self.places
    }

    /// The runs of equal numbers in rising order, each the places of its numbers.
    pub(super) fn runs(&self) -> impl DoubleEndedIterator<Item = &[u32]> {
        let begin = |run: usize| run.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        let runs = 0..self.ends.len();
        runs.map(move |run| &self.places[begin(run)..self.ends[run] as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_numbers_are_one_run() {
        let ordered = Ordered::of([3.0, 1.0, 0.0, 3.0, -0.0]).unwrap();
        let runs: Vec<Vec<u32>> = ordered
            .runs()
            .map(|run| {
                let mut run = run.to_vec();
                run.sort_unstable();
                run
            })
            .collect();
        assert_eq!(runs, [vec![2, 4], vec![1], vec![0, 3]]);
        assert_eq!(Ordered::of([1.0, f64::NAN]), None);
        assert_eq!(Ordered::of([]).unwrap().runs().count(), 0);
    }
}
