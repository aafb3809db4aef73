//! Sentences whose words have tags, as the [bootstrap](super::bootstrap) draws them again: whole sentences, each with its words and entities.

use std::collections::BTreeMap;

use super::bootstrap::{Redrawn, Resample};
use super::counts::{ClassCounts, Counts};
use super::entities::TagSet;
use super::table::{Formula, METRICS};

/// What is true and predicted of the words of one sentence; those that were cut off are left out.
#[derive(Debug, Clone, Copy)]
pub struct Tagged<'a> {
    /// True tags.
    pub tags: &'a [u32],
    /// Predicted tags, as many.
    pub predicted: &'a [u32],
}

impl Tagged<'_> {
    /// Words whose tag is right.
    pub fn right(&self) -> u64 {
        let pairs = self.tags.iter().zip(self.predicted);
        pairs.filter(|(tag, predicted)| tag == predicted).count() as u64
    }
}

/// Sums over words and entities, which the metrics follow from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TagSums {
    /// Words that were scored.
    pub words: u64,
    /// Those whose tag is right.
    pub right: u64,
    /// Σ over words of the unweighted loss.
    pub loss: f64,
    /// Of each type of entity.
    pub entities: Vec<ClassCounts>,
}

impl TagSums {
    /// By name, those that are defined; seqeval's averages are over the types that are true or predicted.
    pub fn metrics(&self) -> BTreeMap<&'static str, f64> {
        let words = self.words as f64;
        let occurs = |counts: &&ClassCounts| counts.labelled + counts.predicted > 0;
        let counts = Counts {
            samples: self.words,
            classes: self.entities.iter().filter(occurs).copied().collect(),
            squares: 0,
        };
        let value = |formula: Formula| match formula {
            Formula::Loss => Some(self.loss / words),
            Formula::Accuracy(_) => Some(self.right as f64 / words),
            Formula::PerClass(formula) => formula(&counts),
            _ => None,
        };
        let values = METRICS
            .iter()
            .filter_map(|metric| Some((metric.name, value(metric.formula)?)));
        values.filter(|(_, value)| !value.is_nan()).collect()
    }
}

/// Sentences whose words have tags.
pub struct RedrawnSentences {
    set: TagSet,
    sentences: Vec<Sentence>,
}

struct Sentence {
    words: u64,
    right: u64,
    loss: f64,
    /// Of the types that occur in it.
    entities: Vec<(u32, ClassCounts)>,
}

impl RedrawnSentences {
    /// Of tags in the order of the model's outputs.
    pub fn new(names: &[String]) -> Self {
        Self {
            set: TagSet::of(names),
            sentences: Vec::new(),
        }
    }

    /// Adds a sentence, with the sum over its words of the unweighted loss.
    pub fn add(&mut self, sentence: Tagged<'_>, loss: f64) {
        self.sentences.push(Sentence {
            words: sentence.tags.len() as u64,
            right: sentence.right(),
            loss,
            entities: self.set.counts(sentence.tags, sentence.predicted),
        });
    }
}

impl Redrawn for RedrawnSentences {
    fn samples(&self) -> usize {
        self.sentences.len()
    }

    fn resample(&self, weights: &[u32]) -> Resample {
        let mut sums = TagSums {
            entities: vec![ClassCounts::default(); self.set.types().len()],
            ..TagSums::default()
        };
        for (sentence, weight) in self.sentences.iter().zip(weights).filter(|(_, weight)| **weight > 0) {
            let times = u64::from(*weight);
            sums.words += times * sentence.words;
            sums.right += times * sentence.right;
            sums.loss += f64::from(*weight) * sentence.loss;
            for (kind, counts) in &sentence.entities {
                let sum = &mut sums.entities[*kind as usize];
                sum.right += times * counts.right;
                sum.labelled += times * counts.labelled;
                sum.predicted += times * counts.predicted;
            }
        }
        Resample::new(sums.metrics(), sums.entities)
    }
}
