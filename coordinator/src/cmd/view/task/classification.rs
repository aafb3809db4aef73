//! Classes: how many samples each split has of them, precision and recall of each, and the confusion matrix.

use firn_core::metrics::watched;
use firn_proto::v1alpha1::{ClassMetrics, DatasetSummary, Evaluation, JobStatus, SplitManifest};
use serde_json::{Map, Value, json};

use crate::cmd::view::{
    humanise::{self, metric},
    report::interval,
    table::table,
};

pub(super) const HEADLINES: [&str; 4] = ["loss", "accuracy", "f1_macro", "roc_auc"];

/// More classes make a matrix that no terminal shows well; it is in `-o json`.
const LARGEST_CONFUSION_MATRIX: usize = 12;
/// Classes that are listed one by one.
const CLASSES_LISTED: usize = 64;

/// Classes that are named when the data is found; `firn get` lists more.
const CLASSES_NAMED: usize = 20;
/// Characters of a class name that are shown there.
const NAME_SHOWN: usize = 40;

/// How many classes there are: not all of many are listed.
fn class_count(dataset: &DatasetSummary) -> usize {
    dataset.classes.len().max(dataset.class_count as usize)
}

pub(super) fn labels(dataset: &DatasetSummary) -> String {
    let classes = class_count(dataset);
    let noun = if classes == 1 { "class" } else { "classes" };
    format!("{classes} {noun}")
}

/// `classes: ants 123/50, bees 121/50 (train/validation)`: wrong classes are seen before anything is learned.
pub(super) fn label_line(dataset: &DatasetSummary) -> Option<String> {
    let counts = |class: usize| {
        let counts = dataset.splits.iter().filter_map(|split| split.class_counts.get(class));
        counts
            .map(|count| humanise::count(*count))
            .collect::<Vec<_>>()
            .join("/")
    };
    let named = dataset.classes.iter().take(CLASSES_NAMED).enumerate();
    let mut names: Vec<String> = named
        .map(|(class, name)| format!("{} {}", shown(name), counts(class)))
        .collect();
    if names.is_empty() {
        return None;
    }
    let more = class_count(dataset) - names.len();
    if more > 0 {
        names.push(format!("and {} more", humanise::count(more as u64)));
    }
    let splits: Vec<&str> = dataset.splits.iter().map(|split| split.split.as_str()).collect();
    Some(format!("classes: {} ({})", names.join(", "), splits.join("/")))
}

/// A name on one line, in which control characters are seen; a long one is cut.
fn shown(name: &str) -> String {
    let mut shown = String::new();
    for character in name.chars().take(NAME_SHOWN) {
        match character.is_control() {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    if name.chars().nth(NAME_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

pub(super) fn label_table(dataset: &DatasetSummary) -> String {
    let mut headers = vec!["CLASS".to_owned()];
    headers.extend(dataset.splits.iter().map(|split| split.split.to_uppercase()));
    let per_class = |split: &SplitManifest, class: usize| {
        split
            .class_counts
            .get(class)
            .map_or_else(|| "-".to_owned(), u64::to_string)
    };
    let rows = dataset
        .classes
        .iter()
        .take(CLASSES_LISTED)
        .enumerate()
        .map(|(index, class)| {
            std::iter::once(class.clone())
                .chain(dataset.splits.iter().map(|split| per_class(split, index)))
                .collect()
        });
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    let mut text = table(&headers, rows.collect(), 1);
    let more = class_count(dataset).saturating_sub(dataset.classes.len().min(CLASSES_LISTED));
    if more > 0 {
        text.push_str(&format!("and {more} more classes (-o json lists all)\n"));
    }
    text
}

pub(super) fn label_document(dataset: &DatasetSummary) -> Map<String, Value> {
    Map::from_iter([
        ("classCount".to_owned(), class_count(dataset).into()),
        ("classes".to_owned(), json!(dataset.classes)),
    ])
}

pub(super) fn tables(status: &JobStatus, evaluation: &Evaluation) -> Vec<String> {
    let classes = (!evaluation.per_class.is_empty()).then(|| class_table(evaluation, "CLASS"));
    classes.into_iter().chain(confusion_table(status, evaluation)).collect()
}

/// Precision, recall and F1 of each class, or of what else is called so, and where the F1 lies if that is known.
pub(super) fn class_table(evaluation: &Evaluation, what: &str) -> String {
    let listed = evaluation.per_class.iter().take(CLASSES_LISTED);
    let mut rows: Vec<Vec<String>> = listed
        .map(|class| {
            vec![
                class.class.clone(),
                metric(class.precision),
                metric(class.recall),
                metric(class.f1),
                class.support.to_string(),
            ]
        })
        .collect();
    let title = format!("{what} ({})", evaluation.split.to_uppercase());
    let mut headers = [title.as_str(), "PRECISION", "RECALL", "F1", "SUPPORT"]
        .map(str::to_owned)
        .to_vec();
    let intervals = evaluation.intervals.as_ref();
    let names: Vec<String> = rows.iter().map(|row| watched::name("f1", &row[0])).collect();
    if let Some(known) = intervals.filter(|known| names.iter().any(|name| known.metrics.contains_key(name))) {
        headers.push(format!("{}% INTERVAL OF F1", known.level * 100.0));
        let with_interval = rows.iter_mut().zip(&names);
        with_interval.for_each(|(row, name)| row.push(interval(known, name)));
    }
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    let mut text = table(&headers, rows, 1);
    if evaluation.per_class.len() > CLASSES_LISTED {
        let more = evaluation.per_class.len() - CLASSES_LISTED;
        text.push_str(&format!("and {more} more classes (-o json lists all)\n"));
    }
    text
}

fn confusion_table(status: &JobStatus, evaluation: &Evaluation) -> Option<String> {
    let classes = &status.dataset.as_ref()?.classes;
    let fits = (2..=LARGEST_CONFUSION_MATRIX).contains(&classes.len());
    if !fits || evaluation.confusion.len() != classes.len() * classes.len() {
        return None;
    }
    let headers: Vec<&str> = std::iter::once("TRUE \\ PREDICTED")
        .chain(classes.iter().map(String::as_str))
        .collect();
    let rows = classes.iter().zip(evaluation.confusion.chunks(classes.len()));
    let rows = rows.map(|(class, counts)| {
        std::iter::once(class.clone())
            .chain(counts.iter().map(u64::to_string))
            .collect()
    });
    Some(table(&headers, rows.collect(), 1))
}

pub(super) fn document(evaluation: &Evaluation) -> Map<String, Value> {
    let classes = evaluation.confusion.len().isqrt().max(1);
    let cells = evaluation.cells.iter();
    let cells = cells.map(|cell| json!([cell.truth, cell.predicted, cell.count]));
    Map::from_iter([
        (
            "perClass".to_owned(),
            evaluation.per_class.iter().map(class_metrics).collect(),
        ),
        (
            "confusion".to_owned(),
            json!(evaluation.confusion.chunks(classes).collect::<Vec<_>>()),
        ),
        ("confusionCells".to_owned(), cells.collect()),
    ])
}

pub(super) fn class_metrics(class: &ClassMetrics) -> Value {
    json!({
        "class": class.class,
        "precision": class.precision,
        "recall": class.recall,
        "f1": class.f1,
        "support": class.support,
    })
}

#[cfg(test)]
mod tests {
    use firn_proto::v1alpha1::{MetricInterval, MetricIntervals};

    use super::*;

    fn evaluation(known: &[&str]) -> Evaluation {
        let class = |class: &str| ClassMetrics {
            class: class.to_owned(),
            precision: 0.5,
            recall: 1.0,
            f1: 2.0 / 3.0,
            support: 4,
        };
        let ends = MetricInterval { low: 0.25, high: 0.75 };
        Evaluation {
            split: "test".to_owned(),
            per_class: vec![class("ants"), class("bees")],
            intervals: Some(MetricIntervals {
                level: 0.95,
                metrics: known.iter().map(|name| ((*name).to_owned(), ends)).collect(),
                ..MetricIntervals::default()
            }),
            ..Evaluation::default()
        }
    }

    #[test]
    fn where_the_f1_of_a_class_lies_stands_beside_it() {
        let text = class_table(&evaluation(&["f1/ants", "f1/bees"]), "CLASS");
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert_eq!(
            lines,
            [
                "CLASS (TEST)   PRECISION   RECALL       F1   SUPPORT   95% INTERVAL OF F1",
                "ants              0.5000   1.0000   0.6667         4     0.2500 to 0.7500",
                "bees              0.5000   1.0000   0.6667         4     0.2500 to 0.7500",
            ]
        );
    }

    #[test]
    fn an_evaluation_of_an_earlier_build_has_no_such_column() {
        let text = class_table(&evaluation(&["f1_macro"]), "CLASS");
        assert!(text.lines().next().unwrap().trim_end().ends_with("SUPPORT"), "{text}");
    }
}
