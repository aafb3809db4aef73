//! What this machine offers: one slot a GPU, or CPU shares.
//!
//! The agent itself never touches CUDA: a process that has initialised it holds memory on the GPU and can hang with the driver. A short child
//! process (`firn-worker doctor`) looks instead.

use std::{path::PathBuf, process::Stdio, time::Duration};

use firn_proto::v1alpha1::Slot;
use tokio::process::Command;
use tracing::{info, warn};

use crate::{doctor::Report, machine};

/// A driver that does not answer must not keep the worker away for ever.
const PROBE_DEADLINE: Duration = Duration::from_secs(60);

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct SlotRequest {
    /// CPU shares, even if there are GPUs.
    pub(crate) cpu_slots: Option<u32>,
    pub(crate) threads_per_slot: Option<u32>,
}

/// The slots, and what ranks on them need to know.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    pub(crate) slots: Vec<Slot>,
    pub(crate) threads_per_slot: u32,
    /// For each slot that is a GPU, its entry in `CUDA_VISIBLE_DEVICES`.
    pub(crate) visible_devices: Vec<String>,
    /// The CUDA part of libtorch, where the binary is not linked against it: ranks on GPUs load it first.
    pub(crate) preload: Option<PathBuf>,
}

/// Looks what there is.
pub(crate) async fn discover(request: &SlotRequest) -> Slots {
    if request.cpu_slots.is_none() && machine::has_nvidia_driver() {
        match probe().await {
            Ok(report) if !report.cuda_devices.is_empty() => return gpu_slots(&report, request),
            Ok(_) => warn!(
                "this machine has an NVIDIA driver but libtorch sees no GPU, offering a CPU share; `firn-worker doctor` says why"
            ),
            Err(reason) => warn!(reason, "cannot look for GPUs, offering a CPU share"),
        }
    }
    cpu_slots(request)
}

async fn probe() -> Result<Report, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command
        .args(["doctor", "--output", "json"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    let output = tokio::time::timeout(PROBE_DEADLINE, command.output())
        .await
        .map_err(|_| format!("the driver did not answer within {} s", PROBE_DEADLINE.as_secs()))?
        .map_err(|error| error.to_string())?;
    serde_json::from_slice(&output.stdout).map_err(|error| format!("the doctor's report makes no sense: {error}"))
}

fn gpu_slots(report: &Report, request: &SlotRequest) -> Slots {
    let visible = std::env::var("CUDA_VISIBLE_DEVICES")
        .ok()
        .filter(|list| !list.is_empty());
    let visible: Option<Vec<&str>> = visible.as_deref().map(|list| list.split(',').map(str::trim).collect());
    let slots: Vec<Slot> = report
        .cuda_devices
        .iter()
        .map(|device| Slot {
            index: device.index,
            device: format!("cuda:{}", device.index),
            description: device.name.clone(),
            memory_bytes: device.memory_bytes,
            job: String::new(),
        })
        .collect();
    let visible_devices = slots
        .iter()
        .map(|slot| {
            let given = visible.as_ref().and_then(|list| list.get(slot.index as usize));
            given.map_or_else(|| slot.index.to_string(), |entry| (*entry).to_owned())
        })
        .collect();
    let threads_per_slot = threads_per_slot(request, slots.len());
    info!(gpus = slots.len(), threads_per_slot, "offering GPUs");
    Slots {
        slots,
        threads_per_slot,
        visible_devices,
        preload: report.cuda_library.clone(),
    }
}

fn cpu_slots(request: &SlotRequest) -> Slots {
    let count = request.cpu_slots.unwrap_or(1);
    let threads_per_slot = threads_per_slot(request, count as usize);
    let memory_bytes = machine::memory_bytes() / u64::from(count);
    let unit = if threads_per_slot == 1 { "thread" } else { "threads" };
    let slots = (0..count)
        .map(|index| Slot {
            index,
            device: "cpu".to_owned(),
            description: format!("{threads_per_slot} {unit}"),
            memory_bytes,
            job: String::new(),
        })
        .collect();
    info!(shares = count, threads_per_slot, "offering CPU shares");
    Slots {
        slots,
        threads_per_slot,
        visible_devices: Vec::new(),
        preload: None,
    }
}

fn threads_per_slot(request: &SlotRequest, slots: usize) -> u32 {
    let share = machine::processors() / slots.max(1);
    request
        .threads_per_slot
        .unwrap_or_else(|| u32::try_from(share).unwrap_or(u32::MAX).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::CudaDevice;

    #[test]
    fn memory_and_threads_are_shared_among_cpu_slots() {
        let one = cpu_slots(&SlotRequest {
            cpu_slots: Some(1),
            threads_per_slot: None,
        });
        let four = cpu_slots(&SlotRequest {
            cpu_slots: Some(4),
            threads_per_slot: Some(3),
        });
        assert_eq!(one.threads_per_slot as usize, machine::processors());
        assert_eq!(four.slots.len(), 4);
        assert_eq!(four.slots[3].index, 3);
        assert_eq!(four.slots[0].description, "3 threads");
        assert!(four.slots[0].memory_bytes <= one.slots[0].memory_bytes / 4);
    }

    #[test]
    fn each_gpu_is_a_slot_of_its_own() {
        let device = |index| CudaDevice {
            index,
            name: "H100".into(),
            memory_bytes: 80 << 30,
            capability: "9.0".into(),
        };
        let report = Report {
            cuda_devices: vec![device(0), device(1)],
            ..Report::default()
        };
        let slots = gpu_slots(
            &report,
            &SlotRequest {
                cpu_slots: None,
                threads_per_slot: Some(2),
            },
        );
        assert_eq!(slots.slots[1].device, "cuda:1");
        assert_eq!(slots.visible_devices.len(), 2);
    }
}
