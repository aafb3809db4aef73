//! What this machine has, read from the kernel: processors, memory and disk, as far as this process may use them.
//!
//! A container is limited by its control group, not by the hardware, so both are read and the smaller counts. Nothing here touches a GPU.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Processors that this process may use: affinity and the control group's quota are taken into account.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Bytes of memory that this process may use: the machine's, or the control group's limit if that is smaller.
pub(crate) fn memory_bytes() -> u64 {
    let limit = control_group_memory_limit().unwrap_or(u64::MAX);
    physical_memory_bytes().map_or(limit, |physical| physical.min(limit))
}

/// Bytes of memory that the machine has.
pub(crate) fn physical_memory_bytes() -> Option<u64> {
    parse_memory_total(&fs::read_to_string("/proc/meminfo").ok()?)
}

/// The smallest memory limit among this process's control group and those above it, in bytes.
pub(crate) fn control_group_memory_limit() -> Option<u64> {
    control_group_folders("memory")
        .iter()
        .flat_map(|folder| [folder.join("memory.max"), folder.join("memory.limit_in_bytes")])
        .filter_map(|file| parse_limit(&fs::read_to_string(file).ok()?))
        .min()
}

/// Processors that the control groups' quotas allow, if they set one.
pub(crate) fn control_group_processor_limit() -> Option<f64> {
    control_group_folders("cpu")
        .iter()
        .filter_map(|folder| parse_quota(&fs::read_to_string(folder.join("cpu.max")).ok()?))
        .min_by(f64::total_cmp)
}

/// Free bytes on the disk that holds `path`, or its nearest parent that exists.
pub(crate) fn free_disk_bytes(path: &Path) -> Option<u64> {
    let existing = path.ancestors().find(|ancestor| ancestor.exists())?;
    let existing = if existing.as_os_str().is_empty() {
        Path::new(".")
    } else {
        existing
    };
    let disk = nix::sys::statvfs::statvfs(existing).ok()?;
    Some(disk.blocks_available() * disk.fragment_size())
}

/// This machine's name.
pub(crate) fn host_name() -> String {
    nix::unistd::gethostname().map_or_else(|_| "unknown".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// True if the kernel drives NVIDIA GPUs here.
pub(crate) fn has_nvidia_driver() -> bool {
    Path::new("/proc/driver/nvidia/version").exists() || Path::new("/dev/nvidiactl").exists()
}

/// The file that holds a shared library loaded into this process, by the start of its name.
pub(crate) fn loaded_library(name: &str) -> Option<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines()
        .filter_map(|line| line.find('/').map(|start| Path::new(&line[start..])))
        .find_map(|path| {
            let matches = path.file_name()?.to_str()?.starts_with(name);
            matches.then(|| path.to_owned())
        })
}

/// A number of bytes for people: `3.5 GiB`.
pub(crate) fn readable_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// Folders of this process's control group and of those above it, the nearest first; not all of them need to exist.
pub(crate) fn control_group_folders(controller: &str) -> Vec<PathBuf> {
    let Ok(groups) = fs::read_to_string("/proc/self/cgroup") else {
        return Vec::new();
    };
    let Some((root, path)) = parse_control_group(&groups, controller) else {
        return Vec::new();
    };
    let below = path.trim_start_matches('/');
    let mut folders: Vec<PathBuf> = Path::new(below).ancestors().map(|part| root.join(part)).collect();
    // In a container the group's own path is often mounted as the root.
    folders.push(root);
    folders
}

fn parse_control_group(groups: &str, controller: &str) -> Option<(PathBuf, String)> {
    let mut unified = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        if controllers.split(',').any(|name| name == controller) {
            return Some((Path::new("/sys/fs/cgroup").join(controller), path.to_owned()));
        }
        if controllers.is_empty() {
            unified = Some((PathBuf::from("/sys/fs/cgroup"), path.to_owned()));
        }
    }
    unified
}

fn parse_memory_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.starts_with("MemTotal:"))?;
    line.split_whitespace()
        .nth(1)?
        .parse::<u64>()
        .ok()
        .map(|kibibytes| kibibytes * 1024)
}

/// `max`, and the huge number that version 1 writes instead, mean no limit.
fn parse_limit(text: &str) -> Option<u64> {
    text.trim().parse::<u64>().ok().filter(|limit| *limit < 1 << 60)
}

fn parse_quota(text: &str) -> Option<f64> {
    let mut parts = text.split_whitespace();
    let quota: f64 = parts.next()?.parse().ok()?;
    let period: f64 = parts.next()?.parse().ok()?;
    (period > 0.0).then_some(quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_control_groups_are_read_in_both_versions() {
        assert_eq!(parse_limit("max\n"), None);
        assert_eq!(parse_limit("9223372036854771712\n"), None);
        assert_eq!(parse_limit("2147483648\n"), Some(2 << 30));
        assert_eq!(parse_quota("max 100000"), None);
        assert_eq!(parse_quota("150000 100000\n"), Some(1.5));
    }

    #[test]
    fn the_control_group_of_a_controller_is_found_in_both_versions() {
        let unified = parse_control_group("0::/user.slice/job\n", "memory").unwrap();
        assert_eq!(unified, (PathBuf::from("/sys/fs/cgroup"), "/user.slice/job".to_owned()));
        let legacy = parse_control_group("5:cpu,cpuacct:/a\n4:memory:/b\n0::/\n", "memory").unwrap();
        assert_eq!(legacy, (PathBuf::from("/sys/fs/cgroup/memory"), "/b".to_owned()));
    }

    #[test]
    fn bytes_are_readable() {
        assert_eq!(readable_bytes(999), "999 B");
        assert_eq!(readable_bytes(3 << 29), "1.5 GiB");
        assert_eq!(
            parse_memory_total("MemFree: 1 kB\nMemTotal:       2048 kB\n"),
            None.or(Some(2 << 20))
        );
    }
}
