//! The values of metrics that decide something, where they are of one class, too: nothing of these is recorded beside the counts, from which they follow.

use std::collections::BTreeMap;

use super::{Detail, Metrics, Schema, Task, classification::per_class};
use crate::metrics::{ClassCounts, Formula, TagSet, Watched};
use crate::spec::TrainingSpec;

/// Classes that a message lists.
const MOST_LISTED: usize = 20;

impl Metrics {
    /// A metric that decides something; `None` if it is undefined for this split, or of a class that the schema does not have.
    pub fn value(&self, watched: Watched<'_>, schema: Schema<'_>) -> Option<f64> {
        match watched.metric.metric().formula {
            Formula::OneClass(formula) => Some(formula(&self.detail.counts_of(watched.class?, schema)?)),
            _ => self.values.get(watched.metric.name()).copied(),
        }
    }

    /// As people look at them: those of the split, and those of one class that decide something in a job.
    pub fn shown(&self, training: &TrainingSpec, schema: Schema<'_>) -> BTreeMap<String, f64> {
        let of_one_class = training.watched().map(|field| field.watched);
        let of_one_class = of_one_class.filter(|watched| watched.class.is_some());
        let values = of_one_class.filter_map(|watched| Some((watched.to_string(), self.value(watched, schema)?)));
        self.values.clone().into_iter().chain(values).collect()
    }
}

impl Detail {
    /// How often a class, label or type of entity was true, predicted, and both.
    fn counts_of(&self, name: &str, schema: Schema<'_>) -> Option<ClassCounts> {
        let place_in = |names: &[String]| names.iter().position(|known| known == name);
        match self {
            Self::Classification { confusion } => {
                let place = place_in(schema.classes)?;
                per_class(schema.classes.len(), confusion).get(place).copied()
            }
            Self::Regression { .. } => None,
            Self::MultiLabel { labels } => labels.get(place_in(schema.classes)?).copied(),
            Self::Tokens { entities, .. } => entities.get(place_in(TagSet::of(schema.classes).types())?).copied(),
        }
    }
}

impl Task {
    /// What a metric of one class can be of, where these are the names of a schema: classes, labels, or the types of entities that tags name.
    pub fn watchable(self, names: &[String]) -> Vec<String> {
        match self {
            Self::Classification | Self::MultiLabel(_) => names.to_vec(),
            Self::Regression => Vec::new(),
            Self::Tokens => TagSet::of(names).types().to_vec(),
        }
    }

    /// Samples of a split that are of a class or have a label, or words in entities of a type, where `counts` is of each name of the schema.
    pub fn samples_of(self, class: &str, schema: Schema<'_>, counts: &[u64]) -> u64 {
        let of_entities = (self == Self::Tokens).then(|| TagSet::of(schema.classes));
        let named = schema
            .classes
            .iter()
            .enumerate()
            .filter(|(tag, name)| match &of_entities {
                Some(set) => set.type_of(*tag) == Some(class),
                None => *name == class,
            });
        named.filter_map(|(place, _)| counts.get(place)).sum()
    }
}

/// Names as a message lists them: `a, b, c`, and how many more.
pub fn listed(names: &[String]) -> String {
    let first = names[..names.len().min(MOST_LISTED)].join(", ");
    match names.len().saturating_sub(MOST_LISTED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::MetricName;
    use crate::task::classification::cells_of_matrix;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn of(detail: Detail, metric: &str, class: &str, classes: &[&str]) -> Option<f64> {
        let metrics = Metrics {
            samples: 10,
            values: BTreeMap::from([("f1_macro".to_owned(), 0.25)]),
            detail,
            intervals: None,
            thresholds: Vec::new(),
        };
        let watched = Watched {
            metric: MetricName::named(metric),
            class: (!class.is_empty()).then_some(class),
        };
        metrics.value(watched, Schema::of_classes(&names(classes)))
    }

    #[test]
    fn a_class_has_its_own_values_and_the_split_those_of_all() {
        let classes = ["normal", "pneumonia"];
        let detail = || Detail::Classification {
            confusion: cells_of_matrix(2, &[4, 2, 1, 3]),
        };
        assert_eq!(of(detail(), "precision", "pneumonia", &classes), Some(3.0 / 5.0));
        assert_eq!(of(detail(), "recall", "pneumonia", &classes), Some(3.0 / 4.0));
        assert_eq!(of(detail(), "f1", "normal", &classes), Some(8.0 / 11.0));
        assert_eq!(of(detail(), "f1_macro", "", &classes), Some(0.25));
        assert_eq!(of(detail(), "f1", "flu", &classes), None);
        assert_eq!(of(detail(), "f1", "", &classes), None);
    }

    #[test]
    fn labels_and_types_of_entities_have_theirs() {
        let counts = |right, labelled, predicted| ClassCounts {
            right,
            labelled,
            predicted,
        };
        let both = vec![counts(1, 2, 2), counts(3, 4, 6)];
        let labels = Detail::MultiLabel { labels: both.clone() };
        assert_eq!(of(labels, "f1", "war", &["drama", "war"]), Some(0.6));
        let tokens = Detail::Tokens {
            words: 10,
            right: 8,
            left_out: 0,
            entities: both,
        };
        let tags = ["O", "B-PER", "I-PER", "B-LOC"];
        assert_eq!(of(tokens.clone(), "recall", "PER", &tags), Some(0.75));
        assert_eq!(of(tokens, "recall", "B-PER", &tags), None, "a tag is no type");
    }

    #[test]
    fn samples_are_counted_by_class_and_words_by_the_type_of_their_entity() {
        let (classes, tags) = (names(&["a", "b"]), names(&["O", "B-PER", "I-PER", "B-LOC"]));
        let of = |task: Task, class, names: &[String], counts: &[u64]| {
            task.samples_of(class, Schema::of_classes(names), counts)
        };
        assert_eq!(of(Task::Classification, "b", &classes, &[3, 4]), 4);
        assert_eq!(of(Task::Tokens, "PER", &tags, &[50, 3, 2, 7]), 5);
        assert_eq!(of(Task::Tokens, "LOC", &tags, &[50, 3, 2, 0]), 0);
        assert_eq!(Task::Tokens.watchable(&tags), ["LOC", "PER"]);
        assert!(Task::Regression.watchable(&classes).is_empty());
    }

    #[test]
    fn many_names_are_not_all_listed() {
        let many: Vec<String> = (0..23).map(|class| format!("c{class}")).collect();
        assert!(listed(&many).ends_with("c19 and 3 more"));
        assert_eq!(listed(&many[..2]), "c0, c1");
    }
}
