//! The journal against tampering, a second holder and a failing disk.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use redb::{StorageBackend, backends::InMemoryBackend};

use super::*;

fn filled(folder: &Path) -> Journal {
    let mut journal = Journal::open(folder).unwrap();
    journal.append(&["first".to_owned(), "second".to_owned()]).unwrap();
    journal.append(&["third".to_owned()]).unwrap();
    journal
}

fn replayed(journal: &Journal) -> Result<Vec<String>, JournalError> {
    let mut records = Vec::new();
    journal.replay(|record: String| records.push(record))?;
    Ok(records)
}

#[test]
fn records_come_back_in_order_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let head = filled(folder.path()).head();
    let journal = Journal::open(folder.path()).unwrap();
    assert_eq!(replayed(&journal).unwrap(), ["first", "second", "third"]);
    assert_eq!(journal.head(), head);
    assert_eq!(journal.len(), 3);
}

/// Changes the raw tables behind the journal's back.
fn tamper(folder: &Path, change: impl FnOnce(&WriteTransaction)) {
    let database = Database::create(folder.join("journal.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
}

#[test]
fn a_changed_record_is_found_and_named() {
    let folder = tempfile::tempdir().unwrap();
    drop(filled(folder.path()));
    tamper(folder.path(), |transaction| {
        let mut table = transaction.open_table(RECORDS).unwrap();
        let hash = *table.get(1).unwrap().unwrap().value().0;
        table.insert(1, (&hash, b"\"forged\"".as_slice())).unwrap();
    });
    let error = replayed(&Journal::open(folder.path()).unwrap()).unwrap_err();
    assert!(matches!(error, JournalError::Damaged { sequence: 1, .. }), "{error}");
}

#[test]
fn a_record_that_was_changed_with_its_own_hash_breaks_the_chain_after_it() {
    let folder = tempfile::tempdir().unwrap();
    drop(filled(folder.path()));
    tamper(folder.path(), |transaction| {
        let mut table = transaction.open_table(RECORDS).unwrap();
        let before = ChainHash::from_bytes(*table.get(0).unwrap().unwrap().value().0);
        let forged = before.followed_by(1, b"\"forged\"");
        table.insert(1, (forged.as_bytes(), b"\"forged\"".as_slice())).unwrap();
    });
    let error = replayed(&Journal::open(folder.path()).unwrap()).unwrap_err();
    assert!(matches!(error, JournalError::Damaged { sequence: 2, .. }), "{error}");
}

#[test]
fn records_cut_off_the_end_are_missed() {
    let folder = tempfile::tempdir().unwrap();
    drop(filled(folder.path()));
    tamper(folder.path(), |transaction| {
        transaction.open_table(RECORDS).unwrap().remove(2).unwrap();
    });
    let error = replayed(&Journal::open(folder.path()).unwrap()).unwrap_err();
    assert!(matches!(error, JournalError::Damaged { sequence: 2, .. }), "{error}");
}

#[test]
fn a_file_that_is_no_journal_is_refused_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("journal.redb"),
        b"not a database at all, but long enough to look at",
    )
    .unwrap();
    let error = Journal::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("journal.redb: the journal cannot be read"), "{error}");
}

#[test]
fn another_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(filled(folder.path()));
    tamper(folder.path(), |transaction| {
        transaction.open_table(NUMBERS).unwrap().insert("schema", 99).unwrap();
    });
    let error = Journal::open(folder.path()).unwrap_err();
    assert!(
        matches!(
            error,
            JournalError::Schema {
                found: 99,
                expected: 1,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_second_holder_of_the_folder_is_refused_and_told_who_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let held = FolderLock::acquire(folder.path()).unwrap();
    let error = FolderLock::acquire(folder.path()).unwrap_err();
    assert!(
        matches!(error, JournalError::Held { process: Some(process), .. } if process == std::process::id()),
        "{error}"
    );
    drop(held);
    FolderLock::acquire(folder.path()).unwrap();
}

/// A disk that is full from the moment the test says so.
#[derive(Debug)]
struct FailingDisk {
    memory: InMemoryBackend,
    full: Arc<AtomicBool>,
}

impl FailingDisk {
    fn check(&self) -> std::io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
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
        self.check()?;
        self.memory.set_len(len)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        self.check()?;
        self.memory.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.check()?;
        self.memory.write(offset, data)
    }
}

impl Journal {
    /// A journal in memory, and the switch that fills its disk.
    pub(crate) fn on_failing_disk() -> (Self, Arc<AtomicBool>) {
        let full = Arc::new(AtomicBool::new(false));
        let disk = FailingDisk {
            memory: InMemoryBackend::new(),
            full: Arc::clone(&full),
        };
        let database = redb::Builder::new().create_with_backend(disk).unwrap();
        (Self::with_database(PathBuf::from("memory"), database).unwrap(), full)
    }
}

#[test]
fn after_a_failed_write_nothing_more_is_accepted() {
    let (mut journal, full) = Journal::on_failing_disk();
    journal.append(&["kept".to_owned()]).unwrap();
    full.store(true, Ordering::SeqCst);
    let error = journal.append(&["lost".to_owned()]).unwrap_err();
    assert!(matches!(error, JournalError::Storage { .. }), "{error}");
    full.store(false, Ordering::SeqCst);
    let error = journal.append(&["never tried".to_owned()]).unwrap_err();
    assert!(matches!(error, JournalError::Broken { .. }), "{error}");
}

#[test]
fn a_record_that_could_not_be_read_back_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    let error = journal.append(&[1.0, f64::NAN]).unwrap_err();
    assert!(matches!(error, JournalError::Record { sequence: 1, .. }), "{error}");
    assert!(journal.is_empty());
}

#[test]
fn numbers_come_back_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let numbers = [
        0.1 + 0.2,
        1.0 / 3.0,
        5e-324,
        f64::MAX,
        2.225_073_858_507_201e-308,
        9_007_199_254_740_992.0,
    ];
    Journal::open(folder.path()).unwrap().append(&numbers).unwrap();
    let mut replayed = Vec::new();
    Journal::open(folder.path())
        .unwrap()
        .replay(|number: f64| replayed.push(number))
        .unwrap();
    assert_eq!(replayed, numbers);
}
