//! Where the metrics of a split lie: what the [bootstrap] finds in its predictions, on all processors.

use std::{collections::BTreeMap, num::NonZero, thread};

use firn_core::{
    metrics::{
        Formula, LANES, METRICS, MetricName, RedrawnClasses, RedrawnLabels, RedrawnNumbers, ScoreMetrics, Thresholds,
        bootstrap::{self, Intervals, MOST_CLASSES, Redrawn, Resample},
    },
    state::SplitName,
    task::{Detail, Metrics, Schema, Task, regression::Distance},
};

use super::{ArtifactError, Walk, classification::scored, multi_label::labelled};

/// Samples that are drawn again, at most, or values of a regression: each costs about 50 ns of one processor in each of a thousand resamples. Of more,
/// no metric has an interval.
const MOST_REDRAWN: usize = 1 << 20;
/// Scores that are drawn again, at most: samples times classes, or labels. Each costs about a nanosecond of one processor in each resample, and 8 bytes of
/// memory. Of more, metrics that compare samples class by class have no intervals.
const MOST_COMPARED: usize = 1 << 24;
/// Memory for what is drawn, of all processors together: [`LANES`] bytes a sample each.
const MOST_DRAWN_BYTES: usize = 512 << 20;
/// Scores that are in memory at once, before only their order is.
const MOST_SCORES: usize = 4 << 20;

/// The intervals of the metrics of a split. The loss of numbers has one where it is known what an error costs. `None` of no samples, and of more than
/// can be drawn again; [`missing`] says so.
///
/// # Errors
/// When the predictions cannot be read.
pub fn of(
    (task, distance): (Task, Option<Distance>),
    schema: Schema<'_>,
    seed: u64,
    walk: &Walk<'_>,
) -> Result<Option<Intervals>, ArtifactError> {
    let mut samples: usize = 0;
    walk(&mut |_| samples += 1)?;
    let redrawn = match task {
        Task::Classification | Task::Tokens | Task::MultiLabel(_) => samples,
        Task::Regression => samples.saturating_mul(schema.targets.len().max(1)),
    };
    if samples == 0 || redrawn > MOST_REDRAWN {
        return Ok(None);
    }
    let drawn = match task {
        Task::Classification => drawn(&classes(schema.classes.len(), samples, walk)?, seed),
        Task::Regression => drawn(&numbers(distance, schema, walk)?, seed),
        Task::MultiLabel(own) => drawn(&labels((schema.classes.len(), samples), own.of(schema), walk)?, seed),
        Task::Tokens => drawn(&super::tokens::redrawn(schema.classes, walk)?, seed),
    };
    Ok(Some(bootstrap::intervals(
        seed,
        &drawn,
        &task.watchable(schema.classes),
    )))
}

fn classes(classes: usize, samples: usize, walk: &Walk<'_>) -> Result<RedrawnClasses, ArtifactError> {
    let mut redrawn = RedrawnClasses::new(classes);
    walk(&mut |prediction| redrawn.add(&scored(prediction, classes)))?;
    let wanted: Vec<u32> = ScoreMetrics::wanted(classes).collect();
    if wanted.len().saturating_mul(samples) <= MOST_COMPARED {
        for block in wanted.chunks(at_once(samples)) {
            let columns = super::classification::columns(block, walk)?;
            let columns = block.iter().zip(columns);
            columns.for_each(|(class, scores)| redrawn.add_column(*class, scores));
        }
    }
    Ok(redrawn)
}

fn labels(
    (labels, samples): (usize, usize),
    thresholds: Thresholds<'_>,
    walk: &Walk<'_>,
) -> Result<RedrawnLabels, ArtifactError> {
    let mut redrawn = RedrawnLabels::new(labels);
    walk(&mut |prediction| redrawn.add(&labelled(prediction, thresholds)))?;
    let all: Vec<u32> = (0..).take(labels).collect();
    if labels.saturating_mul(samples) <= MOST_COMPARED {
        for block in all.chunks(at_once(samples)) {
            let columns = super::multi_label::columns(block, walk)?;
            columns.iter().for_each(|column| redrawn.add_label(column));
        }
    }
    Ok(redrawn)
}

/// Columns of so many samples that are in memory at once.
fn at_once(samples: usize) -> usize {
    (MOST_SCORES / samples.max(1)).max(1)
}

fn numbers(distance: Option<Distance>, schema: Schema<'_>, walk: &Walk<'_>) -> Result<RedrawnNumbers, ArtifactError> {
    let (mut losses, mut pairs) = (Vec::new(), vec![Vec::new(); schema.targets.len()]);
    walk(&mut |prediction| {
        let (values, predictions) = (&prediction.values, &prediction.scores);
        let loss = distance.map(|distance| distance.of_sample(schema.targets, values, predictions));
        losses.push(loss.unwrap_or(f64::NAN));
        for (pairs, (value, predicted)) in pairs.iter_mut().zip(values.iter().zip(predictions)) {
            pairs.push((*value, *predicted));
        }
    })?;
    Ok(RedrawnNumbers::new(losses, pairs))
}

/// What comes of all resamples. What comes out does not depend on the number of processors.
fn drawn(split: &dyn Redrawn, seed: u64) -> Vec<Resample> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let fitting = MOST_DRAWN_BYTES / split.samples().saturating_mul(LANES).max(1);
    let threads = processors.min(fitting).max(1);
    let part = |first: usize| {
        let blocks = (0..bootstrap::blocks()).skip(first).step_by(threads);
        blocks
            .flat_map(|block| bootstrap::block(split, seed, block))
            .collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let parts: Vec<_> = (0..threads).map(|first| scope.spawn(move || part(first))).collect();
        let parts = parts.into_iter();
        parts
            .flat_map(|part| part.join().expect("drawing again does not panic"))
            .collect()
    })
}

/// Why metrics of a split have no interval, by name; empty: all have one, or it is no split that is drawn again.
pub fn missing(split: SplitName, metrics: &Metrics, schema: Schema<'_>) -> BTreeMap<String, String> {
    if split != SplitName::Test {
        return BTreeMap::new();
    }
    let samples = usize::try_from(metrics.samples).unwrap_or(usize::MAX);
    let has_interval = |name: &str| {
        let known = metrics.intervals.as_ref();
        known.is_some_and(|known| known.by_name.contains_key(name))
    };
    let names = metrics.values.keys().filter(|name| !has_interval(name));
    let reason = |name: &String| (name.clone(), reason(name, samples, &metrics.detail, schema));
    names.map(reason).chain(of_many_classes(metrics, schema)).collect()
}

/// Where there are too many classes for metrics of each.
fn of_many_classes(metrics: &Metrics, schema: Schema<'_>) -> Vec<(String, String)> {
    let classes = match &metrics.detail {
        Detail::Classification { .. } | Detail::MultiLabel { .. } => schema.classes.len(),
        Detail::Tokens { entities, .. } => entities.len(),
        Detail::Regression { .. } => 0,
    };
    if classes <= MOST_CLASSES || metrics.samples == 0 {
        return Vec::new();
    }
    let of_one = METRICS
        .iter()
        .filter(|metric| matches!(metric.formula, Formula::OneClass(_)));
    let reason = format!("those of {classes} classes by themselves are not recorded, of {MOST_CLASSES} at most");
    of_one.map(|metric| (metric.name.to_owned(), reason.clone())).collect()
}

fn reason(name: &str, samples: usize, detail: &Detail, schema: Schema<'_>) -> String {
    let (numbers, columns) = match detail {
        Detail::Classification { .. } => (1, ScoreMetrics::wanted(schema.classes.len()).len()),
        Detail::MultiLabel { .. } => (1, schema.classes.len()),
        Detail::Regression { .. } => (schema.targets.len().max(1), 0),
        Detail::Tokens { .. } => (1, 0),
    };
    let formula = MetricName::find(name).map(|metric| metric.metric().formula);
    let compares = matches!(formula, Some(Formula::OneVsRest(..) | Formula::OneVsOne(_)));
    let (all, scores) = (samples.saturating_mul(numbers), samples.saturating_mul(columns));
    if all > MOST_REDRAWN {
        let what = if numbers == 1 { "samples" } else { "values" };
        format!("{all} {what} are not drawn again, {MOST_REDRAWN} at most")
    } else if compares && scores > MOST_COMPARED {
        format!("{scores} scores of {samples} samples are not drawn again, {MOST_COMPARED} at most")
    } else {
        "it is infinite, or undefined in most resamples, or an earlier build scored it".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(samples: u64, values: &[&str]) -> Metrics {
        Metrics {
            samples,
            values: values.iter().map(|name| ((*name).to_owned(), 0.5)).collect(),
            detail: Detail::Classification { confusion: Vec::new() },
            intervals: None,
            thresholds: Vec::new(),
        }
    }

    #[test]
    fn why_a_metric_has_no_interval_is_told() {
        let classes: Vec<String> = (0..200).map(|class| class.to_string()).collect();
        let schema = Schema::of_classes(&classes);
        let told = missing(SplitName::Test, &metrics(100_000, &["accuracy", "roc_auc"]), schema);
        assert_eq!(
            told["roc_auc"],
            "20000000 scores of 100000 samples are not drawn again, 16777216 at most"
        );
        assert!(told["accuracy"].starts_with("it is infinite"));
        assert_eq!(
            told["f1"],
            "those of 200 classes by themselves are not recorded, of 100 at most"
        );
        let told = missing(SplitName::Test, &metrics(2_000_000, &["accuracy"]), schema);
        assert_eq!(told["accuracy"], "2000000 samples are not drawn again, 1048576 at most");
        let told = missing(
            SplitName::Test,
            &metrics(100_000, &["roc_auc"]),
            Schema::of_classes(&classes[..100]),
        );
        assert!(
            told["roc_auc"].starts_with("it is infinite"),
            "100,000 samples of 100 classes are drawn again"
        );
        assert!(!told.contains_key("f1"));
        assert!(missing(SplitName::Test, &metrics(10, &[]), Schema::of_classes(&classes[..2])).is_empty());
    }
}
