//! The journal's file, as redb reads and writes it.
//!
//! redb's own backend does the work. Around it stand the fail points of a commit, and one precaution: before the file is read for the first
//! time, what the page cache holds of it is dropped. After a sync that failed, the cache can show data that never reached the disk; a
//! coordinator that starts anew must see the disk.

use std::{fs::OpenOptions, io, ops::Bound, path::Path};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use redb::{BackendError, DatabaseError, StorageBackend, backends::FileBackend};

use crate::fail_point::{self, FailPoint};

#[derive(Debug)]
pub(super) struct JournalFile(FileBackend);

impl JournalFile {
    /// Opens or creates the file.
    pub(super) fn open(path: &Path) -> Result<Self, DatabaseError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        // Advice that a file system does not follow does no harm.
        let _ = posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        FileBackend::new(file).map(Self)
    }
}

impl StorageBackend for JournalFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        fail_point::pass(FailPoint::JournalBeforeSync);
        self.0.sync_data()?;
        fail_point::pass(FailPoint::JournalAfterSync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.unlock_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.lock_shared_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.query_lock_range(start, end)
    }
}
