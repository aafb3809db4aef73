//! Random choices that can be made again.

use std::time::{SystemTime, UNIX_EPOCH};

/// A sequence of random numbers whose seed is printed: `FIRN_TEST_SEED` repeats it.
pub struct Chance(u64);

impl Chance {
    /// A new one, for the test of this name.
    ///
    /// # Panics
    /// When `FIRN_TEST_SEED` is no number.
    pub fn new(test: &str) -> Self {
        let seed = match std::env::var("FIRN_TEST_SEED") {
            Ok(text) => text.parse().expect("FIRN_TEST_SEED is a whole number"),
            Err(_) => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_nanos() as u64),
        };
        println!("{test}: FIRN_TEST_SEED={seed}");
        Self(seed)
    }

    /// A number in `from..to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from)
    }

    /// splitmix64 (Steele, Lea & Flood 2014).
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }
}
