//! How a strict step is cut and added up, so that the number of ranks cannot change a bit of the result.
//!
//! Floating-point addition is not associative: who adds what first shows in the last digit. A strict step therefore fixes both. The
//! global batch is cut into a number of *slices* that depends on the batch size alone, and a rank computes whole slices, each in a way
//! that is the same whoever does it. The slices are the leaves of one complete binary tree, whose inner nodes are the sum of left and
//! right. A rank that owns all leaves below a node adds them up itself; only the [largest nodes](nodes_of) that ranks own are exchanged,
//! and everyone finishes the same tree. Two ranks exchange two nodes and not all the slices; with rank counts that are no powers of two it
//! is a few more.

use std::ops::Range;

use crate::{order::rank_part, spec::TrainingSpec};

/// Samples of a slice that a larger number of slices should not go below.
const SAMPLES: u32 = 8;
/// Slices of batches that are large enough: so many ranks can share them.
const MOST: u32 = 64;
/// Slices of smaller batches, unless they have fewer samples.
const FEWEST: u32 = 8;

/// Slices of every step of a job: a power of two.
///
/// One slice has about 8 samples, because tiny ones waste the machine; but there are at least 8 slices, so that 1, 2, 4 and 8 ranks share
/// a batch of the default size evenly, and at most 64.
pub fn of_job(training: &TrainingSpec) -> u32 {
    of_batch(training.batch_size)
}

fn of_batch(batch_size: u32) -> u32 {
    let batch = batch_size.max(1);
    let wanted = (batch / SAMPLES).clamp(FEWEST, MOST).min(batch);
    1 << wanted.ilog2()
}

/// The slices that a rank computes: contiguous, in rank order, their numbers differing by at most one.
///
/// # Panics
/// If `rank` is not below `world`.
pub fn of_rank(slices: u32, rank: u32, world: u32) -> Range<u32> {
    let part = rank_part(0..u64::from(slices), rank, world);
    part.start as u32..part.end as u32
}

/// The places in the epoch's order that a slice of a global batch has; none where the batch has fewer places than slices.
///
/// # Panics
/// If `slice` is not below `slices`.
pub fn places(slice: u32, slices: u32, global_batch: Range<u64>) -> Range<u64> {
    rank_part(global_batch, slice, slices)
}

/// A node of the tree: all slices `first..first + slices`, where `slices` is a power of two and divides `first`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Node {
    /// The leftmost slice below it.
    pub first: u32,
    /// Slices below it.
    pub slices: u32,
}

impl Node {
    /// The leaf of one slice.
    pub fn leaf(slice: u32) -> Self {
        Self {
            first: slice,
            slices: 1,
        }
    }

    /// The node whose children these are, left and right.
    fn parent(left: Self, right: Self) -> Option<Self> {
        let are_siblings = left.slices == right.slices
            && left.first.is_multiple_of(2 * left.slices)
            && left.first + left.slices == right.first;
        are_siblings.then(|| Self {
            first: left.first,
            slices: 2 * left.slices,
        })
    }
}

/// The largest nodes that lie inside a range of slices, left to right: at most 2·log₂ of the number of slices.
pub fn nodes_of(range: Range<u32>) -> Vec<Node> {
    let mut sums = PartialSums::default();
    for slice in range {
        let joined: Result<(), std::convert::Infallible> = sums.add(Node::leaf(slice), (), |(), ()| Ok(()));
        joined.unwrap_or_else(|never| match never {});
    }
    sums.nodes().collect()
}

/// Sums of neighbouring slices, joined as far up the tree as they are complete.
#[derive(Debug)]
pub struct PartialSums<T> {
    done: Vec<(Node, T)>,
}

impl<T> Default for PartialSums<T> {
    fn default() -> Self {
        Self { done: Vec::new() }
    }
}

impl<T> PartialSums<T> {
    /// Takes in the sum of the node that follows those before it, and joins left and right with `join` wherever both are there.
    ///
    /// # Errors
    /// Those of `join`; the sums are then incomplete.
    pub fn add<E>(&mut self, node: Node, sum: T, mut join: impl FnMut(T, T) -> Result<T, E>) -> Result<(), E> {
        let (mut node, mut sum) = (node, sum);
        while let Some((left, _)) = self.done.last()
            && let Some(parent) = Node::parent(*left, node)
            && let Some((_, left)) = self.done.pop()
        {
            (node, sum) = (parent, join(left, sum)?);
        }
        self.done.push((node, sum));
        Ok(())
    }

    /// The nodes, left to right.
    pub fn nodes(&self) -> impl Iterator<Item = Node> {
        self.done.iter().map(|(node, _)| *node)
    }

    /// The sums of the nodes, left to right. One, that of the root, if all slices of a job were added.
    pub fn into_sums(self) -> Vec<T> {
        self.done.into_iter().map(|(_, sum)| sum).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;
    use crate::order::global_batch;

    /// What a rank hands out: its nodes, and for each of them how it was added up.
    fn computed_by(slices: u32, rank: u32, world: u32) -> PartialSums<String> {
        let mut sums = PartialSums::default();
        for slice in of_rank(slices, rank, world) {
            sums.add(Node::leaf(slice), slice.to_string(), joined).unwrap();
        }
        sums
    }

    fn joined(left: String, right: String) -> Result<String, Infallible> {
        Ok(format!("({left} {right})"))
    }

    fn finished(slices: u32, world: u32) -> Vec<String> {
        let mut sums = PartialSums::default();
        for rank in 0..world {
            let mine = computed_by(slices, rank, world);
            let nodes: Vec<Node> = mine.nodes().collect();
            assert_eq!(nodes, nodes_of(of_rank(slices, rank, world)));
            for (node, sum) in nodes.into_iter().zip(mine.into_sums()) {
                sums.add(node, sum, joined).unwrap();
            }
        }
        sums.into_sums()
    }

    #[test]
    fn the_number_of_slices_grows_with_the_batch_and_never_exceeds_it() {
        let counts = [1, 2, 3, 7, 8, 32, 64, 127, 128, 256, 512, 1_000_000].map(of_batch);
        assert_eq!(counts, [1, 2, 2, 4, 8, 8, 8, 8, 16, 32, 64, 64]);
    }

    #[test]
    fn the_sum_of_eight_slices_on_three_ranks_is_that_of_one_rank() {
        assert_eq!(finished(8, 1), ["(((0 1) (2 3)) ((4 5) (6 7)))"]);
        assert_eq!(finished(8, 3), finished(8, 1));
    }

    #[test]
    fn ranks_exchange_as_few_nodes_as_the_tree_allows() {
        let nodes = |slices, world| {
            let ranks = 0..world;
            ranks
                .map(|rank| nodes_of(of_rank(slices, rank, world)).len())
                .sum::<usize>()
        };
        assert_eq!([1, 2, 3, 4, 8].map(|world| nodes(8, world)), [1, 2, 5, 4, 8]);
        assert_eq!([1, 2, 3, 4, 8].map(|world| nodes(64, world)), [1, 2, 11, 4, 8]);
    }

    proptest! {
        #[test]
        fn slices_cover_any_batch_exactly_once_on_any_number_of_ranks(
            samples in 0u64..3000, batch in 1u32..700, world in 1u32..80,
        ) {
            let slices = of_batch(batch);
            let mut next = 0;
            for step in 0..crate::order::steps_per_epoch(samples, batch) {
                let global = global_batch(step, batch, samples);
                for slice in (0..world).flat_map(|rank| of_rank(slices, rank, world)) {
                    let places = places(slice, slices, global.clone());
                    prop_assert_eq!(places.start, next);
                    next = places.end;
                }
            }
            prop_assert_eq!(next, samples);
        }

        #[test]
        fn a_slice_has_the_same_samples_whoever_computes_it(batch in 1u32..700, worlds in (1u32..80, 1u32..80)) {
            let slices = of_batch(batch);
            let all = |world| (0..world).flat_map(|rank| of_rank(slices, rank, world)).collect::<Vec<_>>();
            prop_assert_eq!(all(worlds.0), all(worlds.1));
            prop_assert_eq!(all(worlds.0), (0..slices).collect::<Vec<_>>());
        }

        #[test]
        fn the_order_of_additions_does_not_depend_on_the_number_of_ranks(depth in 0u32..7, world in 1u32..80) {
            let slices = 1 << depth;
            prop_assert_eq!(finished(slices, world), finished(slices, 1));
        }

        #[test]
        fn sums_of_floats_are_the_same_bits_on_any_number_of_ranks(
            values in prop::collection::vec(any::<f32>(), 32), world in 1u32..40,
        ) {
            let sum = |world| {
                let add = |left: f32, right: f32| Ok::<_, Infallible>(left + right);
                let mut whole = PartialSums::default();
                for rank in 0..world {
                    let mut part = PartialSums::default();
                    for slice in of_rank(32, rank, world) {
                        part.add(Node::leaf(slice), values[slice as usize], add).unwrap();
                    }
                    let nodes: Vec<Node> = part.nodes().collect();
                    for (node, sum) in nodes.into_iter().zip(part.into_sums()) {
                        whole.add(node, sum, add).unwrap();
                    }
                }
                whole.into_sums().iter().map(|sum| sum.to_bits()).collect::<Vec<_>>()
            };
            prop_assert_eq!(sum(world), sum(1));
        }
    }
}
