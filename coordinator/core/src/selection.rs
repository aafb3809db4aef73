//! Which checkpoint is best, and when nothing improves any more.

use crate::metrics::Watched;
use crate::spec::{EarlyStopping, TrainingSpec};
use crate::state::{Run, SplitName, TrainingEnd};

/// The values of a metric after epochs `0..=last`, in order; `None` where it is undefined.
fn values<'a>(run: &'a Run, metric: Watched<'a>, last: u32) -> impl Iterator<Item = (u32, Option<f64>)> + use<'a> {
    (0..=last).map(move |epoch| (epoch, value(run, metric, epoch)))
}

/// The value of a metric after an epoch; `None` where it is undefined.
pub(crate) fn value(run: &Run, metric: Watched<'_>, epoch: u32) -> Option<f64> {
    let evaluation = run.evaluation(SplitName::Validation, epoch)?;
    evaluation.metrics.value(metric, run.schema_of(SplitName::Validation))
}

/// The epoch with the best value so far, the earliest of equals, among those whose checkpoints exist: that of a better one may have turned out
/// to be unreadable, and one that was not the best then is gone. Where the metric is undefined throughout, the last one.
pub(crate) fn best_stored(run: &Run, metric: Watched<'_>, last: u32) -> u32 {
    let is_stored = |epoch: &u32| run.checkpoint_of_epoch(*epoch).is_some();
    let epochs: Vec<u32> = (0..=last).filter(is_stored).collect();
    best_among(run, metric, &epochs).unwrap_or(last)
}

/// The epoch with the best value among some, the earliest of equals; the last of them where the metric is undefined throughout.
pub(crate) fn best_among(run: &Run, metric: Watched<'_>, epochs: &[u32]) -> Option<u32> {
    let last = epochs.iter().copied().max()?;
    let mut best: Option<(u32, f64)> = None;
    for (epoch, value) in values(run, metric, last).filter(|(epoch, _)| epochs.contains(epoch)) {
        let Some(value) = value else { continue };
        if best.is_none_or(|(_, champion)| metric.metric.improves(value, champion, 0.0)) {
            best = Some((epoch, value));
        }
    }
    Some(best.map_or(last, |(epoch, _)| epoch))
}

/// Why training ends after `epoch`; `None`: it goes on. `value` gives a metric of the validation after an epoch, if there is one.
pub(crate) fn training_end(
    spec: &TrainingSpec,
    has_validation: bool,
    epoch: u32,
    value: impl Fn(Watched<'_>, u32) -> Option<f64>,
) -> Option<TrainingEnd> {
    if epoch + 1 >= spec.epochs {
        return Some(TrainingEnd::AllEpochs);
    }
    let rule = spec.early_stopping.as_ref().filter(|_| has_validation)?;
    early_stop(rule, (0..=epoch).map(|epoch| value(rule.watched(), epoch)))
}

/// Whether the last `patience` evaluations brought no improvement by more than `min_delta`; the first value always is one.
fn early_stop(rule: &EarlyStopping, values: impl Iterator<Item = Option<f64>>) -> Option<TrainingEnd> {
    let mut best: Option<f64> = None;
    let mut stalled = 0;
    for value in values {
        let improved = value.filter(|value| best.is_none_or(|best| rule.metric.improves(*value, best, rule.min_delta)));
        match improved {
            Some(value) => {
                best = Some(value);
                stalled = 0;
            }
            None => stalled += 1,
        }
    }
    (stalled >= rule.patience).then_some(TrainingEnd::EarlyStopped {
        metric: rule.metric,
        patience: rule.patience,
        best,
    })
}
