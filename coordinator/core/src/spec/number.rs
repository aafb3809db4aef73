//! Numbers in messages and references.

/// As people write it: whole numbers without a fraction, small ones with an exponent.
pub(super) fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        format!("{value:.0}")
    } else {
        format!("{value:?}")
    }
}
