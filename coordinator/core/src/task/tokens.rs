//! A tag for each word of a text.
//!
//! The network gives a probability for each tag of a word, at the word's first token, as transformers' recipe has it. The loss is the mean over words,
//! not over texts. Precision, recall and F1 are those of whole entities, as seqeval counts them; accuracy is that of words. Words that were cut off
//! with the end of a text that is too long, or that give no token, are predicted by nobody: they are counted and left out of every metric, as in
//! transformers' `run_ner.py`.

use serde::{Deserialize, Serialize};

use super::{Detail, Metrics, Schema, StatisticsError};
use crate::metrics::{ClassCounts, Sum, TagSet, TagSums, Tagged};

/// Every type of entity is counted in each shard, so there are no more tags than this.
pub const MOST_TAGS: usize = 1024;

/// Numbers that a prediction is taken for when shards are cut, whatever the text: a shard's report fits a message also where its texts have some thousands
/// of words each.
const NUMBERS_PER_TEXT: usize = 2048;

/// What a part of a split says about a network that tags words.
///
/// The counts are exact in any order. `loss_sum` is a sum of floats that keeps its digits: merge the parts in shard order to get the same last one
/// each time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TokenStatistics {
    /// Texts that were scored.
    pub samples: u64,
    /// Σ over words of the unweighted cross-entropy.
    pub loss_sum: f64,
    /// Words that were scored.
    pub words: u64,
    /// Words whose tag is right.
    pub right: u64,
    /// Words that were not scored: cut off, or without a token.
    pub left_out: u64,
    /// Of each type of entity, in alphabetical order: how many are true, predicted, and both.
    pub entities: Vec<ClassCounts>,
}

impl TokenStatistics {
    /// Of no texts yet.
    pub fn new(set: &TagSet) -> Self {
        Self {
            entities: vec![ClassCounts::default(); set.types().len()],
            ..Self::default()
        }
    }

    /// Adds a text without its loss: its words that were scored, and how many were not.
    pub fn add(&mut self, set: &TagSet, text: Tagged<'_>, left_out: u64) {
        self.samples += 1;
        self.words += text.tags.len() as u64;
        self.right += text.right();
        self.left_out += left_out;
        for (kind, counts) in set.counts(text.tags, text.predicted) {
            self.entities[kind as usize].merge(&counts);
        }
    }

    /// Whether there are counts of each type of entity, and none above the words.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, schema: Schema<'_>) -> Result<(), StatisticsError> {
        let (types, found) = (TagSet::of(schema.classes).types().len(), self.entities.len());
        if found != types {
            return Err(StatisticsError::EntityTypes { types, found });
        }
        if self.words < self.samples || self.right > self.words {
            let (samples, words, right) = (self.samples, self.words, self.right);
            return Err(StatisticsError::Words { samples, words, right });
        }
        match self.entities.iter().find(|counts| !counts.can_be_of(self.words)) {
            None => Ok(()),
            Some(found) => Err(StatisticsError::EntityCounts {
                words: self.words,
                found: *found,
            }),
        }
    }

    /// The sum of parts, in the order given.
    pub fn merged<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        let (mut sum, mut loss) = (Self::default(), Sum::default());
        for part in parts {
            sum.samples = sum.samples.saturating_add(part.samples);
            sum.words = sum.words.saturating_add(part.words);
            sum.right = sum.right.saturating_add(part.right);
            sum.left_out = sum.left_out.saturating_add(part.left_out);
            loss.add(part.loss_sum);
            ClassCounts::merge_each(&mut sum.entities, &part.entities);
        }
        sum.loss_sum = loss.value();
        sum
    }

    /// The metrics that follow from the counts; `None` of no words.
    pub fn evaluate(&self) -> Option<Metrics> {
        if self.words == 0 {
            return None;
        }
        let sums = TagSums {
            words: self.words,
            right: self.right,
            loss: self.loss_sum,
            entities: self.entities.clone(),
        };
        let values = sums.metrics().into_iter();
        Some(Metrics {
            samples: self.samples,
            values: values.map(|(name, value)| (name.to_owned(), value)).collect(),
            thresholds: Vec::new(),
            detail: Detail::Tokens {
                words: self.words,
                right: self.right,
                left_out: self.left_out,
                entities: self.entities.clone(),
            },
            intervals: None,
        })
    }

    /// Whether they are what the detail of metrics was made of.
    pub fn agrees(&self, (words, right, left_out): (u64, u64, u64), entities: &[ClassCounts]) -> bool {
        (self.words, self.right, self.left_out) == (words, right, left_out) && self.entities == entities
    }
}

pub(super) fn numbers_per_prediction() -> usize {
    NUMBERS_PER_TEXT
}

pub(super) fn check_schema(schema: Schema<'_>) -> Result<(), String> {
    let (tags, targets) = (schema.classes.len(), schema.targets.len());
    match (1..=MOST_TAGS).contains(&tags) && targets == 0 {
        true => Ok(()),
        false => Err(format!(
            "expected 1 to {MOST_TAGS} tags and no targets, found {tags} and {targets}"
        )),
    }
}

/// A split has a count of words for each tag, and each text has one word at least.
pub(super) fn check_split(schema: Schema<'_>, samples: u64, word_counts: &[u64]) -> Result<(), String> {
    let (tags, found) = (schema.classes.len(), word_counts.len());
    if found != tags {
        return Err(format!("expected {tags} counts of words, found {found}"));
    }
    let words: u128 = word_counts.iter().map(|count| u128::from(*count)).sum();
    match words >= u128::from(samples) {
        true => Ok(()),
        false => Err(format!(
            "expected at least a word for each of {samples} texts, found {words}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Statistics;

    fn names() -> Vec<String> {
        ["B-LOC", "B-PER", "I-PER", "O"].map(str::to_owned).to_vec()
    }

    fn statistics() -> TokenStatistics {
        let set = TagSet::of(&names());
        let mut statistics = TokenStatistics::new(&set);
        let (tags, predicted) = (&[1, 2, 3, 0][..], &[1, 2, 3, 1][..]);
        statistics.add(&set, Tagged { tags, predicted }, 2);
        statistics.loss_sum = 2.0;
        statistics
    }

    #[test]
    fn entities_are_counted_whole_and_words_one_by_one() {
        let metrics = statistics().evaluate().unwrap();
        let value = |name: &str| metrics.values[name];
        assert_eq!((value("loss"), value("accuracy")), (0.5, 0.75));
        assert_eq!((value("precision_micro"), value("recall_micro")), (0.5, 0.5));
        // PER: one of two is right; LOC: none was predicted.
        assert_eq!((value("precision_macro"), value("recall_macro")), (0.25, 0.5));
        assert!(!metrics.values.contains_key("cohen_kappa"));
        assert_eq!(TokenStatistics::default().evaluate(), None);
    }

    #[test]
    fn parts_add_up() {
        let sum = TokenStatistics::merged([&statistics(), &TokenStatistics::default(), &statistics()]);
        assert_eq!((sum.samples, sum.words, sum.left_out, sum.loss_sum), (2, 8, 4, 4.0));
        assert_eq!(sum.entities[1].predicted, 4);
        assert_eq!(sum.check(Schema::of_classes(&names())), Ok(()));
    }

    #[test]
    fn averages_over_no_entity_are_undefined() {
        let set = TagSet::of(&names());
        let mut statistics = TokenStatistics::new(&set);
        let tags = &[3, 3][..];
        statistics.add(&set, Tagged { tags, predicted: tags }, 0);
        let values = statistics.evaluate().unwrap().values;
        assert_eq!((values["accuracy"], values["f1_micro"]), (1.0, 0.0));
        assert!(!values.contains_key("f1_macro"));
    }

    #[test]
    fn counts_that_cannot_be_are_refused() {
        let names = names();
        let message = |statistics: TokenStatistics| {
            let error = statistics.check(Schema::of_classes(&names)).unwrap_err();
            error.to_string()
        };
        let mut few = statistics();
        few.entities.pop();
        assert_eq!(message(few), "expected counts of 2 types of entities, found 1");
        let mut more = statistics();
        more.right = 5;
        assert_eq!(
            message(more),
            "expected a word of each of 1 samples at least, and no more right words than words, found 5 of 4"
        );
        let mut impossible = statistics();
        impossible.entities[0].right = 2;
        assert!(message(impossible).starts_with("expected counts of entities among 4 words, found"));
    }

    #[test]
    fn a_record_tells_them_from_those_of_other_tasks() {
        let stored = serde_json::to_string(&Statistics::Tokens(statistics())).unwrap();
        assert_eq!(
            stored,
            r#"{"samples":1,"loss_sum":2.0,"words":4,"right":3,"left_out":2,"entities":[{"right":0,"labelled":1,"predicted":0},{"right":1,"labelled":1,"predicted":2}]}"#
        );
        assert_eq!(
            serde_json::from_str::<Statistics>(&stored).unwrap(),
            Statistics::Tokens(statistics())
        );
    }
}
