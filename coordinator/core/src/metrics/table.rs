//! The table of metrics. A new one is a row here and its formula.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::counts::{self, Counts};
use super::moments::{self, Moments};
use super::{average_precision, ranks, roc};
use crate::compatibility::Revision;

/// A quantity that says how good a model is.
#[derive(Debug)]
pub struct Metric {
    /// As in the spec, in `metrics.json` and in every view; scikit-learn's name where it has one.
    pub name: &'static str,
    /// Which of two values is the better one.
    pub better: Better,
    /// How it is computed.
    pub formula: Formula,
    /// What it is, in one line.
    pub about: &'static str,
    /// The first revision of the protocol whose ranks know its name.
    pub since: Revision,
}

impl Metric {
    const fn since(self, revision: u32) -> Self {
        let since = Revision(revision);
        Self { since, ..self }
    }
}

/// Which of two values is the better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// The larger.
    Higher,
    /// The smaller.
    Lower,
}

/// How a metric is computed, which also says from what. `None`: it is undefined for this split.
#[derive(Debug, Clone, Copy)]
pub enum Formula {
    /// The mean over samples of the loss, without weights of classes and without smoothing. Every task has it.
    Loss,
    /// Classification: from how often each class was true, predicted, and both.
    Counts(fn(&Counts) -> Option<f64>),
    /// Classification: from (score, is of the class) pairs of one class, in rising order of the score. Of two classes that of the second
    /// one's score; of more, the unweighted mean over all classes of one against the rest.
    Scores(fn(&[(f64, bool)]) -> Option<f64>),
    /// Regression: from the moments of one target; of several, the unweighted mean over them.
    Moments(fn(&Moments) -> Option<f64>),
    /// Regression: from the (value, prediction) pairs of one target; of several, the unweighted mean over them.
    Pairs(fn(&[(f64, f64)]) -> Option<f64>),
}

impl Formula {
    /// Whether single predictions are needed, which no record holds.
    pub fn needs_predictions(self) -> bool {
        match self {
            Self::Loss | Self::Counts(_) | Self::Moments(_) => false,
            Self::Scores(_) | Self::Pairs(_) => true,
        }
    }
}

const fn higher(name: &'static str, formula: Formula, about: &'static str) -> Metric {
    let better = Better::Higher;
    Metric {
        name,
        better,
        formula,
        about,
        since: Revision::UNMARKED,
    }
}

const fn lower(name: &'static str, formula: Formula, about: &'static str) -> Metric {
    let better = Better::Lower;
    Metric {
        name,
        better,
        formula,
        about,
        since: Revision::UNMARKED,
    }
}

/// Every metric, in the order in which people look for them.
pub const METRICS: &[Metric] = &[
    lower("loss", Formula::Loss, "mean loss without weights and smoothing"),
    higher(
        "accuracy",
        Formula::Counts(counts::accuracy),
        "fraction of samples whose class is right",
    ),
    higher(
        "balanced_accuracy",
        Formula::Counts(counts::balanced_accuracy),
        "mean recall of the classes that the split holds",
    ),
    higher(
        "precision_macro",
        Formula::Counts(counts::precision_macro),
        "mean precision over classes",
    ),
    higher(
        "recall_macro",
        Formula::Counts(counts::recall_macro),
        "mean recall over classes",
    ),
    higher("f1_macro", Formula::Counts(counts::f1_macro), "mean F1 over classes"),
    higher(
        "precision_micro",
        Formula::Counts(counts::accuracy),
        "precision of pooled counts",
    ),
    higher(
        "recall_micro",
        Formula::Counts(counts::accuracy),
        "recall of pooled counts",
    ),
    higher("f1_micro", Formula::Counts(counts::accuracy), "F1 of pooled counts"),
    higher(
        "precision_weighted",
        Formula::Counts(counts::precision_weighted),
        "precision, weighted by true samples",
    ),
    higher(
        "recall_weighted",
        Formula::Counts(counts::recall_weighted),
        "recall, weighted by true samples",
    ),
    higher(
        "f1_weighted",
        Formula::Counts(counts::f1_weighted),
        "F1, weighted by true samples",
    ),
    higher(
        "roc_auc",
        Formula::Scores(roc::area_of_ordered),
        "area under the ROC curve; of more than two classes one against the rest, mean",
    ),
    higher(
        "average_precision",
        Formula::Scores(average_precision::of_ordered),
        "area under the steps of precision over recall; of more than two classes one against the rest, mean",
    ),
    higher(
        "matthews_correlation",
        Formula::Counts(counts::matthews_correlation),
        "Gorodkin's R_K, in [-1, 1]",
    ),
    higher(
        "cohen_kappa",
        Formula::Counts(counts::cohen_kappa),
        "agreement beyond chance",
    ),
    lower(
        "mae",
        Formula::Moments(moments::mean_absolute_error),
        "mean absolute error, in the units of the target",
    )
    .since(3),
    lower(
        "rmse",
        Formula::Moments(moments::root_mean_squared_error),
        "root of the mean squared error, in the units of the target",
    )
    .since(3),
    higher(
        "r2",
        Formula::Moments(moments::r2),
        "fraction of the variance that is explained",
    )
    .since(3),
    higher(
        "pearson",
        Formula::Moments(moments::pearson),
        "linear correlation of values and predictions",
    )
    .since(3),
    higher(
        "spearman",
        Formula::Pairs(ranks::spearman),
        "correlation of the ranks of values and predictions",
    )
    .since(3),
];

/// The name of a metric that this build knows: a place in [`METRICS`]. It is stored as its word, so rows may move.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetricName(u16);

impl MetricName {
    /// The mean loss, which every task has.
    pub const LOSS: Self = Self::named("loss");

    /// A metric by its name.
    ///
    /// # Panics
    /// If no row has that name: meant for names that stand in the code, where the compiler finds it.
    pub const fn named(name: &str) -> Self {
        let mut place = 0;
        while place < METRICS.len() {
            if is_same(METRICS[place].name.as_bytes(), name.as_bytes()) {
                return Self(place as u16);
            }
            place += 1;
        }
        panic!("the table of metrics has no such name")
    }

    /// Its row.
    pub fn metric(self) -> &'static Metric {
        &METRICS[usize::from(self.0)]
    }

    /// Whether a larger value is the better one.
    pub fn higher_is_better(self) -> bool {
        self.metric().better == Better::Higher
    }

    /// Whether `value` is better than `best` by more than `min_delta`.
    pub fn improves(self, value: f64, best: f64, min_delta: f64) -> bool {
        if self.higher_is_better() {
            value > best + min_delta
        } else {
            value < best - min_delta
        }
    }

    /// A metric by its name; `None` if this build does not know it.
    pub fn find(name: &str) -> Option<Self> {
        METRICS
            .iter()
            .position(|metric| metric.name == name)
            .map(|place| Self(place as u16))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.metric().name
    }
}

const fn is_same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut place = 0;
    while place < a.len() {
        if a[place] != b[place] {
            return false;
        }
        place += 1;
    }
    true
}

/// Every name with its metric, in the order of the table.
pub const NAMES: &[(&str, MetricName)] = &names();

const fn names() -> [(&'static str, MetricName); METRICS.len()] {
    let mut names = [("", MetricName(0)); METRICS.len()];
    let mut place = 0;
    while place < METRICS.len() {
        names[place] = (METRICS[place].name, MetricName(place as u16));
        place += 1;
    }
    names
}

impl fmt::Debug for MetricName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Serialize for MetricName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for MetricName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        Self::find(&word)
            .ok_or_else(|| serde::de::Error::custom(format_args!("expected the name of a metric, found `{word}`")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_stands_once_and_finds_its_row() {
        for (place, metric) in METRICS.iter().enumerate() {
            assert_eq!(MetricName::named(metric.name).metric().name, metric.name);
            assert!(METRICS[..place].iter().all(|other| other.name != metric.name));
            assert!(!metric.about.is_empty());
        }
    }

    #[test]
    fn a_lower_loss_and_a_higher_score_are_better() {
        let (loss, f1) = (MetricName::LOSS, MetricName::named("f1_macro"));
        assert!(loss.improves(0.3, 0.4, 0.05));
        assert!(!loss.improves(0.3, 0.34, 0.05));
        assert!(f1.improves(0.8, 0.7, 0.0));
        assert!(!f1.improves(0.7, 0.7, 0.0));
        assert!(!f1.improves(f64::NAN, 0.7, 0.0));
    }

    #[test]
    fn a_name_is_stored_as_its_word() {
        assert_eq!(
            serde_json::to_string(&MetricName::named("roc_auc")).unwrap(),
            "\"roc_auc\""
        );
        let error = serde_json::from_str::<MetricName>("\"roc\"").unwrap_err().to_string();
        assert!(
            error.starts_with("expected the name of a metric, found `roc`"),
            "{error}"
        );
    }
}
