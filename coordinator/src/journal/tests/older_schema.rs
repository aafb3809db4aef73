//! Journals of older schemas are taken over.

use super::{super::schema::NUMBERS, *};

/// Writes a journal as schema 1 had it.
fn write_schema_1(folder: &Path, records: &[&str]) -> ChainHash {
    let mut head = ChainHash::ORIGIN;
    tamper(folder, |transaction| {
        transaction.open_table(NUMBERS).unwrap().insert("schema", 1).unwrap();
        let mut table = transaction.open_table(RECORDS).unwrap();
        for (sequence, record) in (0..).zip(records) {
            let json = serde_json::to_vec(record).unwrap();
            head = head.followed_in_schema_1(sequence, &json);
            table.insert(sequence, (head.as_bytes(), json.as_slice())).unwrap();
        }
        let mut heads = transaction.open_table(HEAD).unwrap();
        heads.insert("head", (records.len() as u64, head.as_bytes())).unwrap();
    });
    head
}

#[test]
fn a_journal_of_schema_1_is_rewritten_with_all_its_records() {
    let folder = tempfile::tempdir().unwrap();
    let records = ["of a job: first", "of a job: second", "of a job: third"];
    let old_head = write_schema_1(folder.path(), &records);
    let mut journal = Journal::open(folder.path()).unwrap();
    assert_eq!(replayed(&journal).unwrap(), records);
    assert_ne!(journal.head(), old_head);
    append(&mut journal, &["fourth"]).unwrap();
    drop(journal);

    let other = tempfile::tempdir().unwrap();
    let mut fresh = Journal::open(other.path()).unwrap();
    append(&mut fresh, &records).unwrap();
    append(&mut fresh, &["fourth"]).unwrap();
    let journal = Journal::open(folder.path()).unwrap();
    assert_eq!(journal.end(), fresh.end(), "as if it had always been of this schema");
    drop(journal);
    tamper(folder.path(), |transaction| {
        let heads = transaction.open_table(HEAD).unwrap();
        let guard = redb::ReadableTable::get(&heads, "schema 1").unwrap().unwrap();
        assert_eq!(guard.value(), (3, old_head.as_bytes()), "the old head is kept");
    });
}

#[test]
fn a_damaged_journal_of_schema_1_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    write_schema_1(folder.path(), &["first", "second"]);
    tamper(folder.path(), |transaction| {
        let mut table = transaction.open_table(RECORDS).unwrap();
        table.insert(1, (&[1; 32], b"\"forged\"".as_slice())).unwrap();
    });
    for _ in 0..2 {
        let error = Journal::open(folder.path()).unwrap_err();
        assert!(matches!(error, JournalError::Damaged { sequence: 1, .. }), "{error}");
    }
}

/// Writes a journal as schema 2 had it, with its second record compacted.
fn write_schema_2(folder: &Path, records: &[&str]) -> Position {
    let mut end = Position::ORIGIN;
    tamper(folder, |transaction| {
        transaction.open_table(NUMBERS).unwrap().insert("schema", 2).unwrap();
        let mut table = transaction.open_table(RECORDS).unwrap();
        let mut compacted = transaction.open_table(COMPACTED).unwrap();
        for (sequence, record) in (0..).zip(records) {
            let json = serde_json::to_vec(record).unwrap();
            let digest = RecordDigest::of(&json);
            end = end.after(&digest);
            match sequence {
                1 => drop(
                    compacted
                        .insert(sequence, (end.hash.as_bytes(), digest.as_bytes()))
                        .unwrap(),
                ),
                _ => drop(table.insert(sequence, (end.hash.as_bytes(), json.as_slice())).unwrap()),
            }
        }
        let mut heads = transaction.open_table(HEAD).unwrap();
        heads.insert("head", (end.sequence, end.hash.as_bytes())).unwrap();
    });
    end
}

#[test]
fn a_journal_of_schema_2_goes_on_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let end = write_schema_2(folder.path(), &["first", "second", "third"]);
    let mut journal = Journal::open(folder.path()).unwrap();
    assert_eq!(journal.end(), end);
    assert_eq!(replayed(&journal).unwrap(), ["first", "third"]);
    append(&mut journal, &["fourth", "fifth"]).unwrap();
    drop(journal);
    let mut journal = Journal::open(folder.path()).unwrap();
    journal.compact(&BTreeSet::from([0, 2, 3])).unwrap();
    let kept = ["first", "third", "fifth"];
    assert_eq!(
        replayed(&journal).unwrap(),
        kept,
        "only what the chain can prove is compacted"
    );
    assert_eq!(journal.reader().verify_chain().unwrap().compacted, 2);
}
