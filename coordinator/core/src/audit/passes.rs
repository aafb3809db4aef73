//! Passes: every shard counts once, an evaluation scores each sample once, and its metrics are those of its shards.

use std::collections::BTreeMap;

use super::receipt::PassReceipt;
use super::{Auditor, Finding, Flaw};
use crate::identifiers::Generation;
use crate::metrics::{ClassificationMetrics, ClassificationStatistics};
use crate::spec::MetricName;
use crate::state::{Pass, Shard, ShardOutcome, ShardStatistics, ShardTable, SplitName};

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
    metrics: Option<ClassificationMetrics>,
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
                if !(fewest..=size).contains(&statistics.samples) {
                    let message = format!(
                        "expected {fewest} of {size} samples to be scored with {} set aside, found {}",
                        counted.set_aside, statistics.samples,
                    );
                    self.find(place(Flaw::ShardSamples, message));
                }
                if let Err(message) = self.statistics([statistics].into_iter()) {
                    self.find(place(Flaw::ShardSamples, message));
                }
            }
            _ => self.find(place(
                Flaw::Shard,
                format!("expected a report that fits pass {pass}, found another"),
            )),
        }
    }

    fn statistics<'a>(
        &self,
        parts: impl Iterator<Item = &'a ShardStatistics>,
    ) -> Result<ClassificationStatistics, String> {
        let classes = self.dataset.as_ref().map_or(0, |known| known.dataset.classes.len());
        let (mut samples, mut loss_sum) = (0u64, 0.0);
        let mut confusion = vec![0u64; classes.pow(2)];
        for part in parts {
            samples = samples.saturating_add(part.samples);
            loss_sum += part.loss_sum;
            for cell in &part.confusion {
                let at = (cell.truth as usize) * classes + cell.predicted as usize;
                let is_known = (cell.truth as usize) < classes && (cell.predicted as usize) < classes;
                match confusion.get_mut(at).filter(|_| is_known) {
                    Some(count) => *count = count.saturating_add(cell.count),
                    None => return Err(format!("expected classes below {classes}, found {cell:?}")),
                }
            }
        }
        let classes = u32::try_from(classes).unwrap_or(u32::MAX);
        ClassificationStatistics::from_parts(classes, samples, loss_sum, confusion).map_err(|error| error.to_string())
    }

    pub(super) fn conclude_evaluation(&mut self, split: SplitName, epoch: u32, metrics: &ClassificationMetrics) {
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
                (missing, self.statistics(parts), walked.metrics.is_some())
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
        let differs = match merged.map(|merged| merged.evaluate(metrics.roc_auc)) {
            Ok(Some(expected)) => difference(&expected, metrics),
            Ok(None) => Some("no sample of it was scored".to_owned()),
            Err(message) => Some(message),
        };
        if let Some(message) = differs {
            self.find(place(pass, Flaw::Metrics, message, None));
        }
        if let Some(walked) = self.passes.walked.get_mut(&pass) {
            walked.metrics = Some(metrics.clone());
        }
    }

    pub(super) fn is_evaluated(&self, split: SplitName, epoch: u32) -> bool {
        let walked = self.passes.walked.get(&Pass::Evaluate { split, epoch });
        walked.is_some_and(|walked| walked.metrics.is_some())
    }

    /// The epoch with the best value of the metric, the earliest of equals; the last one where it is undefined throughout.
    pub(super) fn best_of(&self, metric: MetricName, last: u32) -> u32 {
        let mut best: Option<(u32, f64)> = None;
        for epoch in 0..=last {
            let Some(value) = self.validation_value(metric, epoch) else {
                continue;
            };
            if best.is_none_or(|(_, champion)| metric.improves(value, champion, 0.0)) {
                best = Some((epoch, value));
            }
        }
        best.map_or(last, |(epoch, _)| epoch)
    }

    /// The value of a metric in the validation after an epoch; `None` where it is undefined.
    pub(super) fn validation_value(&self, metric: MetricName, epoch: u32) -> Option<f64> {
        let walked = self.passes.walked.get(&Pass::validation(epoch))?;
        walked.metrics.as_ref()?.value(metric)
    }

    /// What was evaluated with steps that were taken back does not count.
    pub(super) fn take_back_passes(&mut self, epochs_kept: u32) {
        self.passes.walked.retain(|pass, _| match pass {
            Pass::Evaluate { epoch, .. } => *epoch < epochs_kept,
            Pass::Scan(_) => true,
        });
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
            };
            for (index, counted) in &walked.shards {
                let size = walked.table.shard(*index).map_or(0, |shard| shard.end - shard.begin);
                *receipt.generations.entry(counted.generation).or_default() += 1;
                receipt.set_aside += counted.set_aside;
                receipt.samples += match &counted.outcome {
                    ShardOutcome::Evaluated(statistics) => statistics.samples,
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
    match pass {
        Pass::Evaluate { epoch, .. } => finding.in_epoch(epoch),
        Pass::Scan(_) => finding,
    }
}

/// What differs between the metrics that follow from the shards and those that are recorded.
fn difference(expected: &ClassificationMetrics, found: &ClassificationMetrics) -> Option<String> {
    if expected.samples != found.samples {
        return Some(format!(
            "expected metrics of {} samples, as its shards scored, found {}",
            expected.samples, found.samples
        ));
    }
    if expected.confusion != found.confusion {
        return Some("the confusion matrix is not the sum of those of its shards".to_owned());
    }
    let (expected, found) = (expected.named(), found.named());
    let near = |a: f64, b: f64| (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(1.0);
    let names = expected.keys().chain(found.keys());
    names
        .filter_map(|name| match (expected.get(name), found.get(name)) {
            (Some(a), Some(b)) if near(*a, *b) => None,
            (a, b) => {
                let (expected, found) = (shown(a), shown(b));
                Some(format!(
                    "expected {name} {expected} from the counts of its shards, found {found}"
                ))
            }
        })
        .next()
}

fn shown(value: Option<&f64>) -> String {
    value.map_or_else(|| "none".to_owned(), f64::to_string)
}
