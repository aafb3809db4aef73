//! The journal against tampering, damage, crashes, a second holder and a failing disk.

mod crash_points;
pub(crate) mod disk;
mod integrity;
mod older_schema;
mod reserve;
mod snapshots;
mod strands;

use redb::WriteTransaction;

use super::*;

/// Records that are plain text.
fn append(journal: &mut Journal, records: &[&str]) -> Result<(), JournalError> {
    let encoded: Vec<_> = records
        .iter()
        .map(|record| Journal::encode(&(*record).to_owned()).unwrap())
        .collect();
    journal.append(&encoded)
}

fn filled(folder: &Path) -> Journal {
    let mut journal = Journal::open(folder).unwrap();
    append(&mut journal, &["first", "second"]).unwrap();
    append(&mut journal, &["third"]).unwrap();
    journal
}

fn replayed(journal: &Journal) -> Result<Vec<String>, JournalError> {
    let mut records = Vec::new();
    journal.replay(|record: String| records.push(record))?;
    Ok(records)
}

/// Changes the raw tables behind the journal's back.
fn tamper(folder: &Path, change: impl FnOnce(&WriteTransaction)) {
    let database = Database::create(folder.join("journal.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
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

#[test]
fn a_second_holder_of_the_folder_is_refused_and_told_who_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let held = FolderLock::acquire(folder.path()).unwrap();
    let error = FolderLock::acquire(folder.path()).unwrap_err();
    assert!(
        matches!(error, JournalError::Held { process: Some(process), .. } if process == std::process::id()),
        "{error}"
    );
    let said = error.to_string();
    assert!(said.contains(&folder.path().display().to_string()), "{said}");
    assert!(said.contains(&format!("process {}", std::process::id())), "{said}");
    drop(held);
    FolderLock::acquire(folder.path()).unwrap();
}

#[test]
fn a_second_opener_of_the_file_itself_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _held = filled(folder.path());
    let error = Journal::open(folder.path()).unwrap_err();
    assert!(matches!(error, JournalError::Held { .. }), "{error}");
}

#[test]
fn a_record_that_could_not_be_read_back_has_no_text() {
    assert!(Journal::encode(&f64::NAN).is_err());
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
    let encoded: Vec<_> = numbers.iter().map(|number| Journal::encode(number).unwrap()).collect();
    Journal::open(folder.path()).unwrap().append(&encoded).unwrap();
    let mut replayed = Vec::new();
    Journal::open(folder.path())
        .unwrap()
        .replay(|number: f64| replayed.push(number))
        .unwrap();
    assert_eq!(replayed, numbers);
}

#[test]
fn what_is_compacted_is_gone_and_the_chain_still_holds() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = filled(folder.path());
    append(&mut journal, &["fourth", "fifth"]).unwrap();
    let head = journal.head();
    journal.compact(&BTreeSet::from([0, 1, 3])).unwrap();
    assert_eq!(replayed(&journal).unwrap(), ["third", "fifth"]);
    let chain = journal.reader().verify_chain().unwrap();
    let expected = VerifiedChain {
        records: 5,
        compacted: 3,
        anchor: 2,
        head,
    };
    assert_eq!(chain, expected);

    append(&mut journal, &["sixth"]).unwrap();
    journal.compact(&BTreeSet::from([0, 2])).unwrap();
    drop(journal);
    let journal = Journal::open(folder.path()).unwrap();
    assert_eq!(replayed(&journal).unwrap(), ["fifth", "sixth"]);
    assert_eq!(journal.reader().verify_chain().unwrap().anchor, 4);
}

#[test]
fn a_record_of_a_job_is_never_compacted() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    append(&mut journal, &["first", "of a job", "third"]).unwrap();
    journal.compact(&BTreeSet::from([0, 1, 2])).unwrap();
    assert_eq!(replayed(&journal).unwrap(), ["of a job"]);
}

#[test]
fn a_replay_from_a_place_gives_what_comes_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = filled(folder.path());
    let place = journal.end();
    append(&mut journal, &["fourth"]).unwrap();
    let reader = journal.reader();
    assert!(reader.has(place).unwrap());
    let mut tail = Vec::new();
    let end = reader
        .replay(Some(place), |sequence, record: String| tail.push((sequence, record)))
        .unwrap();
    assert_eq!(tail, [(3, "fourth".to_owned())]);
    assert_eq!(end, journal.end());

    let elsewhere = Position {
        hash: ChainHash::ORIGIN,
        ..place
    };
    assert!(!reader.has(elsewhere).unwrap());
    assert!(reader.replay(Some(elsewhere), |_, _: String| {}).is_err());
    let beyond = Position { sequence: 9, ..place };
    assert!(!reader.has(beyond).unwrap());
}

#[test]
fn what_is_left_of_a_journal_that_was_never_finished_is_no_journal() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("journal.redb.new"), b"half of a header").unwrap();
    drop(filled(folder.path()));
    assert_eq!(replayed(&Journal::open(folder.path()).unwrap()).unwrap().len(), 3);
    assert!(!folder.path().join("journal.redb.new").exists());
}
