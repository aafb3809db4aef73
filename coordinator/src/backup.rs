//! A coordinator's folder is copied while nobody writes it: to keep it elsewhere, and to put it back.
//!
//! A copy counts when it is proven: its journal is opened, and its whole chain followed. So a backup takes the place of the one before only when it
//! is whole, and nothing is restored over a journal that is there. What a coordinator makes again (its lock, its reserve) is left out. A backup
//! notes the head of its journal, by which it is known for a backup, and what was cut off it since is found.

mod putting_back;
mod taking_over;
#[cfg(test)]
mod tests;

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

pub use putting_back::restore;
use thiserror::Error;

use crate::{
    engine::EngineError,
    journal::{ChainHash, FolderLock, JOURNAL_FILE, Journal, JournalError},
};

/// File of a backup that holds the head of its journal.
const NOTE: &str = "backup";
/// How the names of a backup's neighbours go on: of the one that is being made, and of the one that it takes the place of.
const NEW: &str = ".new";
const OLD: &str = ".old";
/// What a coordinator keeps beside its journal.
const BESIDE: [&str; 3] = ["coordinator-id", "jobs", "snapshots"];

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Records of the whole history.
    pub records: u64,
    /// Head of the journal, as receipts print it.
    pub head: ChainHash,
    /// Files.
    pub files: u64,
    /// What they hold together, bytes.
    pub bytes: u64,
}

/// Why there is no copy.
#[derive(Debug, Error)]
pub enum BackupError {
    /// What is to be copied is no coordinator's folder.
    #[error("{} holds no journal{}", folder.display(), left.as_deref().map(named_backup).unwrap_or_default())]
    NoJournal {
        /// The folder.
        folder: PathBuf,
        /// An earlier backup beside it, which one that was interrupted has left.
        left: Option<PathBuf>,
    },
    /// A backup takes the place of the one before by a change of names.
    #[error("expected a folder that can be renamed, found the mount point {}; name a folder below it", folder.display())]
    MountPoint {
        /// The folder.
        folder: PathBuf,
    },
    /// What would be overwritten is wanted.
    #[error("expected an empty folder{}, found {} in {}", if *of_backup { " or an earlier backup" } else { "" }, found.display(), folder.display())]
    Taken {
        /// The folder.
        folder: PathBuf,
        /// What is in it.
        found: PathBuf,
        /// Whether an earlier backup could be there.
        of_backup: bool,
    },
    /// The backup is not as it was made.
    #[error("the backup in {} ends elsewhere than when it was made: expected the head {expected}, found {found}", folder.display())]
    Differs {
        /// The folder.
        folder: PathBuf,
        /// What it notes.
        expected: String,
        /// What its journal has.
        found: ChainHash,
    },
    /// What was restored cannot go on.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The folder is held by a coordinator, or the copy is not what a coordinator wrote.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A file or folder cannot be used.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// Copies the folder `data` of a coordinator that does not run into a folder `to`, and proves the copy.
///
/// # Errors
/// If a coordinator runs, `to` holds something else than an earlier backup, or the copy is not whole: then what was there stays.
pub fn back_up(data: &Path, to: &Path) -> Result<Copied, BackupError> {
    has_journal(data)?;
    let to = &renameable(to)?;
    if let Some(found) = first_entry(to)?.filter(|_| !to.join(NOTE).is_file()) {
        return Err(BackupError::Taken {
            folder: to.to_owned(),
            found,
            of_backup: true,
        });
    }
    let _lock = FolderLock::acquire(data)?;
    let (new, old) = (beside(to, NEW), beside(to, OLD));
    remove(&new)?;
    // It makes the folder, for its owner alone.
    let held = FolderLock::acquire(&new)?;
    let mut count = Count::default();
    copy_beside(data, &new, &mut count)?;
    copy_file(&data.join(JOURNAL_FILE), &new.join(JOURNAL_FILE), &mut count)?;
    let copied = prove(&new, count)?;
    note(&new, copied.head)?;
    drop(held);
    for made in ["lock", "reserve"] {
        remove(&new.join(made))?;
    }
    sync_folder(&new)?;
    remove(&old)?;
    if to.exists() {
        rename(to, &old)?;
    }
    rename(&new, to)?;
    remove(&old)?;
    Ok(copied)
}

/// Writes the head of its journal into a backup: it is on disk before the backup takes its place.
fn note(folder: &Path, head: ChainHash) -> Result<(), BackupError> {
    let path = folder.join(NOTE);
    let written = File::create(&path).and_then(|mut file| {
        writeln!(file, "{head}")?;
        file.sync_all()
    });
    written.map_err(io_error(&path))
}

#[derive(Default, Clone, Copy)]
struct Count {
    files: u64,
    bytes: u64,
}

/// Follows the whole chain of a folder that is held.
fn prove(folder: &Path, count: Count) -> Result<Copied, BackupError> {
    let chain = Journal::open(folder)?.reader().verify_chain()?;
    Ok(Copied {
        records: chain.records,
        head: chain.head,
        files: count.files,
        bytes: count.bytes,
    })
}

fn copy_beside(from: &Path, to: &Path, count: &mut Count) -> Result<(), BackupError> {
    BESIDE
        .iter()
        .filter(|name| from.join(name).exists())
        .try_for_each(|name| copy(&from.join(name), &to.join(name), count))
}

fn copy(from: &Path, to: &Path, count: &mut Count) -> Result<(), BackupError> {
    if !from.is_dir() {
        return copy_file(from, to, count);
    }
    fs::create_dir_all(to).map_err(io_error(to))?;
    for entry in fs::read_dir(from).map_err(io_error(from))? {
        let entry = entry.map_err(io_error(from))?;
        copy(&entry.path(), &to.join(entry.file_name()), count)?;
    }
    sync_folder(to)
}

fn copy_file(from: &Path, to: &Path, count: &mut Count) -> Result<(), BackupError> {
    count.bytes += fs::copy(from, to).map_err(io_error(from))?;
    count.files += 1;
    File::open(to).and_then(|file| file.sync_all()).map_err(io_error(to))
}

fn has_journal(folder: &Path) -> Result<(), BackupError> {
    match folder.join(JOURNAL_FILE).is_file() {
        true => Ok(()),
        false => Err(BackupError::NoJournal {
            folder: folder.to_owned(),
            left: Some(beside(folder, OLD)).filter(|left| left.join(JOURNAL_FILE).is_file()),
        }),
    }
}

fn named_backup(left: &Path) -> String {
    format!("; the backup before it is in {}", left.display())
}

/// A folder under the name by which its neighbours are found. It need not be there yet.
fn renameable(folder: &Path) -> Result<PathBuf, BackupError> {
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).map_err(io_error(path));
    let path = match folder.canonicalize() {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return std::path::absolute(folder).map_err(io_error(folder));
        }
        Err(error) => return Err(io_error(folder)(error)),
    };
    match path.parent() {
        Some(parent) if device(parent)? == device(&path)? => Ok(path),
        _ => Err(BackupError::MountPoint { folder: path }),
    }
}

/// The first that is found in a folder, if it is there and holds anything.
fn first_entry(folder: &Path) -> Result<Option<PathBuf>, BackupError> {
    let mut entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(folder)(error)),
    };
    let first = entries.next().transpose().map_err(io_error(folder))?;
    Ok(first.map(|entry| entry.file_name().into()))
}

/// A neighbour of a folder, whose name goes on.
fn beside(folder: &Path, end: &str) -> PathBuf {
    let mut name = folder.file_name().map(OsString::from).unwrap_or_default();
    name.push(end);
    folder.with_file_name(name)
}

fn rename(from: &Path, to: &Path) -> Result<(), BackupError> {
    fs::rename(from, to).map_err(|error| match error.kind() {
        // As a folder of the same device is, if it is mounted.
        io::ErrorKind::ResourceBusy => BackupError::MountPoint {
            folder: from.to_owned(),
        },
        _ => io_error(to)(error),
    })?;
    match to.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => sync_folder(parent),
        None => Ok(()),
    }
}

fn sync_folder(folder: &Path) -> Result<(), BackupError> {
    File::open(folder)
        .and_then(|file| file.sync_all())
        .map_err(io_error(folder))
}

/// Removes a file or a folder, if it is there.
fn remove(path: &Path) -> Result<(), BackupError> {
    let removed = match path.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(path)(error)),
        _ => Ok(()),
    }
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::Io {
        path: path.clone(),
        source,
    }
}
