//! The name of a metric, as it is stored: a place in the table.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::table::{Better, Formula, METRICS, Metric};

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

    /// Whether it is of classes that are ranks: it counts how far a prediction is off.
    pub fn counts_distances(self) -> bool {
        matches!(self.name(), "quadratic_weighted_kappa" | "ordinal_mae")
    }

    /// Whether it is of one class, which has to be named beside it.
    pub fn is_of_one_class(self) -> bool {
        matches!(self.metric().formula, Formula::OneClass(_))
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
