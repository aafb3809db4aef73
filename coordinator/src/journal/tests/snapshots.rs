//! Snapshots that can be used, and those that cannot.

use super::*;

fn place(sequence: u64) -> Position {
    Position {
        sequence,
        hash: ChainHash::ORIGIN.followed_by(sequence, &RecordDigest::of(b"x")),
    }
}

fn sequences(store: &SnapshotStore) -> Vec<Result<u64, String>> {
    let snapshots = store.newest_first::<String>();
    snapshots
        .map(|found| {
            found
                .map(|found| found.place.sequence)
                .map_err(|error| error.to_string())
        })
        .collect()
}

#[test]
fn the_newest_two_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = SnapshotStore::new(folder.path());
    for sequence in [9, 10, 100] {
        store.write(place(sequence), &format!("state {sequence}")).unwrap();
    }
    let found: Vec<_> = store.newest_first::<String>().map(Result::unwrap).collect();
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].place, place(100));
    assert_eq!(found[0].state, "state 100");
    assert_eq!(found[1].place, place(10));
}

#[test]
fn every_changed_byte_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let store = SnapshotStore::new(folder.path());
    store.write(place(7), &"state".to_owned()).unwrap();
    let path = store.newest_path().unwrap();
    let whole = std::fs::read(&path).unwrap();
    for byte in 0..whole.len() {
        let mut changed = whole.clone();
        changed[byte] ^= 1;
        std::fs::write(&path, changed).unwrap();
        let error = sequences(&store)[0].clone().unwrap_err();
        assert!(error.contains("damaged"), "byte {byte}: {error}");
    }
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(sequences(&store)[0].is_err(), "cut to {length} bytes");
    }
    std::fs::write(&path, whole).unwrap();
    assert_eq!(sequences(&store), [Ok(7)]);
}

#[test]
fn one_of_another_program_is_told_apart_from_a_damaged_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = SnapshotStore::new(folder.path());
    store
        .write_as("another program", place(7), &"state".to_owned())
        .unwrap();
    let error = store.newest_first::<String>().next().unwrap().unwrap_err();
    assert!(matches!(error, SnapshotError::OtherProgram { .. }), "{error}");
}

#[test]
fn what_a_crash_left_half_written_is_swept_away() {
    let folder = tempfile::tempdir().unwrap();
    let store = SnapshotStore::new(folder.path());
    store.write(place(7), &"state".to_owned()).unwrap();
    let half = folder.path().join("snapshots/.tmp123");
    std::fs::write(&half, "half").unwrap();
    store.sweep();
    assert!(!half.exists());
    assert_eq!(sequences(&store), [Ok(7)]);
}
