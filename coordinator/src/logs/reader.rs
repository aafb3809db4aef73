//! Reading a job's log while it grows.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use tokio::sync::watch;

use super::{LogError, StoredLine};

/// Most bytes that are read and parsed at once, so that a long log never stands in memory as a whole.
const PIECE: u64 = 256 * 1024;

/// One reader's place in a job's log.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    offset: u64,
    length: watch::Receiver<u64>,
}

impl LogReader {
    pub(super) fn new(path: PathBuf, length: watch::Receiver<u64>) -> Self {
        Self {
            path,
            offset: 0,
            length,
        }
    }

    /// The next lines; empty when all that is stored has been read.
    ///
    /// # Errors
    /// When the file cannot be read or holds something else than log lines.
    pub async fn next_lines(&mut self) -> Result<Vec<StoredLine>, LogError> {
        let end = *self.length.borrow_and_update();
        if end <= self.offset {
            return Ok(Vec::new());
        }
        let (path, offset) = (self.path.clone(), self.offset);
        let (lines, offset) = tokio::task::spawn_blocking(move || read_piece(&path, offset, end))
            .await
            .expect("reading a file does not panic")?;
        self.offset = offset;
        Ok(lines)
    }

    /// Waits until there is more than this reader knew of at its last `next_lines`.
    pub async fn grown(&mut self) {
        if self.length.changed().await.is_err() {
            // The store is gone: the coordinator ends. Nothing will come any more.
            std::future::pending::<()>().await;
        }
    }
}

/// Whole lines from `offset`, at least one, and the offset after them. `end` is the end of a line.
fn read_piece(path: &Path, offset: u64, end: u64) -> Result<(Vec<StoredLine>, u64), LogError> {
    let io = |source| LogError::Io {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(io)?;
    let mut wanted = PIECE.min(end - offset);
    let mut bytes = Vec::new();
    let whole = loop {
        bytes.clear();
        file.seek(SeekFrom::Start(offset)).map_err(io)?;
        std::io::Read::by_ref(&mut file)
            .take(wanted)
            .read_to_end(&mut bytes)
            .map_err(io)?;
        match bytes.iter().rposition(|&byte| byte == b'\n') {
            Some(position) => break position + 1,
            None if wanted < end - offset => wanted = (wanted * 2).min(end - offset),
            None => return Err(io(std::io::ErrorKind::UnexpectedEof.into())),
        }
    };
    let mut lines = Vec::new();
    let mut at = offset;
    for entry in bytes[..whole].split_inclusive(|&byte| byte == b'\n') {
        let line = serde_json::from_slice(entry).map_err(|source| LogError::Damaged {
            path: path.to_owned(),
            offset: at,
            source,
        })?;
        lines.push(line);
        at += entry.len() as u64;
    }
    Ok((lines, at))
}
