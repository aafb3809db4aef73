//! Names in the order in which people count: numbers in them are compared as numbers, so that `ants-10` comes after `ants-2`.

use std::cmp::Ordering;

/// Compares two names.
pub(crate) fn compare(left: &str, right: &str) -> Ordering {
    let (mut left_rest, mut right_rest) = (left, right);
    while let (Some(a), Some(b)) = (take_part(&mut left_rest), take_part(&mut right_rest)) {
        let order = match (is_number(a), is_number(b)) {
            (true, true) => number(a).cmp(&number(b)),
            _ => a.cmp(b),
        };
        if order.is_ne() {
            return order;
        }
    }
    // One begins with the other, or they differ in zeros that lead a number.
    left_rest
        .len()
        .cmp(&right_rest.len())
        .then_with(|| left.len().cmp(&right.len()))
        .then_with(|| left.cmp(right))
}

/// The digits, or the text up to the next digits, that a name begins with.
fn take_part<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let first = rest.chars().next()?;
    let is_other = |letter: char| letter.is_ascii_digit() != first.is_ascii_digit();
    let (part, others) = rest.split_at(rest.find(is_other).unwrap_or(rest.len()));
    *rest = others;
    Some(part)
}

fn is_number(part: &str) -> bool {
    part.starts_with(|letter: char| letter.is_ascii_digit())
}

/// Orders digits as the number that they are, however many there are.
fn number(digits: &str) -> (usize, &str) {
    let digits = digits.trim_start_matches('0');
    (digits.len(), digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_as_numbers() {
        let mut names = [
            "ants-10", "ants-2", "ants", "bees-1", "ants-02", "ants-2-b", "ants-x", "7",
        ];
        names.sort_by(|a, b| compare(a, b));
        assert_eq!(
            names,
            [
                "7", "ants", "ants-2", "ants-02", "ants-2-b", "ants-10", "ants-x", "bees-1"
            ]
        );
        let huge = "99999999999999999999999999999999999999999999";
        assert_eq!(compare(huge, &format!("1{huge}")), Ordering::Less);
    }
}
