//! What earlier builds left on disk is read by this one, and means the same.
//!
//! `tests/fixtures/builds/` has one folder a build, made by that build itself (`make.py` there says how): a coordinator's data folder as
//! SIGKILL left it, and what the build said of every job. A build that changes a stored form adds a folder; none is ever taken out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use firn::journal::Journal;
use firn_core::{Record, Settings, State};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Served, command};

/// A build, and a copy of what it left.
struct StoredBuild {
    name: String,
    copy: TempDir,
    expected: Value,
}

impl StoredBuild {
    fn data(&self) -> PathBuf {
        self.copy.path().join("data")
    }

    /// What the build printed of each job, by name.
    fn said(&self, what: &str) -> impl Iterator<Item = (&String, &Value)> {
        self.expected[what].as_object().unwrap().iter()
    }
}

fn stored_builds() -> Vec<StoredBuild> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/builds");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let builds: Vec<_> = entries.filter(|path| path.is_dir()).map(|path| unpack(&path)).collect();
    assert!(!builds.is_empty());
    builds
}

fn unpack(build: &Path) -> StoredBuild {
    let copy = tempfile::tempdir().unwrap();
    let archive = build.join("data.tar.gz");
    let mut tar = Command::new("tar");
    let unpacked = tar.arg("-xzf").arg(archive).arg("-C").arg(copy.path()).status();
    assert!(unpacked.unwrap().success());
    StoredBuild {
        name: build.file_name().unwrap().to_string_lossy().into_owned(),
        copy,
        expected: serde_json::from_slice(&fs::read(build.join("expected.json")).unwrap()).unwrap(),
    }
}

fn firn(arguments: &[&str], coordinator: &str) -> Value {
    let mut firn = Command::new(env!("CARGO_BIN_EXE_firn"));
    firn.args(arguments).args(["-o", "json"]);
    firn.env("FIRN_CONFIG", "/dev/null")
        .env("FIRN_COORDINATOR", coordinator);
    let output = firn.output().unwrap();
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// Everything that `said` says is still said; more may be.
fn still_says(place: &str, said: &Value, now: &Value) {
    match (said, now) {
        (Value::Object(said), Value::Object(now)) => {
            for (name, value) in said {
                let found = now.get(name).unwrap_or(&Value::Null);
                still_says(&format!("{place}.{name}"), value, found);
            }
        }
        (Value::Array(said), Value::Array(now)) => {
            assert_eq!(said.len(), now.len(), "{place}: expected {said:?}, found {now:?}");
            for (index, (said, now)) in said.iter().zip(now).enumerate() {
                still_says(&format!("{place}[{index}]"), said, now);
            }
        }
        (Value::Number(said), Value::Number(now)) => assert_eq!(said.as_f64(), now.as_f64(), "{place}"),
        (said, now) => assert_eq!(said, now, "{place}"),
    }
}

/// Takes out what another build may show otherwise, or on demand only.
fn without(fields: &[&str], mut document: Value) -> Value {
    fn take_out(fields: &[&str], value: &mut Value) {
        match value {
            Value::Object(object) => {
                object.retain(|name, _| !fields.contains(&name.as_str()));
                object.values_mut().for_each(|value| take_out(fields, value));
            }
            Value::Array(array) => array.iter_mut().for_each(|value| take_out(fields, value)),
            _ => {}
        }
    }
    take_out(fields, &mut document);
    document
}

#[test]
fn every_record_of_an_earlier_build_is_read_and_folds() {
    for build in stored_builds() {
        let journal = Journal::open(&build.data()).unwrap();
        let mut state = State::new(Settings::default());
        let mut kinds = BTreeSet::new();
        journal
            .replay(|record: Record| {
                kinds.insert(kind(&serde_json::to_value(&record.event).unwrap()));
                firn_core::apply(&mut state, &record);
            })
            .unwrap();
        let jobs: BTreeSet<_> = state.jobs.keys().map(ToString::to_string).collect();
        let expected: BTreeSet<_> = build.said("jobs").map(|(job, _)| job.clone()).collect();
        assert_eq!(jobs, expected, "{}", build.name);
        let (later, newest): (&[&str], &[&str]) = match build.name.as_str() {
            FIRST => (&[], &[]),
            SECOND => (&LATER_KINDS, &[]),
            _ => (&LATER_KINDS, &NEWEST_KINDS),
        };
        let missing: Vec<_> = KINDS
            .iter()
            .chain(later)
            .chain(newest)
            .filter(|kind| !kinds.contains(**kind))
            .collect();
        assert!(missing.is_empty(), "{}: no record is {missing:?}", build.name);
    }
}

/// The first build of which there is a fixture.
const FIRST: &str = "0.1.0-da01602";

/// The kinds of records that it did not know, and later fixtures have.
const LATER_KINDS: [&str; 3] = ["ArtifactFetched", "Deleted", "Erased"];

/// The second one.
const SECOND: &str = "0.1.0-a7b04a2";

/// The kinds of records that it did not know, and later fixtures have.
const NEWEST_KINDS: [&str; 8] = [
    "QuotaChanged",
    "ReleaseRequested",
    "Resumed",
    "Suspended",
    "TokenEnded",
    "TokenIssued",
    "TokenRotated",
    "Updated",
];

/// The kinds of records that every fixture has.
const KINDS: [&str; 32] = [
    "ArtifactStored",
    "CheckpointCommitted",
    "CheckpointRejected",
    "CheckpointsDropped",
    "CoordinatorStarted",
    "DatasetRegistered",
    "Ended",
    "EpochConcluded",
    "EvaluationCompleted",
    "GangCompleted",
    "GangFormed",
    "ModelRegistered",
    "RankExited",
    "RankFailureReported",
    "RankJoined",
    "RankLeaving",
    "RankLeft",
    "RankStarted",
    "RankStopRequested",
    "RanksLost",
    "RanksRecruited",
    "RequestAnswered",
    "RestartScheduled",
    "RollbackRequested",
    "SampleQuarantined",
    "ShardCompleted",
    "StepsCommitted",
    "Submitted",
    "TrainingEnded",
    "WorkerAttached",
    "WorkerAvailabilityChanged",
    "WorkerLost",
];

fn kind(event: &Value) -> String {
    if let Some(name) = event.as_str() {
        return name.to_owned();
    }
    let (name, value) = event.as_object().unwrap().iter().next().unwrap();
    match name.as_str() {
        "Job" => kind(&value["event"]),
        name => name.to_owned(),
    }
}

/// Those that no fixture has, because they need a GPU, a day, a rank that neither leaves nor stays, or an older program: as build `da01602` wrote
/// them, and the last three as the first builds that knew them.
const RARE: [&str; 7] = [
    r#"{"at":7,"event":{"Job":{"job":"a","event":{"CollectiveIdShared":{"id":[1,2,3]}}}}}"#,
    r#"{"at":7,"event":{"Job":{"job":"a","event":{"RankReleased":{"process":"a-g1-r0"}}}}}"#,
    r#"{"at":7,"event":{"WorkerForgotten":{"worker":"worker-0"}}}"#,
    r#"{"at":7,"event":{"Job":{"job":"a","event":{"SettingsNamed":{"digest":"ab12"}}}}}"#,
    r#"{"at":7,"event":{"TokenSecretDropped":{"token":"k1"}}}"#,
    r#"{"at":7,"event":{"CoordinatorRestored":{"epoch":1796000000}}}"#,
    r#"{"at":7,"event":{"WorkerLost":{"worker":"worker-0","reason":"Restored"}}}"#,
];

#[test]
fn records_that_no_fixture_has_are_read_as_they_were_written() {
    for text in RARE {
        let record: Record = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&record).unwrap(), text);
    }
}

#[test]
fn what_an_earlier_build_proved_is_proven() {
    // The chain has grown by the start that printed the receipt.
    let journal = ["records", "head", "journal", "chain"];
    for build in stored_builds() {
        let data = build.data();
        for (job, said) in build.said("receipts") {
            let now = firn(&["verify", job, "--data-dir", &data.to_string_lossy()], "");
            still_says(job, &without(&journal, said.clone()), &now);
            assert_eq!(now["proven"], true, "{}: {job}: {now:#}", build.name);
        }
    }
}

#[test]
fn a_coordinator_starts_on_what_an_earlier_build_left_and_says_the_same_of_every_job() {
    for build in stored_builds() {
        let mut served = Served::spawn(&mut command(&build.data()));
        let address = served.ready_at().unwrap();
        for (job, said) in build.said("jobs") {
            // The matrices are shown to those who ask for them; the pace depends on the clock.
            let said = without(&["confusion", "etaSeconds", "samplesPerSecond"], said.clone());
            still_says(job, &said, &firn(&["get", job], &address));
        }
        // What the start wrote is read by the next one.
        assert_eq!(served.stop().status.code(), Some(0));
        let mut again = Served::spawn(&mut command(&build.data()));
        again.ready_at().unwrap();
    }
}

#[test]
fn the_documents_of_a_job_that_an_earlier_build_ended_are_those_that_its_digests_name() {
    for build in stored_builds() {
        for (job, said) in build.said("jobs") {
            let artifacts = said["status"]["artifacts"].as_array().unwrap();
            let stored: BTreeMap<_, _> = artifacts
                .iter()
                .map(|artifact| (artifact["name"].as_str().unwrap(), artifact["sha256"].as_str().unwrap()))
                .collect();
            if stored.is_empty() {
                continue;
            }
            let folder = build.data().join("jobs").join(job).join("artifacts");
            for name in ["spec.json", "metrics.json", "config.json"] {
                let file = folder.join(format!("{}-{name}", &stored[name][..16]));
                let document: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
                assert!(document.is_object(), "{}", file.display());
            }
        }
    }
}
