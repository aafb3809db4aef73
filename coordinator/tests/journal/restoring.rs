//! `firn restore` is killed at each of its steps.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Command, Output},
};

use firn::{
    backup::back_up,
    fail_point::{FailPoint, VARIABLE},
    journal::{FolderLock, Journal},
};
use firn_core::{Event, Now, Record};

fn restore(kept: &Path, folder: &Path, fail_point: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_firn"))
        .arg("restore")
        .arg(kept)
        .arg("--data-dir")
        .arg(folder)
        .env(VARIABLE, fail_point)
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
}

#[test]
fn one_that_is_killed_leaves_no_journal_and_the_next_one_begins_again() {
    let (data, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let kept = elsewhere.path().join("firn");
    let id = FolderLock::acquire(data.path()).unwrap().coordinator_id().unwrap();
    let started = Record {
        at: Now(1),
        event: Event::CoordinatorStarted { epoch: 1 },
    };
    let mut journal = Journal::open(data.path()).unwrap();
    journal.append(&[Journal::encode(&started).unwrap()]).unwrap();
    drop(journal);
    let file = "jobs/ants/artifacts/head.safetensors";
    fs::create_dir_all(data.path().join("jobs/ants/artifacts")).unwrap();
    fs::write(data.path().join(file), b"weights").unwrap();
    back_up(data.path(), &kept).unwrap();
    // What is whole gets its name, then the id, the jobs and the journal go to their places.
    for pass in 1..=4 {
        let folder = tempfile::tempdir().unwrap();
        let fail_point = format!("{}:{pass}", FailPoint::RestoreBeforeRename);
        let killed = restore(&kept, folder.path(), &fail_point);
        assert_eq!(killed.status.signal(), Some(9), "{killed:?}");
        assert!(!folder.path().join("journal.redb").exists());
        let again = restore(&kept, folder.path(), "");
        assert!(again.status.success(), "{again:?}");
        assert_eq!(Journal::open(folder.path()).unwrap().len(), 2);
        assert_eq!(fs::read(folder.path().join(file)).unwrap(), b"weights");
        assert_eq!(
            FolderLock::acquire(folder.path()).unwrap().coordinator_id().unwrap(),
            id
        );
        let mut names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        let expected = ["coordinator-id", "jobs", "journal.redb", "lock", "reserve"];
        assert_eq!(names, expected);
    }
    let folder = tempfile::tempdir().unwrap();
    let whole = restore(&kept, folder.path(), &format!("{}:5", FailPoint::RestoreBeforeRename));
    assert!(whole.status.success(), "{whole:?}");
}
