//! Folders on which no coordinator starts.

use std::os::unix::fs::FileExt as _;

use crate::process::{Served, command, submit};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_second_coordinator_on_the_folder_is_refused_with_the_folder_and_the_process_that_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Served::spawn(&mut command(folder.path()));
    let channel = first.ready().unwrap();
    let second = Served::spawn(&mut command(folder.path())).left();
    assert_eq!(second.status.code(), Some(1), "{}", second.talk);
    let expected = format!(
        "the data folder {} is held by another coordinator (process {})",
        folder.path().display(),
        first.id()
    );
    assert!(second.talk.contains(&expected), "{}", second.talk);
    // The first one was not disturbed.
    submit(&channel, "after").await.unwrap();
    assert_eq!(first.stop().status.code(), Some(0));
    // The lock is gone with the process.
    let mut third = Served::spawn(&mut command(folder.path()));
    third.ready().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_flipped_bit_in_the_journal_stops_the_start_and_the_record_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut served = Served::spawn(&mut command(folder.path()));
    let channel = served.ready().unwrap();
    submit(&channel, "unmistakable").await.unwrap();
    assert_eq!(served.stop().status.code(), Some(0));

    let path = folder.path().join("journal.redb");
    let bytes = std::fs::read(&path).unwrap();
    let word = b"unmistakable";
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    for place in (0..bytes.len()).filter(|place| bytes[*place..].starts_with(word)) {
        file.write_all_at(&[bytes[place] ^ 1], place as u64).unwrap();
    }
    let refused = Served::spawn(&mut command(folder.path())).left();
    assert_eq!(refused.status.code(), Some(1), "{}", refused.talk);
    // Record 0 is the start of the coordinator.
    assert!(refused.talk.contains("damaged at record 1:"), "{}", refused.talk);
    assert!(refused.talk.contains("journal.redb"), "{}", refused.talk);
}
