//! The artifact folder belongs to one job, so that no two write over each other's files.

use std::{fs, io, path::Path};

use super::whole_file;
use crate::rank::failure::RankFailure;

/// Takes the artifact folder for `job`, in the name of one of its processes.
///
/// # Errors
/// When another job has taken it, or it cannot be written.
pub(crate) fn reserve(folder: &Path, job: &str, process: &str) -> Result<(), RankFailure> {
    fs::create_dir_all(folder).map_err(RankFailure::write(folder))?;
    let path = folder.join(".firn-job");
    if owner(&path)?.is_none() {
        take(&path, job, process).map_err(RankFailure::write(&path))?;
        whole_file::sync_folder(folder).map_err(RankFailure::write(folder))?;
    }
    match owner(&path)? {
        Some(owner) if owner == job => Ok(()),
        Some(owner) => Err(RankFailure::Spec(format!(
            "spec.artifacts.uri: {} holds the files of {owner}; name another folder, or remove it",
            folder.display(),
        ))),
        None => Err(RankFailure::write(&path)(io::ErrorKind::NotFound.into())),
    }
}

/// The job that has taken the folder. A file that is empty says nothing: a full disk or a lost power left it.
fn owner(path: &Path) -> Result<Option<String>, RankFailure> {
    match fs::read_to_string(path) {
        Ok(owner) => Ok(Some(owner.trim().to_owned()).filter(|owner| !owner.is_empty())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(RankFailure::Read {
            path: path.display().to_string(),
            source,
        }),
    }
}

/// Writes the name, whole or not at all, unless somebody else has been faster.
fn take(path: &Path, job: &str, process: &str) -> io::Result<()> {
    let mine = whole_file::write_partial(path, process, format!("{job}\n").as_bytes())?;
    if fs::metadata(path).is_ok_and(|file| file.len() == 0) {
        return fs::rename(&mine, path);
    }
    match fs::hard_link(&mine, path) {
        Ok(()) => fs::remove_file(&mine),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs::remove_file(&mine),
        // Not every file system has links. Two jobs that come at the same moment are then told apart by the name that stays.
        Err(_) => fs::rename(&mine, path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_artifacts_belongs_to_one_job() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("artifacts");
        reserve(&folder, "jobs/a", "p-1").unwrap();
        reserve(&folder, "jobs/a", "p-2").unwrap();
        let refused = reserve(&folder, "jobs/a-2", "p-3").unwrap_err().to_string();
        assert!(refused.contains("holds the files of jobs/a;"), "{refused}");
        let names = fs::read_dir(&folder).unwrap();
        assert_eq!(names.count(), 1, "nothing but the reservation is left");
    }

    #[test]
    fn a_reservation_that_was_left_empty_is_nobodys() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".firn-job"), "").unwrap();
        reserve(folder.path(), "jobs/a", "p-1").unwrap();
        assert!(reserve(folder.path(), "jobs/b", "p-2").is_err());
    }

    #[test]
    fn a_reservation_that_cannot_be_read_is_not_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".firn-job");
        fs::write(&path, [0xff, 0xfe]).unwrap();
        let refused = reserve(folder.path(), "jobs/a", "p-1").unwrap_err();
        assert!(matches!(refused, RankFailure::Read { .. }), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), [0xff, 0xfe]);
    }
}
