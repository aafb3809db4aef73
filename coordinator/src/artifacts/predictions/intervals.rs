//! Where the metrics of a split lie: what the [bootstrap] finds in its predictions, on all processors.

use std::{collections::BTreeMap, num::NonZero, thread};

use firn_core::{
    metrics::{
        RedrawnClasses, RedrawnLabels, RedrawnNumbers, ScoreMetrics, Thresholds,
        bootstrap::{self, Intervals, RESAMPLES, Redrawn},
    },
    task::{Schema, Task, regression::Distance},
};

use super::{ArtifactError, Walk, classification::scored, multi_label::labelled};

/// Numbers that are drawn again in one resample, at most: some seconds of one processor. Where all classes of all samples are more, metrics that
/// compare samples class by class have no intervals; where the samples alone are more, or all numbers of a regression, or all labels, none has.
const MOST_REDRAWN: usize = 1 << 20;

/// The intervals of the metrics of a split. The loss of numbers has one where it is known what an error costs. `None` of no samples, and of more than
/// can be drawn again in some seconds.
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
    let numbers_a_sample = match task {
        Task::Classification | Task::Tokens => 1,
        Task::Regression => schema.targets.len().max(1),
        Task::MultiLabel(_) => schema.classes.len().max(1),
    };
    if samples == 0 || samples.saturating_mul(numbers_a_sample) > MOST_REDRAWN {
        return Ok(None);
    }
    let drawn = match task {
        Task::Classification => drawn(&classes(schema.classes.len(), samples, walk)?, seed),
        Task::Regression => drawn(&numbers(distance, schema, walk)?, seed),
        Task::MultiLabel(own) => drawn(&labels(schema.classes.len(), own.of(schema), walk)?, seed),
        Task::Tokens => drawn(&super::tokens::redrawn(schema.classes, walk)?, seed),
    };
    Ok(Some(bootstrap::intervals(seed, &drawn)))
}

fn classes(classes: usize, samples: usize, walk: &Walk<'_>) -> Result<RedrawnClasses, ArtifactError> {
    let mut redrawn = RedrawnClasses::new(classes);
    walk(&mut |prediction| redrawn.add(&scored(prediction, classes)))?;
    let wanted = ScoreMetrics::wanted(classes);
    if wanted.len().saturating_mul(samples) <= MOST_REDRAWN {
        let wanted: Vec<u32> = wanted.collect();
        let columns = super::classification::columns(&wanted, walk)?;
        let columns = wanted.into_iter().zip(columns);
        columns.for_each(|(class, scores)| redrawn.add_column(class, scores));
    }
    Ok(redrawn)
}

/// All of them fit in memory: there are no more than can be drawn again.
fn labels(labels: usize, thresholds: Thresholds<'_>, walk: &Walk<'_>) -> Result<RedrawnLabels, ArtifactError> {
    let mut redrawn = RedrawnLabels::new(labels);
    walk(&mut |prediction| redrawn.add(&labelled(prediction, thresholds)))?;
    let all: Vec<u32> = (0..).take(labels).collect();
    for column in super::multi_label::columns(&all, walk)? {
        redrawn.add_label(&column);
    }
    Ok(redrawn)
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

/// The metrics of all resamples. What comes out does not depend on the number of processors.
fn drawn(split: &dyn Redrawn, seed: u64) -> Vec<BTreeMap<&'static str, f64>> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let part = |first: usize| {
        let resamples = (0..RESAMPLES).skip(first).step_by(processors);
        resamples
            .map(|resample| bootstrap::resample(split, seed, resample))
            .collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let parts: Vec<_> = (0..processors).map(|first| scope.spawn(move || part(first))).collect();
        let parts = parts.into_iter();
        parts
            .flat_map(|part| part.join().expect("drawing again does not panic"))
            .collect()
    })
}
