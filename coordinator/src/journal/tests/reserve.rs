//! The reserve for a full disk.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{
    super::space::{Disk, Room, Space},
    *,
};

const MIB: u64 = 1024 * 1024;

/// A disk of which only the number of free bytes is pretended.
fn space(folder: &Path, total: u64) -> (Space, Arc<AtomicU64>) {
    let free = Arc::new(AtomicU64::new(total));
    let seen = Arc::clone(&free);
    let measure = move || {
        Ok(Disk {
            free: seen.load(Ordering::SeqCst),
            total,
        })
    };
    (Space::measured(folder, Box::new(measure)), free)
}

/// Bytes that the reserve takes from the real disk.
fn reserve(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let found = std::fs::metadata(folder.join("reserve")).unwrap();
    assert!(found.blocks() * 512 >= found.len(), "its blocks are allocated");
    found.len()
}

#[test]
fn a_reserve_is_laid_where_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let (mut space, _) = space(folder.path(), 1024 * MIB);
    assert_eq!(space.room(), Room::Ample);
    assert_eq!(reserve(folder.path()), 16 * MIB);
}

#[test]
fn a_disk_that_is_nearly_full_gets_no_reserve_and_says_what_it_wants() {
    let folder = tempfile::tempdir().unwrap();
    let (mut space, free) = space(folder.path(), 16 * MIB);
    assert_eq!(reserve(folder.path()), MIB / 2);
    free.store(MIB - 1, Ordering::SeqCst);
    let short = |free| Room::Short {
        free,
        wanted: MIB * 3 / 2,
    };
    assert_eq!(space.room(), short(MIB - 1));
    // just above the limit does not do after it was short
    free.store(MIB + 1, Ordering::SeqCst);
    assert_eq!(space.room(), short(MIB + 1));
    free.store(MIB * 3 / 2, Ordering::SeqCst);
    assert_eq!(space.room(), Room::Ample);
}

#[test]
fn commits_on_a_full_disk_eat_the_reserve_as_they_need_it_and_it_is_laid_anew_later() {
    let folder = tempfile::tempdir().unwrap();
    let (mut space, free) = space(folder.path(), 64 * MIB);
    let whole = reserve(folder.path());
    assert_eq!(whole, 2 * MIB);
    space.draw_on_reserve(1000);
    assert_eq!(reserve(folder.path()), whole, "there is room");

    free.store(0, Ordering::SeqCst);
    assert!(matches!(space.room(), Room::Short { free: 0, .. }));
    space.draw_on_reserve(1000);
    let left = reserve(folder.path());
    assert!(left < whole && left > whole / 2, "{left} of {whole} are left");
    for _ in 0..100 {
        space.draw_on_reserve(1000);
    }
    assert_eq!(reserve(folder.path()), 0);

    free.store(64 * MIB, Ordering::SeqCst);
    assert_eq!(space.room(), Room::Ample);
    assert_eq!(reserve(folder.path()), whole);
}

#[test]
fn the_reserve_of_the_run_before_is_known() {
    let folder = tempfile::tempdir().unwrap();
    drop(space(folder.path(), 64 * MIB));
    let free = 0;
    let measure = move || Ok(Disk { free, total: 64 * MIB });
    let mut again = Space::measured(folder.path(), Box::new(measure));
    again.draw_on_reserve(0);
    assert!(reserve(folder.path()) < 2 * MIB);
}
