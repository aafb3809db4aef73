//! One job is read and proven from its own records; what was done to them, or to the tables that lead to them, is found.

use firn_core::{
    Event, JobEvent, Now, Record,
    identifiers::JobId,
    state::{Deletion, Outcome},
};
use redb::{ReadableTable as _, ReadableTableMetadata as _};

use super::{
    super::schema::{CLOSED, DIRECTORY, MEMBERS, NAMES, NUMBERS, REMOVED, STRANDS},
    *,
};

fn of_job(job: &str, event: JobEvent) -> Record {
    let job = JobId::from(job);
    let event = Event::Job { job, event };
    Record { at: Now(1), event }
}

fn step(job: &str, number: u32) -> Record {
    of_job(
        job,
        JobEvent::EpochConcluded {
            epoch: number,
            best_epoch: 0,
        },
    )
}

fn end(job: &str) -> Record {
    of_job(
        job,
        JobEvent::Ended {
            outcome: Outcome::Succeeded,
        },
    )
}

fn deletion(job: &str) -> [Record; 2] {
    let reason = Deletion::Asked;
    [
        of_job(job, JobEvent::Deleted { reason }),
        of_job(job, JobEvent::Erased { bytes: 7 }),
    ]
}

fn started(epoch: u64) -> Record {
    let event = Event::CoordinatorStarted { epoch };
    Record { at: Now(1), event }
}

fn write(journal: &mut Journal, records: &[Record]) {
    let encoded: Vec<_> = records.iter().map(|record| Journal::encode(record).unwrap()).collect();
    journal.append(&encoded).unwrap();
}

/// Three jobs whose records come in turns, and a start of the coordinator now and then.
fn woven(folder: &Path) -> Journal {
    let mut journal = Journal::open(folder).unwrap();
    for number in 0..5 {
        let records: Vec<Record> = ["a", "b", "c"].iter().map(|job| step(job, number)).collect();
        write(&mut journal, &records);
        write(&mut journal, &[started(u64::from(number) + 1)]);
    }
    write(&mut journal, &[end("a"), end("b")]);
    journal
}

fn numbers(journal: &Journal, job: &str) -> Result<Vec<u64>, JournalError> {
    let proven = journal.reader().records_of(&JobId::from(job))?;
    assert_eq!(proven.chain.head, journal.head());
    Ok(proven.records.iter().map(|found| found.sequence).collect())
}

fn remove_all(journal: &mut Journal) {
    while journal.remove_texts().unwrap() {}
}

#[test]
fn the_records_of_a_job_are_those_of_the_whole_journal() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = woven(folder.path());
    let mut all = Vec::new();
    let count = journal
        .reader()
        .replay(None, |sequence, record: Record| all.push((sequence, record)));
    for job in ["a", "b", "c", "nobody"] {
        let proven = journal.reader().records_of(&JobId::from(job)).unwrap();
        let found: Vec<_> = proven
            .records
            .iter()
            .map(|found| (found.sequence, found.record.clone()))
            .collect();
        let expected: Vec<_> = all
            .iter()
            .filter(|(_, record)| record.job() == Some(&JobId::from(job)))
            .cloned()
            .collect();
        assert_eq!(found, expected, "{job}");
        assert_eq!(proven.chain, journal.reader().verify_chain().unwrap());
        assert_eq!(proven.chain.records, count.as_ref().unwrap().sequence);
    }
    journal.compact(&(0..journal.len()).collect()).unwrap();
    assert_eq!(numbers(&journal, "b").unwrap(), [1, 5, 9, 13, 17, 21]);
    assert_eq!(numbers(&journal, "a").unwrap(), [0, 4, 8, 12, 16, 20]);
}

#[track_caller]
fn assert_found(change: impl FnOnce(&WriteTransaction)) {
    let folder = tempfile::tempdir().unwrap();
    drop(woven(folder.path()));
    tamper(folder.path(), change);
    let journal = Journal::open(folder.path()).unwrap();
    let error = numbers(&journal, "a").unwrap_err();
    assert!(matches!(error, JournalError::Damaged { .. }), "{error}");
}

/// Puts another text into the place of a record, with a hash that follows the one before.
fn forge(transaction: &WriteTransaction, sequence: u64, record: &Record) {
    let mut table = transaction.open_table(RECORDS).unwrap();
    let before = ChainHash::from_bytes(*table.get(sequence - 1).unwrap().unwrap().value().0);
    let json = serde_json::to_vec(record).unwrap();
    let forged = before.followed_by(sequence, &RecordDigest::of(&json));
    table.insert(sequence, (forged.as_bytes(), json.as_slice())).unwrap();
}

#[test]
fn a_changed_record_of_the_job_is_found_without_following_the_chain() {
    assert_found(|transaction| {
        let mut table = transaction.open_table(RECORDS).unwrap();
        let hash = *table.get(8).unwrap().unwrap().value().0;
        let json = serde_json::to_vec(&step("a", 99)).unwrap();
        table.insert(8, (&hash, json.as_slice())).unwrap();
    });
    assert_found(|transaction| forge(transaction, 8, &step("a", 99)));
}

#[test]
fn a_record_of_the_job_that_is_left_out_is_found() {
    assert_found(|transaction| drop(transaction.open_table(RECORDS).unwrap().remove(8).unwrap()));
    assert_found(|transaction| drop(transaction.open_table(MEMBERS).unwrap().remove((0, 8)).unwrap()));
    // Its end, with all that counts the records of the job alone.
    assert_found(|transaction| {
        transaction.open_table(MEMBERS).unwrap().remove((0, 20)).unwrap();
        let mut strands = transaction.open_table(STRANDS).unwrap();
        let (first, count, hash) = {
            let row = strands.get(0).unwrap().unwrap();
            (row.value().0, row.value().2, *row.value().3)
        };
        strands.insert(0, (first, 16, count - 1, &hash, "a")).unwrap();
    });
}

#[test]
fn a_record_of_another_job_that_is_added_to_the_job_is_found() {
    assert_found(|transaction| drop(transaction.open_table(MEMBERS).unwrap().insert((0, 9), ()).unwrap()));
    assert_found(|transaction| drop(transaction.open_table(NAMES).unwrap().insert("a", 1).unwrap()));
}

#[test]
fn a_torn_directory_is_found() {
    assert_found(|transaction| {
        let mut nodes = transaction.open_table(DIRECTORY).unwrap();
        nodes.insert((0, 1), &[7; 32]).unwrap();
    });
    assert_found(|transaction| {
        let mut heads = transaction.open_table(HEAD).unwrap();
        heads.insert("directory", (3, &[7; 32])).unwrap();
    });
    assert_found(|transaction| {
        let mut heads = transaction.open_table(HEAD).unwrap();
        heads.insert("head", (22, &[7; 32])).unwrap();
    });
}

/// Even if the strand, the directory and the root were forged with it: the chain tells whoever follows all of it.
#[test]
fn a_whole_job_that_was_forged_breaks_the_chain() {
    let folder = tempfile::tempdir().unwrap();
    let head = woven(folder.path()).head();
    let other = tempfile::tempdir().unwrap();
    let mut records: Vec<Record> = Vec::new();
    woven(other.path()).replay(|record| records.push(record)).unwrap();
    records[8] = step("a", 99);
    std::fs::remove_file(other.path().join("journal.redb")).unwrap();
    let mut forged = Journal::open(other.path()).unwrap();
    write(&mut forged, &records);
    assert_ne!(forged.head(), head, "the head stands for every record of every job");
    let (root, hash) = (forged.root, forged.root.node);
    drop(forged);
    tamper(folder.path(), |transaction| {
        forge(transaction, 8, &step("a", 99));
        let mut heads = transaction.open_table(HEAD).unwrap();
        heads.insert("directory", (root.leaves, &hash)).unwrap();
    });
    assert!(Journal::open(folder.path()).unwrap().reader().verify_chain().is_err());
}

#[test]
fn a_deleted_job_leaves_its_tombstone_and_the_proof_of_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = woven(folder.path());
    assert!(!journal.has_remains().unwrap());
    write(&mut journal, &deletion("a"));
    let head = journal.head();
    assert!(journal.has_remains().unwrap());
    remove_all(&mut journal);
    assert!(!journal.has_remains().unwrap());
    assert_eq!(journal.head(), head, "nothing that was proven changes");
    for _ in 0..2 {
        let chain = journal.reader().verify_chain().unwrap();
        assert_eq!((chain.head, chain.compacted), (head, 6));
        assert_eq!(numbers(&journal, "a").unwrap(), [0; 0]);
        assert_eq!(numbers(&journal, "b").unwrap(), [1, 5, 9, 13, 17, 21]);
        drop(journal);
        journal = Journal::open(folder.path()).unwrap();
    }
    let (mut left, mut removed) = (Vec::new(), Vec::new());
    let replay = journal
        .reader()
        .replay_all(None, |sequence, replayed: Replayed<Record>| match replayed {
            Replayed::Record(record) if record.job() == Some(&JobId::from("a")) => left.push(record),
            Replayed::Record(_) => {}
            Replayed::RemovedJob => removed.push(sequence),
        });
    replay.unwrap();
    assert_eq!(left, deletion("a"));
    assert_eq!(removed, [0], "its number in the order of submission stays taken");
    let texts = std::fs::read(folder.path().join("journal.redb")).unwrap();
    assert!(!texts.is_empty());
}

#[test]
fn the_name_of_a_deleted_job_is_free_for_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = woven(folder.path());
    write(&mut journal, &deletion("a"));
    write(&mut journal, &[step("a", 0), step("b", 5), step("a", 1)]);
    let expected = [24, 26];
    assert_eq!(numbers(&journal, "a").unwrap(), expected);
    remove_all(&mut journal);
    assert_eq!(numbers(&journal, "a").unwrap(), expected);
    journal.reader().verify_chain().unwrap();
    write(&mut journal, &[end("a")]);
    write(&mut journal, &deletion("a"));
    remove_all(&mut journal);
    write(&mut journal, &[step("a", 0)]);
    assert_eq!(numbers(&journal, "a").unwrap(), [30]);
    drop(journal);
    let journal = Journal::open(folder.path()).unwrap();
    journal.reader().verify_chain().unwrap();
}

#[test]
fn texts_go_in_parts_and_a_start_in_between_goes_on() {
    const STEPS: u32 = 2_500;
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    write(
        &mut journal,
        &(0..STEPS).map(|number| step("long", number)).collect::<Vec<_>>(),
    );
    write(&mut journal, &[step("short", 0), end("short")]);
    write(&mut journal, &deletion("long"));
    write(&mut journal, &deletion("short"));
    let mut parts = 1;
    while journal.remove_texts().unwrap() {
        journal.reader().verify_chain().unwrap();
        drop(journal);
        journal = Journal::open(folder.path()).unwrap();
        assert!(journal.has_remains().unwrap());
        parts += 1;
    }
    assert_eq!(parts, 3);
    assert_eq!(journal.reader().verify_chain().unwrap().compacted, u64::from(STEPS) + 2);
}

/// What a program of schema 3 has written: the same, without what schema 4 adds.
fn age(folder: &Path) {
    tamper(folder, |transaction| {
        transaction.open_table(NUMBERS).unwrap().insert("schema", 3).unwrap();
        transaction.open_table(HEAD).unwrap().remove("directory").unwrap();
        transaction.delete_table(NAMES).unwrap();
        transaction.delete_table(STRANDS).unwrap();
        transaction.delete_table(MEMBERS).unwrap();
        transaction.delete_table(DIRECTORY).unwrap();
        transaction.delete_table(CLOSED).unwrap();
        transaction.delete_table(REMOVED).unwrap();
    });
}

#[test]
fn a_journal_of_schema_3_gets_its_strands_when_it_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = woven(folder.path());
    journal.compact(&(0..journal.len()).collect()).unwrap();
    let (head, end_of_chain) = (journal.head(), journal.end());
    let chain = journal.reader().verify_chain().unwrap();
    drop(journal);
    age(folder.path());
    let mut journal = Journal::open(folder.path()).unwrap();
    assert_eq!((journal.head(), journal.end()), (head, end_of_chain));
    assert_eq!(journal.reader().verify_chain().unwrap(), chain);
    assert_eq!(numbers(&journal, "c").unwrap(), [2, 6, 10, 14, 18]);
    let old = journal.reader().records_of(&JobId::from("c")).unwrap();
    assert!(!old.is_recent && !old.needs_chain);
    write(&mut journal, &[step("c", 5), step("d", 0)]);
    assert_eq!(numbers(&journal, "c").unwrap(), [2, 6, 10, 14, 18, 22]);
    assert!(journal.reader().records_of(&JobId::from("d")).unwrap().is_recent);
    journal.reader().verify_chain().unwrap();
    write(&mut journal, &deletion("a"));
    remove_all(&mut journal);
    journal.reader().verify_chain().unwrap();
}

/// The shape that keeps a proof cheap, without a clock: what is read of one job does not grow with the others, but for the way to the root.
#[test]
fn a_proof_reads_no_more_for_a_thousand_other_jobs_than_their_logarithm() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = woven(folder.path());
    let mut records = Vec::new();
    for number in 0..1_000 {
        let job = format!("other-{number}");
        records.extend((0..20).map(|number| step(&job, number)));
    }
    write(&mut journal, &records);
    drop(journal);
    tamper(folder.path(), |transaction| {
        // Everything of the others but what the proof of one needs is taken away.
        let mut texts = transaction.open_table(RECORDS).unwrap();
        let last = texts.len().unwrap() - 1;
        for sequence in 23..last {
            texts.remove(sequence).unwrap();
        }
        let mut members = transaction.open_table(MEMBERS).unwrap();
        members.retain(|(strand, _), ()| strand == 0).unwrap();
        let mut strands = transaction.open_table(STRANDS).unwrap();
        strands.retain(|strand, _| strand == 0).unwrap();
        let mut nodes = transaction.open_table(DIRECTORY).unwrap();
        nodes.retain(|(_, number), _| number < 2).unwrap();
        assert!(nodes.len().unwrap() <= 2 * 11);
    });
    let journal = Journal::open(folder.path()).unwrap();
    assert_eq!(numbers(&journal, "a").unwrap(), [0, 4, 8, 12, 16, 20]);
}
