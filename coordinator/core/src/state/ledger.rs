//! The ledger of committed steps: contiguous from 0, one entry a step, and a note of every range that a restart took back.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::identifiers::Generation;
use crate::now::Now;

/// One optimizer update, as rank 0 reports it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Over the whole job, from 0.
    pub step: u64,
    /// Epoch, from 0.
    pub epoch: u32,
    /// Σwℓ / Σw over the global batch, before the update.
    pub loss: f64,
    /// Of this update.
    pub learning_rate: f64,
    /// Samples that took part.
    pub samples: u32,
    /// L2 norm of the global gradient, before clipping.
    pub gradient_norm: f64,
    /// The loss or the gradient was not finite, so nothing was updated; the one that was not finite is 0 here.
    #[serde(default)]
    pub skipped: bool,
    /// The global batch begins at this position of the epoch's permutation.
    pub first_position: u64,
    /// And ends before this one.
    pub end_position: u64,
    /// Where rank 0's time went.
    pub timing: StepTiming,
}

/// Seconds of rank 0.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct StepTiming {
    /// Waiting for decoded samples.
    pub data_seconds: f64,
    /// Forward and backward.
    pub compute_seconds: f64,
    /// All-reduce.
    pub reduce_seconds: f64,
    /// Everything else.
    pub other_seconds: f64,
}

/// A step that counts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CommittedStep {
    /// As reported.
    pub step: Step,
    /// The formation that computed it.
    pub generation: Generation,
    /// When it was committed.
    pub at: Now,
}

/// Steps `[from, to)` that were committed and then taken back, because the gang was formed again from a checkpoint before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolledBack {
    /// First step that was taken back.
    pub from: u64,
    /// One past the last.
    pub to: u64,
    /// The formation that starts again at `from`.
    pub generation: Generation,
    /// Time, by the engine's clock.
    pub at: Now,
}

/// All committed steps of a job.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// Steps that count: `0..committed`.
    pub committed: u64,
    /// They, by epoch.
    pub epochs: BTreeMap<u32, Arc<Vec<CommittedStep>>>,
    /// Ranges that were taken back.
    pub rolled_back: Vec<RolledBack>,
}

impl Ledger {
    /// The steps from `first` on, in order.
    pub fn from_step(&self, first: u64) -> impl Iterator<Item = &CommittedStep> {
        self.epochs
            .values()
            .filter(move |steps| steps.last().is_some_and(|last| last.step.step >= first))
            .flat_map(|steps| steps.iter())
            .filter(move |committed| committed.step.step >= first)
    }

    /// The newest step.
    pub fn last(&self) -> Option<&CommittedStep> {
        self.epochs.values().next_back().and_then(|steps| steps.last())
    }

    /// The newest step that updated the model.
    pub fn last_applied(&self) -> Option<&CommittedStep> {
        let newest_first = self.epochs.values().rev().flat_map(|steps| steps.iter().rev());
        newest_first.into_iter().find(|committed| !committed.step.skipped)
    }

    /// Appends; a step that is not the next one is left out.
    pub(crate) fn commit(&mut self, step: Step, generation: Generation, at: Now) {
        if step.step != self.committed {
            return;
        }
        let steps = self.epochs.entry(step.epoch).or_default();
        Arc::make_mut(steps).push(CommittedStep { step, generation, at });
        self.committed += 1;
    }

    /// Takes back every step from `from` on.
    pub(crate) fn roll_back(&mut self, from: u64, generation: Generation, at: Now) {
        if from >= self.committed {
            return;
        }
        self.rolled_back.push(RolledBack {
            from,
            to: self.committed,
            generation,
            at,
        });
        self.committed = from;
        self.epochs.retain(|_, steps| {
            if steps.last().is_some_and(|last| last.step.step >= from) {
                Arc::make_mut(steps).retain(|committed| committed.step.step < from);
            }
            !steps.is_empty()
        });
    }
}
