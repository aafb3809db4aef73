//! One word a line, as the shared tasks of CoNLL have it: columns between spaces or tabs, the first of which is the word and the last its tag. A blank
//! line ends a text. A line that begins with `-DOCSTART-` stands between documents and is no word.
//!
//! Nothing but space, tab and the end of a line is white space here: other blanks are part of words.

use std::path::Path;

use firn_core::spec::{DataSpec, LabelColumns};

use super::rows::Rows;
use super::{Listing, read_file};
use crate::error::{RowError, RowFault};
use crate::{DataError, Source, SplitName};

const BETWEEN_DOCUMENTS: &str = "-DOCSTART-";

pub(super) fn list(
    split: SplitName,
    path: &Path,
    columns: &LabelColumns,
    data: &DataSpec,
) -> Result<Listing, DataError> {
    let bytes = read_file(split, path, "conll")?;
    let has_tags = matches!(columns, LabelColumns::Tags(_));
    let mut rows = Rows::new(path, data);
    let mut text = Text::default();
    for (number, line) in (1u64..).zip(bytes.split(|byte| *byte == b'\n')) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match word(line, has_tags, &rows) {
            Ok(Line::Blank) => text.close(&mut rows),
            Ok(Line::Word { word, tag }) => text.add(number, word, tag),
            Err(error) => text.fail(RowFault {
                line: number,
                column: None,
                error,
            }),
        }
    }
    text.close(&mut rows);
    rows.finish(split, data)
}

enum Line {
    Blank,
    Word { word: String, tag: Option<String> },
}

fn word(line: &[u8], has_tags: bool, rows: &Rows<'_>) -> Result<Line, RowError> {
    let line = std::str::from_utf8(line).map_err(|_| RowError::NotUtf8)?;
    let mut fields = line.split([' ', '\t']).filter(|field| !field.is_empty());
    let Some(word) = fields.next().filter(|word| !word.starts_with(BETWEEN_DOCUMENTS)) else {
        return Ok(Line::Blank);
    };
    let tag = match (fields.next_back(), has_tags) {
        (Some(tag), true) => Some(rows.label(tag.to_owned(), "the last column")?),
        (None, true) => {
            return Err(RowError::Empty {
                role: "label",
                column: "the last column".to_owned(),
            });
        }
        (_, false) => None,
    };
    Ok(Line::Word {
        word: word.to_owned(),
        tag,
    })
}

/// The lines of a text, as far as they were read.
#[derive(Default)]
struct Text {
    first_line: Option<u64>,
    words: Vec<String>,
    tags: Vec<String>,
    fault: Option<RowFault>,
}

impl Text {
    fn add(&mut self, line: u64, word: String, tag: Option<String>) {
        self.first_line.get_or_insert(line);
        self.words.push(word);
        self.tags.extend(tag);
    }

    fn fail(&mut self, fault: RowFault) {
        self.first_line.get_or_insert(fault.line);
        self.fault.get_or_insert(fault);
    }

    /// Gives what was read to the rows, if it is anything.
    fn close(&mut self, rows: &mut Rows<'_>) {
        let Self {
            first_line,
            words,
            tags,
            fault,
        } = std::mem::take(self);
        if let Some(line) = first_line {
            rows.add(line, fault.map_or(Ok(tags), Err), Ok(Source::Words(words)));
        }
    }
}
