//! Which samples a step uses, and which of them a rank takes.
//!
//! The order is a function of seed and epoch alone; the world size only cuts each global batch into parts. So a job gives the same
//! result on any number of ranks, and a rank that joins in the middle of an epoch needs nothing but the number of the step. A sampler
//! that first deals the samples out to the ranks, as is usual, ties the result to the world size and pads the last batch with repeats.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::random::{Purpose, Random};

/// The samples at the places of an epoch, f(seed, epoch): a permutation, or draws with replacement.
///
/// Holds all n positions, 8 bytes each, and 4 bytes more for each draw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleOrder {
    positions: Vec<u64>,
    /// How often each sample came before in the epoch. Empty of a permutation, where it is never.
    repeats: Vec<u32>,
}

/// A sample's turn in an epoch: all that its random changes depend on, beside the job's seed and the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Its position in manifest order.
    pub sample: u64,
    /// How often it came before in the same epoch.
    pub repeat: u32,
}

impl Turn {
    /// Names the turn within an epoch, in the streams of what is drawn for it: sample + 2⁴⁰ · repeat. So the first turn is named as the sample is.
    pub fn key(self) -> u64 {
        self.sample.wrapping_add(u64::from(self.repeat) << 40)
    }
}

impl From<u64> for Turn {
    /// The first turn of the sample at this position.
    fn from(sample: u64) -> Self {
        Self { sample, repeat: 0 }
    }
}

impl SampleOrder {
    /// The permutation of `samples` training samples in an epoch (from 0): a Fisher–Yates shuffle of 0, 1, …, n − 1 with the stream
    /// `(seed, SampleOrder, epoch)` of [`Random`].
    pub fn new(seed: u64, epoch: u32, samples: u64) -> Self {
        let mut positions: Vec<u64> = (0..samples).collect();
        Random::new(seed, Purpose::SampleOrder, epoch).shuffle(&mut positions);
        let repeats = Vec::new();
        Self { positions, repeats }
    }

    /// As many draws with replacement as there are samples, of each of which `classes` has the class: for each place first a class, then one of its
    /// samples, all equally likely, from the stream `(seed, BalancedSampling, epoch)`. A sample of a class of n comes at a place with
    /// probability 1 / (classes · n), as where `torch.utils.data.WeightedRandomSampler` has weights of 1 / n. Classes without samples are
    /// never drawn.
    pub fn balanced(seed: u64, epoch: u32, classes: &[u32]) -> Self {
        let mut members: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for (sample, class) in (0..).zip(classes) {
            members.entry(*class).or_default().push(sample);
        }
        let members: Vec<Vec<u64>> = members.into_values().collect();
        let mut random = Random::new(seed, Purpose::BalancedSampling, epoch);
        let mut drawn: Vec<u32> = vec![0; classes.len()];
        let draws = classes.iter().map(|_| {
            let class = &members[random.below(members.len() as u64) as usize];
            let sample = class[random.below(class.len() as u64) as usize];
            let times = &mut drawn[sample as usize];
            *times += 1;
            (sample, *times - 1)
        });
        let (positions, repeats) = draws.unzip();
        Self { positions, repeats }
    }

    /// The sample (its position in manifest order) that comes `i`-th in this epoch.
    ///
    /// # Panics
    /// If `i` is not below the number of samples.
    pub fn position(&self, i: u64) -> u64 {
        self.positions[i as usize]
    }

    /// The same sample, with how often it came before.
    ///
    /// # Panics
    /// If `i` is not below the number of samples.
    pub fn turn(&self, i: u64) -> Turn {
        Turn {
            sample: self.position(i),
            repeat: self.repeats.get(i as usize).copied().unwrap_or(0),
        }
    }

    /// The samples that come in this range, for example those of [`rank_part`].
    ///
    /// # Panics
    /// If the range goes beyond the number of samples.
    pub fn positions(&self, range: Range<u64>) -> &[u64] {
        &self.positions[range.start as usize..range.end as usize]
    }

    /// The number of samples.
    pub fn samples(&self) -> u64 {
        self.positions.len() as u64
    }
}

/// Steps in one epoch: ⌈samples / batch⌉. The last one may be smaller; nothing is dropped and nothing is padded.
///
/// # Panics
/// If `batch_size` is 0, which no validated spec has.
pub fn steps_per_epoch(samples: u64, batch_size: u32) -> u64 {
    samples.div_ceil(u64::from(batch_size))
}

/// The places in the epoch's order that step `step_in_epoch` uses: [s·B, (s+1)·B), cut off at `samples`. Empty after the last step.
pub fn global_batch(step_in_epoch: u64, batch_size: u32, samples: u64) -> Range<u64> {
    let batch = u64::from(batch_size);
    let begin = step_in_epoch.saturating_mul(batch).min(samples);
    begin..begin.saturating_add(batch).min(samples)
}

/// The part of a range that one rank takes: contiguous, in rank order, sizes differing by at most one (the first ranks take the larger
/// parts). Empty where there are more ranks than places.
///
/// # Panics
/// If `rank` is not below `world`.
pub fn rank_part(range: Range<u64>, rank: u32, world: u32) -> Range<u64> {
    assert!(rank < world, "rank {rank} is not in a world of {world}");
    let (rank, world) = (u64::from(rank), u64::from(world));
    let length = range.end.saturating_sub(range.start);
    let (share, larger_parts) = (length / world, length % world);
    let begin = range.start + rank * share + rank.min(larger_parts);
    begin..begin + share + u64::from(rank < larger_parts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_step_takes_what_is_left() {
        assert_eq!(steps_per_epoch(10, 4), 3);
        assert_eq!(steps_per_epoch(8, 4), 2);
        assert_eq!(steps_per_epoch(0, 4), 0);
        assert_eq!(global_batch(2, 4, 10), 8..10);
        assert_eq!(global_batch(3, 4, 10), 10..10);
    }

    #[test]
    fn parts_differ_by_at_most_one_and_the_first_are_the_larger() {
        let parts: Vec<_> = (0..4).map(|rank| rank_part(8..18, rank, 4)).collect();
        assert_eq!(parts, [8..11, 11..14, 14..16, 16..18]);
        let parts: Vec<_> = (0..3).map(|rank| rank_part(5..7, rank, 3)).collect();
        assert_eq!(parts, [5..6, 6..7, 7..7]);
    }

    #[test]
    fn epochs_and_seeds_have_orders_of_their_own() {
        let orders = [
            SampleOrder::new(0, 0, 100),
            SampleOrder::new(0, 1, 100),
            SampleOrder::new(1, 0, 100),
        ];
        assert_ne!(orders[0], orders[1]);
        assert_ne!(orders[0], orders[2]);
        assert_ne!(orders[1], orders[2]);
        assert_ne!(orders[0].positions(0..100), (0..100).collect::<Vec<u64>>());
    }

    #[test]
    fn every_sample_is_equally_likely_to_come_first() {
        let mut counts = [0i64; 5];
        for epoch in 0..20_000 {
            counts[SampleOrder::new(3, epoch, 5).position(0) as usize] += 1;
        }
        // 5 standard deviations of a binomial(20000, 1/5) are 283.
        assert!(counts.iter().all(|count| (count - 4_000).abs() < 283), "{counts:?}");
    }

    /// 60, 30 and 10 samples of the classes 0, 2 and 5, mixed.
    fn uneven_classes() -> Vec<u32> {
        let class = |sample: u32| match sample % 10 {
            0..=5 => 0,
            6..=8 => 2,
            _ => 5,
        };
        (0..100).map(class).collect()
    }

    #[test]
    fn balanced_draws_have_every_class_and_every_sample_of_a_class_equally_often() {
        let classes = uneven_classes();
        let (mut of_class, mut of_sample) = ([0i64; 6], [0i64; 100]);
        for epoch in 0..600 {
            let order = SampleOrder::balanced(9, epoch, &classes);
            assert_eq!(order.samples(), 100);
            for &sample in order.positions(0..100) {
                of_class[classes[sample as usize] as usize] += 1;
                of_sample[sample as usize] += 1;
            }
        }
        // 5 standard deviations of a binomial(60000, 1/3) are 577.
        let is_even = |class: usize| (of_class[class] - 20_000).abs() < 577;
        assert!(is_even(0) && is_even(2) && is_even(5), "{of_class:?}");
        for (sample, drawn) in of_sample.iter().enumerate() {
            let members = [60.0, 0.0, 30.0, 0.0, 0.0, 10.0][classes[sample] as usize];
            let expected: f64 = 20_000.0 / members;
            // 5 standard deviations of a binomial with a small probability.
            let difference = (*drawn as f64 - expected).abs();
            assert!(
                difference < 5.0 * expected.sqrt(),
                "sample {sample}: {drawn}, expected {expected}"
            );
        }
    }

    #[test]
    fn a_sample_that_is_drawn_again_has_a_turn_of_its_own() {
        let order = SampleOrder::balanced(9, 0, &uneven_classes());
        let turns: Vec<Turn> = (0..100).map(|place| order.turn(place)).collect();
        for (place, turn) in turns.iter().enumerate() {
            let before = turns[..place].iter().filter(|before| before.sample == turn.sample);
            assert_eq!(turn.repeat as usize, before.count());
            assert_eq!(turn.sample, order.position(place as u64));
        }
        let mut keys: Vec<u64> = turns.iter().map(|turn| turn.key()).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 100, "two turns have one name");
        assert!(turns.iter().any(|turn| turn.repeat > 1));

        let once = SampleOrder::new(9, 0, 100);
        assert!((0..100).all(|place| once.turn(place).key() == once.position(place)));
    }

    #[test]
    fn balanced_draws_are_a_function_of_seed_and_epoch() {
        let classes = uneven_classes();
        let order = |seed, epoch| SampleOrder::balanced(seed, epoch, &classes);
        assert_eq!(order(4, 2), order(4, 2));
        assert_ne!(order(4, 2), order(4, 3));
        assert_ne!(order(4, 2), order(5, 2));
        assert_eq!(SampleOrder::balanced(0, 0, &[]).samples(), 0);
        assert_eq!(SampleOrder::balanced(0, 0, &[3]).position(0), 0);
    }

    proptest! {
        #[test]
        fn every_order_holds_every_sample_once(seed: u64, epoch in 0u32..1000, samples in 0u64..2000) {
            let order = SampleOrder::new(seed, epoch, samples);
            let mut sorted = order.positions(0..samples).to_vec();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..samples).collect::<Vec<_>>());
        }

        #[test]
        fn the_parts_of_all_ranks_are_the_range_whatever_the_world_size(
            begin in 0u64..1 << 40, length in 0u64..5000, world in 1u32..300,
        ) {
            let range = begin..begin + length;
            let mut next = range.start;
            for rank in 0..world {
                let part = rank_part(range.clone(), rank, world);
                prop_assert_eq!(part.start, next);
                prop_assert!((part.end - part.start).abs_diff(length / u64::from(world)) <= 1);
                next = part.end;
            }
            prop_assert_eq!(next, range.end);
        }

        #[test]
        fn the_batches_of_an_epoch_use_every_sample_once(samples in 0u64..3000, batch in 1u32..500, world in 1u32..9) {
            let order = SampleOrder::new(5, 0, samples);
            let mut used = vec![0u32; samples as usize];
            for step in 0..steps_per_epoch(samples, batch) {
                let range = global_batch(step, batch, samples);
                prop_assert!(!range.is_empty());
                for rank in 0..world {
                    for &sample in order.positions(rank_part(range.clone(), rank, world)) {
                        used[sample as usize] += 1;
                    }
                }
            }
            prop_assert!(used.iter().all(|&times| times == 1));
        }
    }
}
