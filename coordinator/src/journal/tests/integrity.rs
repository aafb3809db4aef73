//! Nothing that was changed after the fact goes unseen.

use redb::{ReadableTable as _, TableHandle as _};

use super::{
    super::schema::{BUILDS, NUMBERS, SCHEMA_VERSION},
    *,
};

#[track_caller]
fn assert_damaged(folder: &Path, expected: u64) {
    let damage = |result: Result<(), JournalError>| {
        let error = result.unwrap_err();
        assert!(
            matches!(error, JournalError::Damaged { sequence, .. } if sequence == expected),
            "{error}"
        );
        assert!(error.to_string().contains(&format!("record {expected}")), "{error}");
    };
    let journal = Journal::open(folder).unwrap();
    damage(replayed(&journal).map(drop));
    damage(journal.reader().verify_chain().map(drop));
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
    assert_damaged(folder.path(), 1);
}

#[test]
fn a_record_that_was_changed_with_its_own_hash_breaks_the_chain_after_it() {
    let folder = tempfile::tempdir().unwrap();
    drop(filled(folder.path()));
    tamper(folder.path(), |transaction| {
        let mut table = transaction.open_table(RECORDS).unwrap();
        let before = ChainHash::from_bytes(*table.get(0).unwrap().unwrap().value().0);
        let forged = before.followed_by(1, &RecordDigest::of(b"\"forged\""));
        table.insert(1, (forged.as_bytes(), b"\"forged\"".as_slice())).unwrap();
    });
    assert_damaged(folder.path(), 2);
}

#[test]
fn records_cut_off_the_end_are_missed() {
    let folder = tempfile::tempdir().unwrap();
    drop(filled(folder.path()));
    tamper(folder.path(), |transaction| {
        transaction.open_table(RECORDS).unwrap().remove(2).unwrap();
    });
    assert_damaged(folder.path(), 2);
}

#[test]
fn a_record_added_behind_the_head_is_found() {
    let folder = tempfile::tempdir().unwrap();
    drop(filled(folder.path()));
    tamper(folder.path(), |transaction| {
        let mut table = transaction.open_table(RECORDS).unwrap();
        table.insert(3, (&[7; 32], b"\"more\"".as_slice())).unwrap();
    });
    assert_damaged(folder.path(), 3);
}

#[test]
fn a_record_that_was_put_in_the_place_of_a_compacted_one_is_found() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path()).compact(&BTreeSet::from([1])).unwrap();
    tamper(folder.path(), |transaction| {
        let mut table = transaction.open_table(COMPACTED).unwrap();
        let (hash, mut digest) = {
            let guard = table.get(1).unwrap().unwrap();
            (*guard.value().0, *guard.value().1)
        };
        digest[0] ^= 1;
        table.insert(1, (&hash, &digest)).unwrap();
    });
    assert_damaged(folder.path(), 1);
}

#[test]
fn a_moved_anchor_is_found() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path()).compact(&BTreeSet::from([0])).unwrap();
    tamper(folder.path(), |transaction| {
        let mut heads = transaction.open_table(HEAD).unwrap();
        let hash = *heads.get("anchor").unwrap().unwrap().value().1;
        heads.insert("anchor", (2, &hash)).unwrap();
    });
    assert!(replayed(&Journal::open(folder.path()).unwrap()).is_err());
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
fn a_newer_schema_is_refused_with_the_build_that_wrote_it_and_the_file_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    drop(filled(folder.path()));
    tamper(folder.path(), |transaction| {
        transaction.open_table(NUMBERS).unwrap().insert("schema", 99).unwrap();
        let mut builds = transaction.open_table(BUILDS).unwrap();
        builds.insert("schema", "9.9.9").unwrap();
    });
    for _ in 0..2 {
        let error = Journal::open(folder.path()).unwrap_err();
        let said = error.to_string();
        let is_named = matches!(
            error,
            JournalError::Schema {
                found: 99,
                expected: SCHEMA_VERSION,
                ..
            }
        );
        assert!(is_named, "{said}");
        assert!(
            said.contains("schema version 99, written by firn 9.9.9; this is firn")
                && said.ends_with("up to schema version 7"),
            "{said}"
        );
    }
}

#[test]
fn a_journal_of_schema_4_is_read_as_it_is_and_kept_from_the_programs_of_that_schema() {
    let folder = tempfile::tempdir().unwrap();
    let written = filled(folder.path());
    let (head, end) = (written.head(), written.end());
    drop(written);
    tamper(folder.path(), |transaction| {
        transaction.open_table(NUMBERS).unwrap().insert("schema", 4).unwrap();
        transaction
            .open_table(BUILDS)
            .unwrap()
            .insert("schema", "0.1.0")
            .unwrap();
    });
    let journal = Journal::open(folder.path()).unwrap();
    assert_eq!((journal.head(), journal.end()), (head, end));
    journal.reader().verify_chain().unwrap();
    drop(journal);
    tamper(folder.path(), |transaction| {
        let numbers = transaction.open_table(NUMBERS).unwrap();
        assert_eq!(numbers.get("schema").unwrap().unwrap().value(), SCHEMA_VERSION);
    });
}

/// Every bit of a record's text, hash or number that is flipped in the file is found, and the record is named. Bits elsewhere (free
/// pages, pages of redb's own) may make no difference; but a journal never comes back with other records.
#[test]
fn a_flipped_bit_in_the_file_is_found_and_its_record_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    let texts: Vec<String> = (0..40).map(|number| format!("record number {number:04}")).collect();
    for part in texts.chunks(5) {
        append(&mut journal, &part.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    }
    drop(journal);
    let path = folder.path().join("journal.redb");
    let whole = std::fs::read(&path).unwrap();
    let mut named = 0;
    for (number, text) in texts.iter().enumerate() {
        // Pages are copied on write, so older ones with the same text may still lie about: only one of the places counts.
        let places: Vec<_> = (0..whole.len() - text.len())
            .filter(|place| whole[*place..].starts_with(text.as_bytes()))
            .collect();
        assert!(!places.is_empty());
        let mut found = 0;
        for place in places {
            let mut flipped = whole.clone();
            flipped[place + number % text.len()] ^= 1 << (number % 8);
            std::fs::write(&path, &flipped).unwrap();
            match Journal::open(folder.path()).and_then(|journal| replayed(&journal)) {
                Ok(records) => assert_eq!(records, texts),
                Err(error) => {
                    let expected = format!("record {number}:");
                    assert!(error.to_string().contains(&expected), "{error}");
                    found += 1;
                }
            }
        }
        assert_eq!(found, 1, "exactly one place holds record {number}");
        named += found;
    }
    assert_eq!(named, texts.len());
}

/// Anywhere in the file: an error, or the very same records.
#[test]
fn a_flipped_bit_anywhere_never_changes_what_is_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    for number in 0..20 {
        append(&mut journal, &[&format!("record number {number:04}")]).unwrap();
    }
    let expected = replayed(&journal).unwrap();
    let head = journal.head();
    drop(journal);
    let path = folder.path().join("journal.redb");
    let whole = std::fs::read(&path).unwrap();
    // All bytes of the header; of the rest, those that are not zero, thinned out.
    let used = whole.iter().enumerate().skip(512).filter(|(_, byte)| **byte != 0);
    let places = (0..512).chain(used.map(|(place, _)| place).step_by(7));
    let (mut seen, mut harmless) = (0, 0);
    for place in places {
        let mut flipped = whole.clone();
        flipped[place] ^= 1 << (place % 8);
        std::fs::write(&path, &flipped).unwrap();
        match Journal::open(folder.path()).and_then(|journal| Ok((replayed(&journal)?, journal.head()))) {
            Ok(found) => {
                assert_eq!(found, (expected.clone(), head), "a flipped bit at byte {place}");
                harmless += 1;
            }
            Err(_) => seen += 1,
        }
    }
    assert!(
        seen > 100,
        "{seen} flipped bits were seen, {harmless} made no difference"
    );
    assert_eq!(RECORDS.name(), "records");
}
