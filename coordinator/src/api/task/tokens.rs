//! Tags of words: what a rank reports of a text, and how words and types of entities are shown.

use firn_core::{
    metrics::{ClassCounts, TagSet},
    task::TokenStatistics,
};
use firn_proto::v1alpha1 as proto;
use serde_json::{Map, Value, json};
use tonic::Status;

use super::classification::{documents, messages};
use crate::{api::refusal::invalid, artifacts::predictions::tokens};

/// The statistics of a report's predictions.
pub(super) fn statistics(report: &proto::EvaluationReport, tags: &[String]) -> Result<TokenStatistics, Status> {
    let set = TagSet::of(tags);
    let mut statistics = TokenStatistics::new(&set);
    statistics.loss_sum = report.loss_sum;
    for (position, prediction) in report.predictions.iter().enumerate() {
        let wrong = |(name, expected): (&str, String)| {
            let field = format!("evaluation.predictions[{position}].{name}");
            invalid(field, format!("expected {expected}"))
        };
        check(prediction, tags.len()).map_err(wrong)?;
        tokens::add(&mut statistics, &set, prediction);
    }
    Ok(statistics)
}

/// The first field that cannot be, and what it should be.
fn check(prediction: &proto::Prediction, tags: usize) -> Result<(), (&'static str, String)> {
    let (words, places) = (prediction.words.len(), &prediction.places);
    let all_tags = |found: &[u32]| found.iter().all(|tag| (*tag as usize) < tags);
    let require = |is_right: bool, field, expected: String| is_right.then_some(()).ok_or((field, expected));
    let labels = &prediction.labels;
    require(
        labels.len() == words && all_tags(labels),
        "labels",
        format!("{words} tags below {tags}, one a word, found {labels:?}"),
    )?;
    let is_rising = places.windows(2).all(|pair| pair[0] < pair[1]);
    let is_within = places.last().is_some_and(|last| (*last as usize) < words);
    require(
        is_rising && is_within,
        "places",
        format!("some places below {words} in rising order, found {places:?}"),
    )?;
    let (predicted, classes) = (places.len(), &prediction.classes);
    require(
        classes.len() == predicted && all_tags(classes),
        "classes",
        format!("{predicted} tags below {tags}, one a place, found {classes:?}"),
    )?;
    let scores = &prediction.scores;
    let are_probabilities = scores.iter().all(|score| (0.0..=1.0).contains(score));
    require(
        scores.len() == 2 * predicted && are_probabilities,
        "scores",
        format!("{} probabilities, two a place, found {scores:?}", 2 * predicted),
    )
}

/// How many words were scored; of tags alone.
pub(super) fn words(scored: u64, right: u64, left_out: u64) -> proto::WordCounts {
    proto::WordCounts {
        scored,
        right,
        left_out,
    }
}

/// Fields of an evaluation in `metrics.json`: `words`, and `perClass`, each type of entity with its own metrics.
pub(super) fn document(
    [scored, right, left_out]: [u64; 3],
    counts: &[ClassCounts],
    tags: &[String],
) -> Map<String, Value> {
    let set = TagSet::of(tags);
    let words = json!({"scored": scored, "right": right, "leftOut": left_out});
    Map::from_iter([
        ("words".to_owned(), words),
        ("perClass".to_owned(), documents(set.types(), counts)),
    ])
}

/// Adds the metrics of types of entities to an evaluation.
pub(super) fn show(shown: &mut proto::Evaluation, counts: &[ClassCounts], tags: &[String]) {
    shown.per_class = messages(TagSet::of(tags).types(), counts);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prediction() -> proto::Prediction {
        proto::Prediction {
            words: ["Ada", "was", "here"].map(str::to_owned).to_vec(),
            labels: vec![0, 1, 1],
            places: vec![0, 2],
            classes: vec![0, 1],
            scores: vec![0.75, 0.5, 0.75, 0.5],
            ..Default::default()
        }
    }

    fn told(prediction: proto::Prediction) -> Result<TokenStatistics, Status> {
        let report = proto::EvaluationReport {
            samples: 1,
            predictions: vec![prediction],
            loss_sum: 0.5,
            ..Default::default()
        };
        statistics(&report, &["B-PER", "O"].map(str::to_owned))
    }

    #[test]
    fn predictions_that_cannot_be_are_refused_by_name() {
        let counted = told(prediction()).unwrap();
        assert_eq!((counted.words, counted.left_out, counted.loss_sum), (2, 1, 0.5));
        let message = |change: fn(&mut proto::Prediction)| {
            let mut changed = prediction();
            change(&mut changed);
            told(changed).unwrap_err().message().to_owned()
        };
        let of = |field: &str, rest: &str| format!("evaluation.predictions[0].{field}: expected {rest}");
        assert_eq!(
            message(|found| found.labels = vec![0, 2, 1]),
            of("labels", "3 tags below 2, one a word, found [0, 2, 1]")
        );
        assert_eq!(
            message(|found| found.places = vec![0, 3]),
            of("places", "some places below 3 in rising order, found [0, 3]")
        );
        assert_eq!(
            message(|found| found.places.clear()),
            of("places", "some places below 3 in rising order, found []")
        );
        assert_eq!(
            message(|found| found.classes = vec![0]),
            of("classes", "2 tags below 2, one a place, found [0]")
        );
        assert_eq!(
            message(|found| found.scores[1] = 1.5),
            of("scores", "4 probabilities, two a place, found [0.75, 1.5, 0.75, 0.5]")
        );
    }
}
