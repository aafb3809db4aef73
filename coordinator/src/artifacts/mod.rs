//! The files of a job on the coordinator's disk: checkpoints, artifacts and the predictions of passes that are still running.
//!
//! A file comes into being whole: temporary name -> fsync -> rename -> fsync of the folder, with its SHA-256 computed on the way. It
//! counts only once a record names it; what no record names is swept away at the next start. Its digest is part of its name, so a rank
//! that does not know yet that it was replaced cannot overwrite anything. Layout, below the data folder:
//!
//! ```text
//! jobs/{job}/checkpoints/{sha256}.safetensors
//! jobs/{job}/artifacts/{first 16 digits of the sha256}-{name}
//! jobs/{job}/passes/{pass}/{shard}-g{generation}-r{rank}.report      as it came over the wire
//! jobs/{job}/scored/{pass}/{shard}-g{generation}-r{rank}.report      the same, of passes that are scored and whose predictions may be wanted
//! jobs/{job}/predictions/{split}-{epoch}.csv                         what earlier builds made of them when they scored a pass
//! jobs/{job}/logs.jsonl
//! ```

mod erasure;
mod error;
mod passes;
pub mod predictions;
mod spool;
#[cfg(test)]
mod tests;
mod upload;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

pub use error::ArtifactError;
pub use spool::{ReportKey, Spool};
pub use upload::Upload;

/// Most bytes of one file that comes over gRPC. Larger ones stay on shared storage or on the worker.
pub const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// Prefix of files that are not whole yet.
const TEMPORARY: &str = ".partial-";

/// A file that is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Bytes.
    pub size: u64,
    /// SHA-256, hex.
    pub sha256: String,
}

/// What a file is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileKind {
    /// The trainable state; found again by its digest.
    Checkpoint,
    /// A file of this name that the job leaves.
    Artifact(String),
}

/// All jobs' files below one folder. Its calls block; none holds a lock.
#[derive(Debug, Clone)]
pub struct ArtifactStore {
    root: PathBuf,
}

impl ArtifactStore {
    /// `root` is the folder of all jobs; it is created when the first file comes.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Starts to take in a file whose size and digest the sender has announced.
    ///
    /// # Errors
    /// When the name is unfit, the size is above [`MAX_FILE_BYTES`], or the disk fails.
    pub fn begin_upload(&self, job: &str, kind: FileKind, announced: StoredFile) -> Result<Upload, ArtifactError> {
        if announced.size > MAX_FILE_BYTES {
            return Err(ArtifactError::TooLarge {
                size: announced.size,
                limit: MAX_FILE_BYTES,
            });
        }
        let target = self.path(job, &kind, &announced.sha256)?;
        Upload::begin(target, announced)
    }

    /// Writes a file that the coordinator itself makes.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn write_artifact(&self, job: &str, name: &str, content: &[u8]) -> Result<StoredFile, ArtifactError> {
        let sha256 = hex::encode(Sha256::digest(content));
        write_whole(&self.path(job, &FileKind::Artifact(name.to_owned()), &sha256)?, content)?;
        Ok(StoredFile {
            size: content.len() as u64,
            sha256,
        })
    }

    /// Opens a checkpoint or an artifact for reading.
    ///
    /// # Errors
    /// [`ArtifactError::Missing`] when there is no such file.
    pub fn open(&self, job: &str, kind: &FileKind, sha256: &str) -> Result<File, ArtifactError> {
        open(&self.path(job, kind, sha256)?)
    }

    /// Removes a checkpoint or an artifact; one that is not there is removed.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn remove(&self, job: &str, kind: &FileKind, sha256: &str) -> Result<(), ArtifactError> {
        let path = self.path(job, kind, sha256)?;
        match fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(ArtifactError::Io { path, source }),
            _ => Ok(()),
        }
    }

    /// Whether the file is there, with this size and digest.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn holds(&self, job: &str, kind: &FileKind, expected: &StoredFile) -> Result<bool, ArtifactError> {
        let mut file = match self.open(job, kind, &expected.sha256) {
            Ok(file) => file,
            Err(ArtifactError::Missing { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let mut hasher = Sha256::new();
        let size = std::io::copy(&mut file, &mut hasher).map_err(|source| ArtifactError::Io {
            path: self.root.join(job),
            source,
        })?;
        Ok(size == expected.size && hex::encode(hasher.finalize()) == expected.sha256)
    }

    /// Removes the checkpoints and artifacts of `job` that are none of these; gives how many went.
    ///
    /// # Errors
    /// When a folder cannot be read or a file not removed.
    pub fn keep(&self, job: &str, kept: &[(FileKind, String)]) -> Result<usize, ArtifactError> {
        // A name that was recorded by an older program and would be refused now can have no file.
        let kept: BTreeSet<PathBuf> = kept
            .iter()
            .filter_map(|(kind, sha256)| self.path(job, kind, sha256).ok())
            .collect();
        let mut removed = 0;
        for folder in ["checkpoints", "artifacts"] {
            for path in files_in(&self.root.join(job).join(folder))? {
                if !kept.contains(&path) {
                    fs::remove_file(&path).map_err(|source| ArtifactError::Io { path, source })?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    /// Removes what a crash left half written, but not of jobs that `is_settled` names: nothing is uploaded to them any more. To be called
    /// before anything is uploaded.
    ///
    /// # Errors
    /// When a folder cannot be read or a file not removed.
    pub fn sweep_partial(&self, is_settled: impl Fn(&str) -> bool) -> Result<usize, ArtifactError> {
        let is_swept = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            !name.is_some_and(&is_settled)
        };
        let mut removed = 0;
        let mut waiting: Vec<PathBuf> = files_in(&self.root)?.into_iter().filter(is_swept).collect();
        while let Some(path) = waiting.pop() {
            if path.is_dir() {
                waiting.extend(files_in(&path)?);
            } else if path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(TEMPORARY))
            {
                fs::remove_file(&path).map_err(|source| ArtifactError::Io { path, source })?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn path(&self, job: &str, kind: &FileKind, sha256: &str) -> Result<PathBuf, ArtifactError> {
        check_name(job)?;
        let is_digest = sha256.len() == 64 && sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !is_digest {
            return Err(ArtifactError::Digest {
                found: sha256.to_owned(),
            });
        }
        let folder = self.root.join(job);
        match kind {
            FileKind::Checkpoint => Ok(folder.join("checkpoints").join(format!("{sha256}.safetensors"))),
            FileKind::Artifact(name) => {
                name.split('/').try_for_each(check_name)?;
                let flat = name.replace('/', "-");
                Ok(folder.join("artifacts").join(format!("{}-{flat}", &sha256[..16])))
            }
        }
    }
}

/// Names become file names: nothing that could leave the folder, hide, or surprise a shell.
fn check_name(name: &str) -> Result<(), ArtifactError> {
    let fits = !name.is_empty()
        && name.len() <= 128
        && !name.starts_with(['.', '-'])
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if fits {
        Ok(())
    } else {
        Err(ArtifactError::Name { found: name.to_owned() })
    }
}

fn open(path: &Path) -> Result<File, ArtifactError> {
    File::open(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => ArtifactError::Missing { path: path.to_owned() },
        _ => ArtifactError::Io {
            path: path.to_owned(),
            source,
        },
    })
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>, ArtifactError> {
    let io = |source| ArtifactError::Io {
        path: folder.to_owned(),
        source,
    };
    match fs::read_dir(folder) {
        Ok(entries) => {
            let mut paths = entries
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<Result<Vec<_>, _>>()
                .map_err(io)?;
            paths.sort();
            Ok(paths)
        }
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(io(source)),
    }
}

/// With all that is in it; one that is not there is removed.
fn remove_folder(path: &Path) -> Result<(), ArtifactError> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(ArtifactError::Io {
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

/// Writes `content` to `target` so that a crash leaves the old file, or none, or the whole new one.
pub(crate) fn write_whole(target: &Path, content: &[u8]) -> Result<(), ArtifactError> {
    let folder = target.parent().expect("a stored file lies in a folder");
    let io = |source| ArtifactError::Io {
        path: target.to_owned(),
        source,
    };
    fs::create_dir_all(folder).map_err(io)?;
    let mut file = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .tempfile_in(folder)
        .map_err(io)?;
    file.write_all(content).map_err(io)?;
    persist(file, target)
}

/// fsync, rename, fsync of the folder.
fn persist(file: tempfile::NamedTempFile, target: &Path) -> Result<(), ArtifactError> {
    let io = |source| ArtifactError::Io {
        path: target.to_owned(),
        source,
    };
    file.as_file().sync_all().map_err(io)?;
    file.persist(target).map_err(|error| io(error.error))?;
    let folder = target.parent().expect("a stored file lies in a folder");
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
}
