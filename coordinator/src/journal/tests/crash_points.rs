//! The journal is crashed at every write.
//!
//! A run of appends and a compaction is recorded: each write, change of length and sync of the file, in order. A crash at some operation
//! leaves on the disk what was synced before it, and of what came after the last sync anything at all: nothing, everything, or
//! any part in any order, each sector of 512 bytes on its own. Every such image must open again and hold every acknowledged record and no
//! other; and so must what a second crash leaves while the first is being repaired.
//!
//! Everything follows from [`SEED`]; a failing case names it, the operation and the variant.

mod device;

use std::panic::{AssertUnwindSafe, catch_unwind};

use firn_core::identifiers::JobId;

use self::device::{Operation, Random, Recorder, apply, image};
use super::*;

const SEED: u64 = 0x00f1_2e57_0000_0001;
/// Random images of one crash, beside the one with nothing and the one with everything.
const VARIANTS: u64 = 6;

/// What may be found after a crash.
#[derive(Debug, Clone)]
struct Expected<'a> {
    texts: &'a [String],
    /// So many records were acknowledged.
    least: usize,
    /// So many were at least begun.
    most: usize,
    /// Numbers of records that may have been compacted.
    compacted: &'a BTreeSet<u64>,
}

/// Opens an image; everything acknowledged must be there, and nothing else. Returns what the opening did to the disk.
fn check(bytes: Vec<u8>, expected: &Expected<'_>) -> Vec<Operation> {
    let disk = Recorder::holding(bytes);
    let mut journal = disk.open().expect("an image of a crash opens");
    let chain = journal.reader().verify_chain().expect("its chain holds");
    let count = chain.records as usize;
    assert!(
        (expected.least..=expected.most).contains(&count),
        "{count} records, expected {} to {}",
        expected.least,
        expected.most
    );
    let mut found = BTreeSet::new();
    let end = journal.reader().replay(None, |sequence, text: String| {
        assert_eq!(text, expected.texts[sequence as usize], "record {sequence}");
        found.insert(sequence);
    });
    assert_eq!(end.unwrap(), journal.end());
    let missing: BTreeSet<u64> = (0..chain.records)
        .filter(|sequence| !found.contains(sequence))
        .collect();
    assert!(
        missing.is_empty() || missing == *expected.compacted,
        "records {missing:?} are missing"
    );
    let operations = disk.operations();
    append(&mut journal, &["after the crash"]).expect("it takes more");
    assert_eq!(journal.reader().verify_chain().unwrap().records, chain.records + 1);
    operations
}

/// A recorded run on a new journal, and how many records had been begun and acknowledged at each operation.
struct Run {
    /// The new journal. It gets its name only when it is whole, so no crash comes before that.
    initial: Vec<u8>,
    operations: Vec<Operation>,
    texts: Vec<String>,
    /// (operations so far, records begun, records acknowledged), in order.
    marks: Vec<(usize, usize, usize)>,
    compacted: BTreeSet<u64>,
}

impl Run {
    fn record(commits: usize) -> Self {
        let disk = Recorder::default();
        drop(disk.open().unwrap());
        let initial = disk.bytes();
        let disk = Recorder::holding(initial.clone());
        let mut journal = disk.open().unwrap();
        let mut random = Random::of([commits as u64, 0, 0, 0]);
        let mut texts: Vec<String> = Vec::new();
        let mut marks = vec![(0, 0, 0)];
        let mut compacted = BTreeSet::new();
        for commit in 0..commits {
            // Mostly small ones, at times one that needs pages of its own.
            let size = if random.below(8) == 0 {
                6_000
            } else {
                40 + random.below(400)
            };
            let batch: Vec<String> = (0..1 + random.below(3))
                .map(|number| format!("{commit}/{number} {}", "x".repeat(size)))
                .collect();
            let acknowledged = texts.len();
            texts.extend(batch.iter().cloned());
            marks.push((disk.count(), texts.len(), acknowledged));
            append(&mut journal, &batch.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
            marks.push((disk.count(), texts.len(), texts.len()));
            if commit == commits / 2 {
                // Only what is there by then: a short run has not come to 9.
                compacted = BTreeSet::from([0, 1, 2, 5, 8, 9]);
                compacted.retain(|sequence| *sequence < journal.len());
                journal.compact(&compacted).unwrap();
            }
        }
        drop(journal);
        Self {
            initial,
            operations: disk.operations(),
            texts,
            marks,
            compacted,
        }
    }

    /// After so many operations.
    fn expected(&self, operations: usize) -> Expected<'_> {
        let passed = self.marks.partition_point(|(count, ..)| *count <= operations);
        let (_, most, least) = self.marks[passed - 1];
        Expected {
            texts: &self.texts,
            least,
            most,
            compacted: &self.compacted,
        }
    }
}

/// Calls `visit` with the synced bytes and the operations pending after each operation.
fn each_crash(synced: Vec<u8>, operations: &[Operation], mut visit: impl FnMut(usize, &[u8], &[Operation])) {
    let mut synced = synced;
    let mut first_pending = 0;
    for crash in 0..=operations.len() {
        visit(crash, &synced, &operations[first_pending..crash]);
        if let Some(Operation::Sync) = operations.get(crash) {
            operations[first_pending..crash]
                .iter()
                .for_each(|operation| apply(&mut synced, operation));
            first_pending = crash + 1;
        }
    }
}

fn case(name: &str, body: impl FnOnce() -> Vec<Operation>) -> Vec<Operation> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        eprintln!("failed: {name}, seed {SEED:#x}");
        std::panic::resume_unwind(panic)
    })
}

#[test]
fn no_acknowledged_record_is_missing_after_a_crash_at_any_write_nor_after_a_second_one_during_the_repair() {
    let commits = if cfg!(debug_assertions) { 6 } else { 120 };
    let run = Run::record(commits);
    let (mut images, mut second_images) = (0, 0);
    each_crash(run.initial.clone(), &run.operations, |crash, synced, pending| {
        let expected = run.expected(crash);
        for variant in 0..2 + VARIANTS {
            // Without anything pending there is but one image.
            if pending.is_empty() && variant > 0 {
                break;
            }
            let number = crash as u64;
            let bytes = image(synced, pending, variant, &mut Random::of([number, variant, 0, 0]));
            images += 1;
            let name = format!("crash at operation {crash}, variant {variant}");
            let repair = case(&name, || check(bytes.clone(), &expected));
            // One second crash of each first one, at another operation each time.
            if repair.is_empty() {
                continue;
            }
            let at = Random::of([number, variant, 1, 0]).below(repair.len());
            each_crash(bytes, &repair, |second, synced, pending| {
                if second != at {
                    return;
                }
                let again = 2 + second as u64 % VARIANTS;
                let bytes = image(synced, pending, again, &mut Random::of([number, variant, 2, again]));
                second_images += 1;
                case(&format!("{name}, then at operation {second} of the repair"), || {
                    check(bytes, &expected)
                });
            });
        }
    });
    println!(
        "{} records, {} operations: {images} images of a crash, {second_images} of a second one",
        run.texts.len(),
        run.operations.len()
    );
    assert!(images > 10 * commits && second_images > 5 * commits);
}

/// A record of a job, as far as the journal looks at it.
fn of_job(job: &str, event: &str) -> Encoded {
    let json = format!(r#"{{"at":1,"event":{{"Job":{{"job":"{job}","event":{event}}}}}}}"#);
    Encoded::raw(json.as_bytes())
}

/// Two jobs, one of which is deleted: its last record is number `.1` of all.
fn with_a_deletion() -> (Vec<Vec<Encoded>>, usize) {
    let step = |number: u32| format!(r#"{{"EpochConcluded":{{"epoch":{number},"best_epoch":0}}}}"#);
    let mut commits: Vec<Vec<Encoded>> = (0..6)
        .map(|number| vec![of_job("stays", &step(number)), of_job("gone", &step(number))])
        .collect();
    commits.push(vec![of_job("gone", r#"{"Deleted":{"reason":"Asked"}}"#)]);
    commits.push(vec![of_job("gone", r#"{"Erased":{"bytes":1}}"#)]);
    commits.push(vec![of_job("stays", &step(6)), of_job("gone", &step(0))]);
    (commits, 13)
}

/// Opens an image; each job has the records that were acknowledged, and what is left of the deletion is taken up.
fn check_jobs(bytes: Vec<u8>, records: &[Encoded], (least, most): (usize, usize), erased: usize) -> Vec<Operation> {
    let disk = Recorder::holding(bytes);
    let mut journal = disk.open().expect("an image of a crash opens");
    let chain = journal
        .reader()
        .verify_chain()
        .expect("its chain holds, and so do its strands");
    let count = chain.records as usize;
    assert!(
        (least..=most).contains(&count),
        "{count} records, expected {least} to {most}"
    );
    let members = |journal: &Journal, job: &str| -> Vec<u64> {
        let proven = journal.reader().records_of(&JobId::from(job)).expect("it is proven");
        proven.records.iter().map(|found| found.sequence).collect()
    };
    let expected = |job: &str, first: usize| -> Vec<u64> {
        let of_job = |number: &usize| records[*number].membership().is_some_and(|found| found.job == job);
        (first..count).filter(of_job).map(|number| number as u64).collect()
    };
    let first = if count > erased { erased + 1 } else { 0 };
    for _ in 0..2 {
        assert_eq!(members(&journal, "stays"), expected("stays", 0));
        assert_eq!(members(&journal, "gone"), expected("gone", first));
        while journal.remove_texts().expect("it goes on") {}
    }
    assert_eq!(journal.reader().verify_chain().unwrap().head, chain.head);
    disk.operations()
}

#[test]
fn a_deletion_is_whole_or_taken_up_after_a_crash_at_any_write_and_a_second_one_during_the_repair() {
    let (commits, erased) = with_a_deletion();
    let records: Vec<Encoded> = commits.concat();
    let disk = Recorder::default();
    drop(disk.open().unwrap());
    let initial = disk.bytes();
    let disk = Recorder::holding(initial.clone());
    let mut journal = disk.open().unwrap();
    let mut marks = vec![(0, 0, 0)];
    let mut acknowledged = 0;
    for commit in &commits {
        marks.push((disk.count(), acknowledged + commit.len(), acknowledged));
        journal.append(commit).unwrap();
        acknowledged += commit.len();
        marks.push((disk.count(), acknowledged, acknowledged));
    }
    while journal.remove_texts().unwrap() {}
    drop(journal);
    let mut images = 0;
    each_crash(initial, &disk.operations(), |crash, synced, pending| {
        let passed = marks.partition_point(|(count, ..)| *count <= crash);
        let (_, most, least) = marks[passed - 1];
        for variant in 0..2 + VARIANTS {
            if pending.is_empty() && variant > 0 {
                break;
            }
            let number = crash as u64;
            let bytes = image(synced, pending, variant, &mut Random::of([number, variant, 3, 0]));
            images += 1;
            let name = format!("crash at operation {crash}, variant {variant}");
            let repair = case(&name, || check_jobs(bytes.clone(), &records, (least, most), erased));
            let at = Random::of([number, variant, 4, 0]).below(repair.len().max(1));
            each_crash(bytes, &repair, |second, synced, pending| {
                if second == at {
                    let again = 2 + second as u64 % VARIANTS;
                    let bytes = image(synced, pending, again, &mut Random::of([number, variant, 5, again]));
                    case(&format!("{name}, then at operation {second} of the repair"), || {
                        check_jobs(bytes, &records, (least, most), erased)
                    });
                }
            });
        }
    });
    assert!(images > 10 * commits.len(), "{images}");
}
