//! This process, under the names that all programs use.

use std::fmt;

use nix::{
    sys::resource::{UsageWho, getrusage},
    unistd::{SysconfVar, sysconf},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

/// Read when somebody asks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut tell = |name: &str, help: &str, unit: Unit, value: &dyn EncodeMetric| {
            let metric = encoder.encode_descriptor(name, help, Some(&unit), value.metric_type())?;
            value.encode(metric)
        };
        if let Some(seconds) = processor_time() {
            let counter = ConstCounter::new(seconds);
            tell(
                "process_cpu",
                "Processor time that this process has used",
                Unit::Seconds,
                &counter,
            )?;
        }
        if let Some(bytes) = resident_memory() {
            let gauge = ConstGauge::new(bytes);
            tell(
                "process_resident_memory",
                "Memory that this process has in use",
                Unit::Bytes,
                &gauge,
            )?;
        }
        if let Some(seconds) = start_time() {
            let gauge = ConstGauge::new(seconds);
            tell(
                "process_start_time",
                "When this process began, since 1970",
                Unit::Seconds,
                &gauge,
            )?;
        }
        Ok(())
    }
}

fn processor_time() -> Option<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Some(seconds(usage.user_time()) + seconds(usage.system_time()))
}

/// The second number of `/proc/self/statm`, in pages.
fn resident_memory() -> Option<i64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: i64 = text.split(' ').nth(1)?.parse().ok()?;
    let page = sysconf(SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * page)
}

/// When the kernel began, and the 22nd field of `/proc/self/stat`: ticks from then until this process began. The second field may hold spaces.
fn start_time() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let ticks: f64 = stat
        .rsplit_once(')')?
        .1
        .split_ascii_whitespace()
        .nth(19)?
        .parse()
        .ok()?;
    let kernel = std::fs::read_to_string("/proc/stat").ok()?;
    let booted: f64 = kernel
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()?;
    let second = sysconf(SysconfVar::CLK_TCK).ok()?? as f64;
    Some(booted + ticks / second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_began_a_while_ago_and_uses_memory() {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let age = now.as_secs_f64() - start_time().unwrap();
        assert!((-2.0..86_400.0).contains(&age), "{age}");
        assert!(resident_memory().unwrap() > 1 << 20);
        assert!(processor_time().unwrap() >= 0.0);
    }
}
