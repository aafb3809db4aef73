//! Files that are whole, or not there.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// Extension of a file that is being written.
pub(crate) const PARTIAL: &str = "partial";

/// Where `writer` writes what becomes `path`. Nobody else does: a rank that was taken for dead and still lives must not write into the
/// file of its successor.
pub(crate) fn partial(path: &Path, writer: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{writer}.{PARTIAL}"));
    path.with_file_name(name)
}

/// Temporary name, sync, rename. Syncing the folder is left to the caller, who may have several files.
///
/// # Errors
/// Those of the file system; `path` is then what it was.
pub(crate) fn write(path: &Path, writer: &str, bytes: &[u8]) -> io::Result<()> {
    fs::rename(write_partial(path, writer, bytes)?, path)
}

/// The first part of that: all of it, under the temporary name, on the disk.
///
/// # Errors
/// Those of the file system.
pub(crate) fn write_partial(path: &Path, writer: &str, bytes: &[u8]) -> io::Result<PathBuf> {
    let partial = partial(path, writer);
    let mut file = File::create(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(partial)
}

/// Gives a file that was written under its temporary name its name.
///
/// # Errors
/// Those of the file system.
pub(crate) fn publish(partial: &Path, path: &Path) -> io::Result<()> {
    File::open(partial)?.sync_all()?;
    fs::rename(partial, path)
}

/// Removes what other writers of `path` have left half written. Only for whoever has ended the job: nobody else has anything to say then.
///
/// # Errors
/// Those of the file system.
pub(crate) fn sweep(path: &Path) -> io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(());
    };
    let prefix = format!("{}.", name.to_string_lossy());
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let found = entry.file_name().to_string_lossy().into_owned();
        let is_partial = found.strip_prefix(&prefix).is_some_and(|rest| rest.ends_with(PARTIAL));
        if !is_partial {
            continue;
        }
        match fs::remove_file(entry.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Makes the names of a folder's files durable.
///
/// # Errors
/// Those of the file system.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_writers_of_one_file_do_not_write_into_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("head.safetensors");
        let half = partial(&path, "p-1");
        fs::write(&half, "ha").unwrap();
        write(&path, "p-2", b"whole").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::read(&half).unwrap(), b"ha");
        let of_the_user = folder.path().join("notes.partial");
        fs::write(&of_the_user, "precious").unwrap();
        sweep(&path).unwrap();
        assert!(path.exists() && of_the_user.exists() && !half.exists());
    }
}
