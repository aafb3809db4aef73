//! The whole examination, from libtorch to the disk.

use std::{fs, path::Path};

use super::{Finding, Report, gpu, libtorch};
use crate::machine::{self, readable_bytes};

const GIBIBYTE: u64 = 1 << 30;
/// Below this, a pretrained backbone of ordinary size and its data do not fit.
const LITTLE_MEMORY: u64 = 2 * GIBIBYTE;
/// Logs, checkpoints and a merged model fit above this.
const LITTLE_DISK: u64 = 2 * GIBIBYTE;

/// Features of processors that libtorch has kernels for: name in `/proc/cpuinfo`, what people call it, what its absence costs.
const X86_FEATURES: [(&str, &str, &str); 4] = [
    (
        "avx2",
        "AVX2",
        "matrix products and convolutions run several times slower: prefer a processor that has it (Intel since 2013, AMD since 2015)",
    ),
    (
        "avx512f",
        "AVX-512",
        "fp32 runs at about half the speed it could: prefer a processor that has it where CPUs do the training",
    ),
    (
        "avx512_bf16",
        "AVX512-BF16",
        "bf16 gains nothing over fp32 here: keep frozen layers in fp32",
    ),
    (
        "amx_bf16",
        "AMX",
        "none needed; processors with it (Intel since 2023) run bf16 several times faster",
    ),
];
const ARM_FEATURES: [(&str, &str, &str); 2] = [
    ("asimd", "NEON", "matrix products run several times slower"),
    (
        "bf16",
        "BF16",
        "bf16 gains nothing over fp32 here: keep frozen layers in fp32",
    ),
];

/// Looks at everything.
pub(super) fn examine(state_dir: &Path) -> Report {
    let mut findings = libtorch::examine();
    let (gpu_findings, cuda_devices) = gpu::examine();
    findings.extend(gpu_findings);
    findings.push(processors());
    findings.extend(features(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()));
    findings.push(memory());
    findings.push(disk(state_dir));
    Report {
        findings,
        cuda_devices,
        cuda_library: gpu::preloaded_library(),
    }
}

fn processors() -> Finding {
    let count = machine::processors();
    let limit = machine::control_group_processor_limit().map_or_else(
        || "no limit of a control group".to_owned(),
        |limit| format!("limited to {limit:.1} by the control group"),
    );
    Finding::ok("processors", format!("{count} usable, {limit}"))
}

fn features(cpuinfo: &str) -> Vec<Finding> {
    let list = cpuinfo
        .lines()
        .find(|line| line.starts_with("flags") || line.starts_with("Features"));
    let present: Vec<&str> = list
        .and_then(|line| line.split_once(':'))
        .map(|(_, flags)| flags.split_whitespace().collect())
        .unwrap_or_default();
    let known: &[(&str, &str, &str)] = if cfg!(target_arch = "aarch64") {
        &ARM_FEATURES
    } else {
        &X86_FEATURES
    };
    known
        .iter()
        .map(|(flag, name, cost)| {
            if present.contains(flag) {
                Finding::ok(name, "yes")
            } else {
                Finding::missing(name, "no", *cost)
            }
        })
        .collect()
}

fn memory() -> Finding {
    let usable = machine::memory_bytes();
    let found = match machine::control_group_memory_limit() {
        Some(limit) => format!(
            "{} usable, limited to {} by the control group",
            readable_bytes(usable),
            readable_bytes(limit)
        ),
        None => format!("{} usable, no limit of a control group", readable_bytes(usable)),
    };
    if usable < LITTLE_MEMORY {
        return Finding::missing(
            "memory",
            found,
            "ranks may be killed for lack of memory: give this machine or its control group at least 2 GiB",
        );
    }
    Finding::ok("memory", found)
}

fn disk(state_dir: &Path) -> Finding {
    const SUBJECT: &str = "state folder";
    let place = state_dir.display();
    match machine::free_disk_bytes(state_dir) {
        None => Finding::broken(
            SUBJECT,
            format!("{place} cannot be looked at"),
            "name another with --state-dir",
        ),
        Some(0) => Finding::broken(
            SUBJECT,
            format!("no free space at {place}"),
            "free some, or name another folder with --state-dir",
        ),
        Some(free) if free < LITTLE_DISK => Finding::missing(
            SUBJECT,
            format!("{} free at {place}", readable_bytes(free)),
            "logs and models may not fit: free some space, or name another folder with --state-dir",
        ),
        Some(free) => Finding::ok(SUBJECT, format!("{} free at {place}", readable_bytes(free))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn features_of_the_processor_come_with_what_their_absence_costs() {
        let findings = features("processor : 0\nflags\t\t: fpu avx2 avx512f\n");
        let by_name = |name: &str| findings.iter().find(|finding| finding.subject == name).unwrap();
        assert_eq!(by_name("AVX2").status, Status::Ok);
        assert_eq!(by_name("AVX512-BF16").status, Status::Missing);
        assert!(by_name("AVX512-BF16").advice.as_ref().unwrap().contains("fp32"));
    }

    #[test]
    fn every_missing_thing_comes_with_advice() {
        let folder = tempfile::tempdir().unwrap();
        let report = examine(folder.path());
        assert!(report.is_healthy(), "{report:?}");
        for finding in &report.findings {
            assert_eq!(finding.advice.is_some(), finding.status != Status::Ok, "{finding:?}");
        }
        for subject in ["libtorch", "GPUs", "NCCL", "processors", "memory", "state folder"] {
            assert!(
                report.findings.iter().any(|finding| finding.subject == subject),
                "{subject}"
            );
        }
    }
}
