//! Numbers as they are printed.

use std::time::Duration;

/// The value below which the share of the sorted durations lies.
pub(crate) fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let last = sorted.len().saturating_sub(1);
    let index = (sorted.len() as f64 * share).ceil() as usize;
    sorted
        .get(index.saturating_sub(1).min(last))
        .copied()
        .unwrap_or_default()
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// `reached` or `MISSED`, and whether.
pub(crate) fn verdict(holds: bool) -> &'static str {
    if holds { "reached" } else { "MISSED" }
}
