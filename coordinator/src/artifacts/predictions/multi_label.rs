//! Of labels that do not exclude each other: `label_{name},predicted_{name},probability_{name}` for each label in the order of the model's outputs;
//! the first two are 0 or 1.

use std::collections::BTreeMap;

use firn_core::{
    metrics::{LabelMetrics, Labelled, Thresholds, best_threshold},
    task::MultiLabelStatistics,
};
use firn_proto::v1alpha1::Prediction;

use super::{ArtifactError, Walk};

/// (is true, probability) pairs that are in memory at once: 64 MiB of them.
const MOST_PAIRS: u64 = 4 << 20;

/// As the metrics look at it.
pub fn labelled<'a>(prediction: &'a Prediction, thresholds: Thresholds<'a>) -> Labelled<'a> {
    Labelled {
        labels: &prediction.labels,
        scores: &prediction.scores,
        thresholds,
    }
}

pub(super) fn header(labels: &[String]) -> Vec<String> {
    let of_label = |label: &String| {
        [
            format!("label_{label}"),
            format!("predicted_{label}"),
            format!("probability_{label}"),
        ]
    };
    let first = ["index", "sample"].map(str::to_owned).into_iter();
    first.chain(labels.iter().flat_map(of_label)).collect()
}

pub(super) fn row(prediction: &Prediction, thresholds: Thresholds<'_>) -> Vec<String> {
    let flag = |flag: bool| if flag { "1" } else { "0" }.to_owned();
    let sample = labelled(prediction, thresholds);
    // `{:?}` is the shortest text that reads back to the same double, with an exponent where that is shorter.
    let of_label = |((is_true, is_predicted), score): ((bool, bool), &f64)| {
        [flag(is_true), flag(is_predicted), format!("{score:?}")]
    };
    let of_labels = sample.by_label().zip(sample.scores).flat_map(of_label);
    let first = [prediction.index.to_string(), prediction.sample.clone()].into_iter();
    first.chain(of_labels).collect()
}

/// `None`: the line is not what [`row`] writes.
pub(super) fn parse(row: &csv::StringRecord, labels: usize, thresholds: Thresholds<'_>) -> Option<Prediction> {
    let flag = |text: &str| match text {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    };
    let mut prediction = Prediction {
        index: row.get(0)?.parse().ok()?,
        sample: row.get(1)?.to_owned(),
        ..Prediction::default()
    };
    let mut predicted = Vec::with_capacity(labels);
    for (label, place) in (0..).zip((2..row.len()).step_by(3)) {
        if flag(row.get(place)?)? {
            prediction.labels.push(label);
        }
        predicted.push(flag(row.get(place + 1)?)?);
        prediction.scores.push(row.get(place + 2)?.parse().ok()?);
    }
    let follows = labelled(&prediction, thresholds)
        .by_label()
        .map(|(_, is_predicted)| is_predicted);
    let is_whole = follows.eq(predicted) && prediction.scores.len() == labels;
    is_whole.then_some(prediction)
}

/// Of the samples one by one, and then of some labels at a time.
pub(super) fn metrics(
    (labels, thresholds): (usize, Thresholds<'_>),
    samples: u64,
    walk: &Walk<'_>,
) -> Result<BTreeMap<String, f64>, ArtifactError> {
    let mut metrics = LabelMetrics::default();
    walk(&mut |prediction| metrics.add(&labelled(prediction, thresholds)))?;
    each_column(labels, samples, walk, &mut |_, column| metrics.add_label(column))?;
    let values = metrics.values().into_iter();
    Ok(values.map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Of each label the threshold that gives the highest F1, or its own, where none is better than another.
pub(super) fn tuned(
    (labels, thresholds): (usize, Thresholds<'_>),
    samples: u64,
    walk: &Walk<'_>,
) -> Result<Vec<f64>, ArtifactError> {
    let mut tuned = Vec::with_capacity(labels);
    each_column(labels, samples, walk, &mut |label, column| {
        tuned.push(best_threshold(column).unwrap_or_else(|| thresholds.of(label)));
    })?;
    Ok(tuned)
}

/// Whether a sample has the label, and its probability.
type Scored = (bool, f64);

/// Shows each label with its column, in order; as many at once are in memory as may be.
fn each_column(
    labels: usize,
    samples: u64,
    walk: &Walk<'_>,
    each: &mut dyn FnMut(usize, &[Scored]),
) -> Result<(), ArtifactError> {
    let all: Vec<u32> = (0..).take(labels).collect();
    let at_once = usize::try_from(MOST_PAIRS / samples.max(1)).unwrap_or(1).max(1);
    for block in all.chunks(at_once) {
        for (label, column) in block.iter().zip(columns(block, walk)?) {
            each(*label as usize, &column);
        }
    }
    Ok(())
}

/// Of some labels, whether each sample has it, and its probability, in the order of the samples.
pub(super) fn columns(labels: &[u32], walk: &Walk<'_>) -> Result<Vec<Vec<Scored>>, ArtifactError> {
    let mut columns: Vec<Vec<Scored>> = labels.iter().map(|_| Vec::new()).collect();
    walk(&mut |prediction| {
        for (label, column) in labels.iter().zip(&mut columns) {
            let score = prediction.scores.get(*label as usize).copied().unwrap_or(f64::NAN);
            column.push((prediction.labels.contains(label), score));
        }
    })?;
    Ok(columns)
}

pub(super) fn statistics(
    (labels, thresholds): (usize, Thresholds<'_>),
    walk: &Walk<'_>,
) -> Result<MultiLabelStatistics, ArtifactError> {
    let mut statistics = MultiLabelStatistics::new(labels);
    walk(&mut |prediction| statistics.add(labelled(prediction, thresholds).by_label()))?;
    Ok(statistics)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Thresholds<'static> = Thresholds::Same(0.5);

    fn prediction(labels: &[u32], scores: &[f64]) -> Prediction {
        Prediction {
            index: 7,
            sample: "films.csv:9".to_owned(),
            labels: labels.to_vec(),
            scores: scores.to_vec(),
            ..Prediction::default()
        }
    }

    #[test]
    fn a_line_reads_back_to_the_same_numbers() {
        let prediction = prediction(&[1], &[1.0 / 3.0, 0.5]);
        let header = header(&["drama", "war"].map(str::to_owned));
        assert_eq!(
            header[2..],
            [
                "label_drama",
                "predicted_drama",
                "probability_drama",
                "label_war",
                "predicted_war",
                "probability_war"
            ]
        );
        let line = row(&prediction, HALF);
        assert_eq!(line[2..], ["0", "0", "0.3333333333333333", "1", "1", "0.5"]);
        let record = |line: &[String]| csv::StringRecord::from(line.to_vec());
        assert_eq!(parse(&record(&line), 2, HALF), Some(prediction));
        assert_eq!(parse(&record(&line), 3, HALF), None);
        let mut other = line.clone();
        other[6] = "0".to_owned();
        assert_eq!(
            parse(&record(&other), 2, HALF),
            None,
            "the prediction is not that of the probability"
        );
        other[6] = "yes".to_owned();
        assert_eq!(parse(&record(&other), 2, HALF), None);
    }

    #[test]
    fn blocks_of_labels_give_the_same_as_all_at_once() {
        let rows: Vec<Prediction> = (0..40u32)
            .map(|index| {
                let labels: Vec<u32> = (0..3).filter(|label| (index >> label) & 1 == 1).collect();
                let scores = (0..3u32).map(|label| f64::from((index * 7 + label * 5) % 11) / 10.0);
                prediction(&labels, &scores.collect::<Vec<_>>())
            })
            .collect();
        let walk = |each: &mut dyn FnMut(&Prediction)| {
            rows.iter().for_each(each);
            Ok(())
        };
        let at_once = metrics((3, HALF), 40, &walk).unwrap();
        assert_eq!(
            metrics((3, HALF), MOST_PAIRS, &walk).unwrap(),
            at_once,
            "one label at a time"
        );
        assert!(at_once.contains_key("roc_auc") && at_once.contains_key("f1_samples"));
        let told = statistics((3, HALF), &walk).unwrap();
        assert_eq!((told.samples, told.labels[0].labelled), (40, 20));
        let chosen = tuned((3, HALF), 40, &walk).unwrap();
        assert_eq!(tuned((3, HALF), MOST_PAIRS, &walk).unwrap(), chosen);
        let better = statistics((3, Thresholds::Own(&chosen)), &walk).unwrap();
        let f1 = |statistics: &MultiLabelStatistics, label: usize| statistics.labels[label].f1();
        assert!(chosen != [0.5; 3] && (0..3).all(|label| f1(&better, label) >= f1(&told, label)));
    }

    #[test]
    fn a_line_says_what_is_predicted_by_the_threshold_of_each_label() {
        let thresholds = Thresholds::Own(&[0.25, 0.75]);
        let line = row(&prediction(&[1], &[0.3, 0.7]), thresholds);
        assert_eq!(line[2..], ["0", "1", "0.3", "1", "0", "0.7"]);
        let line = csv::StringRecord::from(line);
        assert!(parse(&line, 2, thresholds).is_some());
        assert_eq!(parse(&line, 2, HALF), None, "it was predicted by others");
    }

    #[test]
    fn a_label_that_no_sample_has_keeps_the_threshold_of_the_job() {
        let walk = |each: &mut dyn FnMut(&Prediction)| {
            each(&prediction(&[0], &[0.3, 0.7]));
            Ok(())
        };
        assert_eq!(tuned((2, Thresholds::Same(0.4)), 1, &walk).unwrap(), [0.3, 0.4]);
    }
}
