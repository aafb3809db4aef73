//! `firn verify` over a real journal: honest, rewritten with a chain that holds, and with bytes flipped in its file.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use firn::journal::{FolderLock, Journal, RecordDigest};
use firn_core::{
    Event, JobEvent, Record,
    state::{Pass, ShardOutcome},
    task::Statistics,
};
use firn_proto::v1alpha1::{self as proto, directive::Next};
use redb::{ReadableTable as _, TableDefinition};
use tonic::{Code, Status};

use crate::{
    agent::{Agent, hello},
    rank::{follow_together, start_two},
    server::{Server, job, submit},
};

pub(crate) async fn verify(server: &Server, name: &str) -> Result<proto::VerificationReceipt, Status> {
    let request = proto::VerifyJobRequest { name: name.to_owned() };
    Ok(server.jobs().verify_job(request).await?.into_inner())
}

/// Two ranks follow their directives until `until` holds of one.
async fn work(server: &Server, until: impl Fn(&Next) -> bool + Copy) -> Agent {
    let mut agent = Agent::attach(server, hello("one", "i1")).await.unwrap();
    let (_, [mut zero, mut one]) = start_two(server, &mut agent).await;
    follow_together([&mut zero, &mut one], until).await;
    agent
}

/// A folder with one job that has ended well.
async fn finished() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    submit(&server, job("insects")).await;
    work(&server, |_| false).await;
    server.stop().await.unwrap();
    folder
}

/// `firn verify insects ARGUMENTS`: exit code, standard output, standard error.
fn firn_verify(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_firn"))
        .env_clear()
        .env("HOME", "/nonexistent")
        .args(["verify", "insects"])
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn offline(folder: &Path, more: &[&str]) -> (i32, String, String) {
    let mut arguments = vec!["--data-dir", folder.to_str().unwrap()];
    arguments.extend(more);
    firn_verify(&arguments)
}

/// Writes the journal anew, with a chain that holds, after `change`.
fn rewrite(folder: &Path, change: impl FnOnce(&mut Vec<Record>)) {
    let mut records: Vec<Record> = Vec::new();
    {
        let _lock = FolderLock::acquire(folder).unwrap();
        let journal = Journal::open(folder).unwrap();
        journal.replay(|record| records.push(record)).unwrap();
    }
    change(&mut records);
    fs::remove_file(folder.join("journal.redb")).unwrap();
    let mut journal = Journal::open(folder).unwrap();
    let encoded: Vec<_> = records.iter().map(|record| Journal::encode(record).unwrap()).collect();
    journal.append(&encoded).unwrap();
}

fn events(records: &mut [Record]) -> impl Iterator<Item = &mut JobEvent> {
    records.iter_mut().filter_map(|record| match &mut record.event {
        Event::Job { event, .. } => Some(event),
        _ => None,
    })
}

#[tokio::test]
async fn a_job_that_goes_on_is_proven_so_far_and_one_that_does_not_exist_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    submit(&server, job("insects")).await;
    let receipt = verify(&server, "jobs/insects").await.unwrap();
    assert!(receipt.proven && receipt.outcome.is_empty(), "{receipt:?}");

    work(&server, |next| *next == Next::TrainEpoch(1)).await;
    let receipt = verify(&server, "jobs/insects").await.unwrap();
    assert_eq!(receipt.findings, []);
    assert!(receipt.proven && receipt.outcome.is_empty());
    assert_eq!(receipt.epochs.len(), 1);
    assert_eq!((receipt.epochs[0].positions, receipt.epochs[0].samples), (40, 40));
    assert_eq!(receipt.files[0].state, "verified", "the checkpoint of the first epoch");
    assert_eq!(receipt.journal.unwrap().head.len(), 64);

    let refused = verify(&server, "jobs/nobody").await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let url = format!("http://{}", server.address);
    let (code, data, _) = firn_verify(&["--coordinator", &url]);
    assert_eq!(code, 0, "{data}");
    assert!(data.contains("Job:      insects (goes on)\n"), "{data}");
    assert!(
        data.contains("Verdict:  proven: 3 steps of 1 epoch and 1 evaluation so far; the job goes on\n"),
        "{data}"
    );
    let (code, _, talk) = offline(folder.path(), &[]);
    assert_eq!(code, 2, "{talk}");
    assert!(talk.contains("ask it instead, without --data-dir"), "{talk}");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_job_that_has_succeeded_is_proven_with_its_files_also_without_a_coordinator() {
    let folder = finished().await;
    let server = Server::start(folder.path());
    let receipt = verify(&server, "jobs/insects").await.unwrap();
    assert_eq!(receipt.findings, []);
    assert_eq!((receipt.proven, receipt.outcome.as_str()), (true, "Succeeded"));
    let passes: Vec<_> = receipt
        .passes
        .iter()
        .map(|pass| (pass.kind.as_str(), pass.split.as_str(), pass.samples))
        .collect();
    let expected = [
        ("scan", "train", 40),
        ("scan", "validation", 20),
        ("scan", "test", 10),
        ("evaluate", "validation", 20),
        ("evaluate", "validation", 20),
        ("evaluate", "test", 10),
    ];
    assert_eq!(passes, expected);
    let unchecked: Vec<_> = receipt.files.iter().filter(|file| file.state != "verified").collect();
    assert_eq!(unchecked.len(), 1, "{unchecked:?}");
    assert_eq!(unchecked[0].name, "model.safetensors");
    assert_eq!(unchecked[0].detail, "lies at file://one.example/model");
    assert_eq!(
        receipt.result_sha256, receipt.checkpoints[1].sha256,
        "epoch 1 is the best"
    );
    server.stop().await.unwrap();

    let (code, data, talk) = offline(folder.path(), &["-o", "json"]);
    assert_eq!(code, 0, "{talk}");
    let found: serde_json::Value = serde_json::from_str(&data).unwrap();
    assert_eq!(found["proven"], true);
    assert_eq!(found["journal"]["coordinatorEpoch"], 2);
    assert_eq!(talk, "proven: 6 steps of 2 epochs and 3 evaluations\n");
    let (code, _, talk) = offline(&folder.path().join("elsewhere"), &[]);
    assert_eq!(code, 2);
    assert!(talk.contains("holds no journal"), "{talk}");
}

#[tokio::test]
async fn a_journal_that_was_rewritten_with_a_whole_chain_is_not_proven() {
    let folder = finished().await;
    rewrite(folder.path(), |records| {
        for event in events(records) {
            match event {
                // One sample less in step 4, and a shard that scored its samples better.
                JobEvent::StepsCommitted { steps, .. } if steps[0].step == 3 => steps[1].samples -= 1,
                JobEvent::ShardCompleted {
                    pass: Pass::Evaluate { .. },
                    outcome: ShardOutcome::Evaluated(Statistics::Classification(counts)),
                    ..
                } => counts.loss_sum /= 2.0,
                _ => {}
            }
        }
    });
    let server = Server::start(folder.path());
    let receipt = verify(&server, "jobs/insects").await.unwrap();
    assert!(!receipt.proven);
    let samples = receipt
        .findings
        .iter()
        .find(|finding| finding.flaw == "StepSamples")
        .unwrap();
    assert_eq!((samples.epoch, samples.step), (Some(1), Some(4)));
    assert!(
        samples
            .message
            .starts_with("expected 16 samples of 16 positions with 0 set aside, found 15"),
        "{samples:?}"
    );
    assert_eq!(
        receipt
            .findings
            .iter()
            .filter(|finding| finding.flaw == "Metrics")
            .count(),
        3,
        "{:?}",
        receipt.findings
    );
    server.stop().await.unwrap();
    let (code, data, _) = offline(folder.path(), &[]);
    assert_eq!(code, 1, "{data}");
    assert!(data.contains("Verdict:  not proven: 4 findings\n"), "{data}");
}

const RECORDS: TableDefinition<'_, u64, (&[u8; 32], &[u8])> = TableDefinition::new("records");
const HEAD: TableDefinition<'_, &str, (u64, &[u8; 32])> = TableDefinition::new("head");
const COMPACTED: TableDefinition<'_, u64, (&[u8; 32], &[u8; 32])> = TableDefinition::new("compacted");

/// Makes the record look as if it had been compacted: the chain still holds.
fn hide(folder: &Path, sequence: u64) {
    let database = redb::Database::create(folder.join("journal.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut records = transaction.open_table(RECORDS).unwrap();
        let mut compacted = transaction.open_table(COMPACTED).unwrap();
        let guard = records.remove(sequence).unwrap().unwrap();
        let (hash, json) = guard.value();
        let digest = *RecordDigest::of(json).as_bytes();
        compacted.insert(sequence, (hash, &digest)).unwrap();
    }
    transaction.commit().unwrap();
}

#[tokio::test]
async fn a_record_of_the_job_that_looks_compacted_is_found() {
    let folder = finished().await;
    let mut records: Vec<Record> = Vec::new();
    Journal::open(folder.path())
        .unwrap()
        .replay(|record| records.push(record))
        .unwrap();
    let place = records.iter().position(|record| {
        matches!(
            record.event,
            Event::Job {
                event: JobEvent::ModelRegistered { .. },
                ..
            }
        )
    });
    let place = place.unwrap() as u64;
    hide(folder.path(), place);
    let (code, data, talk) = offline(folder.path(), &[]);
    assert_eq!(code, 1, "{data}{talk}");
    let expected = format!("  Journal (record {place}): 1 records after the submission of the job have no text");
    assert!(data.contains(&expected), "{data}");
}

/// The records after the first `kept` are cut off, and the head is that of what is left.
fn cut_off(folder: &Path, kept: u64) {
    let database = redb::Database::create(folder.join("journal.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut records = transaction.open_table(RECORDS).unwrap();
        while records.pop_last().unwrap().is_some_and(|(last, _)| last.value() > kept) {}
        let guard = records.last().unwrap().unwrap();
        let hash = *guard.1.value().0;
        let mut heads = transaction.open_table(HEAD).unwrap();
        heads.insert("head", (kept, &hash)).unwrap();
    }
    transaction.commit().unwrap();
}

#[tokio::test]
async fn records_that_were_cut_off_are_missed_by_whoever_has_noted_a_later_head() {
    let folder = finished().await;
    let server = Server::start(folder.path());
    let early = verify(&server, "jobs/insects").await.unwrap().journal.unwrap();
    server.stop().await.unwrap();
    let server = Server::start(folder.path());
    server.stop().await.unwrap();
    let late = Journal::open(folder.path()).unwrap().head().to_string();
    assert_ne!(early.head, late);
    for noted in [&early.head, &late] {
        let (code, data, talk) = offline(folder.path(), &["--head", noted]);
        assert_eq!(code, 0, "{data}{talk}");
        assert!(data.contains(&format!("head {late}; ")), "{data}");
    }
    cut_off(folder.path(), early.records);
    let (code, data, talk) = offline(folder.path(), &[]);
    assert_eq!(code, 0, "nobody can tell without a head: {data}{talk}");
    assert_eq!(offline(folder.path(), &["--head", &early.head]).0, 0);
    let (code, data, _) = offline(folder.path(), &["--head", &late]);
    assert_eq!(code, 1, "{data}");
    assert!(
        data.contains(&format!("the noted head {late} is not on this chain")),
        "{data}"
    );
    let (code, _, talk) = offline(folder.path(), &["--head", "0123"]);
    assert_eq!(code, 2, "{talk}");
    assert!(talk.contains("expected 64 hexadecimal digits"), "{talk}");
}

#[tokio::test]
async fn records_that_were_compacted_do_not_spoil_the_proof() {
    let folder = finished().await;
    // The start of a second coordinator comes after all records of the job.
    let server = Server::start(folder.path());
    server.stop().await.unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    let all: BTreeSet<u64> = (0..journal.len()).collect();
    journal.compact(&all).unwrap();
    drop(journal);
    let (code, data, talk) = offline(folder.path(), &[]);
    assert_eq!(code, 0, "{data}{talk}");
    assert!(data.contains(" without text), head "), "{data}");
}

/// The journal's file with the first place of `from` overwritten.
fn flip(folder: &Path, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let path = folder.join("journal.redb");
    let mut bytes = fs::read(&path).unwrap();
    let places: Vec<usize> = bytes
        .windows(from.len())
        .enumerate()
        .filter(|(_, window)| *window == from.as_bytes())
        .map(|(place, _)| place)
        .collect();
    assert!(!places.is_empty(), "the journal holds `{from}`");
    // Pages that are free now may hold an older copy.
    for place in places {
        bytes[place..place + to.len()].copy_from_slice(to.as_bytes());
    }
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_journal_whose_file_was_changed_is_not_proven_and_the_record_is_named() {
    let folder = finished().await;
    flip(folder.path(), "\"gradient_norm\":0.5", "\"gradient_norm\":0.7");
    let (code, data, talk) = offline(folder.path(), &[]);
    assert_eq!(code, 1, "{data}{talk}");
    assert!(data.contains("Journal:  its chain is broken\n"), "{data}");
    assert!(data.contains("  Journal (record "), "{data}");
}

fn files_of(folder: &Path, kind: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("jobs/insects").join(kind)).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn files_that_were_changed_or_removed_are_found() {
    let folder = finished().await;
    let checkpoint = files_of(folder.path(), "checkpoints").remove(0);
    let mut bytes = fs::read(&checkpoint).unwrap();
    bytes[7] ^= 1;
    fs::write(&checkpoint, bytes).unwrap();
    let artifacts = files_of(folder.path(), "artifacts");
    let metrics = artifacts
        .iter()
        .find(|path| path.to_string_lossy().ends_with("-metrics.json"))
        .unwrap();
    fs::remove_file(metrics).unwrap();

    let (code, data, _) = offline(folder.path(), &["-o", "json"]);
    assert_eq!(code, 1, "{data}");
    let found: serde_json::Value = serde_json::from_str(&data).unwrap();
    let messages: Vec<&str> = found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| {
            assert_eq!(finding["flaw"], "File");
            finding["message"].as_str().unwrap()
        })
        .collect();
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(messages[0].starts_with("the checkpoint after step "), "{messages:?}");
    assert_eq!(messages[1], "the artifact metrics.json is gone");
}
