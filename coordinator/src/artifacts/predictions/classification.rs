//! Of one class for each sample: `label,predicted`, then `probability_{class}` for each class in the order of the model's outputs. Label and prediction are class
//! names.
//!
//! Of more than [`MOST_SCORED_CLASSES`] classes: `probability_label`, then `class_1,probability_1` to `class_10,probability_10`, the
//! likeliest classes in falling order.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap},
};

use firn_core::{
    metrics::{ScoreMetrics, Scored},
    task::{
        ClassificationStatistics,
        classification::{LIKELIEST_CLASSES, MOST_SCORED_CLASSES},
    },
};
use firn_proto::v1alpha1::Prediction;

use super::{ArtifactError, Walk};

/// Scores that are in memory at once: 64 MiB of them.
const MOST_SCORES: u64 = 4 << 20;

/// The class with the highest score; of equals, the first. `None` without scores.
pub fn predicted_class(prediction: &Prediction) -> Option<u32> {
    let (class, _) = scored(prediction, prediction.scores.len()).likeliest()?;
    Some(class)
}

/// As the metrics look at it.
pub(super) fn scored(prediction: &Prediction, classes: usize) -> Scored<'_> {
    Scored {
        label: prediction.label,
        named: &prediction.classes,
        scores: &prediction.scores,
        classes,
    }
}

/// The classes and scores of a prediction, the likeliest first, of equals the first.
fn ranked(prediction: &Prediction) -> Vec<(u32, f64)> {
    let scored = scored(prediction, prediction.scores.len());
    let mut ranked: Vec<(u32, f64)> = scored.by_class().collect();
    ranked.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap_or(Ordering::Equal).then(a.0.cmp(&b.0)));
    ranked
}

pub(super) fn header(classes: &[String]) -> Vec<String> {
    let mut header: Vec<String> = ["index", "sample", "label", "predicted"].map(str::to_owned).to_vec();
    if classes.len() <= MOST_SCORED_CLASSES {
        header.extend(classes.iter().map(|class| format!("probability_{class}")));
    } else {
        header.push("probability_label".to_owned());
        header.extend(
            (1..=LIKELIEST_CLASSES).flat_map(|place| [format!("class_{place}"), format!("probability_{place}")]),
        );
    }
    header
}

pub(super) fn row(prediction: &Prediction, classes: &[String]) -> Vec<String> {
    let name = |class: Option<u32>| {
        let name = class.and_then(|class| classes.get(class as usize));
        name.cloned().unwrap_or_default()
    };
    // `{:?}` is the shortest text that reads back to the same double, with an exponent where that is shorter.
    let number = |score: f64| format!("{score:?}");
    let mut row = vec![
        prediction.index.to_string(),
        prediction.sample.clone(),
        name(Some(prediction.label)),
        name(predicted_class(prediction)),
    ];
    if classes.len() <= MOST_SCORED_CLASSES {
        row.extend(prediction.scores.iter().map(|score| number(*score)));
        return row;
    }
    let ranked = ranked(prediction);
    let of_label = ranked.iter().find(|(class, _)| *class == prediction.label);
    row.push(of_label.map_or_else(String::new, |(_, score)| number(*score)));
    let likeliest = ranked.iter().take(LIKELIEST_CLASSES);
    row.extend(likeliest.flat_map(|(class, score)| [name(Some(*class)), number(*score)]));
    row
}

/// Of the samples one by one, and then of some classes at a time. Where not all scores are kept, classes are not compared.
pub(super) fn metrics(classes: usize, samples: u64, walk: &Walk<'_>) -> Result<BTreeMap<String, f64>, ArtifactError> {
    let mut metrics = ScoreMetrics::new(classes);
    walk(&mut |prediction| metrics.add(&scored(prediction, classes)))?;
    let mut values = metrics.values();
    if classes <= MOST_SCORED_CLASSES {
        let at_once = usize::try_from(MOST_SCORES / samples.max(1)).unwrap_or(1);
        values.extend(metrics.of_columns(at_once, |block| columns(block, walk))?);
    }
    Ok(values
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect())
}

/// The scores of some classes, in the order of the samples.
pub(super) fn columns(classes: &[u32], walk: &Walk<'_>) -> Result<Vec<Vec<f64>>, ArtifactError> {
    let mut columns: Vec<Vec<f64>> = classes.iter().map(|_| Vec::new()).collect();
    walk(&mut |prediction| {
        for (class, column) in classes.iter().zip(&mut columns) {
            column.push(prediction.scores.get(*class as usize).copied().unwrap_or(f64::NAN));
        }
    })?;
    Ok(columns)
}

pub(super) fn statistics(walk: &Walk<'_>) -> Result<ClassificationStatistics, ArtifactError> {
    let mut samples = Vec::new();
    walk(&mut |prediction| samples.extend(predicted_class(prediction).map(|class| (prediction.label, class))))?;
    Ok(ClassificationStatistics::of_samples(samples, 0.0))
}

/// Reads lines back.
pub(super) struct Parser<'a> {
    numbers: HashMap<&'a str, u32>,
    is_whole: bool,
}

impl<'a> Parser<'a> {
    pub(super) fn new(classes: &'a [String]) -> Self {
        Self {
            numbers: (0..)
                .zip(classes)
                .map(|(number, class)| (class.as_str(), number))
                .collect(),
            is_whole: classes.len() <= MOST_SCORED_CLASSES,
        }
    }

    /// `None`: the line is not what [`row`] writes.
    pub(super) fn parse(&self, row: &csv::StringRecord) -> Option<Prediction> {
        let class = |place: usize| self.numbers.get(row.get(place)?).copied();
        let scores = |places: &mut dyn Iterator<Item = usize>| -> Option<Vec<f64>> {
            places.map(|place| row.get(place)?.parse().ok()).collect()
        };
        let mut prediction = Prediction {
            index: row.get(0)?.parse().ok()?,
            sample: row.get(1)?.to_owned(),
            label: class(2)?,
            ..Prediction::default()
        };
        if self.is_whole {
            prediction.scores = scores(&mut (4..row.len()))?;
        } else {
            prediction.scores = scores(&mut (6..row.len()).step_by(2))?;
            prediction.classes = (5..row.len()).step_by(2).map(class).collect::<Option<_>>()?;
        }
        (predicted_class(&prediction) == class(3)).then_some(prediction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_back(line: &[String], classes: &[String]) -> Option<Prediction> {
        Parser::new(classes).parse(&csv::StringRecord::from(line.to_vec()))
    }

    #[test]
    fn a_line_reads_back_to_the_same_numbers() {
        let classes = ["ants", "bees", "wasps"].map(str::to_owned);
        let prediction = Prediction {
            index: 7,
            sample: "bees/1.jpg".to_owned(),
            label: 1,
            scores: vec![0.1, 1.0 / 3.0, 1e-300],
            ..Prediction::default()
        };
        let line = row(&prediction, &classes);
        assert_eq!(line.len(), header(&classes).len());
        assert_eq!(read_back(&line, &classes), Some(prediction));
        let mut other = line.clone();
        other[3] = "ants".to_owned();
        assert_eq!(
            read_back(&other, &classes),
            None,
            "the prediction is not that of the scores"
        );
    }

    #[test]
    fn of_many_classes_the_likeliest_and_the_true_one_are_kept() {
        let classes: Vec<String> = (0..2000).map(|class| format!("c{class}")).collect();
        let named: Vec<u32> = (100..110).chain([5]).collect();
        let scores: Vec<f64> = (0..10)
            .map(|place| 0.09 - f64::from(place) / 1000.0)
            .chain([1e-9])
            .collect();
        let prediction = Prediction {
            label: 5,
            scores,
            classes: named,
            ..Prediction::default()
        };
        let line = row(&prediction, &classes);
        assert_eq!(line.len(), header(&classes).len());
        assert_eq!(line[2..7], ["c5", "c100", "1e-9", "c100", "0.09"].map(str::to_owned));
        let whole = Prediction {
            scores: (0..2000).map(|class| if class == 3 { 0.5 } else { 0.1 }).collect(),
            classes: Vec::new(),
            ..prediction.clone()
        };
        assert_eq!(
            row(&whole, &classes)[2..10],
            ["c5", "c3", "0.1", "c3", "0.5", "c0", "0.1", "c1"].map(str::to_owned)
        );
        assert_eq!(
            read_back(&line, &classes).unwrap().classes,
            (100..110).collect::<Vec<_>>()
        );
    }

    #[test]
    fn of_many_classes_the_kept_scores_tell_what_they_can() {
        let row = Prediction {
            label: 5,
            scores: vec![0.5, 0.3, 1e-9],
            classes: vec![100, 101, 5],
            ..Prediction::default()
        };
        let walk = |each: &mut dyn FnMut(&Prediction)| {
            each(&row);
            Ok(())
        };
        let told = metrics(2000, 1, &walk).unwrap();
        assert_eq!((told["top_2_accuracy"], told["top_3_accuracy"]), (0.0, 1.0));
        assert_eq!(
            (told["log_loss"], told["expected_calibration_error"]),
            (-1e-9f64.ln(), 0.5)
        );
        assert!(!told.contains_key("brier_score") && !told.contains_key("roc_auc"));
    }

    #[test]
    fn blocks_of_classes_give_the_same_as_all_at_once() {
        let rows: Vec<Prediction> = (0..40u32)
            .map(|index| Prediction {
                label: index % 3,
                scores: (0..3).map(|class| f64::from((index * 7 + class * 5) % 11)).collect(),
                ..Prediction::default()
            })
            .collect();
        let walk = |each: &mut dyn FnMut(&Prediction)| {
            rows.iter().for_each(each);
            Ok(())
        };
        let labels: Vec<u32> = rows.iter().map(|row| row.label).collect();
        let scores: Vec<f64> = rows.iter().flat_map(|row| row.scores.clone()).collect();
        let expected = ScoreMetrics::of_matrix(&labels, &scores, 3);
        assert!(expected.contains_key("roc_auc"));
        assert_eq!(metrics(3, 40, &walk).unwrap(), expected);
        assert_eq!(metrics(3, MOST_SCORES, &walk).unwrap(), expected, "one class at a time");
    }
}
