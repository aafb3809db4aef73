//! Samples that are mixed with others: who with whom, and what becomes of pixels and labels.
//!
//! Where a job mixes images, a micro-batch is loaded with one sample more, in front: the partner of its first one, which may belong to another rank's part. A sample
//! whose partner is set aside is left as it is, whoever computes it.

use std::ops::Range;

use firn_core::mixing::{Blend, partner};
use firn_core::order::Turn;
use firn_data::{Batch, Targets};
use firn_models::{Expected, Input};
use tch::Tensor;

use crate::rank::{failure::RankFailure, task};

/// Places in the epoch's order that are loaded together.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// Of the partner of the first one, where samples are mixed.
    ahead: Option<u64>,
    own: Range<u64>,
}

impl Places {
    /// Of a micro-batch, which is a part of `global_batch`.
    pub(crate) fn new(own: Range<u64>, global_batch: &Range<u64>, mixes: bool) -> Self {
        Self {
            ahead: mixes.then(|| partner(own.start, global_batch)),
            own,
        }
    }

    /// In the order in which they are loaded.
    pub(crate) fn loaded(&self) -> impl Iterator<Item = u64> + use<> {
        self.ahead.into_iter().chain(self.own.clone())
    }

    /// What is learned from the batch that was loaded. `turn`: which turn of which sample is at a place.
    pub(crate) fn lesson(&self, batch: Batch, turn: impl Fn(u64) -> Turn) -> Lesson {
        let wanted = || self.loaded().map(|place| turn(place).key());
        let pairs = self.ahead.map(|_| Pairs::new(wanted(), &batch.turns));
        Lesson { batch, pairs }
    }
}

/// A batch that is learned from.
pub(crate) struct Lesson {
    pub(crate) batch: Batch,
    /// Where samples are mixed.
    pairs: Option<Pairs>,
}

impl From<Batch> for Lesson {
    /// Nothing is mixed.
    fn from(batch: Batch) -> Self {
        Self { batch, pairs: None }
    }
}

/// Rows of a batch: samples, and the partner of each.
struct Pairs {
    own: Vec<i64>,
    partners: Vec<i64>,
}

impl Pairs {
    /// `wanted` begins with a turn that is a partner only; each other one's partner is the one before it. Of these, `found` could be prepared, in the same order.
    fn new(wanted: impl Iterator<Item = u64>, found: &[u64]) -> Self {
        let (mut own, mut partners) = (Vec::with_capacity(found.len()), Vec::with_capacity(found.len()));
        let mut rows = (0..).zip(found).peekable();
        let mut before = None;
        for (place, turn) in wanted.enumerate() {
            let row = rows.next_if(|(_, found)| **found == turn).map(|(row, _)| row);
            if let Some(row) = row.filter(|_| place > 0) {
                own.push(row);
                partners.push(before.unwrap_or(row));
            }
            before = row;
        }
        Self { own, partners }
    }
}

impl Lesson {
    /// What names the turns of the samples that are learned from.
    pub(crate) fn turns(&self) -> Vec<u64> {
        match &self.pairs {
            None => self.batch.turns.clone(),
            Some(pairs) => pairs.own.iter().map(|row| self.batch.turns[*row as usize]).collect(),
        }
    }

    /// The network's input of these, from that of the whole batch.
    pub(crate) fn input(&self, batch: Input, blend: Blend) -> Result<Input, RankFailure> {
        match (&self.pairs, batch) {
            (Some(pairs), Input::Images(pixels)) => Ok(Input::Images(pairs.mixed(&pixels, blend)?)),
            (None, input) => Ok(input),
            (Some(_), Input::Tokens { .. }) => Err(RankFailure::Internal("a job of texts mixes images".to_owned())),
        }
    }

    /// Calls `with` what the objective compares the outputs with.
    pub(crate) fn expecting<R>(&self, blend: Blend, with: impl FnOnce(Expected<'_>) -> R) -> R {
        let Some(pairs) = &self.pairs else {
            return task::expecting(&self.batch, with);
        };
        let share = match blend {
            Blend::None => 1.0,
            Blend::Mixup { own } | Blend::Cutmix { own, .. } => own,
        };
        let rows = |rows: &[i64]| self.batch.targets.rows(rows.iter().map(|row| *row as usize));
        let (own, partners) = (rows(&pairs.own), rows(&pairs.partners));
        match (&own, &partners) {
            (Targets::Classes(own), Targets::Classes(partners)) => {
                with(Expected::MixedClasses { own, partners, share })
            }
            (Targets::Labels(own), Targets::Labels(partners)) => with(Expected::MixedLabels { own, partners, share }),
            _ => task::expecting(&self.batch, with),
        }
    }

    /// The first samples that were loaded.
    pub(crate) fn first(&self, samples: usize) -> Self {
        let pairs = self.pairs.as_ref().map(|pairs| {
            let both = pairs.own.iter().zip(&pairs.partners);
            let within = both.filter(|(own, partner)| **own.max(partner) < samples as i64);
            let (own, partners) = within.unzip();
            Pairs { own, partners }
        });
        Self {
            batch: Batch {
                indices: self.batch.indices[..samples].to_vec(),
                turns: self.batch.turns[..samples].to_vec(),
                targets: self.batch.targets.first(samples),
                tensors: self.batch.tensors.first(samples),
                corrupt: Vec::new(),
            },
            pairs,
        }
    }
}

impl Pairs {
    /// Of normalised pixels `(n, 3, h, w)`; they keep their order in memory.
    fn mixed(&self, pixels: &Tensor, blend: Blend) -> Result<Tensor, RankFailure> {
        let _no_grad = tch::no_grad_guard();
        let rows_first = pixels.f_permute([0, 2, 3, 1])?;
        let select = |rows: &[i64]| {
            let rows = Tensor::f_from_slice(rows)?.f_to_device(pixels.device())?;
            rows_first.f_index_select(0, &rows)
        };
        let own = select(&self.own)?;
        let mixed = match blend {
            Blend::None => own,
            Blend::Mixup { own: share } => {
                let mut partners = select(&self.partners)?.f_mul_scalar(1.0 - share)?;
                partners.f_add_(&own.f_mul_scalar(share)?)?
            }
            Blend::Cutmix { columns, rows, .. } => {
                let partners = select(&self.partners)?;
                let part = |tensor: &Tensor| {
                    let lines = tensor.f_narrow(1, i64::from(rows[0]), i64::from(rows[1] - rows[0]))?;
                    lines.f_narrow(2, i64::from(columns[0]), i64::from(columns[1] - columns[0]))
                };
                part(&own)?.f_copy_(&part(&partners)?)?;
                own
            }
        };
        Ok(mixed.f_permute([0, 3, 1, 2])?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partner_of_the_first_is_loaded_in_front_of_it() {
        let loaded = |own, mixes| Places::new(own, &(16..26), mixes).loaded().collect::<Vec<_>>();
        assert_eq!(loaded(16..19, true), [25, 16, 17, 18]);
        assert_eq!(loaded(19..21, true), [18, 19, 20]);
        assert_eq!(loaded(19..21, false), [19, 20]);
    }

    #[test]
    fn a_sample_whose_partner_is_set_aside_is_its_own() {
        let pairs = |wanted: &[u64], found: &[u64]| {
            let pairs = Pairs::new(wanted.iter().copied(), found);
            (pairs.own, pairs.partners)
        };
        assert_eq!(pairs(&[7, 4, 9, 2], &[7, 4, 9, 2]), (vec![1, 2, 3], vec![0, 1, 2]));
        assert_eq!(pairs(&[7, 4, 9, 2], &[4, 2]), (vec![0, 1], vec![0, 1]));
        // A whole global batch: the last one is the partner of the first.
        assert_eq!(pairs(&[2, 4, 2], &[2, 2]), (vec![1], vec![1]));
        assert_eq!(pairs(&[7, 4], &[7]), (vec![], vec![]));
    }

    #[test]
    fn pixels_are_mixed_as_torchvision_mixes_them() {
        let pixels = Tensor::arange(2 * 3 * 4 * 4, (tch::Kind::Float, tch::Device::Cpu)).view([2, 3, 4, 4]);
        let pairs = Pairs {
            own: vec![1],
            partners: vec![0],
        };
        let mixed = pairs.mixed(&pixels, Blend::Mixup { own: 0.25 }).unwrap();
        let expected = pixels.get(0) * 0.75 + pixels.get(1) * 0.25;
        assert_eq!(mixed.get(0), expected);
        let blend = Blend::Cutmix {
            columns: [1, 3],
            rows: [0, 1],
            own: 0.875,
        };
        let mixed = pairs.mixed(&pixels, blend).unwrap();
        let taken = (&mixed.get(0) - &pixels.get(1)).ne(0.0);
        assert_eq!(
            taken.sum(tch::Kind::Int64).int64_value(&[]),
            2 * 3,
            "two pixels of three channels"
        );
        assert_eq!(mixed.double_value(&[0, 2, 0, 1]), pixels.double_value(&[0, 2, 0, 1]));
    }
}
