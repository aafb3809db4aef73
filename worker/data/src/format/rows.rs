//! The rows of a file, as they become samples. Every row is read before anything is said of the bad ones: all are counted, and the first
//! few are listed. A row whose label can be read is a sample that has no input; the job sets it aside where the spec allows it. Any other
//! bad row would move classes or samples in silence, so it is refused.

use std::path::Path;

use firn_core::spec::{DataSpec, MissingLabels};

use super::{Listed, Listing, file_name};
use crate::error::{RowError, RowFault};
use crate::{DataError, Source, SplitName};

/// Bad rows that a message lists.
const LISTED: usize = 5;

/// The columns that the network looks at.
pub(super) struct Input<'a> {
    pub(super) columns: &'a [String],
    /// `text` or `image`, for messages.
    pub(super) role: &'static str,
    /// From the fields of a row to where the bytes of the sample are.
    pub(super) source: &'a dyn Fn(&[&str]) -> Result<Source, RowError>,
}

/// Fields that are the samples themselves: one text, or two.
pub(super) fn texts(fields: &[&str]) -> Result<Source, RowError> {
    Ok(match fields {
        [first, second] => Source::TextPair([first, second].map(|text| (*text).to_owned())),
        fields => Source::Text(fields.concat()),
    })
}

/// Samples and bad rows, in the order of their lines.
pub(super) struct Rows<'a> {
    path: &'a Path,
    /// The file's name, for the ids of the samples.
    name: String,
    missing_labels: MissingLabels,
    samples: Vec<Listed>,
    /// Rows without a label that are left out, and the line of the first.
    left_out: Option<(u64, u64)>,
    /// The first bad ones.
    faults: Vec<RowFault>,
    set_aside: u64,
    refused: u64,
}

impl<'a> Rows<'a> {
    pub(super) fn new(path: &'a Path, data: &DataSpec) -> Self {
        Self {
            path,
            name: file_name(path),
            missing_labels: data.missing_labels.unwrap_or(MissingLabels::Error),
            left_out: None,
            samples: Vec::new(),
            faults: Vec::new(),
            set_aside: 0,
            refused: 0,
        }
    }

    /// The row that starts on `line`: its labels, in the order of their columns, and what the network looks at.
    pub(super) fn add(&mut self, line: u64, labels: Result<Vec<String>, RowFault>, source: Result<Source, RowError>) {
        if self.missing_labels == MissingLabels::Drop && is_without(&labels) {
            let (count, _) = self.left_out.get_or_insert((0, line));
            *count += 1;
            return;
        }
        let (labels, source) = match (labels, source) {
            (Ok(labels), Ok(source)) => (labels, source),
            (Ok(labels), Err(error)) => {
                let reason = error.to_string();
                self.set_aside += 1;
                self.list(RowFault {
                    line,
                    column: None,
                    error,
                });
                (labels, Source::Unusable(reason))
            }
            (Err(fault), _) => {
                self.refused += 1;
                self.list(fault);
                return;
            }
        };
        self.samples.push(Listed {
            id: format!("{}:{line}", self.name),
            labels,
            source,
        });
    }

    /// The label that a column holds, unless it is a word for none and these are no classes.
    pub(super) fn label(&self, label: String, column: &str) -> Result<String, RowError> {
        if self.missing_labels != MissingLabels::Keep && MissingLabels::is_missing(&label) {
            return Err(RowError::MissingLabel {
                column: column.to_owned(),
                value: label,
            });
        }
        Ok(label)
    }

    /// The labels of a list, which may hold none.
    pub(super) fn labels<'t>(
        &self,
        list: impl IntoIterator<Item = &'t str>,
        column: &str,
    ) -> Result<Vec<String>, RowError> {
        let labels = list.into_iter().map(str::trim).filter(|label| !label.is_empty());
        labels.map(|label| self.label(label.to_owned(), column)).collect()
    }

    fn list(&mut self, fault: RowFault) {
        if self.faults.len() < LISTED {
            self.faults.push(fault);
        }
    }

    /// The listing, if no row is refused and no more than `allowed` have to be set aside.
    pub(super) fn finish(self, split: SplitName, data: &DataSpec) -> Result<Listing, DataError> {
        let allowed = u64::from(data.quarantine.max_samples);
        if self.refused > 0 || self.set_aside > allowed {
            return Err(DataError::Rows {
                path: self.path.to_owned(),
                faults: self.faults,
                count: self.refused + self.set_aside,
                rows: self.refused + self.samples.len() as u64,
                allowed: (self.refused == 0 && allowed > 0).then_some(allowed),
            });
        }
        let left_out = self.left_out.map(|(count, line)| {
            let (rows, name) = (count + self.samples.len() as u64, &self.name);
            format!("left out {count} of {rows} rows, which have no label; the first is {name}:{line}")
        });
        Ok(Listing {
            split,
            path: self.path.to_owned(),
            empty_classes: vec![],
            samples: self.samples,
            passed_over: left_out.into_iter().collect(),
        })
    }
}

fn is_without(labels: &Result<Vec<String>, RowFault>) -> bool {
    let error = labels.as_ref().err().map(|fault| &fault.error);
    matches!(
        error,
        Some(RowError::Empty { role: "label", .. } | RowError::MissingLabel { .. })
    )
}
