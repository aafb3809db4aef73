//! The ledger: steps are contiguous, each uses the positions of its global batch, and an epoch uses every sample once, but for those that were
//! set aside. Where samples are drawn with replacement there is no such thing as once: the places are used once each, and which samples they hold
//! only those know who have seen the classes.

use std::collections::BTreeMap;

use super::receipt::{EpochReceipt, RollbackReceipt};
use super::{Auditor, Finding, Flaw};
use crate::identifiers::{Generation, ProcessId};
use crate::metrics::Watched;
use crate::order::{self, SampleOrder};
use crate::schedule;
use crate::spec::Sampling;
use crate::state::{SplitName, Step};

/// How far a step's learning rate may be from the schedule's, as a part of it.
const RATE_TOLERANCE: f64 = 1e-9;

/// Steps that count.
#[derive(Default)]
pub(super) struct Steps {
    /// In order.
    counted: Vec<Counted>,
    /// The one that comes next.
    next: u64,
    rollbacks: Vec<RollbackReceipt>,
    /// The permutation of the epoch that was looked at last.
    order: Option<(u32, SampleOrder)>,
    /// The schedule's peak in that epoch.
    peak: Option<(u32, f64)>,
}

struct Counted {
    step: Step,
    generation: Generation,
    record: u64,
    /// Samples at its positions that were set aside when it was committed.
    set_aside: u64,
}

impl Steps {
    /// Steps before the next one.
    pub(super) fn committed(&self) -> u64 {
        self.next
    }
}

impl Auditor {
    pub(super) fn train_samples(&self) -> u64 {
        self.split_samples(SplitName::Train)
    }

    /// 0 while spec or dataset are unknown.
    pub(super) fn steps_per_epoch(&self) -> u64 {
        let batch = self.spec.as_ref().map_or(0, |spec| spec.training.batch_size);
        match batch {
            0 => 0,
            batch => order::steps_per_epoch(self.train_samples(), batch),
        }
    }

    pub(super) fn commit(&mut self, generation: Generation, process: Option<&ProcessId>, steps: &[Step]) {
        if self.is_at_work("a commit of steps", Some(generation), None) {
            self.check_committer(process);
        }
        if self.steps_per_epoch() == 0 {
            self.find(Finding::new(
                Flaw::Dataset,
                "steps were committed before the training split was registered",
            ));
            return;
        }
        if let Some(split) = self.unscanned() {
            let message = format!("steps were committed before all of {split} was scanned");
            self.find(Finding::new(Flaw::Shard, message).of_shard(split, None));
        }
        self.count_commits(steps.len() as u64);
        for step in steps {
            self.count(step, generation);
        }
    }

    fn count(&mut self, step: &Step, generation: Generation) {
        let place = |flaw, message: String| Finding::new(flaw, message).in_epoch(step.epoch).at_step(step.step);
        let next = self.steps.next;
        if step.step < next {
            self.find(place(
                Flaw::StepOrder,
                format!(
                    "expected step {next}, found step {}, which was committed before",
                    step.step
                ),
            ));
            return;
        }
        if step.step > next {
            let message = format!(
                "expected step {next}, found step {}: what lies between is missing",
                step.step
            );
            self.find(place(Flaw::StepOrder, message));
        }
        let epoch = step.step / self.steps_per_epoch();
        if u64::from(step.epoch) != epoch || step.epoch != self.epochs_concluded {
            let message = format!(
                "expected epoch {epoch} of step {}, with {epoch} epochs concluded, found epoch {} with {} concluded",
                step.step, step.epoch, self.epochs_concluded,
            );
            self.find(place(Flaw::StepOrder, message));
        }
        let set_aside = self.check_positions(step);
        self.check_rate(step);
        self.steps.next = step.step + 1;
        self.steps.counted.push(Counted {
            step: *step,
            generation,
            record: self.record,
            set_aside,
        });
    }

    /// Says how many samples of the step were set aside.
    fn check_positions(&mut self, step: &Step) -> u64 {
        let place = |flaw, message: String| Finding::new(flaw, message).in_epoch(step.epoch).at_step(step.step);
        let samples = self.train_samples();
        let batch_size = self.spec.as_ref().map_or(1, |spec| spec.training.batch_size);
        let batch = order::global_batch(step.step % self.steps_per_epoch(), batch_size, samples);
        if (step.first_position, step.end_position) != (batch.start, batch.end) {
            let message = format!(
                "expected positions [{}, {}) of the permutation, found [{}, {})",
                batch.start, batch.end, step.first_position, step.end_position,
            );
            self.find(place(Flaw::StepPositions, message));
        }
        let positions = step.end_position.saturating_sub(step.first_position);
        if self.draws_samples() {
            return self.check_drawn(step, positions);
        }
        let used = self.samples_of(step);
        let aside: Vec<u64> = used
            .into_iter()
            .filter(|sample| self.is_quarantined(SplitName::Train, *sample))
            .collect();
        let expected = positions.saturating_sub(aside.len() as u64);
        if u64::from(step.samples) != expected {
            let message = format!(
                "expected {expected} samples of {positions} positions with {} set aside, found {}",
                aside.len(),
                step.samples,
            );
            self.find(place(Flaw::StepSamples, message).of_samples(SplitName::Train, &aside));
        }
        aside.len() as u64
    }

    /// Whether a sample may come several times in an epoch, or not at all.
    fn draws_samples(&self) -> bool {
        let training = self.spec.as_ref().map(|spec| &spec.training);
        training.is_some_and(|training| training.sampling == Sampling::Balanced)
    }

    /// Every place has a sample, unless one is set aside: it may have been drawn any number of times. Says how many were left out.
    fn check_drawn(&mut self, step: &Step, positions: u64) -> u64 {
        let found = u64::from(step.samples);
        let is_whole = found == positions;
        if found > positions || !(is_whole || self.has_quarantined(SplitName::Train)) {
            let message = format!("expected {positions} samples that were drawn for as many positions, found {found}");
            let finding = Finding::new(Flaw::StepSamples, message);
            self.find(finding.in_epoch(step.epoch).at_step(step.step));
        }
        positions.saturating_sub(found)
    }

    /// The rate is that of the schedule, below the peak that the coordinator decided for the epoch.
    fn check_rate(&mut self, step: &Step) {
        let Some(spec) = self.spec.clone() else { return };
        let training = &spec.training;
        let steps = u64::from(training.epochs) * self.steps_per_epoch();
        let expected = schedule::learning_rate(&training.schedule, self.peak_of(step.epoch), step.step, steps);
        // Ranks may run on other machines, whose cosines differ in the last digits.
        let is_same = (step.learning_rate - expected).abs() <= RATE_TOLERANCE * expected.abs();
        if !is_same {
            let message = format!("expected the learning rate {expected}, found {}", step.learning_rate);
            let finding = Finding::new(Flaw::LearningRate, message);
            self.find(finding.in_epoch(step.epoch).at_step(step.step));
        }
    }

    /// Decided by the validations before the epoch.
    fn peak_of(&mut self, epoch: u32) -> f64 {
        if let Some((_, peak)) = self.steps.peak.filter(|(known, _)| *known == epoch) {
            return peak;
        }
        let value = |watched: Watched<'_>, epoch| self.validation_value(watched, epoch);
        let training = self.spec.as_ref().map(|spec| &spec.training);
        let peak = training.map_or(0.0, |training| schedule::peak(training, epoch, value));
        self.steps.peak = Some((epoch, peak));
        peak
    }

    /// The samples at a step's positions; none beyond the end of the split.
    fn samples_of(&mut self, step: &Step) -> Vec<u64> {
        let samples = self.train_samples();
        let (first, end) = (step.first_position.min(samples), step.end_position.min(samples));
        self.order_of(step.epoch).positions(first..end.max(first)).to_vec()
    }

    fn order_of(&mut self, epoch: u32) -> &SampleOrder {
        let seed = self.spec.as_ref().map_or(0, |spec| spec.training.seed);
        let samples = self.train_samples();
        let cached = self.steps.order.take().filter(|(known, _)| *known == epoch);
        let (_, order) = self
            .steps
            .order
            .insert(cached.unwrap_or_else(|| (epoch, SampleOrder::new(seed, epoch, samples))));
        order
    }

    /// A formation goes on at step `kept`, with so many epochs concluded.
    pub(super) fn roll_back(&mut self, kept: u64, epochs_kept: u32) {
        if kept < self.steps.next {
            self.steps.rollbacks.push(RollbackReceipt {
                from: kept,
                to: self.steps.next,
                generation: self.gangs.formed.last().map(|gang| gang.generation).unwrap_or_default(),
                record: self.record,
                recomputed: false,
            });
            self.steps.counted.retain(|counted| counted.step.step < kept);
            self.steps.next = kept;
        }
        self.take_back_passes(epochs_kept);
        self.steps.peak = None;
        self.epochs_concluded = self.epochs_concluded.min(epochs_kept);
    }

    /// What was taken back and is there again. A job that has succeeded has left nothing out.
    pub(super) fn settle_rollbacks(&mut self) -> Vec<RollbackReceipt> {
        let mut rollbacks = std::mem::take(&mut self.steps.rollbacks);
        for range in &mut rollbacks {
            range.recomputed = self.steps.next >= range.to;
            if !range.recomputed && self.has_succeeded() {
                let message = format!(
                    "steps [{}, {}) were taken back for generation {} and never computed again",
                    range.from, range.to, range.generation,
                );
                let finding = Finding::new(Flaw::NotRecomputed, message).in_record(range.record);
                self.conclude(finding.at_step(self.steps.next));
            }
        }
        rollbacks
    }

    /// Lays the steps of each epoch beside its permutation.
    pub(super) fn cover_epochs(&mut self) -> Vec<EpochReceipt> {
        let counted = std::mem::take(&mut self.steps.counted);
        let mut by_epoch: BTreeMap<u32, Vec<Counted>> = BTreeMap::new();
        for step in counted {
            by_epoch.entry(step.step.epoch).or_default().push(step);
        }
        by_epoch
            .iter()
            .map(|(epoch, steps)| self.cover(*epoch, steps))
            .collect()
    }

    fn cover(&mut self, epoch: u32, steps: &[Counted]) -> EpochReceipt {
        let samples = self.train_samples();
        let per_epoch = self.steps_per_epoch();
        let is_whole = epoch < self.epochs_concluded || self.steps.next >= per_epoch * (u64::from(epoch) + 1);
        let mut used = vec![0u32; usize::try_from(samples).unwrap_or(usize::MAX)];
        let mut receipt = EpochReceipt {
            epoch,
            first_step: steps.first().map_or(0, |first| first.step.step),
            end_step: steps.last().map_or(0, |last| last.step.step + 1),
            generations: BTreeMap::new(),
            positions: 0,
            samples: 0,
            set_aside: 0,
            skipped: 0,
            is_complete: is_whole,
        };
        let mut reached = 0;
        for counted in steps {
            let step = &counted.step;
            *receipt.generations.entry(counted.generation).or_default() += 1;
            receipt.positions += step.end_position.saturating_sub(step.first_position);
            receipt.samples += u64::from(step.samples);
            receipt.set_aside += counted.set_aside;
            receipt.skipped += u64::from(step.skipped);
            reached = reached.max(step.end_position.min(samples));
            if !self.draws_samples() {
                for sample in self.samples_of(step) {
                    used[sample as usize] += 1;
                }
            }
        }
        if self.draws_samples() {
            self.check_places(if is_whole { samples } else { reached }, &receipt);
            return receipt;
        }
        self.check_coverage(epoch, &used, if is_whole { samples } else { reached }, steps.last());
        receipt
    }

    /// Every position before `end` was used; that each step has those of its batch is known.
    fn check_places(&mut self, end: u64, receipt: &EpochReceipt) {
        let (epoch, found) = (receipt.epoch, receipt.positions);
        if found != end {
            let message = format!("expected {end} positions to be used in epoch {epoch}, found {found}");
            self.conclude(Finding::new(Flaw::Coverage, message).in_epoch(epoch));
        }
    }

    /// Every sample at a position before `end` was used once, and no other one.
    fn check_coverage(&mut self, epoch: u32, used: &[u32], end: u64, last: Option<&Counted>) {
        let due = self.order_of(epoch).positions(0..end).to_vec();
        let mut missing: Vec<u64> = due.into_iter().filter(|sample| used[*sample as usize] == 0).collect();
        missing.sort_unstable();
        let repeated: Vec<u64> = (0u64..)
            .zip(used)
            .filter(|(_, times)| **times > 1)
            .map(|(sample, _)| sample)
            .collect();
        for (samples, what) in [(missing, "were not used"), (repeated, "were used more than once")] {
            if !samples.is_empty() {
                let message = format!("{} training samples {what} in epoch {epoch}", samples.len());
                let mut finding = Finding::new(Flaw::Coverage, message).in_epoch(epoch);
                finding.record = last.map(|last| last.record);
                self.conclude(finding.of_samples(SplitName::Train, &samples));
            }
        }
    }
}
