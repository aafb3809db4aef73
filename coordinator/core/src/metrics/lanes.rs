//! Many resamples at once: how often a sample counts is looked up once for all of them, and each sum is kept for each of them, side by side.
//!
//! What metrics compare is walked in the order of scores, so the samples are met in no order that memory likes. A row holds the weights of one sample in
//! all resamples of a block: one look-up serves all of them, and processors add up whole rows at once. Sums are of each resample alone, in the order in
//! which one resample by itself would add them, so the last bit is the same.

/// Resamples that are counted side by side.
pub const LANES: usize = 32;

/// A count of each resample.
pub(super) type Row = [u32; LANES];

/// How often each sample counts in each of some resamples.
pub(super) trait Weights {
    /// Resamples, at most [`LANES`].
    fn lanes(&self) -> usize;

    /// What is stored of a sample.
    type Stored: Copy + Default;

    /// Of the sample at a place.
    fn stored(&self, place: usize) -> Self::Stored;

    /// As a row; 0 in the lanes beyond.
    fn row_of(stored: Self::Stored) -> Row;

    /// Of the sample at a place.
    fn row(&self, place: usize) -> Row {
        Self::row_of(self.stored(place))
    }
}

/// Rows that are looked up before they are needed.
const AHEAD: usize = 16;

/// Looks up rows in falling order of places in a list. Some are fetched at once: each look-up may have to wait for memory, and these wait together.
pub(super) struct Falling<'a, W: Weights> {
    weights: &'a W,
    places: &'a [u32],
    first: usize,
    fetched: [W::Stored; AHEAD],
}

impl<'a, W: Weights> Falling<'a, W> {
    pub(super) fn new(weights: &'a W, places: &'a [u32]) -> Self {
        Self {
            weights,
            places,
            first: places.len(),
            fetched: [W::Stored::default(); AHEAD],
        }
    }

    /// The row of the sample that stands at a position of the list, which is not above the one before.
    #[inline]
    pub(super) fn row(&mut self, position: usize) -> Row {
        if position < self.first {
            self.first = (position + 1).saturating_sub(AHEAD);
            for (stored, place) in self.fetched.iter_mut().zip(&self.places[self.first..=position]) {
                *stored = self.weights.stored(*place as usize);
            }
        }
        W::row_of(self.fetched[position - self.first])
    }
}

/// One resample.
impl Weights for &[u32] {
    fn lanes(&self) -> usize {
        1
    }

    type Stored = u32;

    fn stored(&self, place: usize) -> u32 {
        self[place]
    }

    fn row_of(stored: u32) -> Row {
        let mut row = [0; LANES];
        row[0] = stored;
        row
    }
}

/// All samples, once each.
pub(super) struct Once;

impl Weights for Once {
    fn lanes(&self) -> usize {
        1
    }

    type Stored = ();

    fn stored(&self, _: usize) {}

    fn row_of((): ()) -> Row {
        let mut row = [0; LANES];
        row[0] = 1;
        row
    }
}

/// The weights of one sample. Its place in memory is a multiple of its size, so that none lies in two lines of a cache.
#[derive(Debug, Clone, Copy)]
#[repr(align(32))]
pub(super) struct Bytes([u8; LANES]);

impl Default for Bytes {
    fn default() -> Self {
        Self([0; LANES])
    }
}

/// A block of resamples. A row takes as many bytes as there are lanes.
pub struct Drawn {
    rows: Vec<Bytes>,
    lanes: usize,
}

impl Drawn {
    /// Of the weights of up to [`LANES`] resamples of so many samples.
    ///
    /// # Panics
    /// If a sample counts more than 255 times, which no 255 samples can, and of more none will: the probability is below 1e-500.
    pub fn of(samples: usize, resamples: impl IntoIterator<Item = Vec<u32>>) -> Self {
        let mut drawn = Self {
            rows: vec![Bytes::default(); samples],
            lanes: 0,
        };
        for (lane, weights) in resamples.into_iter().take(LANES).enumerate() {
            for (row, weight) in drawn.rows.iter_mut().zip(weights) {
                row.0[lane] = u8::try_from(weight).expect("no sample is drawn 256 times");
            }
            drawn.lanes = lane + 1;
        }
        drawn
    }

    /// Resamples in it.
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// The weights of one of them.
    pub fn weights(&self, lane: usize) -> Vec<u32> {
        self.rows.iter().map(|row| u32::from(row.0[lane])).collect()
    }
}

impl Weights for &Drawn {
    fn lanes(&self) -> usize {
        self.lanes
    }

    type Stored = Bytes;

    #[inline]
    fn stored(&self, place: usize) -> Bytes {
        self.rows[place]
    }

    #[inline]
    fn row_of(stored: Bytes) -> Row {
        let mut row = [0; LANES];
        for (weight, byte) in row.iter_mut().zip(stored.0) {
            *weight = u32::from(byte);
        }
        row
    }
}

/// Adds what cannot overflow: no sum is above the number of samples, which a column counts in 32 bits.
#[inline]
pub(super) fn add(sums: &mut Row, row: &Row) {
    for (sum, count) in sums.iter_mut().zip(row) {
        *sum = sum.wrapping_add(*count);
    }
}

/// Adds the products of two rows, so many times. The sum is below the square of all samples, of which a column has less than 2^32.
#[inline]
pub(super) fn add_products(sums: &mut [u64; LANES], (one, other): (&Row, &Row), times: u64) {
    for ((sum, one), other) in sums.iter_mut().zip(one).zip(other) {
        let product = u64::from(*one).wrapping_mul(u64::from(*other));
        *sum = sum.wrapping_add(product.wrapping_mul(times));
    }
}

/// Samples that count together on the way down the scores of a class: equal ones, some of which are of the class, or all from there to the next
/// such, of which none is.
#[derive(Debug, Clone)]
pub struct Step {
    /// Of others, above the equal scores and below the step before.
    pub above: Row,
    /// Of the class.
    pub positives: Row,
    /// Of others, with the same score.
    pub negatives: Row,
}

impl Step {
    pub(super) const NONE: Self = Self {
        above: [0; LANES],
        positives: [0; LANES],
        negatives: [0; LANES],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_holds_the_weights_of_each_resample() {
        let resamples = [vec![2, 0, 1], vec![0, 3, 0]];
        let drawn = Drawn::of(3, resamples.clone());
        assert_eq!(drawn.lanes(), 2);
        assert_eq!([drawn.weights(0), drawn.weights(1)], resamples);
        assert_eq!((&drawn).row(1)[..3], [0, 3, 0]);
        assert_eq!(Weights::row(&&[5u32, 7][..], 1)[..2], [7, 0]);
    }

    #[test]
    fn rows_that_are_looked_up_ahead_are_those_of_their_places() {
        let weights: Vec<u32> = (0..100).collect();
        let places: Vec<u32> = (0..100).map(|place| place * 37 % 100).collect();
        let weights = &weights[..];
        let mut falling = Falling::new(&weights, &places);
        // Runs are passed over, and looked up by themselves.
        for position in (0..100)
            .rev()
            .filter(|position| position % 7 != 3 && !(40..70).contains(position))
        {
            assert_eq!(
                falling.row(position),
                weights.row(places[position] as usize),
                "{position}"
            );
        }
    }
}
