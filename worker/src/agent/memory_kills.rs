//! Who sent a SIGKILL: the kernel because memory ran out, or somebody else.
//!
//! To a parent both look alike. But the kernel counts the processes that it kills for want of memory, and it counts *before* it sends the
//! signal (`__oom_kill_process` in `mm/oom_kill.c`), so the count has risen by the time a parent hears of the end. It is kept for every memory
//! control group, whichever limit was hit: the group's own, that of a group above it, or the machine's. Ranks live in the agent's group.
//! Without such a group the count of the whole machine has to do.
//!
//! One count, several ranks: every kill explains one death. A kill that no rank's death has claimed was somebody else's, and explains
//! nothing after [`LOOK_INTERVAL`] to twice that.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tracing::{debug, warn};

/// How often the count is looked at while ranks live.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// All three files have a line `oom_kill N`.
const KEY: &str = "oom_kill";
const MACHINE: &str = "/proc/vmstat";

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
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let mut places = counters(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"));
        places.push(MACHINE.into());
        let found = places.into_iter().find_map(|place| Some((read_count(&place)?, place)));
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

    /// Looks at the count, so that kills which nobody claimed grow old.
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
    pub(super) fn claim(&mut self) -> bool {
        self.count().is_some_and(|count| self.tally.claim(count))
    }

    fn count(&self) -> Option<u64> {
        self.counter.as_deref().and_then(read_count)
    }
}

/// Which kills are explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tally {
    /// Kills up to this one explain nothing any more.
    claimed: u64,
    looked: u64,
}

impl Tally {
    fn starting_at(count: u64) -> Self {
        Self {
            claimed: count,
            looked: count,
        }
    }

    fn look(&mut self, count: u64) {
        self.claimed = self.claimed.max(self.looked);
        self.looked = count;
    }

    fn claim(&mut self, count: u64) -> bool {
        let unclaimed = count > self.claimed;
        self.claimed += u64::from(unclaimed);
        unclaimed
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

/// Where the counts of this process' memory control group may be, the best first. `cgroup` and `mountinfo` are the files of these names
/// in `/proc/self` (cgroups(7), proc_pid_mountinfo(5)).
fn counters(cgroup: &str, mountinfo: &str) -> Vec<PathBuf> {
    let mounts: Vec<Mount<'_>> = mountinfo.lines().filter_map(Mount::parse).collect();
    let groups = cgroup.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        Some((controllers, path))
    });
    let mut first_version = Vec::new();
    let mut second_version = Vec::new();
    for (controllers, path) in groups {
        if controllers.split(',').any(|controller| controller == "memory") {
            let of_memory = |mount: &&Mount<'_>| mount.kind == "cgroup" && mount.has_option("memory");
            first_version.extend(places(&mounts, of_memory, path, "memory.oom_control"));
        } else if controllers.is_empty() {
            second_version.extend(places(&mounts, |mount| mount.kind == "cgroup2", path, "memory.events"));
        }
    }
    // A controller belongs to one hierarchy; if memory is in the first version, the second has no such file.
    first_version.extend(second_version);
    first_version
}

fn places(mounts: &[Mount<'_>], wanted: impl Fn(&&Mount<'_>) -> bool, group: &str, file: &str) -> Vec<PathBuf> {
    let within = |mount: &Mount<'_>| {
        // The mount may show a part of the hierarchy only, as in a container.
        let below = Path::new(group).strip_prefix(mount.root).ok()?;
        Some(Path::new(mount.point).join(below).join(file))
    };
    mounts.iter().filter(wanted).filter_map(within).collect()
}

/// One line of `/proc/self/mountinfo`.
struct Mount<'a> {
    root: &'a str,
    point: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (place, system) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let mut system = system.split(' ');
        let (root, point) = (place.next()?, place.next()?);
        let (kind, options) = (system.next()?, system.nth(1)?);
        Some(Self {
            root,
            point,
            kind,
            options,
        })
    }

    fn has_option(&self, wanted: &str) -> bool {
        self.options.split(',').any(|option| option == wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(cgroup: &str, mountinfo: &str) -> Vec<String> {
        let paths = counters(cgroup, mountinfo).into_iter();
        paths.map(|path| path.to_str().unwrap().to_owned()).collect()
    }

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
    fn a_group_of_the_second_version_is_found_below_its_mount() {
        let mounts = "25 1 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(
            found("0::/system.slice/firn.service\n", mounts),
            ["/sys/fs/cgroup/system.slice/firn.service/memory.events"]
        );
        assert_eq!(found("0::/\n", mounts), ["/sys/fs/cgroup/memory.events"]);
    }

    #[test]
    fn a_group_of_the_first_version_is_preferred_in_a_mixed_system() {
        let mounts = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(
            found("4:memory:/work/7\n1:cpu:/\n0::/\n", mounts),
            [
                "/sys/fs/cgroup/memory/work/7/memory.oom_control",
                "/sys/fs/cgroup/unified/memory.events"
            ]
        );
    }

    #[test]
    fn a_mount_that_shows_only_the_containers_part_is_followed() {
        let mounts = "35 31 0:32 /docker/4f2a /sys/fs/cgroup/memory ro master:9 - cgroup cgroup rw,memory\n";
        assert_eq!(
            found("4:memory:/docker/4f2a/inner\n", mounts),
            ["/sys/fs/cgroup/memory/inner/memory.oom_control"]
        );
        // A group outside of what is mounted has no file here.
        assert_eq!(found("4:memory:/elsewhere\n", mounts), [""; 0]);
    }

    #[test]
    fn every_kill_explains_one_death() {
        let mut tally = Tally::starting_at(5);
        assert!(!tally.claim(5), "nothing was killed since the start");
        assert!(tally.claim(7));
        assert!(tally.claim(7));
        assert!(!tally.claim(7));
    }

    #[test]
    fn a_kill_that_nobody_claims_grows_old() {
        let mut tally = Tally::starting_at(5);
        tally.look(6);
        assert!(
            tally.clone().claim(6),
            "it may have been a rank that takes its time to end"
        );
        tally.look(6);
        assert!(!tally.claim(6));
    }

    #[test]
    fn this_kernel_counts() {
        assert!(MemoryKills::of_this_process().counter.is_some());
    }
}
