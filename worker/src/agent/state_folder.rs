//! The agent's folder on disk: who it is, what its ranks printed, how they ended.
//!
//! ```text
//! lock                          held by the agent that uses the folder
//! epoch                         the newest coordinator that was met (see `epochs`)
//! suffix                        makes the default worker name unique
//! ranks/{process}/process.json  what was started
//! ranks/{process}/log-…         what it printed (see `spool`)
//! ranks/{process}/exit          how it ended, until the coordinator has recorded it
//! scratch/{job}/                files of ranks that are too large for the coordinator
//! ```
//!
//! Ranks die with their agent, so whatever is found without an `exit` when an agent starts was killed together with the one before.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use firn_proto::v1alpha1::RankExited;
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    sys::signal::Signal,
};
use prost::Message as _;
use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use super::{epochs::Epochs, spool::SpoolWriter};

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateFolderError {
    /// Another agent runs on it.
    #[error("another agent already uses the state folder {}: give each agent on this machine its own --state-dir", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The system refused something.
    #[error("cannot use the state folder: {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What was started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ProcessRecord {
    pub(crate) process_id: String,
    /// `jobs/{job}`.
    pub(crate) job: String,
    pub(crate) generation: u64,
}

/// The folder, locked for as long as this lives.
#[derive(Debug)]
pub(crate) struct StateFolder {
    path: PathBuf,
    _lock: Flock<File>,
}

impl StateFolder {
    /// Creates and locks the folder.
    pub(crate) fn open(path: &Path) -> Result<Self, StateFolderError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| StateFolderError::Io { path, source }
        };
        fs::create_dir_all(path.join("ranks")).map_err(failed(path))?;
        let path = path.canonicalize().map_err(failed(path))?;
        let lock_file = path.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_file)
            .map_err(failed(&lock_file))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self { path, _lock: lock }),
            Err((_, Errno::EWOULDBLOCK)) => Err(StateFolderError::InUse { path }),
            Err((_, error)) => Err(StateFolderError::Io {
                path: lock_file,
                source: error.into(),
            }),
        }
    }

    /// Six letters that tell this agent from others on the same host, the same at every start.
    pub(crate) fn suffix(&self) -> io::Result<String> {
        let path = self.path.join("suffix");
        if let Ok(found) = fs::read_to_string(&path)
            && found.len() == 6
        {
            return Ok(found);
        }
        let suffix = uuid::Uuid::new_v4().simple().to_string()[..6].to_owned();
        replace(&path, suffix.as_bytes())?;
        Ok(suffix)
    }

    /// What is known of the coordinator at a URL.
    pub(crate) fn epochs(&self, coordinator: &str) -> Epochs {
        Epochs::open(self.path.join("epoch"), coordinator)
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
        for entry in fs::read_dir(self.path.join("ranks"))? {
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

/// Writes a file so that it is there whole or not at all.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let partial = path.with_extension("partial");
    File::create(&partial)?.write_all(bytes)?;
    fs::rename(partial, path)
}

/// Identifiers come from the coordinator; whatever they hold, they stay one name in one folder.
fn file_name(identifier: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_');
    if !identifier.is_empty() && identifier.chars().all(plain) && identifier.len() <= 120 {
        return identifier.to_owned();
    }
    format!("x-{}", &blake3::hash(identifier.as_bytes()).to_hex()[..32])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_use_is_refused_until_its_agent_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateFolder::open(folder.path()).unwrap();
        assert!(matches!(
            StateFolder::open(folder.path()),
            Err(StateFolderError::InUse { .. })
        ));
        drop(first);
        StateFolder::open(folder.path()).unwrap();
    }

    #[test]
    fn the_suffix_stays_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        assert_eq!(state.suffix().unwrap(), state.suffix().unwrap());
    }

    #[test]
    fn a_process_without_an_exit_was_killed_with_its_agent() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
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
        let state = StateFolder::open(folder.path()).unwrap();
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

    #[test]
    fn no_identifier_leads_out_of_the_folder() {
        for identifier in ["../../etc", "a/b", "", ".", "..", "x y"] {
            let name = file_name(identifier);
            assert!(name.starts_with("x-") && !name.contains('/'), "{identifier} -> {name}");
        }
        assert_eq!(file_name("reviews-1_2"), "reviews-1_2");
    }
}
