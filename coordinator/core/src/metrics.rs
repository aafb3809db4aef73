//! Exact metrics of a split, from statistics that add up.
//!
//! Ranks send counts, sums and (score, label) pairs; the coordinator adds them and evaluates once. A mean of the ranks' own metrics would
//! be wrong as soon as parts differ in size or in classes, which is how most distributed validation numbers come to be wrong.
//!
//! The definitions are scikit-learn's with `labels=range(classes)` and `zero_division=0`: the label set is that of the training schema,
//! so a class that a split does not hold still counts in every macro average.

mod classification;
mod evaluation;
mod roc;

pub use classification::{ClassificationStatistics, StatisticsError};
pub use evaluation::{Averages, ClassMetrics, ClassificationMetrics};
pub use roc::{roc_auc, roc_auc_binary, roc_auc_one_vs_rest};
