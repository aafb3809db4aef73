//! The journal on a disk that fails.

use std::sync::atomic::{AtomicU8, Ordering};

use redb::{StorageBackend, backends::InMemoryBackend};

use super::*;

/// What the disk does from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mood {
    Well,
    /// Nothing can be written: there is no room.
    Full,
    /// Writes are taken, and the sync fails.
    SyncFails,
    /// As above, but as on some file systems there is only then no room.
    FullAtSync,
}

/// The switch of a failing disk.
#[derive(Debug, Clone)]
pub(crate) struct MoodSwitch(Arc<AtomicU8>);

impl MoodSwitch {
    pub(crate) fn set(&self, mood: Mood) {
        self.0.store(mood as u8, Ordering::SeqCst);
    }

    fn is(&self, mood: Mood) -> bool {
        self.0.load(Ordering::SeqCst) == mood as u8
    }
}

#[derive(Debug)]
struct FailingDisk {
    memory: InMemoryBackend,
    mood: MoodSwitch,
}

impl FailingDisk {
    fn check_room(&self) -> std::io::Result<()> {
        if self.mood.is(Mood::Full) {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl StorageBackend for FailingDisk {
    fn len(&self) -> std::io::Result<u64> {
        self.memory.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.memory.read(offset, out)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.check_room()?;
        self.memory.set_len(len)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        if self.mood.is(Mood::SyncFails) {
            return Err(std::io::Error::from_raw_os_error(nix::errno::Errno::EIO as i32));
        }
        if self.mood.is(Mood::FullAtSync) {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.check_room()?;
        self.memory.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.check_room()?;
        self.memory.write(offset, data)
    }
}

impl Journal {
    /// A journal in memory that says it lies in `folder`, and the switch of its disk.
    pub(crate) fn on_failing_disk(folder: &Path) -> (Self, MoodSwitch) {
        let mood = MoodSwitch(Arc::new(AtomicU8::new(Mood::Well as u8)));
        let disk = FailingDisk {
            memory: InMemoryBackend::new(),
            mood: mood.clone(),
        };
        let database = redb::Builder::new().create_with_backend(disk).unwrap();
        let path = folder.join("journal.redb");
        (Self::with_database(path, database, None).unwrap(), mood)
    }

    /// Lets the journal believe that its disk has as much room as `free` says.
    pub(crate) fn with_room(mut self, free: impl Fn() -> u64 + Send + 'static) -> Self {
        let total = 1 << 40;
        let measure = move || Ok(super::super::space::Disk { free: free(), total });
        self.space = Some(Space::measured(self.folder(), Box::new(measure)));
        self
    }
}

#[test]
fn after_a_failed_write_nothing_more_is_accepted() {
    for mood in [Mood::Full, Mood::SyncFails, Mood::FullAtSync] {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, switch) = Journal::on_failing_disk(folder.path());
        append(&mut journal, &["kept"]).unwrap();
        switch.set(mood);
        let error = append(&mut journal, &["lost"]).unwrap_err();
        assert!(matches!(error, JournalError::Storage { .. }), "{error}");
        assert_eq!(error.is_full_disk(), mood != Mood::SyncFails, "{error}");
        switch.set(Mood::Well);
        for _ in 0..2 {
            let error = append(&mut journal, &["never tried"]).unwrap_err();
            assert!(matches!(error, JournalError::Broken { .. }), "{error}");
        }
        let error = journal.compact(&BTreeSet::from([0])).unwrap_err();
        assert!(matches!(error, JournalError::Broken { .. }), "{error}");
        assert_eq!(journal.len(), 1);
    }
}
