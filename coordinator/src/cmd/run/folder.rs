//! Where a run keeps its journal, states and logs: in `.firn-run` beside the artifacts, or in a folder that the user names.
//!
//! It lies beside the artifacts because there it survives what the run may not survive (a kill, a loss of power), is found again by whoever
//! runs the same spec, and goes with the artifacts if they are thrown away. It is removed when the job has ended well or was cancelled.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::record::RunRecord;
use crate::{
    cmd::error::CommandError,
    journal::{FolderLock, JournalError},
};

/// Beside the artifacts.
const HIDDEN: &str = ".firn-run";

/// The folder of a run, held by this process.
pub(super) struct RunFolder {
    path: PathBuf,
    /// The user has named it: it is kept.
    is_named: bool,
    _lock: FolderLock,
}

impl RunFolder {
    /// Where the folder of a run is: `--keep-data`, or beside its artifacts.
    pub(super) fn place(named: Option<&Path>, artifacts: &Path) -> PathBuf {
        named.map_or_else(|| artifacts.join(HIDDEN), Path::to_owned)
    }

    /// Takes the folder, which is created if it is missing.
    pub(super) fn lock(path: &Path, is_named: bool) -> Result<Self, CommandError> {
        // The lock makes a private folder; those above it, which hold the artifacts, are for everybody.
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(CommandError::file("create", parent))?;
        }
        let lock = FolderLock::acquire(path).map_err(|error| match error {
            JournalError::Held { process, .. } => {
                let who = process
                    .map(|process| format!(" (process {process})"))
                    .unwrap_or_default();
                let path = path.display();
                CommandError::Usage(format!(
                    "a run is under way in {path}{who}: wait for its end, or interrupt it"
                ))
            }
            error => CommandError::Local(error.to_string()),
        })?;
        let path = fs::canonicalize(path).map_err(CommandError::file("find", path))?;
        Ok(Self {
            path,
            is_named,
            _lock: lock,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What the run before has noted.
    pub(super) fn record(&self) -> Result<Option<RunRecord>, CommandError> {
        RunRecord::read(&self.path)
    }

    /// Forgets the run before. A folder that the user has named keeps its journal, and with it its jobs.
    pub(super) fn begin_anew(&self, record: &RunRecord) -> Result<(), CommandError> {
        if !self.is_named {
            let failed = || CommandError::file("empty", &self.path);
            for entry in fs::read_dir(&self.path).map_err(failed())? {
                let path = entry.map_err(failed())?.path();
                if path.file_name().is_some_and(|name| name == "lock") {
                    continue;
                }
                let removed = match path.is_dir() {
                    true => fs::remove_dir_all(&path),
                    false => fs::remove_file(&path),
                };
                removed.map_err(CommandError::file("remove", &path))?;
            }
        }
        record.write(&self.path)
    }

    /// Removes the folder, unless the user has named it; and the one that it was created in, if nothing was left there.
    pub(super) fn remove(self) -> Result<(), CommandError> {
        if self.is_named {
            return Ok(());
        }
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(CommandError::file("remove", &self.path)(error))
            }
            _ => {
                // Not empty: the artifacts are there.
                let _ = self.path.parent().map(fs::remove_dir);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use firn_proto::v1alpha1::FineTuneJob;

    use super::*;
    use crate::cmd::run::shares::Demand;

    fn record() -> RunRecord {
        let demand = Demand {
            workers: 1,
            slots_per_worker: 1,
        };
        RunRecord::new(
            Path::new("a"),
            FineTuneJob::default(),
            demand,
            "auto",
            Path::new("/out"),
        )
    }

    #[test]
    fn a_folder_belongs_to_one_run_at_a_time() {
        let artifacts = tempfile::tempdir().unwrap();
        let place = RunFolder::place(None, artifacts.path());
        assert_eq!(place, artifacts.path().join(".firn-run"));
        let held = RunFolder::lock(&place, false).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&place), 0o700, "specs and logs can be private");
        let error = RunFolder::lock(&place, false).err().expect("it is held");
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("a run is under way in "), "{error}");
        drop(held);
        RunFolder::lock(&place, false).unwrap();
    }

    #[test]
    fn what_an_earlier_run_left_is_forgotten_and_a_folder_without_artifacts_goes_with_it() {
        let parent = tempfile::tempdir().unwrap();
        let artifacts = parent.path().join("artifacts");
        let folder = RunFolder::lock(&RunFolder::place(None, &artifacts), false).unwrap();
        fs::create_dir(folder.path().join("coordinator")).unwrap();
        fs::write(folder.path().join("coordinator.log"), "old").unwrap();
        folder.begin_anew(&record()).unwrap();
        let left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left.len(), 2, "the lock and the record: {left:?}");
        folder.remove().unwrap();
        assert!(!artifacts.exists());
    }

    #[test]
    fn a_named_folder_keeps_what_it_has() {
        let named = tempfile::tempdir().unwrap();
        let folder = RunFolder::lock(&RunFolder::place(Some(named.path()), Path::new("/out")), true).unwrap();
        fs::create_dir(folder.path().join("coordinator")).unwrap();
        folder.begin_anew(&record()).unwrap();
        folder.remove().unwrap();
        assert!(named.path().join("coordinator").is_dir());
    }
}
