//! Tags of words: precision and recall of each type of entity, and how many words were left out.

use firn_proto::v1alpha1::{Evaluation, WordCounts};
use serde_json::{Map, Value, json};

use super::classification;
use crate::cmd::view::humanise::counted;

pub(super) const HEADLINES: [&str; 4] = ["loss", "f1_micro", "f1_macro", "accuracy"];

pub(super) fn tables(evaluation: &Evaluation, words: &WordCounts) -> Vec<String> {
    let mut tables = Vec::new();
    if !evaluation.per_class.is_empty() {
        tables.push(classification::class_table(evaluation, "ENTITY"));
    }
    let mut line = format!("{} scored", counted(words.scored, "word"));
    if words.left_out > 0 {
        line.push_str(&format!(
            "; {} beyond maxLength, or without a token, left out of every metric",
            counted(words.left_out, "word")
        ));
    }
    tables.push(line + "\n");
    tables
}

pub(super) fn document(evaluation: &Evaluation, words: &WordCounts) -> Map<String, Value> {
    let counts = json!({"scored": words.scored, "right": words.right, "leftOut": words.left_out});
    Map::from_iter([
        ("words".to_owned(), counts),
        (
            "perClass".to_owned(),
            evaluation.per_class.iter().map(classification::class_metrics).collect(),
        ),
    ])
}

#[cfg(test)]
mod tests {
    use firn_proto::v1alpha1::ClassMetrics;

    use super::*;

    #[test]
    fn words_that_were_left_out_are_told() {
        let evaluation = Evaluation {
            split: "test".to_owned(),
            per_class: vec![ClassMetrics {
                class: "PER".to_owned(),
                precision: 0.5,
                recall: 0.25,
                f1: 1.0 / 3.0,
                support: 4,
            }],
            ..Evaluation::default()
        };
        let words = |left_out| WordCounts {
            scored: 120,
            right: 100,
            left_out,
        };
        let shown = tables(&evaluation, &words(7));
        assert!(shown[0].starts_with("ENTITY (TEST)"), "{shown:?}");
        assert_eq!(
            shown[1],
            "120 words scored; 7 words beyond maxLength, or without a token, left out of every metric\n"
        );
        assert_eq!(tables(&evaluation, &words(0))[1], "120 words scored\n");
    }
}
