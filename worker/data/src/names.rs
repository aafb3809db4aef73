//! Names as people read them: order of labels, short lists, and the name that was probably meant.

/// Most names that a message lists.
const LISTED: usize = 12;

/// By value if all are numbers (`2` before `10`), else by code point.
pub(crate) fn sort_labels(labels: &mut [String]) {
    let value = |label: &String| label.parse::<f64>().ok().filter(|value| value.is_finite());
    if labels.iter().all(|label| value(label).is_some()) {
        labels.sort_by(|a, b| {
            value(a)
                .partial_cmp(&value(b))
                .expect("finite numbers compare")
                .then_with(|| a.cmp(b))
        });
    } else {
        labels.sort();
    }
}

/// `a`, `b`, `c` and 4 more.
pub(crate) fn enumerate<S: AsRef<str>>(names: &[S]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(LISTED)
        .map(|name| format!("`{}`", name.as_ref()))
        .collect();
    match names.len().saturating_sub(LISTED) {
        0 if names.is_empty() => "none".to_owned(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// `; did you mean …?`, or nothing when no name is near.
pub(crate) fn suggestion<S: AsRef<str>>(wanted: &str, names: &[S]) -> String {
    let lower = wanted.to_lowercase();
    let near = names.iter().map(|name| {
        (
            strsim::jaro_winkler(&lower, &name.as_ref().trim().to_lowercase()),
            name.as_ref(),
        )
    });
    match near.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((score, name)) if score >= 0.8 => format!("; did you mean `{name}`?"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(labels: &[&str]) -> Vec<String> {
        let mut labels: Vec<String> = labels.iter().map(ToString::to_string).collect();
        sort_labels(&mut labels);
        labels
    }

    #[test]
    fn numbers_sort_by_value_and_words_by_code_point() {
        assert_eq!(sorted(&["10", "9", "-1", "0.5"]), ["-1", "0.5", "9", "10"]);
        assert_eq!(sorted(&["10", "9", "many"]), ["10", "9", "many"]);
        assert_eq!(sorted(&["b", "B", "a"]), ["B", "a", "b"]);
        assert_eq!(sorted(&["nan", "1"]), ["1", "nan"]);
    }

    #[test]
    fn a_near_name_is_suggested_and_a_far_one_is_not() {
        assert_eq!(suggestion("label", &["text", "Labels"]), "; did you mean `Labels`?");
        assert_eq!(suggestion("label", &["text", "score"]), "");
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..14).map(|i| i.to_string()).collect();
        assert!(enumerate(&names).ends_with("`11` and 2 more"));
    }
}
