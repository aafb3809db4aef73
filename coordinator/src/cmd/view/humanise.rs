//! Numbers as people say them.

use std::time::Duration;

use prost_types::Timestamp;

/// `850ms`, `4.2s`, `42s`, `3m12s`, `2h05m`, `3d4h`.
pub(crate) fn duration(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0 => format!("{}ms", span.as_millis()),
        1..=9 => format!("{}.{}s", seconds, span.subsec_millis() / 100),
        10..=59 => format!("{seconds}s"),
        60..=3_599 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..=86_399 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// Seconds as they arrive on the wire; nothing sensible is `-`.
pub(crate) fn seconds(seconds: f64) -> String {
    match Duration::try_from_secs_f64(seconds) {
        Ok(span) if span < Duration::from_secs(1) => "<1s".to_owned(),
        Ok(span) => duration(span),
        Err(_) => "-".to_owned(),
    }
}

/// The time from `then` to `now` in whole seconds, or `-` if `then` is not known. Clocks of two machines may disagree:
/// never negative.
pub(crate) fn age(then: Option<&Timestamp>, now: Timestamp) -> String {
    then.map_or_else(|| "-".to_owned(), |then| whole_seconds(elapsed(then, now)))
}

/// The time from `then` to `now`.
pub(crate) fn elapsed(then: &Timestamp, now: Timestamp) -> Duration {
    let nanoseconds = |at: &Timestamp| i128::from(at.seconds) * 1_000_000_000 + i128::from(at.nanos);
    let difference = (nanoseconds(&now) - nanoseconds(then)).max(0);
    Duration::from_nanos(u64::try_from(difference).unwrap_or(u64::MAX))
}

fn whole_seconds(span: Duration) -> String {
    if span.as_secs() < 10 {
        format!("{}s", span.as_secs())
    } else {
        duration(span)
    }
}

/// `512 B`, `12.0 KiB`, `90.3 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut amount = count as f64 / 1024.0;
    let mut unit = 0;
    while amount >= 1023.95 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    format!("{amount:.1} {}", UNITS[unit])
}

/// `22,565,376`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 rank`, `2 ranks`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A metric from here on is written with an exponent: nobody counts thirty digits.
const HUGE: f64 = 1e6;

/// Four digits after the point; a huge number with an exponent, `5.8247e29`; what is not a number is `-`.
pub(crate) fn metric(value: f64) -> String {
    if !value.is_finite() {
        "-".to_owned()
    } else if value.abs() < HUGE {
        format!("{value:.4}")
    } else {
        format!("{value:.4e}")
    }
}

/// Whether a loss tells of a training that has diverged: cross-entropy and standardised errors of a model that knows nothing are near 1.
pub(crate) fn has_diverged(loss: f64) -> bool {
    loss >= HUGE
}

/// Samples a second: `812`, `8.1`.
pub(crate) fn rate(value: f64) -> String {
    if !value.is_finite() || value <= 0.0 {
        "-".to_owned()
    } else if value < 100.0 {
        format!("{value:.1}")
    } else {
        count(value.round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_huge_metric_has_an_exponent() {
        assert_eq!(metric(0.43104), "0.4310");
        assert_eq!(metric(999_999.5), "999999.5000");
        assert_eq!(metric(582_471_336_444_811_695_814_040_616_960.0), "5.8247e29");
        assert_eq!(metric(f64::NAN), "-");
    }

    #[test]
    fn durations_keep_two_units_at_most() {
        let table = [
            (Duration::from_millis(850), "850ms"),
            (Duration::from_millis(4_260), "4.2s"),
            (Duration::from_secs(42), "42s"),
            (Duration::from_secs(192), "3m12s"),
            (Duration::from_secs(7_500), "2h05m"),
            (Duration::from_secs(273_600), "3d4h"),
        ];
        for (span, text) in table {
            assert_eq!(duration(span), text);
        }
        assert_eq!(seconds(0.2), "<1s");
        assert_eq!(seconds(f64::NAN), "-");
        assert_eq!(seconds(-1.0), "-");
    }

    #[test]
    fn sizes_use_binary_units() {
        for (size, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (94_686_412, "90.3 MiB"),
            (1 << 20, "1.0 MiB"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn counts_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (22_565_376, "22,565,376")] {
            assert_eq!(count(number), text);
        }
        assert_eq!(counted(1, "rank"), "1 rank");
        assert_eq!(counted(2, "rank"), "2 ranks");
    }

    #[test]
    fn an_age_is_never_negative() {
        let at = |seconds| Timestamp { seconds, nanos: 0 };
        assert_eq!(age(Some(&at(100)), at(103)), "3s");
        assert_eq!(age(Some(&at(100)), at(90)), "0s");
        assert_eq!(age(None, at(90)), "-");
    }

    #[test]
    fn rates_and_metrics_that_are_no_numbers_are_a_dash() {
        assert_eq!(rate(0.0), "-");
        assert_eq!(rate(8.13), "8.1");
        assert_eq!(rate(1_812.4), "1,812");
        assert_eq!(metric(f64::NAN), "-");
        assert_eq!(metric(0.95424), "0.9542");
    }
}
