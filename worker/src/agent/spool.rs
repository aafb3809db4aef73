//! What a rank prints, kept on disk until the coordinator has stored it.
//!
//! Lines are numbered from 0 a process. They are appended to segment files `log-{number of the first line}`, each a row of
//! length-prefixed `AgentLogLine` messages, so that a line's number needs no place of its own. A line counts once it is written; the page
//! cache keeps it when the agent is killed. Segments whose lines are all acknowledged are deleted. A rank that prints faster than the
//! coordinator takes, or a coordinator that stays away, must not fill the disk: beyond the limit new lines are dropped, and one line says how many.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use firn_proto::v1alpha1::AgentLogLine;
use prost::Message as _;

const SEGMENT_BYTES: u64 = 1 << 20;
/// Lines that an exit report carries.
pub(crate) const RECENT_LINES: usize = 40;

/// Appends lines. One a process.
#[derive(Debug)]
pub(crate) struct SpoolWriter {
    folder: PathBuf,
    segment: File,
    /// Bytes of whole lines in the segment.
    segment_bytes: u64,
    next_sequence: u64,
    limit_bytes: u64,
    /// Lines that did not fit since the last one that did.
    dropped: u64,
    recent: VecDeque<String>,
}

impl SpoolWriter {
    /// Opens the spool in `folder`, going on after the last whole line that is there.
    pub(crate) fn open(folder: &Path, limit_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let first = segments(folder)?.last().copied().unwrap_or(0);
        let path = segment_path(folder, first);
        let mut segment = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        let mut bytes = Vec::new();
        segment.read_to_end(&mut bytes)?;
        let (lines, whole) = decode(&bytes, usize::MAX);
        // The agent was killed in the middle of a line.
        segment.set_len(whole as u64)?;
        let mut writer = Self {
            folder: folder.to_owned(),
            segment,
            segment_bytes: whole as u64,
            next_sequence: first + lines.len() as u64,
            limit_bytes,
            dropped: 0,
            recent: VecDeque::new(),
        };
        writer.remember(&lines);
        Ok(writer)
    }

    /// Number of the next line.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// The last lines, at most [`RECENT_LINES`].
    pub(crate) fn recent(&self) -> Vec<String> {
        self.recent.iter().cloned().collect()
    }

    /// Writes lines down. Never fails: a line that cannot be written is counted, and the count is written when there is room again.
    pub(crate) fn append(&mut self, mut lines: Vec<AgentLogLine>) {
        self.remember(&lines);
        let newly_dropped = lines.len() as u64;
        if self.dropped > 0 {
            lines.insert(0, dropped_notice(self.dropped));
        }
        match self.write(&lines) {
            Ok(()) => self.dropped = 0,
            Err(_) => self.dropped += newly_dropped,
        }
    }

    fn write(&mut self, lines: &[AgentLogLine]) -> io::Result<()> {
        if self.spooled_bytes()? >= self.limit_bytes {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        if self.segment_bytes >= SEGMENT_BYTES {
            let path = segment_path(&self.folder, self.next_sequence);
            self.segment = OpenOptions::new().create(true).append(true).open(path)?;
            self.segment_bytes = 0;
        }
        let mut bytes = Vec::new();
        for line in lines {
            line.encode_length_delimited(&mut bytes)
                .expect("a vector takes any length");
        }
        if let Err(error) = self.segment.write_all(&bytes) {
            self.segment.set_len(self.segment_bytes)?;
            return Err(error);
        }
        self.segment_bytes += bytes.len() as u64;
        self.next_sequence += lines.len() as u64;
        Ok(())
    }

    /// Whole segments are counted at their nominal size: cheap, and near enough for a limit.
    fn spooled_bytes(&self) -> io::Result<u64> {
        let full = segments(&self.folder)?.len().saturating_sub(1) as u64;
        Ok(full * SEGMENT_BYTES + self.segment_bytes)
    }

    fn remember(&mut self, lines: &[AgentLogLine]) {
        for line in lines {
            if self.recent.len() == RECENT_LINES {
                self.recent.pop_front();
            }
            self.recent.push_back(line.text.clone());
        }
    }
}

/// Reads lines back, in order, any number of times.
#[derive(Debug)]
pub(crate) struct SpoolReader {
    folder: PathBuf,
    /// Number of the next line that `read` gives.
    position: u64,
    /// The segment that holds it, and where in it the line starts, once that is known.
    open: Option<OpenSegment>,
}

#[derive(Debug)]
struct OpenSegment {
    file: File,
    offset: u64,
}

impl SpoolReader {
    /// Starts at the first line that is still there.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let position = segments(folder)?.first().copied().unwrap_or(0);
        Ok(Self {
            folder: folder.to_owned(),
            position,
            open: None,
        })
    }

    /// For a process that never printed anything, whose folder may not even exist.
    pub(crate) fn without_lines(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            position: 0,
            open: None,
        }
    }

    /// Number of the next line that [`SpoolReader::read`] gives.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Goes back (or on) to a line.
    pub(crate) fn seek(&mut self, sequence: u64) {
        if sequence != self.position {
            self.position = sequence;
            self.open = None;
        }
    }

    /// The next lines, at most `most_lines` and about `most_bytes`, all below `end`. Fewer where a segment ends.
    pub(crate) fn read(&mut self, end: u64, most_lines: usize, most_bytes: usize) -> io::Result<Vec<AgentLogLine>> {
        let wanted = usize::try_from(end.saturating_sub(self.position))
            .unwrap_or(usize::MAX)
            .min(most_lines);
        if wanted == 0 {
            return Ok(Vec::new());
        }
        let mut lines = self.read_here(wanted, most_bytes)?;
        if lines.is_empty() {
            // The segment is used up; the next line begins another.
            self.open = None;
            lines = self.read_here(wanted, most_bytes)?;
        }
        Ok(lines)
    }

    fn read_here(&mut self, wanted: usize, most_bytes: usize) -> io::Result<Vec<AgentLogLine>> {
        let segment = match &mut self.open {
            Some(segment) => segment,
            None => self.open.insert(find(&self.folder, self.position)?),
        };
        segment.file.seek(SeekFrom::Start(segment.offset))?;
        let mut size = most_bytes as u64;
        loop {
            let mut bytes = Vec::new();
            io::Read::by_ref(&mut segment.file).take(size).read_to_end(&mut bytes)?;
            let (lines, whole) = decode(&bytes, wanted);
            if lines.is_empty() && bytes.len() as u64 == size {
                // One line is longer than a batch should be.
                segment.file.seek(SeekFrom::Start(segment.offset))?;
                size *= 2;
                continue;
            }
            segment.offset += whole as u64;
            self.position += lines.len() as u64;
            return Ok(lines);
        }
    }

    /// Deletes the segments that hold only lines below `sequence`. The last one stays, for the writer.
    pub(crate) fn release(&self, sequence: u64) -> io::Result<()> {
        let firsts = segments(&self.folder)?;
        for pair in firsts.windows(2) {
            if pair[1] <= sequence {
                fs::remove_file(segment_path(&self.folder, pair[0]))?;
            }
        }
        Ok(())
    }
}

/// A line, said now.
pub(crate) fn line_now(stream: &str, text: String) -> AgentLogLine {
    AgentLogLine {
        stream: stream.to_owned(),
        text,
        time: Some(SystemTime::now().into()),
    }
}

fn dropped_notice(count: u64) -> AgentLogLine {
    line_now(
        "stderr",
        format!("firn-worker: {count} lines were dropped here, the agent's disk had no room for them"),
    )
}

fn segment_path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("log-{first:020}"))
}

/// First lines of all segments, ascending.
fn segments(folder: &Path) -> io::Result<Vec<u64>> {
    let mut firsts = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if let Some(first) = name
            .to_str()
            .and_then(|name| name.strip_prefix("log-"))
            .and_then(|digits| digits.parse().ok())
        {
            firsts.push(first);
        }
    }
    firsts.sort_unstable();
    Ok(firsts)
}

fn find(folder: &Path, sequence: u64) -> io::Result<OpenSegment> {
    let firsts = segments(folder)?;
    let index = firsts.partition_point(|first| *first <= sequence);
    let first = *firsts.get(index.wrapping_sub(1)).ok_or(io::ErrorKind::NotFound)?;
    let mut file = File::open(segment_path(folder, first))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let (_, offset) = decode(&bytes, usize::try_from(sequence - first).unwrap_or(usize::MAX));
    Ok(OpenSegment {
        file,
        offset: offset as u64,
    })
}

/// At most `most` whole lines at the start of `bytes`, and how many bytes they take.
fn decode(bytes: &[u8], most: usize) -> (Vec<AgentLogLine>, usize) {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while lines.len() < most && !rest.is_empty() {
        let mut next = rest;
        let Ok(line) = AgentLogLine::decode_length_delimited(&mut next) else {
            break;
        };
        lines.push(line);
        rest = next;
    }
    (lines, bytes.len() - rest.len())
}

#[cfg(test)]
mod tests;
