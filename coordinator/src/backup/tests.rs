use firn_core::{Event, Now, Record};
use tempfile::TempDir;

use super::*;

/// A coordinator's folder with so many records, a job's file and what is left out of a copy.
fn coordinator(records: u32) -> TempDir {
    let data = tempfile::tempdir().unwrap();
    let lock = FolderLock::acquire(data.path()).unwrap();
    lock.coordinator_id().unwrap();
    grow(data.path(), records);
    let artifacts = data.path().join("jobs/ants/artifacts");
    fs::create_dir_all(&artifacts).unwrap();
    fs::write(artifacts.join("head.safetensors"), b"weights").unwrap();
    fs::create_dir(data.path().join("lost+found")).unwrap();
    data
}

/// That of a coordinator with three records, one for its backup, and one in which that is restored.
fn folders() -> (TempDir, TempDir, TempDir) {
    (
        coordinator(3),
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
    )
}

fn grow(data: &Path, records: u32) {
    let mut journal = Journal::open(data).unwrap();
    let before = journal.len();
    let starts = (before + 1..=before + u64::from(records)).map(|epoch| Record {
        at: Now(epoch),
        event: Event::CoordinatorStarted { epoch },
    });
    let encoded: Vec<_> = starts.map(|record| Journal::encode(&record).unwrap()).collect();
    journal.append(&encoded).unwrap();
}

fn started(record: &Record) -> Option<u64> {
    match record.event {
        Event::CoordinatorStarted { epoch } | Event::CoordinatorRestored { epoch } => Some(epoch),
        _ => None,
    }
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap()
}

#[test]
fn what_was_backed_up_comes_back_as_it_was() {
    let (data, elsewhere, new) = folders();
    let kept = elsewhere.path().join("firn");
    let copied = back_up(data.path(), &kept).unwrap();
    assert_eq!((copied.records, copied.files), (3, 3));
    let mut names: Vec<_> = fs::read_dir(&kept)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["backup", "coordinator-id", "jobs", JOURNAL_FILE]);

    // The file of a journal grows when it is opened.
    let again = restore(&kept, new.path()).unwrap();
    assert_eq!(
        (again.records, again.head, again.files),
        (copied.records, copied.head, copied.files)
    );
    // After what it held, it says that it has taken over from whatever has started since.
    let mut epochs = Vec::new();
    let journal = Journal::open(new.path()).unwrap();
    let noted = journal.replay(|record: Record| epochs.extend(started(&record)));
    assert_eq!(
        (noted.unwrap(), epochs.len(), &epochs[..3]),
        (4, 4, [1, 2, 3].as_slice())
    );
    assert!(epochs[3] > 1_700_000_000, "{epochs:?}");
    for name in ["coordinator-id", "jobs/ants/artifacts/head.safetensors"] {
        assert_eq!(read(new.path(), name), read(data.path(), name));
    }
}

#[test]
fn a_backup_takes_the_place_of_the_one_before_and_of_nothing_else() {
    let (data, elsewhere) = (coordinator(3), tempfile::tempdir().unwrap());
    let kept = elsewhere.path().join("firn");
    let first = back_up(data.path(), &kept).unwrap();
    grow(data.path(), 2);
    let second = back_up(data.path(), &kept).unwrap();
    assert!(second.records == 5 && second.head != first.head);
    assert_eq!(read(&kept, "backup").trim(), second.head.to_string());
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);

    // Neither another coordinator's folder, nor its own, nor anything else.
    let other = coordinator(1);
    let taken = |folder: &Path| back_up(data.path(), folder).unwrap_err().to_string();
    for folder in [other.path(), data.path()] {
        let refused = taken(folder);
        assert!(
            refused.starts_with("expected an empty folder or an earlier backup, found "),
            "{refused}"
        );
    }
    assert_eq!(Journal::open(other.path()).unwrap().len(), 1);
    fs::remove_dir_all(kept.join("jobs")).unwrap();
    let note = read(&kept, "backup");
    fs::remove_file(data.path().join(JOURNAL_FILE)).unwrap();
    let refused = back_up(data.path(), &kept).unwrap_err().to_string();
    assert!(refused.ends_with("holds no journal"), "{refused}");
    assert_eq!(read(&kept, "backup"), note);
}

#[test]
fn nothing_is_copied_while_a_coordinator_runs_or_over_a_journal() {
    let (data, elsewhere) = (coordinator(3), tempfile::tempdir().unwrap());
    let kept = elsewhere.path().join("firn");
    let held = FolderLock::acquire(data.path()).unwrap();
    let refused = back_up(data.path(), &kept).unwrap_err().to_string();
    assert!(refused.contains("is held by another coordinator"), "{refused}");
    assert!(!kept.exists());
    drop(held);
    back_up(data.path(), &kept).unwrap();
    let refused = restore(&kept, data.path()).unwrap_err().to_string();
    assert!(
        refused.starts_with("expected an empty folder, found journal.redb in "),
        "{refused}"
    );
    let new = tempfile::tempdir().unwrap();
    let _held = FolderLock::acquire(new.path()).unwrap();
    let refused = restore(&kept, new.path()).unwrap_err().to_string();
    assert!(refused.contains("is held by another coordinator"), "{refused}");
}

#[test]
fn a_backup_that_was_changed_is_not_restored() {
    let (data, elsewhere, new) = folders();
    let kept = elsewhere.path().join("firn");
    back_up(data.path(), &kept).unwrap();
    // An older journal is whole, too: what came after it was cut off.
    let older = coordinator(2);
    fs::copy(older.path().join(JOURNAL_FILE), kept.join(JOURNAL_FILE)).unwrap();
    let refused = restore(&kept, new.path()).unwrap_err().to_string();
    assert!(
        refused.contains("ends elsewhere than when it was made: expected the head "),
        "{refused}"
    );
    assert!(!new.path().join(JOURNAL_FILE).exists());
    fs::write(kept.join(JOURNAL_FILE), b"no journal").unwrap();
    let refused = restore(&kept, new.path()).unwrap_err().to_string();
    assert!(refused.contains("the journal cannot be read"), "{refused}");
    assert!(!new.path().join(JOURNAL_FILE).exists());
    // What was not finished is begun again.
    back_up(data.path(), &kept).unwrap();
    assert_eq!(restore(&kept, new.path()).unwrap().records, 3);
}

#[test]
fn what_somebody_has_left_is_neither_mixed_with_a_backup_nor_removed() {
    let (data, elsewhere, new) = folders();
    let kept = elsewhere.path().join("firn");
    back_up(data.path(), &kept).unwrap();
    for folder in ["jobs", "snapshots", "lost+found"] {
        fs::create_dir(new.path().join(folder)).unwrap();
    }
    let spool = new.path().join("jobs/bees");
    for (file, name) in [(&spool, "jobs"), (&new.path().join("coordinator-id"), "coordinator-id")] {
        fs::write(file, b"theirs").unwrap();
        let refused = restore(&kept, new.path()).unwrap_err().to_string();
        let expected = format!("expected an empty folder, found {name} in ");
        assert!(refused.starts_with(&expected), "{refused}");
        assert_eq!(fs::read(file).unwrap(), b"theirs");
        fs::remove_file(file).unwrap();
    }
    // Empty folders are nobody's.
    restore(&kept, new.path()).unwrap();
    let id = "coordinator-id";
    assert_eq!(read(new.path(), id), read(data.path(), id));
    assert!(!new.path().join("restoring").exists() && !new.path().join("restored").exists());
}

#[test]
fn a_backup_goes_where_its_name_can_be_changed() {
    let (data, elsewhere) = (coordinator(3), tempfile::tempdir().unwrap());
    let refused = back_up(data.path(), Path::new("/proc")).unwrap_err().to_string();
    assert_eq!(
        refused,
        "expected a folder that can be renamed, found the mount point /proc; name a folder below it"
    );
    // By whatever name.
    let kept = elsewhere.path().join("firn");
    fs::create_dir_all(kept.join("below")).unwrap();
    let crooked = kept.join("below/..");
    let refused = back_up(data.path(), &crooked).unwrap_err().to_string();
    assert!(refused.contains("found below in "), "{refused}");
    fs::remove_dir(kept.join("below")).unwrap();
    back_up(data.path(), &kept).unwrap();
    fs::create_dir_all(elsewhere.path().join("below")).unwrap();
    back_up(data.path(), &elsewhere.path().join("below/../firn")).unwrap();
    fs::remove_dir(elsewhere.path().join("below")).unwrap();
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);
}

#[test]
fn a_backup_that_was_interrupted_names_the_one_before() {
    let (data, elsewhere, new) = folders();
    let (kept, before) = (elsewhere.path().join("firn"), elsewhere.path().join("firn.old"));
    back_up(data.path(), &kept).unwrap();
    fs::rename(&kept, &before).unwrap();
    let refused = restore(&kept, new.path()).unwrap_err().to_string();
    let expected = format!("holds no journal; the backup before it is in {}", before.display());
    assert!(refused.ends_with(&expected), "{refused}");
    assert_eq!(restore(&before, new.path()).unwrap().records, 3);
}
