//! Metrics of words that have tags, against seqeval's.
//!
//! `golden/entities.json` says in `made_by` which script made it, and with which version.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use std::collections::BTreeMap;

use firn_core::{
    metrics::{Formula, MetricName, RedrawnSentences, TagSet, Tagged, Watched, bootstrap},
    task::{Detail, Metrics, Schema, Statistics, Task, TokenStatistics},
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    resamples: u32,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    tags: Vec<String>,
    #[serde(rename = "true")]
    truth: Vec<Vec<u32>>,
    predicted: Vec<Vec<u32>>,
    losses: Vec<f64>,
    expected: BTreeMap<String, Option<f64>>,
    /// Precision, recall, F1 and support.
    per_type: BTreeMap<String, [f64; 4]>,
    seed: Option<u64>,
    intervals: Option<BTreeMap<String, Option<[f64; 2]>>>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/entities.json")).unwrap()
}

impl Case {
    fn sentences(&self) -> impl Iterator<Item = (Tagged<'_>, f64)> {
        let sentences = self.truth.iter().zip(&self.predicted).zip(&self.losses);
        sentences.map(|((tags, predicted), loss)| (Tagged { tags, predicted }, *loss))
    }

    fn evaluated(&self) -> Metrics {
        let set = TagSet::of(&self.tags);
        let schema = Schema::of_classes(&self.tags);
        // Two parts, as two ranks would send them.
        let part = |odd: usize| {
            let mut statistics = TokenStatistics::new(&set);
            for (sentence, loss) in self.sentences().skip(odd).step_by(2) {
                statistics.add(&set, sentence, 0);
                statistics.loss_sum += loss;
            }
            assert_eq!(statistics.check(schema), Ok(()), "{}", self.name);
            Statistics::Tokens(statistics)
        };
        let all = Statistics::merged(&[part(0), part(1)]).unwrap();
        all.evaluate(schema, &BTreeMap::new()).unwrap()
    }
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * b.abs().max(1.0)
}

#[test]
fn metrics_of_words_and_entities_equal_those_of_seqeval() {
    for case in golden().cases {
        let (name, metrics) = (&case.name, case.evaluated());
        for (metric, expected) in &case.expected {
            let found = metrics.values.get(metric).copied();
            let is_same = match (found, *expected) {
                (Some(found), Some(expected)) => near(found, expected),
                (None, None) => true,
                _ => false,
            };
            assert!(is_same, "{name}: {metric} is {found:?}, of the reference {expected:?}");
        }
        let of_split = Task::Tokens
            .metrics()
            .filter(|metric| !matches!(metric.formula, Formula::OneClass(_)));
        let mut of_task: Vec<&str> = of_split.map(|metric| metric.name).collect();
        of_task.sort_unstable();
        let referred: Vec<&str> = case.expected.keys().map(String::as_str).collect();
        assert_eq!(referred, of_task, "{name}: every metric has its reference");
        let Detail::Tokens { entities, .. } = &metrics.detail else {
            panic!("{name}: {:?}", metrics.detail);
        };
        let set = TagSet::of(&case.tags);
        for (kind, counts) in set.types().iter().zip(entities) {
            let found = [counts.precision(), counts.recall(), counts.f1(), counts.labelled as f64];
            let expected = case.per_type.get(kind).copied().unwrap_or_default();
            let is_same = found.iter().zip(&expected).all(|(a, b)| near(*a, *b));
            let schema = Schema::of_classes(&case.tags);
            let watched = ["precision", "recall", "f1"]
                .map(|metric| metrics.value(Watched::new(MetricName::named(metric), Some(kind)), schema));
            assert_eq!(
                watched[..],
                [found[0], found[1], found[2]].map(Some),
                "{kind} decides by the same values"
            );
            assert!(is_same, "{name}: {kind} has {found:?}, in the reference {expected:?}");
        }
        assert!(case.per_type.keys().all(|kind| set.types().contains(kind)), "{name}");
    }
}

#[test]
fn intervals_of_words_and_entities_equal_the_percentiles_of_numpy_on_the_same_resamples() {
    let Golden { resamples, cases } = golden();
    let mut compared = 0;
    for case in &cases {
        let (Some(seed), Some(intervals)) = (case.seed, &case.intervals) else {
            continue;
        };
        let mut split = RedrawnSentences::new(&case.tags);
        case.sentences().for_each(|(sentence, loss)| split.add(sentence, loss));
        let drawn: Vec<_> = (0..resamples)
            .map(|number| bootstrap::resample(&split, seed, number))
            .collect();
        let found = bootstrap::intervals(seed, &drawn, TagSet::of(&case.tags).types()).by_name;
        for (metric, ends) in intervals {
            let is_same = match (found.get(metric.as_str()), ends) {
                (Some(found), Some([low, high])) => near(found.low, *low) && near(found.high, *high),
                (None, None) => true,
                _ => false,
            };
            let found = found.get(metric.as_str());
            assert!(
                is_same,
                "{}: {metric} lies in {found:?}, in the reference's {ends:?}",
                case.name
            );
            compared += 1;
        }
    }
    assert_eq!(
        compared,
        3 * (11 + 4 * 3),
        "metrics of three cases, and of their four types"
    );
}
