//! CSV and TSV with a header line. The `csv` crate splits fields; what it tolerates and a dataset should not (rows of uneven length, a
//! quote that is never closed) is checked here, because a row read wrongly is a sample learned wrongly.

use std::path::Path;

use csv::{ByteRecord, Reader, ReaderBuilder};

use firn_core::compatibility::DataRules;
use firn_core::spec::{DataSpec, LabelColumns};

use super::rows::{Input, Rows};
use super::{Listing, read_file, separator, unreadable};
use crate::error::{RowError, RowFault};
use crate::{DataError, SplitName, names};

pub(super) struct Layout<'a> {
    pub(super) delimiter: char,
    pub(super) quoted: bool,
    pub(super) input: Input<'a>,
    /// The label columns.
    pub(super) labels: &'a LabelColumns,
    /// By which lines are counted.
    pub(super) rules: DataRules,
}

impl Layout<'_> {
    /// The format's name in a spec.
    fn name(&self) -> &'static str {
        if self.delimiter == '\t' { "tsv" } else { "csv" }
    }
}

pub(super) fn list(split: SplitName, path: &Path, layout: &Layout<'_>, data: &DataSpec) -> Result<Listing, DataError> {
    let bytes = read_file(split, path, layout.name())?;
    let mut reader = RowReader::new(path, &bytes, layout);
    let header = header(&mut reader)?;
    let label_names = layout.labels.names();
    let labels = label_names.iter().map(String::as_str);
    let inputs = layout.input.columns;
    let wanted: Vec<&str> = inputs.iter().map(String::as_str).chain(labels).collect();
    let column = |name, role| {
        let found = column(path, &header, name, role);
        found.map_err(|error| separator::explain(error, &header, (layout.delimiter, &wanted)))
    };
    let input_columns = inputs.iter().map(|input| column(input, layout.input.role));
    let input_columns: Vec<usize> = input_columns.collect::<Result<_, _>>()?;
    let label_columns = label_names.iter().map(|label| column(label, "label"));
    let label_columns: Vec<usize> = label_columns.collect::<Result<_, _>>()?;
    let mut rows = Rows::new(path, data);
    while let Some(line) = reader.advance()? {
        let fault = |error| RowFault {
            line,
            column: None,
            error,
        };
        let record = &reader.record;
        let labels = if reader.is_open() {
            Err(fault(RowError::OpenQuote))
        } else if record.len() != header.len() {
            Err(fault(ragged(header.len(), record.len(), layout)))
        } else {
            labels_of(record, &label_columns, layout.labels, &rows).map_err(fault)
        };
        let Input { role, source, .. } = layout.input;
        let places = input_columns.iter().zip(inputs);
        let written = places.map(|(place, name)| field(record.get(*place).unwrap_or_default(), name, role));
        let written: Result<Vec<&str>, _> = written.collect();
        rows.add(line, labels, written.and_then(|fields| source(&fields)));
    }
    rows.finish(split, data)
}

/// The labels of a row. A list may be empty.
fn labels_of(
    record: &ByteRecord,
    places: &[usize],
    columns: &LabelColumns,
    rows: &Rows<'_>,
) -> Result<Vec<String>, RowError> {
    if let (LabelColumns::List { column, separator }, [place]) = (columns, places) {
        let list = std::str::from_utf8(&record[*place]).map_err(|_| RowError::NotUtf8)?;
        return rows.labels(list.split(*separator), column);
    }
    let label = |(place, name): (&usize, &String)| {
        let label = field(&record[*place], name, "label")?;
        rows.label(label.trim().to_owned(), name)
    };
    places.iter().zip(columns.names()).map(label).collect()
}

/// The names of the columns.
fn header(reader: &mut RowReader<'_>) -> Result<Vec<String>, DataError> {
    let path = reader.path.to_owned();
    let Some(line) = reader.advance()? else {
        return Err(DataError::NoHeader { path });
    };
    let refused = |error| {
        let fault = RowFault {
            line,
            column: None,
            error,
        };
        DataError::Rows {
            path: path.clone(),
            faults: vec![fault],
            count: 1,
            rows: 1,
            allowed: None,
        }
    };
    if reader.is_open() {
        return Err(refused(RowError::OpenQuote));
    }
    let names = reader.record.iter().map(|name| match std::str::from_utf8(name) {
        Ok(name) => Ok(name.trim().to_owned()),
        Err(_) => Err(refused(RowError::NotUtf8)),
    });
    names.collect()
}

/// A field that holds more than blanks.
fn field<'a>(value: &'a [u8], column: &str, role: &'static str) -> Result<&'a str, RowError> {
    match std::str::from_utf8(value) {
        Ok(text) if text.trim().is_empty() => Err(RowError::Empty {
            role,
            column: column.to_owned(),
        }),
        Ok(text) => Ok(text),
        Err(_) => Err(RowError::NotUtf8),
    }
}

/// The rows of a table, each with the line it starts on.
struct RowReader<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    reader: Reader<&'a [u8]>,
    delimiter: u8,
    quoted: bool,
    /// The row that was read last.
    record: ByteRecord,
    /// The lines up to this byte are counted.
    counted: usize,
    line: u64,
    /// LF, as in files that end their lines with CR LF; CR in a file that has no LF, except by the first rules.
    line_end: u8,
}

impl<'a> RowReader<'a> {
    fn new(path: &'a Path, bytes: &'a [u8], layout: &Layout<'_>) -> Self {
        let delimiter = u8::try_from(layout.delimiter).expect("the spec allows ASCII alone");
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
            line_end: match layout.rules {
                DataRules::Current if !bytes.contains(&b'\n') => b'\r',
                _ => b'\n',
            },
            counted: 0,
            line: 1,
        }
    }

    /// Reads the next row, if there is one, and gives its line.
    fn advance(&mut self) -> Result<Option<u64>, DataError> {
        let more = self.reader.read_byte_record(&mut self.record);
        let more = more.map_err(|error| unreadable(self.path, &error.into()))?;
        Ok(more.then(|| self.count_lines_to_row()))
    }

    /// Whether a quoted field of this row, which is then the last one, is never closed.
    fn is_open(&self) -> bool {
        let read_to = usize::try_from(self.reader.position().byte()).expect("the file is in memory");
        self.quoted && read_to >= self.bytes.len() && ends_inside_quotes(&self.bytes[self.counted..], self.delimiter)
    }

    /// The line of the record's first field. The reader's own position lies before the blank lines that it skips.
    fn count_lines_to_row(&mut self) -> u64 {
        let position = self.record.position().expect("a record that was read has a position");
        let mut start = usize::try_from(position.byte()).expect("the file is in memory");
        while matches!(self.bytes.get(start), Some(b'\n' | b'\r')) {
            start += 1;
        }
        let passed = &self.bytes[self.counted..start];
        self.line += passed.iter().filter(|byte| **byte == self.line_end).count() as u64;
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

fn ragged(expected: usize, found: usize, layout: &Layout<'_>) -> RowError {
    let hint = match (layout.delimiter, layout.quoted) {
        ('\t', _) if found > expected => "; is there a tab inside a field?",
        (',', true) if found > expected => "; a field that holds a comma must be wrapped in double quotes",
        (_, true) if found > expected => "; a field that holds the delimiter must be wrapped in double quotes",
        _ => "",
    };
    RowError::Ragged {
        expected,
        found,
        hint: hint.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows;
    use super::*;

    #[test]
    fn a_file_without_line_feeds_has_lines_that_end_with_cr() {
        let lines_by = |rules, bytes: &[u8]| {
            let layout = Layout {
                delimiter: ',',
                quoted: true,
                input: Input {
                    columns: &[],
                    role: "text",
                    source: &rows::texts,
                },
                labels: &LabelColumns::Numbers(vec![]),
                rules,
            };
            let mut reader = RowReader::new(Path::new("train.csv"), bytes, &layout);
            std::iter::from_fn(|| reader.advance().unwrap()).collect::<Vec<_>>()
        };
        let lines = |bytes| lines_by(DataRules::Current, bytes);
        assert_eq!(lines_by(DataRules::First, b"a,1\rb,1\r\rc,1"), [1, 1, 1]);
        assert_eq!(lines(b"a,1\rb,1\r\rc,1"), [1, 2, 4]);
        assert_eq!(
            lines(b"\"a\rb\",1\r\nc,1\n\nd,1\n"),
            [1, 2, 4],
            "a CR within a field ends no line"
        );
    }

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
