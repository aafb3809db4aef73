//! GPUs: the driver, libtorch's CUDA part, the devices, NCCL.
//!
//! One program serves CPUs and GPUs. Where it was linked without libtorch's CUDA part, that library must be in the process before libtorch
//! first asks for CUDA: it registers itself when it is loaded. The loader can do that (`LD_PRELOAD`), for the doctor here and for ranks through
//! the agent, so that nobody has to set a variable by hand.

use std::{env, fs, os::unix::process::CommandExt as _, path::PathBuf, process::Command};

use super::{CudaDevice, Finding};
use crate::machine;

const LIBRARY: &str = "libtorch_cuda.so";
/// Set when this process was started again with the library.
const PRELOADED: &str = "FIRN_DOCTOR_PRELOADED";

/// Starts this process again with libtorch's CUDA part, if there is a driver and the part is there but not loaded.
pub(super) fn load_cuda_library_first() {
    let Some(library) = library_to_preload() else { return };
    let Ok(program) = env::current_exe() else { return };
    // If this fails, the examination goes on without and says so.
    let _ = Command::new(program)
        .args(env::args_os().skip(1))
        .env("LD_PRELOAD", &library)
        .env(PRELOADED, "1")
        .exec();
}

/// The library that ranks must load first, if this process had to.
pub(super) fn preloaded_library() -> Option<PathBuf> {
    env::var_os(PRELOADED)?;
    machine::loaded_library(LIBRARY)
}

fn library_to_preload() -> Option<PathBuf> {
    if !machine::has_nvidia_driver() || env::var_os(PRELOADED).is_some() || machine::loaded_library(LIBRARY).is_some() {
        return None;
    }
    let beside = machine::loaded_library("libtorch_cpu.so")?.with_file_name(LIBRARY);
    beside.exists().then_some(beside)
}

/// Looks at everything that training on GPUs needs.
pub(super) fn examine() -> (Vec<Finding>, Vec<CudaDevice>) {
    if !machine::has_nvidia_driver() {
        let advice = "ranks train on CPUs; if this machine has an NVIDIA GPU, install its driver (in a container: start it with --gpus all)";
        return (
            vec![
                Finding::missing("GPUs", "none, and no NVIDIA driver", advice),
                nccl_without_gpus(),
            ],
            Vec::new(),
        );
    }
    let devices = devices();
    let mut findings = vec![driver(), cuda_part(), device_finding(&devices), nccl()];
    findings.extend(devices.iter().map(describe));
    (findings, devices)
}

fn driver() -> Finding {
    let text = fs::read_to_string("/proc/driver/nvidia/version").unwrap_or_default();
    let version = text
        .split_whitespace()
        .find(|word| word.split('.').count() >= 2 && word.starts_with(|first: char| first.is_ascii_digit()));
    Finding::ok("NVIDIA driver", version.unwrap_or("of unknown version"))
}

fn cuda_part() -> Finding {
    const SUBJECT: &str = "libtorch CUDA";
    match machine::loaded_library(LIBRARY) {
        Some(library) => Finding::ok(SUBJECT, library.display().to_string()),
        None => Finding::missing(
            SUBJECT,
            format!("{LIBRARY} is not beside libtorch_cpu.so"),
            "run deploy/libtorch.sh --cuda",
        ),
    }
}

fn device_finding(devices: &[CudaDevice]) -> Finding {
    match devices.len() {
        0 => Finding::missing(
            "GPUs",
            "libtorch sees none",
            "check nvidia-smi and CUDA_VISIBLE_DEVICES; the driver must support CUDA 13 (version 580 or newer)",
        ),
        count => Finding::ok("GPUs", count.to_string()),
    }
}

fn nccl() -> Finding {
    let presence = firn_collective::nccl::presence();
    match &presence.missing {
        None => Finding::ok("NCCL", presence.to_string()),
        Some(missing) => Finding::missing(
            "NCCL",
            presence.version.clone().unwrap_or_else(|| "not usable".to_owned()),
            missing.clone(),
        ),
    }
}

/// Not a fault: without GPUs gradients are added up over TCP. Still said, for those who are about to add one.
fn nccl_without_gpus() -> Finding {
    let presence = firn_collective::nccl::presence();
    match (&presence.version, &presence.library) {
        (Some(version), Some(library)) => {
            Finding::ok("NCCL", format!("{version}, from {library}; not used without GPUs"))
        }
        _ => Finding::missing(
            "NCCL",
            "no library",
            "not needed without GPUs: gradients are added up over TCP; for GPUs run deploy/libtorch.sh --cuda",
        ),
    }
}

fn devices() -> Vec<CudaDevice> {
    if !tch::Cuda::is_available() {
        return Vec::new();
    }
    // The driver may show more than libtorch can use; libtorch's number counts. The driver's library is there, since libtorch uses it.
    let count = u32::try_from(tch::Cuda::device_count()).unwrap_or(0);
    (0..count).filter_map(|index| device(index).ok()).collect()
}

fn device(index: u32) -> Result<CudaDevice, cudarc::driver::DriverError> {
    let context = cudarc::driver::CudaContext::new(index as usize)?;
    let (major, minor) = context.compute_capability()?;
    Ok(CudaDevice {
        index,
        name: context.name()?,
        memory_bytes: context.total_mem()? as u64,
        capability: format!("{major}.{minor}"),
    })
}

fn describe(device: &CudaDevice) -> Finding {
    let memory = machine::readable_bytes(device.memory_bytes);
    Finding::ok(
        &format!("cuda:{}", device.index),
        format!("{}, {memory}, compute capability {}", device.name, device.capability),
    )
}
