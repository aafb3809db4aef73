//! redb asserts what holds for pages that it wrote itself. On pages that were damaged afterwards such an assertion can fail and panic; here
//! that becomes an error like any other, which names the file and, where it is known, the record.

use std::{
    any::Any,
    ops::Deref,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use redb::Database;
use tracing::error;

use super::JournalError;

/// Runs something that reads pages.
///
/// What it captures is not used after a panic, but for being dropped.
pub(super) fn unpanicked<T>(path: &Path, read: impl FnOnce() -> Result<T, JournalError>) -> Result<T, JournalError> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        Err(JournalError::Unreadable {
            path: path.to_owned(),
            reason: words(panic.as_ref()),
        })
    })
}

/// Like [`unpanicked`], of a walk that notes in `sequence` which record it is about to read.
pub(super) fn unpanicked_at<T>(
    path: &Path,
    sequence: &mut u64,
    read: impl FnOnce(&mut u64) -> Result<T, JournalError>,
) -> Result<T, JournalError> {
    let caught = catch_unwind(AssertUnwindSafe(|| read(sequence)));
    caught.unwrap_or_else(|panic| Err(JournalError::damaged(path, *sequence, &words(panic.as_ref()))))
}

/// An open database that can be dropped whatever its pages hold: closing reads and writes some of them.
#[derive(Debug)]
pub(super) struct Pages(Option<Database>);

impl From<Database> for Pages {
    fn from(database: Database) -> Self {
        Self(Some(database))
    }
}

impl Deref for Pages {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.0.as_ref().expect("it is only taken out to be dropped")
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        let database = self.0.take();
        if catch_unwind(AssertUnwindSafe(|| drop(database))).is_err() {
            error!("the journal's file could not be closed in order: its pages are damaged");
        }
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let said = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    format!("its pages make no sense ({})", said.unwrap_or("no reason is known"))
}
