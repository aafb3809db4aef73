//! The folder of a job's checkpoints that are too large for the coordinator.
//!
//! Several ranks may believe to be rank 0, of an earlier and a later generation, so nothing here counts on being alone: files are whole when they have
//! their names, and only those are removed that are older than the newest that was committed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::whole_file;
use crate::rank::failure::RankFailure;

/// Where the checkpoints of `job` lie below the artifact folder: of this job alone, and under a name that nobody chooses by accident.
pub(crate) fn of_job(artifacts: &Path, job: &str) -> PathBuf {
    artifacts
        .join(".firn-checkpoints")
        .join(job.trim_start_matches("jobs/"))
}

/// Removes the job's checkpoints, which are of no use once it has its artifacts.
pub(crate) fn remove_all(folder: &Path) -> Result<(), RankFailure> {
    if !folder.exists() {
        return Ok(());
    }
    remove_all_but(folder, &[], |_| true)?;
    // Whatever else someone has put there stays, and keeps the folders.
    let is_empty = fs::remove_dir(folder).is_ok();
    if let Some(parent) = folder.parent().filter(|_| is_empty) {
        let _ = fs::remove_dir(parent);
    }
    Ok(())
}

/// Stores the file of a checkpoint under its digest.
pub(crate) fn write(folder: &Path, sha256: &str, writer: &str, bytes: &[u8]) -> Result<PathBuf, RankFailure> {
    fs::create_dir_all(folder).map_err(RankFailure::write(folder))?;
    let path = folder.join(format!("{sha256}.safetensors"));
    let written = whole_file::write(&path, writer, bytes).and_then(|()| whole_file::sync_folder(folder));
    written.map_err(RankFailure::write(&path))?;
    Ok(path)
}

/// Removes checkpoints that are not needed, as of the moment when `newest` was committed: a later one may be on its way to be committed, by
/// the rank 0 of another generation.
pub(crate) fn remove_older(folder: &Path, newest: &Path, kept: &[String]) -> Result<(), RankFailure> {
    let written = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    let committed = written(newest);
    remove_all_but(folder, kept, |path| written(path) <= committed)
}

/// Removes checkpoints, whole and partial ones, and no other file.
fn remove_all_but(folder: &Path, kept: &[String], is_old: impl Fn(&Path) -> bool) -> Result<(), RankFailure> {
    for entry in fs::read_dir(folder).map_err(RankFailure::write(folder))? {
        let path = entry.map_err(RankFailure::write(folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (name, rest) = name.split_once('.').unwrap_or((&name, ""));
        let is_digest = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_ours =
            is_digest && (rest == "safetensors" || path.extension().is_some_and(|end| end == whole_file::PARTIAL));
        if is_ours && !kept.iter().any(|kept| kept == name) && is_old(&path) {
            match fs::remove_file(&path) {
                // Another rank 0, of an earlier or a later generation, was faster.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed.map_err(RankFailure::write(&path))?,
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_file_is_whole_and_only_those_that_are_needed_stay() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["a", "b", "c"].map(|letter| letter.repeat(64));
        let paths = names
            .each_ref()
            .map(|name| write(folder.path(), name, "p-1", name.as_bytes()).unwrap());
        let of_the_user = folder.path().join("best.safetensors");
        fs::write(&of_the_user, "precious").unwrap();
        assert_eq!(fs::read(&paths[1]).unwrap(), names[1].as_bytes());
        let torn = folder.path().join(format!("{}.safetensors", "d".repeat(64)));
        let half = whole_file::partial(&torn, "p-0");
        fs::write(&half, "ha").unwrap();
        remove_all_but(folder.path(), &names[1..2], |_| true).unwrap();
        assert!(!half.exists());
        assert_eq!(paths.map(|path| path.exists()), [false, true, false]);
        assert!(of_the_user.exists());
    }
}
