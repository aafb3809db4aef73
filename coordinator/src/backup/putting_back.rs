//! Putting a backup back: all of it, or nothing.
//!
//! It is copied, proven and [taken over](super::taking_over) in a folder of its own within the coordinator's, so whenever it is interrupted, there is no
//! journal that a coordinator could begin with. What is whole gets another name, and is moved to its place from there, the journal last. So the next
//! one can tell what an interrupted one has left, and removes it; whatever else stands there belongs to somebody, and is not touched.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    BESIDE, BackupError, Copied, Count, NOTE, copy_beside, copy_file, first_entry, has_journal, io_error, prove,
    remove, rename, sync_folder, taking_over,
};
use crate::{
    fail_point::{self, FailPoint},
    journal::{FolderLock, JOURNAL_FILE},
};

/// In the coordinator's folder: what is being copied.
const FILLING: &str = "restoring";
/// In the coordinator's folder: what is whole, and goes to its place.
const WHOLE: &str = "restored";

/// Copies a backup into the folder `data` of a coordinator that does not run and has none yet, and proves the copy.
///
/// # Errors
/// If `data` holds a journal, or anything else that a coordinator keeps, or the copy is not whole: then no journal is there.
pub fn restore(from: &Path, data: &Path) -> Result<Copied, BackupError> {
    has_journal(from)?;
    let _lock = FolderLock::acquire(data)?;
    is_free(data, JOURNAL_FILE)?;
    remove_interrupted(data)?;
    BESIDE.iter().try_for_each(|name| is_free(data, name))?;
    let filling = data.join(FILLING);
    let copied = fill(from, &filling).inspect_err(|_| drop(remove(&filling)))?;
    let whole = data.join(WHOLE);
    put(&filling, &whole)?;
    for name in BESIDE.iter().filter(|name| whole.join(name).exists()) {
        put(&whole.join(name), &data.join(name))?;
    }
    put(&whole.join(JOURNAL_FILE), &data.join(JOURNAL_FILE))?;
    remove(&whole)?;
    Ok(copied)
}

fn put(from: &Path, to: &Path) -> Result<(), BackupError> {
    fail_point::pass(FailPoint::RestoreBeforeRename);
    rename(from, to)
}

/// Makes a folder that a coordinator can go on with.
fn fill(from: &Path, filling: &Path) -> Result<Copied, BackupError> {
    // It makes the folder, for its owner alone.
    let _held = FolderLock::acquire(filling)?;
    let mut count = Count::default();
    copy_beside(from, filling, &mut count)?;
    copy_file(&from.join(JOURNAL_FILE), &filling.join(JOURNAL_FILE), &mut count)?;
    let copied = prove(filling, count)?;
    is_as_noted(from, &copied)?;
    taking_over::take_over(filling)?;
    sync_folder(filling)?;
    Ok(copied)
}

/// Removes what one that was interrupted has copied. Of what was whole, that is in its place which is not with the rest of it any more: nobody else
/// can have put it there, since the place was free.
fn remove_interrupted(data: &Path) -> Result<(), BackupError> {
    let (filling, whole) = (data.join(FILLING), data.join(WHOLE));
    remove(&filling)?;
    if whole.exists() {
        for name in BESIDE.iter().filter(|name| !whole.join(name).exists()) {
            remove(&data.join(name))?;
        }
        rename(&whole, &filling)?;
    }
    remove(&filling)
}

/// Whether nobody has put anything to a place. An empty folder is nothing.
fn is_free(data: &Path, name: &str) -> Result<(), BackupError> {
    let path = data.join(name);
    let is_free = match path.is_dir() {
        true => first_entry(&path)?.is_none(),
        false => !path.exists(),
    };
    match is_free {
        true => Ok(()),
        false => Err(BackupError::Taken {
            folder: data.to_owned(),
            found: PathBuf::from(name),
            of_backup: false,
        }),
    }
}

/// Whether a backup, if it is one, ends where it did when it was made.
fn is_as_noted(from: &Path, copied: &Copied) -> Result<(), BackupError> {
    let note = match fs::read_to_string(from.join(NOTE)) {
        Ok(note) => note,
        // A snapshot of a volume notes nothing.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error(&from.join(NOTE))(error)),
    };
    match note.trim() == copied.head.to_string() {
        true => Ok(()),
        false => Err(BackupError::Differs {
            folder: from.to_owned(),
            expected: note.trim().to_owned(),
            found: copied.head,
        }),
    }
}
