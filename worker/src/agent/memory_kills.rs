//! Who sent a SIGKILL: the kernel because memory ran out, or somebody else.
//!
//! To a parent both look alike. But the kernel counts the processes that it kills for want of memory, and it counts *before* it sends the
//! signal (`__oom_kill_process` in `mm/oom_kill.c`), so the count has risen by the time a parent hears of the end. It is kept for every memory
//! control group, whichever limit was hit: the group's own, that of a group above it, or the machine's. Ranks live in the agent's group.
//! Without such a group the count of the whole machine has to do.
//!
//! One count, several ranks: every kill explains one death. A kill to which no rank's death is attributed was somebody else's, and explains
//! nothing after [`LOOK_INTERVAL`] to twice that.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tracing::{debug, warn};

use crate::machine;

/// How often the count is looked at while ranks live.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// In a group's folder: of the second version of control groups, and of the first.
const COUNTERS: [&str; 2] = ["memory.events", "memory.oom_control"];
const MACHINE: &str = "/proc/vmstat";
/// All three files have a line `oom_kill N`.
const KEY: &str = "oom_kill";

/// The kernel's count of such kills where this agent lives.
#[derive(Debug)]
pub(super) struct MemoryKills {
    /// None: this kernel counts nowhere.
    counter: Option<PathBuf>,
    tally: Tally,
}

impl MemoryKills {
    /// Finds the count that is closest to this process.
    pub(super) fn of_this_process() -> Self {
        let groups = machine::control_group_folders("memory");
        let of_groups = groups.iter().flat_map(|group| COUNTERS.map(|file| group.join(file)));
        let found = of_groups
            .chain([MACHINE.into()])
            .find_map(|place| Some((read_count(&place)?, place)));
        if found.is_none() {
            warn!(
                "this kernel does not count out-of-memory kills: a rank that is killed for want of memory looks like one killed by hand"
            );
        }
        let (count, counter) = found.map_or((0, None), |(count, counter)| (count, Some(counter)));
        debug!(?counter, count, "out-of-memory kills are counted here");
        Self {
            counter,
            tally: Tally::starting_at(count),
        }
    }

    /// Looks at the count, so that kills which explain nothing grow old.
    pub(super) fn look(&mut self) {
        if let Some(count) = self.count() {
            self.tally.look(count);
        }
    }

    /// Forgets all kills so far: no rank lives that they could have hit.
    pub(super) fn begin(&mut self) {
        if let Some(count) = self.count() {
            self.tally = Tally::starting_at(count);
        }
    }

    /// True if a SIGKILL that this agent did not send came from the kernel.
    pub(super) fn attribute(&mut self) -> bool {
        self.count().is_some_and(|count| self.tally.attribute(count))
    }

    fn count(&self) -> Option<u64> {
        self.counter.as_deref().and_then(read_count)
    }
}

/// Which kills are explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tally {
    /// Kills up to this one explain nothing any more.
    attributed: u64,
    looked: u64,
}

impl Tally {
    fn starting_at(count: u64) -> Self {
        Self {
            attributed: count,
            looked: count,
        }
    }

    fn look(&mut self, count: u64) {
        self.attributed = self.attributed.max(self.looked);
        self.looked = count;
    }

    fn attribute(&mut self, count: u64) -> bool {
        let is_new = count > self.attributed;
        self.attributed += u64::from(is_new);
        is_new
    }
}

fn read_count(path: &Path) -> Option<u64> {
    count_in(&fs::read_to_string(path).ok()?)
}

/// The number in the line `oom_kill N` of `memory.events`, `memory.oom_control` or `/proc/vmstat`.
fn count_in(text: &str) -> Option<u64> {
    text.lines().find_map(|line| match line.split_once(' ') {
        Some((KEY, number)) => number.trim().parse().ok(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_in_all_three_kinds_of_files() {
        let events = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(count_in(events), Some(2));
        assert_eq!(count_in("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"), Some(7));
        assert_eq!(count_in("nr_free_pages 1\noom_kill 0\npgfault 5\n"), Some(0));
        // Kernels before 4.13 do not have the line.
        assert_eq!(count_in("oom_kill_disable 0\nunder_oom 0\n"), None);
        assert_eq!(count_in("oom_kill many\n"), None);
    }

    #[test]
    fn every_kill_explains_one_death() {
        let mut tally = Tally::starting_at(5);
        assert!(!tally.attribute(5), "nothing was killed since the start");
        assert!(tally.attribute(7));
        assert!(tally.attribute(7));
        assert!(!tally.attribute(7));
    }

    #[test]
    fn a_kill_that_nobody_claims_grows_old() {
        let mut tally = Tally::starting_at(5);
        tally.look(6);
        assert!(
            { tally }.attribute(6),
            "it may have been a rank that takes its time to end"
        );
        tally.look(6);
        assert!(!tally.attribute(6));
    }

    #[test]
    fn this_kernel_counts() {
        assert!(MemoryKills::of_this_process().counter.is_some());
    }
}
