//! Sums over slices, the same bits whoever computed which slice.
//!
//! `firn_core::slices` decides what a slice is and in which order slices are added; here are the numbers. Each rank adds up the subtrees
//! that are its own, then the ranks exchange the roots of these, and everyone adds up the rest of the tree.
//!
//! The exchange is an all-reduce over a table with a row for each of these roots, in which every rank has filled its own rows and left the
//! others 0. x + 0 is x in whatever order it is added, so any collective will do. Its one exception is -0.0 + 0.0 = 0.0: hence there is no
//! -0.0 in the sum of a slice, and then there is none in sums of them either (x + -x is +0.0).
//!
//! With P parameters and R rows (one a rank if the ranks are a power of two, else a few more) a step moves about R·P numbers twice, where
//! the default moves P twice; in pieces, so that it takes no more memory than [`TABLE`] beyond a rank's own sums, which are at most
//! 2·log₂ of the number of slices times P; where BatchNorm trains, all slices of a rank are computed side by side, and their sums are as many
//! times P as there are of them. Computing slice by slice costs processor time as well, the more the more is trained: a step of
//! 32 images of 224 pixels on ResNet-18 on one thread took 5% more with the head alone to train (1.12 s → 1.18 s), 32% more with
//! `layer4`, too (1.85 s → 2.41 s).

use std::ops::Range;

use firn_core::slices::{self, Node, PartialSums};
use tch::{Kind, Tensor};

use crate::rank::{failure::RankFailure, membership::gang::Gang, stop_reason::StopReason};

/// Numbers in a table: 16 MiB.
const TABLE: i64 = 4 << 20;

/// This rank's slices of one step.
pub(crate) struct Slices {
    /// Over all ranks.
    count: u32,
    /// Those of this rank that are still to come.
    left: Range<u32>,
    sums: PartialSums<Tensor>,
    /// Numbers in the sums of a slice.
    length: i64,
}

impl Slices {
    /// None of the job's `count` is computed yet; the sums of each have `length` numbers.
    pub(crate) fn new(count: u32, gang: &Gang, length: i64) -> Self {
        Self {
            count,
            left: slices::of_rank(count, gang.rank, gang.world_size),
            sums: PartialSums::default(),
            length,
        }
    }

    /// Takes the flat sums of the next slice.
    ///
    /// # Panics
    /// If the rank has no more slices.
    pub(crate) fn add(&mut self, mut sums: Tensor) -> Result<(), RankFailure> {
        let _no_grad = tch::no_grad_guard();
        let slice = self.left.next().expect("a rank computes its own slices and no others");
        self.sums.add(Node::leaf(slice), sums.f_add_scalar_(0.0)?, joined)
    }

    /// The sums over the slices of all ranks.
    ///
    /// # Panics
    /// If slices of this rank were not added.
    pub(crate) fn exchange(self, gang: &mut Gang) -> Result<Tensor, StopReason> {
        self.exchange_by(gang, TABLE)
    }

    fn exchange_by(self, gang: &mut Gang, table: i64) -> Result<Tensor, StopReason> {
        assert!(self.left.is_empty(), "slices {:?} were not computed", self.left);
        let _no_grad = tch::no_grad_guard();
        let nodes_of = |rank| slices::nodes_of(slices::of_rank(self.count, rank, gang.world_size));
        let nodes: Vec<Node> = (0..gang.world_size).flat_map(nodes_of).collect();
        let first: usize = (0..gang.rank).map(|rank| nodes_of(rank).len()).sum();
        let mut mine = self.sums.into_sums();
        if gang.world_size == 1
            && let Some(root) = mine.pop()
        {
            return Ok(root);
        }
        let width = (table / nodes.len() as i64).max(1);
        let mut pieces = Vec::new();
        for begin in (0..self.length).step_by(width as usize) {
            let columns = begin..self.length.min(begin + width);
            pieces.extend(exchange_columns(gang, &nodes, &mine, first, columns)?);
        }
        Ok(Tensor::f_cat(&pieces, 0)?)
    }
}

/// The sum over the tree for a range of the numbers; `mine` belong to the nodes from `first` on.
fn exchange_columns(
    gang: &mut Gang,
    nodes: &[Node],
    mine: &[Tensor],
    first: usize,
    columns: Range<i64>,
) -> Result<Vec<Tensor>, StopReason> {
    let width = columns.end - columns.start;
    let mut table = Tensor::f_zeros([nodes.len() as i64 * width], (Kind::Float, gang.device))?;
    let row = |table: &Tensor, row: usize| table.f_narrow(0, row as i64 * width, width);
    for (number, sums) in (first..).zip(mine) {
        row(&table, number)?.f_copy_(&sums.f_narrow(0, columns.start, width)?)?;
    }
    gang.all_reduce_sum(&mut table)?;
    let mut tree = PartialSums::default();
    for (number, node) in nodes.iter().enumerate() {
        tree.add(*node, row(&table, number)?, joined)?;
    }
    Ok(tree.into_sums())
}

fn joined(left: Tensor, right: Tensor) -> Result<Tensor, RankFailure> {
    Ok(left.f_add(&right)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rank::activities::step::tests::{bits, on_all, ring};

    /// What slice `slice` gives: numbers of all sizes and signs, among them every kind of zero.
    fn slice_of(slice: u32, length: i64) -> Tensor {
        let number = |i: i64| match (i + i64::from(slice)) % 5 {
            0 => -0.0,
            1 => f32::from_bits(1 + slice),
            2 => -1e30 / (1.0 + i as f32 + slice as f32),
            3 => 0.1 * (slice as f32 + 1.0) / (i as f32 + 1.0),
            _ => 1e30 / (2.0 + i as f32 + slice as f32),
        };
        Tensor::from_slice(&(0..length).map(number).collect::<Vec<_>>())
    }

    #[test]
    fn the_sums_are_the_same_bits_on_any_number_of_ranks_and_in_any_pieces() {
        let length = 23;
        let sums = |world: u32, table: i64| {
            on_all(ring(world), |mut gang| {
                let mut slices = Slices::new(8, &gang, length);
                for slice in slices.left.clone() {
                    slices.add(slice_of(slice, length)).unwrap();
                }
                bits(&slices.exchange_by(&mut gang, table).unwrap())
            })
        };
        let alone = sums(1, TABLE).remove(0);
        for world in [2, 3, 4, 5, 8, 9] {
            for table in [1, 30, TABLE] {
                for found in sums(world, table) {
                    assert_eq!(found, alone, "{world} ranks, tables of {table}");
                }
            }
        }
    }

    #[test]
    fn zeros_of_all_slices_are_positive_on_one_rank_as_on_two() {
        let sums = |world| {
            on_all(ring(world), |mut gang| {
                let mut slices = Slices::new(2, &gang, 3);
                for _ in slices.left.clone() {
                    slices.add(Tensor::from_slice(&[-0.0_f32; 3])).unwrap();
                }
                bits(&slices.exchange(&mut gang).unwrap())
            })
        };
        assert_eq!(sums(1), [[0; 3]]);
        assert_eq!(sums(2), [[0; 3]; 2]);
    }
}
