//! Snapshots: a state that stands for all records up to a place in the chain.
//!
//! A snapshot is a file of its own beside the journal, so that writing one holds nobody up: a line of JSON that says what it is, and then the
//! state as JSON. It is written under a temporary name, synced, and renamed; the newest two are kept. It is only used if
//!
//! - its digest matches: every byte is as it was written;
//! - the journal has the same hash at its place: it belongs to this history;
//! - it was written by the very program that reads it. Another version may keep something in the state that this one did not, so after an
//!   upgrade the journal is folded once from its first record.
//!
//! A snapshot that is not used is never an error: the journal holds everything.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use super::chain::{ChainHash, Position};
use crate::fail_point::{self, FailPoint};

/// Snapshots that are kept.
const KEPT: usize = 2;
const PREFIX: &str = "state-";
const SUFFIX: &str = ".snapshot";

/// Why a snapshot cannot be written or is not used.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// The file cannot be read or written.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The content is not what was written.
    #[error("{}: the snapshot is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// It was written by another version of this program.
    #[error("{}: the snapshot was written by another build of firn", path.display())]
    OtherProgram {
        /// The file.
        path: PathBuf,
    },
}

/// The first line of a file.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    /// Records that are folded into it.
    sequence: u64,
    /// Hash of the last of them, hex.
    head: String,
    /// BLAKE3, hex, of the program that wrote it.
    program: String,
    /// Bytes after the first line.
    size: u64,
    /// BLAKE3, hex, of `sequence`, `head`, `program` and the bytes after the first line.
    digest: String,
}

/// A state and the place in the chain for which it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot<S> {
    /// All records before it are folded into the state.
    pub place: Position,
    /// The state.
    pub state: S,
    /// Size of its file.
    pub bytes: u64,
}

/// The snapshots of one journal.
#[derive(Debug, Clone)]
pub struct SnapshotStore {
    folder: PathBuf,
}

impl SnapshotStore {
    /// Keeps them in `snapshots` in the journal's folder.
    pub fn new(data_folder: &Path) -> Self {
        Self {
            folder: data_folder.join("snapshots"),
        }
    }

    /// Writes a snapshot and removes all but the newest two. Returns its size in bytes.
    ///
    /// # Errors
    /// When it cannot be written; then the older ones are as they were.
    pub fn write<S: Serialize>(&self, place: Position, state: &S) -> Result<u64, SnapshotError> {
        self.write_as(program(), place, state)
    }

    pub(super) fn write_as<S: Serialize>(
        &self,
        program: &str,
        place: Position,
        state: &S,
    ) -> Result<u64, SnapshotError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| SnapshotError::Io { path, source }
        };
        fs::create_dir_all(&self.folder).map_err(io(&self.folder))?;
        let path = self.folder.join(format!("{PREFIX}{:020}{SUFFIX}", place.sequence));
        let state = serde_json::to_vec(state).map_err(|source| SnapshotError::Damaged {
            path: path.clone(),
            reason: source.to_string(),
        })?;
        let mut header = Header {
            sequence: place.sequence,
            head: place.hash.to_string(),
            program: program.to_owned(),
            size: state.len() as u64,
            digest: String::new(),
        };
        header.digest = header.digest_with(&state);
        let written = self.write_file(&path, &header, &state);
        written.map_err(io(&path))?;
        fail_point::pass(FailPoint::SnapshotAfterRename);
        for old in self.paths().iter().skip(KEPT) {
            fs::remove_file(old).map_err(io(old))?;
        }
        Ok(header.size)
    }

    fn write_file(&self, path: &Path, header: &Header, state: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        serde_json::to_writer(&mut file, header)?;
        file.write_all(b"\n")?;
        file.write_all(state)?;
        file.as_file().sync_all()?;
        fail_point::pass(FailPoint::SnapshotBeforeRename);
        file.persist(path)?;
        File::open(&self.folder)?.sync_all()
    }

    /// The snapshots, newest first, each read when it is asked for.
    pub fn newest_first<S: DeserializeOwned>(&self) -> impl Iterator<Item = Result<Snapshot<S>, SnapshotError>> {
        self.paths().into_iter().map(|path| read(&path))
    }

    /// Removes what a crash left half written.
    pub fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return;
        };
        for entry in entries.flatten().filter(|entry| !is_snapshot(&entry.path())) {
            // It is in nobody's way.
            let _ = fs::remove_file(entry.path());
        }
    }

    #[cfg(test)]
    pub(crate) fn newest_path(&self) -> Option<PathBuf> {
        self.paths().into_iter().next()
    }

    /// Newest first.
    fn paths(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut paths: Vec<_> = entries
            .map(|entry| entry.path())
            .filter(|path| is_snapshot(path))
            .collect();
        // The numbers in the names have leading zeros.
        paths.sort_unstable_by(|left, right| right.cmp(left));
        paths
    }
}

impl Header {
    fn digest_with(&self, state: &[u8]) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.sequence.to_le_bytes());
        hasher.update(self.head.as_bytes());
        hasher.update(self.program.as_bytes());
        hasher.update(state);
        hasher.finalize().to_hex().to_string()
    }
}

fn is_snapshot(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX))
}

fn read<S: DeserializeOwned>(path: &Path) -> Result<Snapshot<S>, SnapshotError> {
    let damaged = |reason: String| SnapshotError::Damaged {
        path: path.to_owned(),
        reason,
    };
    let bytes = fs::read(path).map_err(|source| SnapshotError::Io {
        path: path.to_owned(),
        source,
    })?;
    let line = bytes.iter().position(|byte| *byte == b'\n');
    let (first, state) = bytes.split_at(line.ok_or_else(|| damaged("it has no first line".to_owned()))?);
    let state = &state[1..];
    let header: Header = serde_json::from_slice(first).map_err(|source| damaged(source.to_string()))?;
    if header.size != state.len() as u64 {
        return Err(damaged(format!(
            "expected {} bytes of state, found {}",
            header.size,
            state.len()
        )));
    }
    let digest = header.digest_with(state);
    if header.digest != digest {
        return Err(damaged(format!("expected digest {}, found {digest}", header.digest)));
    }
    if header.program != program() {
        return Err(SnapshotError::OtherProgram { path: path.to_owned() });
    }
    let hash = ChainHash::from_hex(&header.head).ok_or_else(|| damaged("its head is no hash".to_owned()))?;
    Ok(Snapshot {
        place: Position {
            sequence: header.sequence,
            hash,
        },
        state: serde_json::from_slice(state).map_err(|source| damaged(source.to_string()))?,
        bytes: header.size,
    })
}

/// BLAKE3 of the running program, hex.
fn program() -> &'static str {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let digest = || -> io::Result<String> {
            let mut hasher = blake3::Hasher::new();
            let mut program = BufReader::with_capacity(1 << 20, File::open("/proc/self/exe")?);
            let mut part = vec![0; 1 << 20];
            loop {
                match program.read(&mut part)? {
                    0 => return Ok(hasher.finalize().to_hex().to_string()),
                    count => hasher.update(&part[..count]),
                };
            }
        };
        // Where the program cannot be read, its version has to do.
        digest().unwrap_or_else(|_| format!("version {}", env!("CARGO_PKG_VERSION")))
    })
}
