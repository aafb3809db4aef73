//! CSV and TSV with a header line. The `csv` crate splits fields; what it tolerates and a dataset should not (rows of uneven length, a
//! quote that is never closed) is checked here, because a row read wrongly is a sample learned wrongly.

use std::path::Path;

use csv::{ByteRecord, Reader, ReaderBuilder};

use super::{Listed, Listing, file_name, read_file, unreadable};
use crate::{DataError, Source, SplitName, names};

pub(super) struct Layout<'a> {
    pub(super) delimiter: char,
    pub(super) quoted: bool,
    pub(super) text: &'a str,
    pub(super) label: &'a str,
}

impl Layout<'_> {
    /// The format's name in a spec.
    fn name(&self) -> &'static str {
        if self.delimiter == '\t' { "tsv" } else { "csv" }
    }
}

pub(super) fn list(split: SplitName, path: &Path, layout: &Layout<'_>) -> Result<Listing, DataError> {
    let bytes = read_file(split, path, layout.name())?;
    let mut rows = Rows::new(path, &bytes, layout);
    let Some((_, header)) = rows.next_row()? else {
        return Err(DataError::NoHeader { path: path.to_owned() });
    };
    let header = header
        .into_iter()
        .map(|name| name.trim().to_owned())
        .collect::<Vec<_>>();
    let text_column = column(path, &header, layout.text, "text")?;
    let label_column = column(path, &header, layout.label, "label")?;

    let name = file_name(path);
    let mut samples = Vec::new();
    while let Some((line, mut row)) = rows.next_row()? {
        if row.len() != header.len() {
            return Err(ragged(path, line, header.len(), row.len(), layout));
        }
        let label = row[label_column].trim().to_owned();
        let text = std::mem::take(&mut row[text_column]);
        for (role, column, value) in [("text", layout.text, text.trim()), ("label", layout.label, &label)] {
            if value.is_empty() {
                return Err(DataError::EmptyField {
                    path: path.to_owned(),
                    line,
                    role,
                    column: column.to_owned(),
                });
            }
        }
        samples.push(Listed {
            id: format!("{name}:{line}"),
            class: label,
            source: Source::Text(text),
        });
    }
    Ok(Listing::of_rows(split, path, samples))
}

/// The rows of a table, each with the line it starts on.
struct Rows<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    reader: Reader<&'a [u8]>,
    delimiter: u8,
    quoted: bool,
    record: ByteRecord,
    /// The lines up to this byte are counted.
    counted: usize,
    line: u64,
}

impl<'a> Rows<'a> {
    fn new(path: &'a Path, bytes: &'a [u8], layout: &Layout<'_>) -> Self {
        let delimiter = u8::try_from(layout.delimiter).expect("the spec allows `,` and tab");
        let mut builder = ReaderBuilder::new();
        let reader = builder
            .delimiter(delimiter)
            .quoting(layout.quoted)
            .flexible(true)
            .has_headers(false)
            .from_reader(bytes);
        Self {
            path,
            bytes,
            reader,
            delimiter,
            quoted: layout.quoted,
            record: ByteRecord::new(),
            counted: 0,
            line: 1,
        }
    }

    fn next_row(&mut self) -> Result<Option<(u64, Vec<String>)>, DataError> {
        let more = self
            .reader
            .read_byte_record(&mut self.record)
            .map_err(|error| unreadable(self.path, &error.into()))?;
        if !more {
            return Ok(None);
        }
        let line = self.count_lines_to_row();
        let read_to = usize::try_from(self.reader.position().byte()).expect("the file is in memory");
        if self.quoted && read_to >= self.bytes.len() && ends_inside_quotes(&self.bytes[self.counted..], self.delimiter)
        {
            return Err(DataError::OpenQuote {
                path: self.path.to_owned(),
                line,
            });
        }
        let text = |field: &[u8]| match std::str::from_utf8(field) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(DataError::NotUtf8 {
                path: self.path.to_owned(),
                line,
            }),
        };
        Ok(Some((line, self.record.iter().map(text).collect::<Result<_, _>>()?)))
    }

    /// The line of the record's first field. The reader's own position lies before the blank lines that it skips.
    fn count_lines_to_row(&mut self) -> u64 {
        let position = self.record.position().expect("a record that was read has a position");
        let mut start = usize::try_from(position.byte()).expect("the file is in memory");
        while matches!(self.bytes.get(start), Some(b'\n' | b'\r')) {
            start += 1;
        }
        self.line += self.bytes[self.counted..start]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count() as u64;
        self.counted = start;
        self.line
    }
}

/// Whether a quote that opens at the start of a field is still open at the end of `row`.
fn ends_inside_quotes(row: &[u8], delimiter: u8) -> bool {
    #[derive(PartialEq)]
    enum At {
        FieldStart,
        Plain,
        Quoted,
        QuoteInQuoted,
    }
    let mut at = At::FieldStart;
    for &byte in row {
        at = match (at, byte) {
            (At::FieldStart, b'"') | (At::QuoteInQuoted, b'"') => At::Quoted,
            (At::Quoted, b'"') => At::QuoteInQuoted,
            (At::Quoted, _) => At::Quoted,
            (_, b'\n' | b'\r') => At::FieldStart,
            (_, byte) if byte == delimiter => At::FieldStart,
            _ => At::Plain,
        };
    }
    at == At::Quoted
}

fn column(path: &Path, header: &[String], wanted: &str, role: &'static str) -> Result<usize, DataError> {
    let mut places = header
        .iter()
        .enumerate()
        .filter(|(_, name)| *name == wanted)
        .map(|(place, _)| place);
    match (places.next(), places.next()) {
        (Some(place), None) => Ok(place),
        (Some(_), Some(_)) => Err(DataError::AmbiguousColumn {
            path: path.to_owned(),
            column: wanted.to_owned(),
            role,
        }),
        (None, _) => Err(DataError::MissingColumn {
            path: path.to_owned(),
            column: wanted.to_owned(),
            role,
            found: names::enumerate(header),
            nearest: names::suggestion(wanted, header),
        }),
    }
}

fn ragged(path: &Path, line: u64, expected: usize, found: usize, layout: &Layout<'_>) -> DataError {
    let hint = match (layout.delimiter, layout.quoted) {
        ('\t', _) if found > expected => "; is there a tab inside a field?",
        (_, true) if found > expected => "; a field that holds a comma must be wrapped in double quotes",
        _ => "",
    };
    DataError::RaggedRow {
        path: path.to_owned(),
        line,
        expected,
        found,
        hint: hint.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_quote_is_told_from_a_closed_one() {
        assert!(ends_inside_quotes(b"\"a,1\nb,2\n", b','));
        assert!(ends_inside_quotes(b"\"a\"\",1\n", b','));
        assert!(!ends_inside_quotes(b"\"a\"\"\",1\n", b','));
        assert!(
            !ends_inside_quotes(b"5\" pipe,1", b','),
            "a quote within a plain field is text"
        );
    }
}
