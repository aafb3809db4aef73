//! What the agent keeps for one coordinator: what its ranks printed, and how they ended.
//!
//! ```text
//! ranks/{process}/process.json  what was started
//! ranks/{process}/log-…         what it printed (see `spool`)
//! ranks/{process}/exit          how it ended, until the coordinator has recorded it
//! scratch/{job}/                files of ranks that are too large for the coordinator
//! ```
//!
//! Two coordinators may have jobs, and so processes, of the same name. Each has a folder of its own, so none hears of the other's.
//!
//! Ranks die with their agent, so whatever is found without an `exit` when an agent starts was killed together with the one before.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use firn_proto::v1alpha1::RankExited;
use nix::sys::signal::Signal;
use prost::Message as _;
use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use super::{
    files::{file_name, replace},
    spool::SpoolWriter,
};

/// What was started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ProcessRecord {
    pub(crate) process_id: String,
    /// `jobs/{job}`.
    pub(crate) job: String,
    pub(crate) generation: u64,
}

/// The part of the state folder that belongs to one coordinator.
#[derive(Clone, Debug)]
pub(crate) struct CoordinatorFolder {
    path: PathBuf,
}

impl CoordinatorFolder {
    /// In this folder, which need not exist.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where a process' files are.
    pub(crate) fn rank_folder(&self, process_id: &str) -> PathBuf {
        self.path.join("ranks").join(file_name(process_id))
    }

    /// Where the ranks of a job may leave large files; created.
    pub(crate) fn scratch_folder(&self, job: &str) -> io::Result<PathBuf> {
        let path = self.scratch_path(job);
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    fn scratch_path(&self, job: &str) -> PathBuf {
        self.path
            .join("scratch")
            .join(file_name(job.trim_start_matches("jobs/")))
    }

    /// Clears a job's scratch folder of half-written files and of folders that hold nothing, itself included. Whole files stay: an artifact
    /// that is too large for the coordinator has its place here.
    pub(crate) fn tidy_scratch(&self, job: &str) {
        let entries = WalkDir::new(self.scratch_path(job)).contents_first(true);
        for entry in entries.into_iter().flatten() {
            let path = entry.path();
            let tidied = if entry.file_type().is_dir() {
                // Refused for a folder that holds something, which is all that is asked.
                fs::remove_dir(path).or(Ok(()))
            } else if path.extension().is_some_and(|extension| extension == "partial") {
                fs::remove_file(path)
            } else {
                Ok(())
            };
            if let Err(error) = tidied {
                tracing::warn!(path = %path.display(), %error, "a half-written file cannot be deleted");
            }
        }
    }

    /// Notes a process before it is started.
    pub(crate) fn note_start(&self, record: &ProcessRecord) -> io::Result<()> {
        let folder = self.rank_folder(&record.process_id);
        fs::create_dir_all(&folder)?;
        replace(&folder.join("process.json"), &serde_json::to_vec(record)?)
    }

    /// Notes how a process ended.
    pub(crate) fn note_exit(&self, exit: &RankExited) -> io::Result<()> {
        let folder = self.rank_folder(&exit.process_id);
        fs::create_dir_all(&folder)?;
        replace(&folder.join("exit"), &exit.encode_to_vec())
    }

    /// Deletes all about a process.
    pub(crate) fn forget(&self, process_id: &str) -> io::Result<()> {
        fs::remove_dir_all(self.rank_folder(process_id))
    }

    /// Processes of earlier agents on this folder that still have something to deliver. Folders that make no sense are deleted.
    pub(crate) fn left_behind(&self) -> io::Result<Vec<(ProcessRecord, RankExited)>> {
        let mut found = Vec::new();
        let ranks = match fs::read_dir(self.path.join("ranks")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            ranks => ranks?,
        };
        for entry in ranks {
            let folder = entry?.path();
            match self.read_left_behind(&folder) {
                Ok(process) => found.push(process),
                Err(error) => {
                    tracing::warn!(folder = %folder.display(), %error, "deleting what an earlier agent left, it cannot be read");
                    fs::remove_dir_all(&folder)?;
                }
            }
        }
        Ok(found)
    }

    fn read_left_behind(&self, folder: &Path) -> io::Result<(ProcessRecord, RankExited)> {
        let record: ProcessRecord = serde_json::from_slice(&fs::read(folder.join("process.json"))?)?;
        let exit = match fs::read(folder.join("exit")) {
            Ok(bytes) => RankExited::decode(bytes.as_slice()).map_err(io::Error::other)?,
            Err(_) => {
                let exit = RankExited {
                    process_id: record.process_id.clone(),
                    signal: Some(Signal::SIGKILL as i32),
                    last_log_lines: SpoolWriter::open(folder, u64::MAX)?.recent(),
                    ..RankExited::default()
                };
                self.note_exit(&exit)?;
                exit
            }
        };
        Ok((record, exit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_without_an_exit_was_killed_with_its_agent() {
        let folder = tempfile::tempdir().unwrap();
        let state = CoordinatorFolder::new(folder.path().to_owned());
        let record = ProcessRecord {
            process_id: "p1".into(),
            job: "jobs/a".into(),
            generation: 2,
        };
        state.note_start(&record).unwrap();
        SpoolWriter::open(&state.rank_folder("p1"), u64::MAX)
            .unwrap()
            .append(vec![crate::agent::spool::line_now("stderr", "last words".into())]);

        let left = state.left_behind().unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].1.signal, Some(9));
        assert_eq!(left[0].1.last_log_lines, ["last words"]);
        assert_eq!(state.left_behind().unwrap()[0].1, left[0].1);
        state.forget("p1").unwrap();
        assert!(state.left_behind().unwrap().is_empty());
    }

    #[test]
    fn a_scratch_folder_is_cleared_of_all_but_whole_files() {
        let folder = tempfile::tempdir().unwrap();
        let state = CoordinatorFolder::new(folder.path().to_owned());
        let scratch = state.scratch_folder("jobs/a").unwrap();
        fs::create_dir_all(scratch.join("artifacts/jobs-a")).unwrap();
        fs::write(scratch.join("artifacts/jobs-a/model.safetensors.partial"), "half").unwrap();
        let other = state.scratch_folder("jobs/b").unwrap();
        fs::write(other.join("model.safetensors"), "whole").unwrap();
        state.tidy_scratch("jobs/a");
        state.tidy_scratch("jobs/b");
        state.tidy_scratch("jobs/never-seen");
        assert!(!scratch.exists());
        assert!(other.join("model.safetensors").exists());
    }
}
