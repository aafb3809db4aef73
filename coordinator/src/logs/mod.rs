//! The log lines of all ranks, kept on the coordinator's disk.
//!
//! One file a job, one JSON object a line, in the order of arrival. Agents send lines under consecutive numbers a process and keep
//! them until they are acknowledged; the store takes each number once, answers with the number it wants next, and acknowledges only
//! what is on disk. So neither a rank, an agent nor a coordinator that dies loses a line, and a repeat is harmless.

mod origins;
mod reader;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::watch;

pub use origins::{Origin, Origins, Processes};
pub use reader::LogReader;

/// Why logs cannot be stored or read.
#[derive(Debug, Error)]
pub enum LogError {
    /// The disk refused.
    #[error("cannot use the log file {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A line in the middle of the file is no log line.
    #[error("{}: the entry at byte {offset} is no log line: {source}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the entry begins.
        offset: u64,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// One line of one rank, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredLine {
    /// Process that wrote it.
    pub process: String,
    /// Its rank.
    pub rank: u32,
    /// Its gang's generation.
    pub generation: u64,
    /// Number of the line in its process, from 0, without gaps.
    pub sequence: u64,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// Without the line end.
    pub text: String,
    /// Seconds since 1970, UTC, on the worker's clock.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanos: i32,
}

/// The logs of all jobs below one folder.
#[derive(Debug)]
pub struct LogStore {
    /// `{root}/{job}/logs.jsonl`.
    root: PathBuf,
    jobs: Mutex<BTreeMap<String, Arc<JobLog>>>,
}

#[derive(Debug)]
struct JobLog {
    path: PathBuf,
    /// Number that each process's next line must have.
    expected: Mutex<BTreeMap<String, u64>>,
    /// Bytes that are on disk and may be read.
    length: watch::Sender<u64>,
}

impl LogStore {
    /// Logs lie beside the other files of a job, in `{root}/{job}`.
    pub fn new(root: PathBuf) -> Self {
        Self {
            root,
            jobs: Mutex::default(),
        }
    }

    /// Stores the lines of one process that are new, on disk when it returns, and gives the number of the line wanted next. Lines that
    /// are known are skipped; lines after a gap are left out, so that the agent sends the missing ones first. Blocks.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn append(&self, job: &str, process: &str, lines: &[StoredLine]) -> Result<u64, LogError> {
        self.job(job)?.append(process, lines)
    }

    /// A reader that starts at the job's first line. Blocks while an existing file is checked.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn reader(&self, job: &str) -> Result<LogReader, LogError> {
        let log = self.job(job)?;
        Ok(LogReader::new(log.path.clone(), log.length.subscribe()))
    }

    /// Forgets what is known of a job's log, whose file is removed by somebody else.
    pub fn forget(&self, job: &str) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).remove(job);
    }

    fn job(&self, job: &str) -> Result<Arc<JobLog>, LogError> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = jobs.get(job) {
            return Ok(Arc::clone(log));
        }
        let log = Arc::new(JobLog::open(self.root.join(job).join("logs.jsonl"))?);
        jobs.insert(job.to_owned(), Arc::clone(&log));
        Ok(log)
    }
}

impl JobLog {
    /// Reads what is there; an entry that a crash cut short was never acknowledged, so it is cut off.
    fn open(path: PathBuf) -> Result<Self, LogError> {
        let mut expected = BTreeMap::new();
        let mut length = 0;
        match File::open(&path) {
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(LogError::Io { path, source }),
            Ok(file) => {
                length = scan(&path, file, &mut expected)?;
                let writer = OpenOptions::new().write(true).open(&path);
                writer
                    .and_then(|writer| writer.set_len(length))
                    .map_err(|source| LogError::Io {
                        path: path.clone(),
                        source,
                    })?;
            }
        }
        Ok(Self {
            path,
            expected: Mutex::new(expected),
            length: watch::Sender::new(length),
        })
    }

    fn append(&self, process: &str, lines: &[StoredLine]) -> Result<u64, LogError> {
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = expected.get(process).copied().unwrap_or(0);
        let mut bytes = Vec::new();
        for line in lines {
            if line.sequence != next {
                continue;
            }
            serde_json::to_writer(&mut bytes, line).expect("a log line is strings and integers, which JSON can hold");
            bytes.push(b'\n');
            next += 1;
        }
        if bytes.is_empty() {
            return Ok(next);
        }
        let length = *self.length.borrow();
        write_at_end(&self.path, length, &bytes).map_err(|source| LogError::Io {
            path: self.path.clone(),
            source,
        })?;
        expected.insert(process.to_owned(), next);
        self.length.send_replace(length + bytes.len() as u64);
        Ok(next)
    }
}

/// Writes behind the acknowledged bytes; what an earlier, failed write left there is overwritten.
fn write_at_end(path: &Path, length: u64, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().expect("a log file lies in its job's folder");
    let is_new = length == 0;
    if is_new {
        fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    file.set_len(length)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    if is_new {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Fills in the number each process is at and returns the length of the whole entries.
fn scan(path: &Path, file: File, expected: &mut BTreeMap<String, u64>) -> Result<u64, LogError> {
    let mut reader = BufReader::new(file);
    let mut entry = Vec::new();
    let mut length = 0;
    loop {
        entry.clear();
        let read = reader.read_until(b'\n', &mut entry).map_err(|source| LogError::Io {
            path: path.to_owned(),
            source,
        })?;
        if read == 0 || entry.last() != Some(&b'\n') {
            return Ok(length);
        }
        let line: StoredLine = serde_json::from_slice(&entry).map_err(|source| LogError::Damaged {
            path: path.to_owned(),
            offset: length,
            source,
        })?;
        expected.insert(line.process, line.sequence + 1);
        length += read as u64;
    }
}
