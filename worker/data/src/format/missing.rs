//! Words for a label that is not there.

/// What `pandas.read_csv` takes for a missing value unless it is told otherwise (pandas 2, `STR_NA_VALUES`), less the empty text.
const WORDS: [&str; 18] = [
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL",
    "NaN", "None", "n/a", "nan", "null",
];

pub(super) fn is_missing(label: &str) -> bool {
    WORDS.contains(&label)
}
