//! Lines are stored once, in order, and survive a reopening.

use super::*;

fn line(process: &str, sequence: u64) -> StoredLine {
    StoredLine {
        process: process.to_owned(),
        rank: 0,
        generation: 1,
        sequence,
        stream: "stderr".to_owned(),
        text: format!("line {sequence} of {process} \"quoted\" \n inside"),
        seconds: 1_700_000_000,
        nanos: 5,
    }
}

fn lines(process: &str, range: std::ops::Range<u64>) -> Vec<StoredLine> {
    range.map(|sequence| line(process, sequence)).collect()
}

#[tokio::test]
async fn a_repeated_batch_is_stored_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = LogStore::new(folder.path().to_owned());
    assert_eq!(store.append("j", "a", &lines("a", 0..3)).unwrap(), 3);
    assert_eq!(store.append("j", "a", &lines("a", 1..5)).unwrap(), 5);
    let mut reader = store.reader("j").unwrap();
    assert_eq!(reader.next_lines().await.unwrap(), lines("a", 0..5));
    assert!(reader.next_lines().await.unwrap().is_empty());
}

#[tokio::test]
async fn lines_after_a_gap_wait_until_the_gap_is_filled() {
    let folder = tempfile::tempdir().unwrap();
    let store = LogStore::new(folder.path().to_owned());
    assert_eq!(store.append("j", "a", &lines("a", 2..4)).unwrap(), 0);
    assert_eq!(store.append("j", "a", &lines("a", 0..4)).unwrap(), 4);
}

#[tokio::test]
async fn numbering_goes_on_after_a_crash_that_cut_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let store = LogStore::new(folder.path().to_owned());
    store.append("j", "a", &lines("a", 0..2)).unwrap();
    store.append("j", "b", &lines("b", 0..1)).unwrap();
    drop(store);
    let path = folder.path().join("j/logs.jsonl");
    OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap()
        .write_all(b"{\"process\":\"a\",\"ra")
        .unwrap();

    let store = LogStore::new(folder.path().to_owned());
    assert_eq!(store.append("j", "a", &lines("a", 0..3)).unwrap(), 3);
    assert_eq!(store.append("j", "b", &lines("b", 0..1)).unwrap(), 1);
    let mut reader = store.reader("j").unwrap();
    let read: Vec<_> = reader
        .next_lines()
        .await
        .unwrap()
        .into_iter()
        .map(|line| (line.process, line.sequence))
        .collect();
    let expected = [("a", 0), ("a", 1), ("b", 0), ("a", 2)].map(|(process, sequence)| (process.to_owned(), sequence));
    assert_eq!(read, expected);
}

#[tokio::test]
async fn a_reader_is_woken_by_new_lines() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(LogStore::new(folder.path().to_owned()));
    let mut reader = store.reader("j").unwrap();
    assert!(reader.next_lines().await.unwrap().is_empty());
    let writer = Arc::clone(&store);
    let writing = tokio::task::spawn_blocking(move || writer.append("j", "a", &lines("a", 0..1)).unwrap());
    reader.grown().await;
    assert_eq!(reader.next_lines().await.unwrap(), lines("a", 0..1));
    assert_eq!(writing.await.unwrap(), 1);
}

#[tokio::test]
async fn a_log_larger_than_one_piece_is_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = LogStore::new(folder.path().to_owned());
    let mut long = line("a", 1);
    long.text = "x".repeat(600_000);
    let written = [line("a", 0), long, line("a", 2)];
    store.append("j", "a", &written).unwrap();
    let mut reader = store.reader("j").unwrap();
    let mut read = Vec::new();
    loop {
        let piece = reader.next_lines().await.unwrap();
        if piece.is_empty() {
            break;
        }
        read.extend(piece);
    }
    assert_eq!(read, written);
}
