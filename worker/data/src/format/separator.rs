//! A table whose columns are not found because it is separated by something else than was said, or is no table.

use csv::ReaderBuilder;

use crate::DataError;

/// What people separate fields by, with the words for each and for how to say so.
const SEPARATORS: [(u8, &str, &str); 4] = [
    (b',', "commas", "format: csv"),
    (b'\t', "tabs", "format: tsv"),
    (b';', "`;`", "delimiter: \";\""),
    (b'|', "`|`", "delimiter: \"|\""),
];

/// Adds to the message on a missing column what the table seems to be, when the header has one field that is more than a name.
pub(super) fn explain(mut error: DataError, header: &[String], (delimiter, wanted): (char, &[&str])) -> DataError {
    if let (DataError::MissingColumn { nearest, .. }, [line]) = (&mut error, header)
        && let Some(words) = seems(line, delimiter, wanted)
    {
        *nearest = words;
    }
    error
}

fn seems(line: &str, delimiter: char, wanted: &[&str]) -> Option<String> {
    if line.starts_with(['{', '[']) {
        return Some("; it seems to hold JSON lines: set data.format: jsonl".to_owned());
    }
    let named = |separator: u8| {
        let mut builder = ReaderBuilder::new();
        let mut reader = builder
            .delimiter(separator)
            .has_headers(false)
            .from_reader(line.as_bytes());
        let fields = reader.records().next().and_then(Result::ok).unwrap_or_default();
        let hits = fields.iter().filter(|field| wanted.contains(&field.trim())).count();
        (hits, fields.len())
    };
    let others = SEPARATORS
        .iter()
        .filter(|(separator, ..)| char::from(*separator) != delimiter);
    let (_, words, setting) = others
        .filter(|(separator, ..)| named(*separator).1 > 1)
        .max_by_key(|(separator, ..)| named(*separator))?;
    Some(format!("; it seems to be separated by {words}: set data.{setting}"))
}
