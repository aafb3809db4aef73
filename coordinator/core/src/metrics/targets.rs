//! The metrics of numbers: of each target by itself, and their mean over targets.

use std::collections::BTreeMap;

use super::{
    moments::Moments,
    ranks::Orders,
    sum::Sum,
    table::{Formula, METRICS},
};

/// Those that follow from the moments of a target, by name; undefined ones are left out.
pub fn of_moments(moments: &Moments) -> BTreeMap<String, f64> {
    by_name(|formula| match formula {
        Formula::Moments(formula) => formula(moments),
        _ => None,
    })
}

/// Those that need the (value, prediction) pairs of a target, by name; undefined ones are left out.
pub fn of_pairs(pairs: &[(f64, f64)]) -> BTreeMap<String, f64> {
    let orders = Orders::of_pairs(pairs);
    let ones = vec![1; pairs.len()];
    by_name(|formula| match formula {
        Formula::Errors(error) => mean_error(error, pairs),
        Formula::Orders(formula) => formula(&orders, &ones),
        _ => None,
    })
}

fn mean_error(error: fn(f64, f64) -> f64, pairs: &[(f64, f64)]) -> Option<f64> {
    let sum: Sum = pairs
        .iter()
        .map(|(value, prediction)| error(*value, *prediction))
        .collect();
    (!pairs.is_empty()).then(|| sum.value() / pairs.len() as f64)
}

fn by_name(value: impl Fn(Formula) -> Option<f64>) -> BTreeMap<String, f64> {
    let defined = METRICS
        .iter()
        .filter_map(|metric| Some((metric.name, value(metric.formula)?)));
    defined.map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The mean over targets of each metric, all alike: scikit-learn's `multioutput="uniform_average"`. One that is undefined for a target is left
/// out.
pub fn mean(targets: &[BTreeMap<String, f64>]) -> BTreeMap<String, f64> {
    let Some(first) = targets.first() else {
        return BTreeMap::new();
    };
    let mean_of = |name: &String| {
        let sum: Option<f64> = targets.iter().map(|target| target.get(name)).sum();
        Some((name.clone(), sum? / targets.len() as f64))
    };
    first.keys().filter_map(mean_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_count_alike_and_what_one_lacks_has_no_mean() {
        let target = |value: f64| BTreeMap::from([("r2".to_owned(), value)]);
        assert_eq!(mean(&[target(0.5), target(1.0)]), target(0.75));
        assert_eq!(mean(&[target(0.5), BTreeMap::new()]), BTreeMap::new());
        assert_eq!(mean(&[]), BTreeMap::new());
    }
}
