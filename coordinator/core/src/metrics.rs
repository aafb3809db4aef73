//! Exact metrics of a split, from statistics that add up.
//!
//! Ranks send counts, sums and predictions; the coordinator adds them and evaluates once. A mean of the ranks' own metrics would
//! be wrong as soon as parts differ in size or in classes, which is how most distributed validation numbers come to be wrong.
//!
//! [`METRICS`] is the one table: a row has the name, which value is better, and the formula, whose kind says what it is computed from and
//! so which tasks have it. The spec's words, the records, `metrics.json`, the views and the reference read it.
//!
//! The definitions are scikit-learn's with `labels=range(classes)` and `zero_division=0`: the label set is that of the training schema,
//! so a class that a split does not hold still counts in every macro average.

mod average_precision;
pub mod bootstrap;
mod calibration;
mod columns;
mod counts;
mod entities;
mod label_sets;
mod labels;
mod lanes;
mod moments;
mod name;
mod one_vs_rest;
mod ordered;
mod ranks;
mod redrawn;
mod roc;
mod scored;
mod scores;
mod sum;
mod table;
mod tagged;
pub mod targets;
mod thresholds;
pub mod watched;

pub use calibration::Calibration;
pub(crate) use counts::square_between;
pub use counts::{ClassCounts, Counts};
pub use entities::{Entity, TagSet};
pub use label_sets::{LabelSet, Labelled};
pub use labels::{LabelMetrics, RedrawnLabels};
pub use lanes::{Drawn, LANES, Step};
pub use moments::Moments;
pub use name::{MetricName, NAMES};
pub use one_vs_rest::{Curve, CurveKind};
pub use ranks::Orders;
pub use redrawn::{RedrawnClasses, RedrawnNumbers};
pub use scored::Scored;
pub use scores::ScoreMetrics;
pub use sum::Sum;
pub use table::{Average, Better, Formula, METRICS, Metric};
pub use tagged::{RedrawnSentences, TagSums, Tagged};
pub use thresholds::{Thresholds, best_threshold};
pub use watched::Watched;
