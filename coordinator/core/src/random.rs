//! The one source of randomness whose results people may rely on: a generator that is written down by formula.
//!
//! The sample order must come out the same on every machine, in every version and in any language, so it is drawn from here, never from
//! a library's generator, whose stream may change with its next release.
//!
//! All arithmetic is on 64-bit words and wraps.
//!
//! * `mix(z)`: `z ^= z >> 30; z *= 0xbf58476d1ce4e5b9; z ^= z >> 27; z *= 0x94d049bb133111eb; z ^= z >> 31`; the finaliser of
//!   SplitMix64 (Steele, Lea & Flood, *Fast Splittable Pseudorandom Number Generators*, OOPSLA 2014).
//! * **Seeding.** `x = mix(seed) ^ (domain << 32 | index)`; then word `k` (1 to 4) of the state is `mix(x + k · 0x9e3779b97f4a7c15)`,
//!   which is the output of SplitMix64 started at `x`, as the authors of xoshiro advise.
//! * **Within an index** (a sample of an epoch, what is done to it), each further number p changes the start: `x = mix(x) ^ p`, before the words
//!   of the state are made.
//! * **Next word.** xoshiro256** 1.0 (Blackman & Vigna, *Scrambled Linear Pseudorandom Number Generators*, ACM TOMS 47, 2021;
//!   public-domain code at <https://prng.di.unimi.it/xoshiro256starstar.c>).
//! * **Bounded integer** in [0, n): the high word of the 128-bit product `word · n`; the word is drawn again while the low word of the
//!   product is below `2^64 mod n` (Lemire, *Fast Random Integer Generation in an Interval*, ACM TOMACS 29, 2019). So it is unbiased.
//! * **Unit** in [0, 1): the upper 53 bits of a word times 2^-53. **Uniform** in [a, b): `a + (b - a) · unit`.
//! * **Normal**: Marsaglia's polar method (*A Convenient Method for Generating Normal Variables*, SIAM Review 6, 1964), of which both numbers are used.
//!
//! `tests/reference/order.py` says the same in Python and made the golden values that hold it.

/// What the numbers are for. Different purposes never share a stream, though they share the job's seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// The order of the training samples; the index is the epoch.
    SampleOrder = 1,
    /// Pauses before processes are started again; the index counts the losses.
    RestartBackoff = 2,
    /// The samples of a split that are drawn again; the index is the resample.
    Bootstrap = 3,
    /// How training images are changed; the index is the epoch, within it the sample and the operation.
    Augmentation = 4,
    /// How the images of a step are mixed; the index is the epoch, within it the step of the job.
    Mixing = 5,
    /// The training samples that are drawn with replacement; the index is the epoch.
    BalancedSampling = 6,
}

/// The numbers below a bound.
#[derive(Debug, Clone, Copy)]
pub struct Below {
    bound: u64,
    /// Low words of the product that would make some numbers likelier than others.
    rejected_below: u64,
}

impl Below {
    /// [0, `bound`).
    ///
    /// # Panics
    /// If `bound` is 0: there is no such number.
    pub fn new(bound: u64) -> Self {
        assert!(bound > 0, "a bounded random number needs a bound above 0");
        let rejected_below = bound.wrapping_neg() % bound;
        Self { bound, rejected_below }
    }
}

/// xoshiro256**, seeded by purpose.
#[derive(Debug, Clone)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// The stream of a seed for a purpose and its index (an epoch).
    pub fn new(seed: u64, purpose: Purpose, index: u32) -> Self {
        Self::within(seed, purpose, index, &[])
    }

    /// The stream of something within an index, which the numbers of `places` name.
    pub fn within(seed: u64, purpose: Purpose, index: u32, places: &[u64]) -> Self {
        let start = mix(seed) ^ (u64::from(purpose as u32) << 32 | u64::from(index));
        let start = places.iter().fold(start, |start, place| mix(start) ^ place);
        let state = [1u64, 2, 3, 4].map(|k| mix(start.wrapping_add(k.wrapping_mul(0x9e37_79b9_7f4a_7c15))));
        Self { state }
    }

    /// The next 64 bits, all equally likely.
    pub fn next_word(&mut self) -> u64 {
        let [s0, s1, s2, s3] = &mut self.state;
        let word = s1.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = *s1 << 17;
        *s2 ^= *s0;
        *s3 ^= *s1;
        *s1 ^= *s2;
        *s0 ^= *s3;
        *s2 ^= shifted;
        *s3 = s3.rotate_left(45);
        word
    }

    /// A number in [0, `bound`), all equally likely.
    ///
    /// # Panics
    /// If `bound` is 0: there is no such number.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_below(Below::new(bound))
    }

    /// The same, for many numbers of one range: its division is done once.
    pub fn next_below(&mut self, Below { bound, rejected_below }: Below) -> u64 {
        loop {
            let product = u128::from(self.next_word()) * u128::from(bound);
            if product as u64 >= rejected_below {
                return (product >> 64) as u64;
            }
        }
    }

    /// A number in [0, 1), a multiple of 2^-53.
    pub fn unit(&mut self) -> f64 {
        (self.next_word() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number in [`low`, `high`).
    pub fn uniform(&mut self, [low, high]: [f64; 2]) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Two independent standard normal numbers.
    pub fn normals(&mut self) -> [f64; 2] {
        loop {
            let point = [self.uniform([-1.0, 1.0]), self.uniform([-1.0, 1.0])];
            let square = point[0] * point[0] + point[1] * point[1];
            if square > 0.0 && square < 1.0 {
                let factor = (-2.0 * square.ln() / square).sqrt();
                return point.map(|coordinate| coordinate * factor);
            }
        }
    }

    /// Shuffles in place: for `i` from the last position down to 1, swaps `i` with a number in [0, i] (Durstenfeld 1964).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

/// The finaliser of SplitMix64: a bijection of 64-bit words in which every input bit flips every output bit half the time.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_authors_code() {
        // The first words of xoshiro256starstar.c started at the state {1, 2, 3, 4}.
        let mut random = Random { state: [1, 2, 3, 4] };
        let words: Vec<u64> = (0..5).map(|_| random.next_word()).collect();
        assert_eq!(
            words,
            [
                11520,
                0,
                1_509_978_240,
                1_215_971_899_390_074_240,
                1_216_172_134_540_287_360
            ]
        );
    }

    #[test]
    fn mixing_gives_the_known_first_output_of_splitmix64() {
        // splitmix64.c started at 1234567.
        assert_eq!(
            mix(1_234_567u64.wrapping_add(0x9e37_79b9_7f4a_7c15)),
            6_457_827_717_110_365_317
        );
    }

    #[test]
    fn bounded_numbers_are_even() {
        // 6 does not divide 2^64. 60,000 draws: each count is within 5 standard deviations (91) of 10,000.
        let mut random = Random::new(7, Purpose::SampleOrder, 0);
        let mut counts = [0i64; 6];
        for _ in 0..60_000 {
            counts[random.below(6) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (count - 10_000).abs() < 456), "{counts:?}");
    }

    #[test]
    fn a_bound_that_rejects_half_of_all_words_is_still_even() {
        // 3 · 2^62: a quarter of the words is rejected; a plain remainder or product would make a third of the values twice as likely.
        let mut random = Random::new(1, Purpose::SampleOrder, 0);
        let bound = 3u64 << 62;
        let mut thirds = [0i64; 3];
        for _ in 0..30_000 {
            thirds[(random.below(bound) >> 62) as usize] += 1;
        }
        assert!(thirds.iter().all(|count| (count - 10_000).abs() < 409), "{thirds:?}");
    }

    #[test]
    fn places_within_an_index_have_streams_of_their_own() {
        let first = |places: &[u64]| Random::within(5, Purpose::Augmentation, 3, places).next_word();
        let words = [
            first(&[]),
            first(&[0]),
            first(&[1]),
            first(&[0, 0]),
            first(&[0, 1]),
            first(&[1, 0]),
        ];
        for (i, word) in words.iter().enumerate() {
            assert!(!words[..i].contains(word));
        }
    }

    #[test]
    fn seeds_and_indices_have_streams_of_their_own() {
        let first = |seed, index| Random::new(seed, Purpose::SampleOrder, index).next_word();
        let words = [
            first(0, 0),
            first(0, 1),
            first(0, u32::MAX),
            first(1, 0),
            first(u64::MAX, 0),
        ];
        for (i, word) in words.iter().enumerate() {
            assert!(!words[..i].contains(word));
        }
    }
}
