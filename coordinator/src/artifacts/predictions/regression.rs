//! Of numbers: `value_{target},prediction_{target}` for each target in the order of the model's outputs, in the units of the data.

use std::collections::BTreeMap;

use firn_core::{
    metrics::targets,
    task::{
        RegressionStatistics,
        regression::{RegressionSamples, Target},
    },
};
use firn_proto::v1alpha1::Prediction;

use super::{ArtifactError, Walk};

pub(super) fn header(targets: &[Target]) -> Vec<String> {
    let of_target = |target: &Target| [format!("value_{}", target.name), format!("prediction_{}", target.name)];
    let first = ["index", "sample"].map(str::to_owned).into_iter();
    first.chain(targets.iter().flat_map(of_target)).collect()
}

pub(super) fn row(prediction: &Prediction) -> Vec<String> {
    // `{:?}` is the shortest text that reads back to the same double, with an exponent where that is shorter.
    let pairs = prediction.values.iter().zip(&prediction.scores);
    let numbers = pairs.flat_map(|(value, predicted)| [format!("{value:?}"), format!("{predicted:?}")]);
    let first = [prediction.index.to_string(), prediction.sample.clone()].into_iter();
    first.chain(numbers).collect()
}

/// `None`: the line is not what [`row`] writes.
pub(super) fn parse(row: &csv::StringRecord, targets: usize) -> Option<Prediction> {
    let numbers = |from: usize| -> Option<Vec<f64>> {
        let places = (from..row.len()).step_by(2);
        places.map(|place| row.get(place)?.parse().ok()).collect()
    };
    let prediction = Prediction {
        index: row.get(0)?.parse().ok()?,
        sample: row.get(1)?.to_owned(),
        values: numbers(2)?,
        scores: numbers(3)?,
        ..Prediction::default()
    };
    (prediction.values.len() == targets && prediction.scores.len() == targets).then_some(prediction)
}

/// Target after target, so that no more than one's pairs are in memory.
pub(super) fn metrics(targets: usize, walk: &Walk<'_>) -> Result<BTreeMap<String, f64>, ArtifactError> {
    let mut of_targets = Vec::with_capacity(targets);
    for target in 0..targets {
        let mut pairs = Vec::new();
        walk(&mut |prediction| {
            let value = prediction.values.get(target).copied();
            pairs.extend(value.zip(prediction.scores.get(target).copied()));
        })?;
        of_targets.push(targets::of_pairs(&pairs));
    }
    Ok(targets::mean(&of_targets))
}

pub(super) fn statistics(walk: &Walk<'_>) -> Result<RegressionStatistics, ArtifactError> {
    let mut samples = RegressionSamples::default();
    walk(&mut |prediction| samples.add(&prediction.values, &prediction.scores))?;
    Ok(samples.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str) -> Target {
        Target {
            name: name.to_owned(),
            mean: 0.0,
            std: 1.0,
        }
    }

    #[test]
    fn a_line_reads_back_to_the_same_numbers() {
        let prediction = Prediction {
            index: 7,
            sample: "homes.csv:9".to_owned(),
            values: vec![452_600.0, 1.0 / 3.0],
            scores: vec![-0.1, 1e-300],
            ..Prediction::default()
        };
        let header = header(&[target("price"), target("age")]);
        assert_eq!(
            header,
            [
                "index",
                "sample",
                "value_price",
                "prediction_price",
                "value_age",
                "prediction_age"
            ]
        );
        let line = csv::StringRecord::from(row(&prediction));
        assert_eq!(line.len(), header.len());
        assert_eq!(parse(&line, 2), Some(prediction));
        assert_eq!(parse(&line, 1), None);
        assert_eq!(parse(&csv::StringRecord::from(vec!["7", "a", "1", "much"]), 1), None);
    }

    #[test]
    fn ranks_are_correlated_target_by_target_and_averaged() {
        let rows = [[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]].map(|values| Prediction {
            values: values.to_vec(),
            scores: vec![values[0] * values[0], -values[1]],
            ..Prediction::default()
        });
        let walk = |each: &mut dyn FnMut(&Prediction)| {
            rows.iter().for_each(each);
            Ok(())
        };
        // |1 - 1| / 1, |2 - 4| / 2, |3 - 9| / 3; and 2 for each of the other target.
        assert_eq!(
            metrics(2, &walk).unwrap(),
            BTreeMap::from([("spearman".to_owned(), 0.0), ("mape".to_owned(), 1.5)])
        );
        let told = statistics(&walk).unwrap();
        assert_eq!((told.samples, told.targets[1].samples), (3, 3));
        assert_eq!(told.check(2), Ok(()));
    }
}
