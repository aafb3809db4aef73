//! Spans of time that people type: `90s`, `10m`, `1h30m`, `500ms`. A bare number is refused: its unit would be a guess.

use std::time::Duration;

/// Parses a span of time with units `d`, `h`, `m`, `s`, `ms`, each at most once, largest first.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 5] = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ];
    let invalid = || format!("expected a span of time with its unit, such as 90s, 10m or 1h30m, found `{text}`");

    let mut rest = text.trim();
    let mut milliseconds: u64 = 0;
    let mut next_unit = 0;
    if rest.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
        let amount: u64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let found = UNITS
            .iter()
            .position(|(unit, _)| *unit == &rest[..letters])
            .ok_or_else(invalid)?;
        if found < next_unit {
            return Err(invalid());
        }
        next_unit = found + 1;
        milliseconds = amount
            .checked_mul(UNITS[found].1)
            .and_then(|part| milliseconds.checked_add(part))
            .ok_or_else(invalid)?;
        rest = &rest[letters..];
    }
    Ok(Duration::from_millis(milliseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_with_units_are_read() {
        let table = [
            ("90s", 90_000),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("2d", 172_800_000),
            ("0s", 0),
        ];
        for (text, milliseconds) in table {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn spans_without_units_or_in_the_wrong_order_are_refused() {
        for text in [
            "",
            "10",
            "m",
            "10x",
            "5s1m",
            "1m1m",
            "-5s",
            "1.5h",
            "99999999999999999999d",
            "999999999999999d",
        ] {
            let message = parse(text).unwrap_err();
            assert!(message.contains(&format!("`{text}`")), "{message}");
        }
    }
}
