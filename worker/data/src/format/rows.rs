//! The rows of a file, as they become samples. Every row is read before anything is said of the bad ones: all are counted, and the first
//! few are listed. A row whose label can be read is a sample that has no input; the job sets it aside where the spec allows it. Any other
//! bad row would move classes or samples in silence, so it is refused.

use std::path::Path;

use super::{Listed, Listing, file_name};
use crate::error::{RowError, RowFault};
use crate::{DataError, Source, SplitName};

/// Bad rows that a message lists.
const LISTED: usize = 5;

/// Samples and bad rows, in the order of their lines.
pub(super) struct Rows<'a> {
    path: &'a Path,
    /// The file's name, for the ids of the samples.
    name: String,
    samples: Vec<Listed>,
    /// The first bad ones.
    faults: Vec<RowFault>,
    set_aside: u64,
    refused: u64,
}

impl<'a> Rows<'a> {
    pub(super) fn new(path: &'a Path) -> Self {
        Self {
            path,
            name: file_name(path),
            samples: Vec::new(),
            faults: Vec::new(),
            set_aside: 0,
            refused: 0,
        }
    }

    /// The row that starts on `line`: what is expected of the network, and what it looks at.
    pub(super) fn add(&mut self, line: u64, label: Result<String, RowFault>, source: Result<Source, RowError>) {
        let (class, source) = match (label, source) {
            (Ok(class), Ok(source)) => (class, source),
            (Ok(class), Err(error)) => {
                let reason = error.to_string();
                self.set_aside += 1;
                self.list(RowFault {
                    line,
                    column: None,
                    error,
                });
                (class, Source::Unusable(reason))
            }
            (Err(fault), _) => {
                self.refused += 1;
                self.list(fault);
                return;
            }
        };
        self.samples.push(Listed {
            id: format!("{}:{line}", self.name),
            class,
            source,
        });
    }

    fn list(&mut self, fault: RowFault) {
        if self.faults.len() < LISTED {
            self.faults.push(fault);
        }
    }

    /// The listing, if no row is refused and no more than `allowed` have to be set aside.
    pub(super) fn finish(self, split: SplitName, allowed: u32) -> Result<Listing, DataError> {
        let allowed = u64::from(allowed);
        if self.refused > 0 || self.set_aside > allowed {
            return Err(DataError::Rows {
                path: self.path.to_owned(),
                faults: self.faults,
                count: self.refused + self.set_aside,
                rows: self.refused + self.samples.len() as u64,
                allowed: (self.refused == 0 && allowed > 0).then_some(allowed),
            });
        }
        Ok(Listing {
            split,
            path: self.path.to_owned(),
            empty_classes: vec![],
            samples: self.samples,
            passed_over: vec![],
        })
    }
}
