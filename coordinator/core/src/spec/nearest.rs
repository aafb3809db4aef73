//! What a mistyped word was probably meant to be.

/// The valid word closest to what was written, if one is close enough to be worth suggesting: the same but for case and separators
/// (`learning_rate` for `learningRate`), a typing error or two away (Damerau–Levenshtein, at most a third of the letters), or a longer
/// word that contains it (`batch` for `batchSize`).
pub fn nearest<'a>(written: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = plain_form(written);
    let letters = plain.chars().count();
    let allowed_errors = (letters / 3).max(1);
    let mut best: Option<(usize, &str)> = None;
    for word in valid {
        let candidate = plain_form(word);
        let mut distance = strsim::damerau_levenshtein(&plain, &candidate);
        if letters >= 3 && candidate.starts_with(&plain) {
            distance = distance.min(1);
        } else if letters >= 3 && candidate.contains(&plain) {
            distance = distance.min(allowed_errors);
        }
        if letters > 1 && distance <= allowed_errors && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, word));
        }
    }
    best.map(|(_, word)| word)
}

fn plain_form(word: &str) -> String {
    word.chars()
        .filter(|letter| !matches!(letter, '_' | '-' | ' '))
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_separators_typing_errors_and_fragments_are_understood() {
        let fields = ["batchSize", "microBatchSize", "epochs", "learningRate", "seed"];
        for (written, meant) in [
            ("batch_size", Some("batchSize")),
            ("BatchSize", Some("batchSize")),
            ("microbatchsize", Some("microBatchSize")),
            ("epoch", Some("epochs")),
            ("lerningRate", Some("learningRate")),
            ("batch", Some("batchSize")),
            ("learning", Some("learningRate")),
            ("sede", Some("seed")),
            ("colour", None),
            ("e", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, fields), meant, "{written}");
        }
    }
}
