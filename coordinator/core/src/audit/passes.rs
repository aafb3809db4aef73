//! Passes: every shard counts once, an evaluation scores each sample once, and its metrics are those of its shards.

use std::collections::BTreeMap;

use super::receipt::PassReceipt;
use super::{Auditor, Finding, Flaw};
use crate::identifiers::Generation;
use crate::metrics::Watched;
use crate::state::{Pass, Shard, ShardOutcome, ShardTable, SplitName};
use crate::task::{Metrics, Statistics};

/// Largest relative difference between a metric and what follows from the counts. The counts themselves have to be equal.
const TOLERANCE: f64 = 1e-9;

/// Walks so far.
#[derive(Default)]
pub(super) struct Passes {
    walked: BTreeMap<Pass, Walked>,
}

struct Walked {
    table: ShardTable,
    shards: BTreeMap<u32, Counted>,
    metrics: Option<Metrics>,
    /// Names of recorded metrics that do not follow from the shards.
    unchecked: Vec<String>,
}

struct Counted {
    generation: Generation,
    set_aside: u64,
    outcome: ShardOutcome,
}

/// A shard as it was delivered.
pub(super) struct Delivery<'a> {
    pub(super) pass: Pass,
    pub(super) table: ShardTable,
    pub(super) shard: u32,
    pub(super) rank: u32,
    pub(super) generation: Generation,
    pub(super) outcome: &'a ShardOutcome,
}

impl Auditor {
    pub(super) fn split_samples(&self, split: SplitName) -> u64 {
        let manifest = self.dataset.as_ref().and_then(|known| known.dataset.split(split));
        manifest.map_or(0, |manifest| manifest.samples)
    }

    /// A split that has not been read completely, if there is one.
    pub(super) fn unscanned(&self) -> Option<SplitName> {
        let is_scanned = |split: &SplitName| {
            let walked = self.passes.walked.get(&Pass::Scan(*split));
            walked.is_some_and(|walked| walked.shards.len() == walked.table.count() as usize)
        };
        let mut splits = SplitName::ALL
            .into_iter()
            .filter(|split| self.split_samples(*split) > 0);
        splits.find(|split| !is_scanned(split))
    }

    pub(super) fn deliver(&mut self, delivery: &Delivery<'_>) {
        let Delivery { pass, shard, .. } = *delivery;
        let place = |flaw, message: String| place(pass, flaw, message, Some(shard));
        let what = format!("shard {shard} of pass {pass}");
        self.is_at_work(&what, Some(delivery.generation), Some(delivery.rank));
        let expected = self
            .dataset
            .as_ref()
            .and_then(|known| known.shards.get(&pass.split()))
            .copied();
        if expected != Some(delivery.table) {
            self.find(place(
                Flaw::Dataset,
                format!("expected pass {pass} to be cut as it was registered"),
            ));
        }
        let Some(range) = delivery.table.shard(shard) else {
            let count = delivery.table.count();
            self.find(place(
                Flaw::Shard,
                format!("pass {pass} has {count} shards, found shard {shard}"),
            ));
            return;
        };
        if let Pass::Evaluate { split, epoch } = pass {
            self.check_order(split, epoch, shard);
        }
        let counted = Counted {
            generation: delivery.generation,
            set_aside: self.set_aside_in(pass.split(), range),
            outcome: delivery.outcome.clone(),
        };
        self.check_outcome(pass, range, &counted);
        let walked = self.passes.walked.entry(pass).or_insert_with(|| Walked {
            table: delivery.table,
            shards: BTreeMap::new(),
            metrics: None,
            unchecked: Vec::new(),
        });
        if walked.metrics.is_some() || walked.shards.contains_key(&shard) {
            self.find(place(Flaw::Shard, format!("{what} counts a second time")));
            return;
        }
        walked.shards.insert(shard, counted);
    }

    /// Validation belongs to the epoch that is being concluded, test to the best one after the last.
    fn check_order(&mut self, split: SplitName, epoch: u32, shard: u32) {
        let is_due = match split {
            SplitName::Test => self.training_end.is_some() && self.best_epoch == Some(epoch),
            _ => self.training_end.is_none() && epoch == self.epochs_concluded,
        };
        if !is_due {
            let message = format!(
                "{split} was scored after epoch {epoch}, with {} epochs concluded and epoch {:?} best",
                self.epochs_concluded, self.best_epoch,
            );
            let pass = Pass::Evaluate { split, epoch };
            self.find(place(pass, Flaw::Epoch, message, Some(shard)));
        }
    }

    fn set_aside_in(&self, split: SplitName, shard: Shard) -> u64 {
        (shard.begin..shard.end)
            .filter(|sample| self.is_quarantined(split, *sample))
            .count() as u64
    }

    /// Every sample of the shard was scored, but for those that were set aside.
    fn check_outcome(&mut self, pass: Pass, shard: Shard, counted: &Counted) {
        let place = |flaw, message: String| place(pass, flaw, message, Some(shard.index));
        let size = shard.end - shard.begin;
        match (&counted.outcome, pass) {
            (ShardOutcome::Scanned { .. }, Pass::Scan(_)) => {}
            (ShardOutcome::Evaluated(statistics), Pass::Evaluate { .. }) => {
                let fewest = size - counted.set_aside;
                // A rank that does not know yet that a sample was set aside may have scored it.
                if !(fewest..=size).contains(&statistics.samples()) {
                    let message = format!(
                        "expected {fewest} of {size} samples to be scored with {} set aside, found {}",
                        counted.set_aside,
                        statistics.samples(),
                    );
                    self.find(place(Flaw::ShardSamples, message));
                }
                if let Err(message) = self.merged([statistics].into_iter()) {
                    self.find(place(Flaw::ShardSamples, message));
                }
            }
            _ => self.find(place(
                Flaw::Shard,
                format!("expected a report that fits pass {pass}, found another"),
            )),
        }
    }

    /// The sum of parts, if it can be one of this dataset.
    fn merged<'a>(&self, parts: impl Iterator<Item = &'a Statistics>) -> Result<Option<Statistics>, String> {
        let merged = Statistics::merged(parts);
        if let (Some(known), Some(merged)) = (&self.dataset, &merged) {
            let checked = merged.check(known.dataset.schema());
            checked.map_err(|error| error.to_string())?;
        }
        Ok(merged)
    }

    /// The metrics that follow from the shards.
    fn expected_metrics(&self, merged: Option<&Statistics>) -> Option<Metrics> {
        let schema = self.dataset.as_ref()?.dataset.schema();
        merged?.evaluate(schema, &BTreeMap::new())
    }

    pub(super) fn conclude_evaluation(&mut self, split: SplitName, epoch: u32, metrics: &Metrics) {
        let pass = Pass::Evaluate { split, epoch };
        let (missing, merged, repeated) = match self.passes.walked.get(&pass) {
            None => (vec![0], Err("no shard of it was delivered".to_owned()), false),
            Some(walked) => {
                let missing: Vec<u32> = (0..walked.table.count())
                    .filter(|shard| !walked.shards.contains_key(shard))
                    .collect();
                let parts = walked.shards.values().filter_map(|counted| match &counted.outcome {
                    ShardOutcome::Evaluated(statistics) => Some(statistics),
                    ShardOutcome::Scanned { .. } => None,
                });
                (missing, self.merged(parts), walked.metrics.is_some())
            }
        };
        if repeated {
            self.find(place(
                pass,
                Flaw::Shard,
                format!("pass {pass} was concluded a second time"),
                None,
            ));
        }
        if let Some(first) = missing.first() {
            let message = format!("pass {pass} was concluded without {} of its shards", missing.len());
            self.find(place(pass, Flaw::Shard, message, Some(*first)));
        }
        let expected = merged.map(|merged| self.expected_metrics(merged.as_ref()));
        let differs = match &expected {
            Ok(Some(expected)) => difference(expected, metrics),
            Ok(None) => Some("no sample of it was scored".to_owned()),
            Err(message) => Some(message.clone()),
        };
        if let Some(message) = differs {
            self.find(place(pass, Flaw::Metrics, message, None));
        }
        if let Some(walked) = self.passes.walked.get_mut(&pass) {
            let follows = |name: &str| matches!(&expected, Ok(Some(expected)) if expected.values.contains_key(name));
            let unchecked = metrics.values.keys().filter(|name| !follows(name));
            walked.unchecked = unchecked.cloned().collect();
            walked.metrics = Some(metrics.clone());
        }
    }

    pub(super) fn is_evaluated(&self, split: SplitName, epoch: u32) -> bool {
        let walked = self.passes.walked.get(&Pass::Evaluate { split, epoch });
        walked.is_some_and(|walked| walked.metrics.is_some())
    }

    /// The epoch with the best value of the metric, the earliest of equals; the last one where it is undefined throughout.
    pub(super) fn best_of(&self, metric: Watched<'_>, last: u32) -> u32 {
        let mut best: Option<(u32, f64)> = None;
        for epoch in 0..=last {
            let Some(value) = self.validation_value(metric, epoch) else {
                continue;
            };
            if best.is_none_or(|(_, champion)| metric.metric.improves(value, champion, 0.0)) {
                best = Some((epoch, value));
            }
        }
        best.map_or(last, |(epoch, _)| epoch)
    }

    /// The value of a metric in the validation after an epoch; `None` where it is undefined.
    pub(super) fn validation_value(&self, metric: Watched<'_>, epoch: u32) -> Option<f64> {
        let walked = self.passes.walked.get(&Pass::validation(epoch))?;
        let schema = self.dataset.as_ref()?.dataset.schema();
        walked.metrics.as_ref()?.value(metric, schema)
    }

    /// What was evaluated with steps that were taken back does not count.
    pub(super) fn take_back_passes(&mut self, epochs_kept: u32) {
        self.passes.walked.retain(|pass, _| pass.is_kept(epochs_kept));
    }

    pub(super) fn pass_receipts(&self) -> Vec<PassReceipt> {
        let receipt = |(pass, walked): (&Pass, &Walked)| {
            let mut receipt = PassReceipt {
                pass: *pass,
                split_samples: self.split_samples(pass.split()),
                shards: walked.table.count(),
                shards_complete: u32::try_from(walked.shards.len()).unwrap_or(u32::MAX),
                samples: 0,
                set_aside: 0,
                generations: BTreeMap::new(),
                is_complete: walked.shards.len() == walked.table.count() as usize
                    && (walked.metrics.is_some() || matches!(pass, Pass::Scan(_))),
                metrics: walked.metrics.clone(),
                unchecked_metrics: walked.unchecked.clone(),
            };
            for (index, counted) in &walked.shards {
                let size = walked.table.shard(*index).map_or(0, |shard| shard.end - shard.begin);
                *receipt.generations.entry(counted.generation).or_default() += 1;
                receipt.set_aside += counted.set_aside;
                receipt.samples += match &counted.outcome {
                    ShardOutcome::Evaluated(statistics) => statistics.samples(),
                    ShardOutcome::Scanned { .. } => size - counted.set_aside.min(size),
                };
            }
            receipt
        };
        self.passes.walked.iter().map(receipt).collect()
    }
}

fn place(pass: Pass, flaw: Flaw, message: String, shard: Option<u32>) -> Finding {
    let finding = Finding::new(flaw, message).of_shard(pass.split(), shard);
    match pass.round() {
        Some(epoch) => finding.in_epoch(epoch),
        None => finding,
    }
}

/// What differs between the metrics that follow from the shards and those that are recorded.
///
/// Only names that both have are compared: the record may be of a program that did not compute a metric yet, or of one that computes more.
fn difference(expected: &Metrics, found: &Metrics) -> Option<String> {
    if expected.samples != found.samples {
        return Some(format!(
            "expected metrics of {} samples, as its shards scored, found {}",
            expected.samples, found.samples
        ));
    }
    if let Some(difference) = expected.detail.difference(&found.detail) {
        return Some(difference.to_owned());
    }
    let near = |a: f64, b: f64| (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(1.0);
    let both = expected
        .values
        .iter()
        .filter_map(|(name, expected)| Some((name, *expected, *found.values.get(name)?)));
    let mut wrong = both.filter(|(_, expected, found)| !near(*expected, *found));
    let (name, expected, found) = wrong.next()?;
    Some(format!(
        "expected {name} {expected} from the counts of its shards, found {found}"
    ))
}
