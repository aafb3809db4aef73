//! A metric that decides something: which checkpoint is best, when training ends, when the learning rate falls.

use std::fmt;

use super::name::MetricName;

/// Between a metric and the class that it is of.
const BETWEEN: char = '/';

/// A metric, and the class that it is of where it is of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watched<'a> {
    /// The metric.
    pub metric: MetricName,
    /// The class, label or type of entity; `None`: the metric is of all of them.
    pub class: Option<&'a str>,
}

impl<'a> Watched<'a> {
    /// As a spec names both.
    pub fn new(metric: MetricName, class: Option<&'a String>) -> Self {
        let class = class.map(String::as_str);
        Self { metric, class }
    }
}

/// `f1_macro`, `f1/pneumonia`: what it is called beside the values of a split, and what people read.
impl fmt::Display for Watched<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&name(self.metric.name(), self.class.unwrap_or_default()))
    }
}

/// Whether [`name`] has made it of a class.
pub fn is_of_class(name: &str) -> bool {
    name.contains(BETWEEN)
}

/// The same of texts; an empty class is none.
pub fn name(metric: &str, class: &str) -> String {
    match class {
        "" => metric.to_owned(),
        class => format!("{metric}{BETWEEN}{class}"),
    }
}
