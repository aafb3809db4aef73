//! Fail points: named places at which the coordinator kills itself, so that tests can crash it exactly there.
//!
//! `FIRN_FAIL_POINT=NAME` or `FIRN_FAIL_POINT=NAME:N`, read once when `firn serve` or `firn restore` starts: the process sends itself SIGKILL when it comes
//! to the place for the N-th time (the first, if N is left out), counted from the start of the process. So nothing is flushed, dropped or
//! said, as with a `kill -9` from outside. Passes during the start count too: opening a journal that is new or was not closed syncs its
//! file, and `CoordinatorStarted` is the first commit.
//!
//! They are in every build, so that tests crash the very program that is used. Unarmed, a place costs one relaxed load. An unknown name is
//! refused at start: a test with a typing mistake must not pass.

use std::{
    fmt,
    str::FromStr,
    sync::atomic::{AtomicU8, AtomicU64, Ordering},
};

use thiserror::Error;

/// The variable that arms a fail point.
pub const VARIABLE: &str = "FIRN_FAIL_POINT";

macro_rules! fail_points {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A place at which the coordinator can be made to kill itself.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum FailPoint {
            $($(#[$doc])* $variant,)*
        }

        impl FailPoint {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// As the variable names it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

fail_points! {
    /// A batch was decided on; nothing of it was written.
    JournalBeforeWrite = "journal-before-write",
    /// Pages were written and not yet synced. A commit has two syncs: the first for the pages, the second for the header that makes them
    /// count.
    JournalBeforeSync = "journal-before-sync",
    /// One of the two syncs of a commit is done.
    JournalAfterSync = "journal-after-sync",
    /// The records of a batch are on disk; nobody was told, nothing was done.
    CommitBeforeEffects = "commit-before-effects",
    /// The effects of a batch (commands to agents) are under way; nobody was answered.
    CommitBeforeReply = "commit-before-reply",
    /// Everybody in a batch was answered. An answer may not have left the process yet.
    CommitAfterReply = "commit-after-reply",
    /// A snapshot was written under its temporary name.
    SnapshotBeforeRename = "snapshot-before-rename",
    /// A snapshot has its name; older ones were not removed.
    SnapshotAfterRename = "snapshot-after-rename",
    /// Records were found that need not be kept; the journal still has them.
    CompactionBeforeCommit = "compaction-before-commit",
    /// The deletion of a job is on disk; its files are there, or some of them.
    EraseBeforeFiles = "erase-before-files",
    /// The files of a deleted job are gone; the record that says so was not asked for.
    EraseAfterFiles = "erase-after-files",
    /// A deleted job is gone but for the texts of its records.
    RemovalBeforeCommit = "removal-before-commit",
    /// A checkpoint, artifact or report of a rank lies in its place; the record that makes it exist was not asked for.
    UploadBeforeRecord = "upload-before-record",
    /// Something of a backup that is put back is whole, and goes to its place next: first under the name of what is whole, the journal last.
    RestoreBeforeRename = "restore-before-rename",
}

impl fmt::Display for FailPoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What the variable can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Armed {
    point: FailPoint,
    /// The pass that is the last; from 1.
    pass: u64,
}

/// The variable holds something else.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("invalid {VARIABLE} `{found}`: expected NAME or NAME:N with N from 1 and NAME one of {}", FailPoint::ALL.iter().map(|point| point.as_str()).collect::<Vec<_>>().join(", "))]
pub struct UnknownFailPoint {
    found: String,
}

impl FromStr for Armed {
    type Err = UnknownFailPoint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownFailPoint { found: text.to_owned() };
        let (name, pass) = match text.split_once(':') {
            None => (text, 1),
            Some((name, pass)) => (name, pass.parse().map_err(|_| unknown())?),
        };
        let point = FailPoint::ALL.iter().find(|point| point.as_str() == name);
        match point {
            Some(&point) if pass > 0 => Ok(Self { point, pass }),
            _ => Err(unknown()),
        }
    }
}

/// The armed point, as its number; [`UNARMED`] if none is.
static POINT: AtomicU8 = AtomicU8::new(UNARMED);
/// Passes that are left until the last.
static LEFT: AtomicU64 = AtomicU64::new(0);
const UNARMED: u8 = u8::MAX;

/// Arms what the variable names, if it is set.
///
/// # Errors
/// When it names no fail point.
pub fn arm_from_environment() -> Result<(), UnknownFailPoint> {
    let Some(text) = std::env::var_os(VARIABLE).filter(|text| !text.is_empty()) else {
        return Ok(());
    };
    let armed: Armed = text.to_string_lossy().parse()?;
    tracing::warn!(point = %armed.point, pass = armed.pass, "a fail point is armed: this coordinator will kill itself there");
    LEFT.store(armed.pass, Ordering::SeqCst);
    POINT.store(armed.point as u8, Ordering::SeqCst);
    Ok(())
}

/// Comes to a place; does not return from the last pass of the armed one.
pub(crate) fn pass(point: FailPoint) {
    if POINT.load(Ordering::Relaxed) == point as u8 && LEFT.fetch_sub(1, Ordering::SeqCst) == 1 {
        die();
    }
}

fn die() -> ! {
    use nix::sys::signal::{Signal, kill};
    let _ = kill(nix::unistd::Pid::this(), Signal::SIGKILL);
    // SIGKILL cannot be held off; this is for the type alone.
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fail_point_is_read_with_and_without_a_count() {
        let first = Armed {
            point: FailPoint::JournalBeforeSync,
            pass: 1,
        };
        assert_eq!("journal-before-sync".parse(), Ok(first));
        assert_eq!("journal-before-sync:7".parse(), Ok(Armed { pass: 7, ..first }));
    }

    #[test]
    fn what_is_no_fail_point_is_refused_with_all_names() {
        for wrong in [
            "journal-before-sink",
            "journal-before-sync:0",
            "journal-before-sync:x",
            ":1",
        ] {
            let error = wrong.parse::<Armed>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{wrong}`")), "{error}");
            assert!(error.contains("commit-before-reply"), "{error}");
        }
    }
}
