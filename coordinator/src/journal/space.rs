//! Room on the disk: known before it is gone, and a reserve for what must still be recorded when it is.
//!
//! A commit that fails for want of space leaves the journal unusable until a restart, so it must not come to that. A small file of
//! allocated blocks, `reserve`, lies beside the journal. When the disk is nearly full the engine takes in nothing new, but what ends
//! something (a cancel, an exit) is still recorded; for that the reserve is given back to the disk slice by slice, only as fast as commits
//! need it, so that others who fill the disk cannot take it all at once. When there is room again, the reserve is laid anew.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use nix::{fcntl::posix_fallocate, sys::statvfs::statvfs};
use tracing::{info, warn};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// What a commit can need beyond its records: copied pages, and the new ones of a file that grows.
const COMMIT: u64 = 128 * KIB;

/// Bytes of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Disk {
    /// Free for this process.
    pub free: u64,
    /// Of the whole disk.
    pub total: u64,
}

/// Asks how full the disk is.
pub(super) type Measure = Box<dyn Fn() -> io::Result<Disk> + Send>;

/// How much room there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Enough.
    Ample,
    /// Only for what must be recorded.
    Short {
        /// Free bytes.
        free: u64,
        /// Bytes that are wanted before anything new is taken in.
        wanted: u64,
    },
}

/// Watches the disk under the journal and keeps the reserve.
pub(super) struct Space {
    measure: Measure,
    reserve: PathBuf,
    /// Bytes of the reserve that are allocated.
    held: u64,
    /// Whether the disk was short when it was looked at last.
    is_short: bool,
}

impl Space {
    /// Of the disk under `folder`. Lays the reserve if there is room for it.
    pub(super) fn open(folder: &Path) -> Self {
        let asked = folder.to_owned();
        let measure = Box::new(move || {
            let found = statvfs(&asked)?;
            let block = found.fragment_size();
            Ok(Disk {
                free: found.blocks_available() * block,
                total: found.blocks() * block,
            })
        });
        Self::measured(folder, measure)
    }

    pub(super) fn measured(folder: &Path, measure: Measure) -> Self {
        let reserve = folder.join("reserve");
        let held = fs::metadata(&reserve).map_or(0, |found| found.len());
        let mut space = Self {
            measure,
            reserve,
            held,
            is_short: false,
        };
        space.room();
        space
    }

    /// Looks at the disk. Lays the reserve anew if there is ample room.
    pub(super) fn room(&mut self) -> Room {
        let Some(disk) = self.disk() else { return Room::Ample };
        let limits = Limits::of(disk);
        let lacking = limits.reserve.saturating_sub(self.held);
        // A disk that was short has to be more than just not short, so that it does not go back and forth.
        let wanted = lacking + if self.is_short { limits.low * 3 / 2 } else { limits.low };
        self.is_short = disk.free < wanted;
        if self.is_short {
            return Room::Short {
                free: disk.free,
                wanted: lacking + limits.low * 3 / 2,
            };
        }
        if lacking > 0 {
            self.lay(limits.reserve);
        }
        Room::Ample
    }

    /// Before a commit of records with so many bytes: gives up as much of the reserve as it may need.
    pub(super) fn draw_on_reserve(&mut self, bytes: u64) {
        let need = bytes * 2 + COMMIT;
        let Some(disk) = self.disk().filter(|disk| disk.free < need) else {
            return;
        };
        let given = (need - disk.free).min(self.held);
        if given == 0 {
            return;
        }
        let left = self.held - given;
        match shrink(&self.reserve, left) {
            Ok(()) => {
                info!(
                    free = disk.free,
                    given, left, "the disk is full: the journal lives on its reserve"
                );
                self.held = left;
            }
            Err(error) => warn!(%error, path = %self.reserve.display(), "the reserve cannot be given back"),
        }
    }

    /// `None`: it cannot be told. Then commits alone show whether there is room.
    fn disk(&self) -> Option<Disk> {
        (self.measure)().ok().filter(|disk| disk.total > 0)
    }

    fn lay(&mut self, bytes: u64) {
        match grow(&self.reserve, bytes) {
            Ok(()) => self.held = bytes,
            Err(error) => warn!(%error, path = %self.reserve.display(), "the reserve for a full disk cannot be laid"),
        }
    }
}

impl std::fmt::Debug for Space {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Space")
            .field("reserve", &self.reserve)
            .field("held", &self.held)
            .field("is_short", &self.is_short)
            .finish_non_exhaustive()
    }
}

/// What fits a disk of this size: less than a sixteenth of it (at most 32 MiB) counts as nearly full, and half of that is reserve.
struct Limits {
    /// Fewer free bytes than this are too few.
    low: u64,
    reserve: u64,
}

impl Limits {
    fn of(disk: Disk) -> Self {
        let low = (disk.total / 16).clamp(MIB, 32 * MIB);
        Self { low, reserve: low / 2 }
    }
}

fn grow(path: &Path, bytes: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    let length = i64::try_from(bytes).map_err(io::Error::other)?;
    posix_fallocate(&file, 0, length)?;
    file.sync_all()
}

/// Synced, so that the blocks are free for others when this returns, not some time later.
fn shrink(path: &Path, bytes: u64) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    file.set_len(bytes)?;
    file.sync_all()
}
