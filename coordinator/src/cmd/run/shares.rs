//! How this machine is divided among the workers of `firn run`: GPUs where there are enough, else equal shares of the
//! cores.

use std::{env, fs, thread};

use crate::cmd::error::CommandError;

/// What a run needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Demand {
    /// Agents to start.
    pub(super) workers: u32,
    /// Ranks on each.
    pub(super) slots_per_worker: u32,
}

impl Demand {
    fn slots(self) -> u32 {
        self.workers.saturating_mul(self.slots_per_worker)
    }
}

/// What this machine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Machine {
    /// Threads that run at once.
    pub(super) cores: usize,
    /// Numbers (or names) of the GPUs that this process may use.
    pub(super) gpus: Vec<String>,
}

impl Machine {
    /// Looks at this machine.
    pub(super) fn here() -> Self {
        Self {
            cores: thread::available_parallelism().map_or(1, usize::from),
            gpus: visible_gpus(),
        }
    }
}

/// What one worker gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Share {
    /// CPU slots, each of so many threads.
    Cpu {
        /// Slots.
        slots: u32,
        /// Threads of each.
        threads: usize,
    },
    /// These GPUs, one slot each.
    Gpu(Vec<String>),
}

/// Divides `machine` among the workers. `device` is the spec's `auto`, `cpu` or `gpu`.
pub(super) fn divide(demand: Demand, device: &str, machine: &Machine) -> Result<Vec<Share>, CommandError> {
    let slots = demand.slots() as usize;
    let gpus_suffice = machine.gpus.len() >= slots;
    if device == "gpu" && !gpus_suffice {
        return Err(CommandError::Usage(format!(
            "the job asks for {slots} GPUs ({} workers of {} slots), but this machine has {}",
            demand.workers,
            demand.slots_per_worker,
            machine.gpus.len()
        )));
    }
    if device != "cpu" && gpus_suffice && slots > 0 {
        let each = demand.slots_per_worker as usize;
        return Ok(machine
            .gpus
            .chunks(each)
            .take(demand.workers as usize)
            .map(|gpus| Share::Gpu(gpus.to_vec()))
            .collect());
    }
    let threads = (machine.cores / slots.max(1)).max(1);
    Ok((0..demand.workers)
        .map(|_| Share::Cpu {
            slots: demand.slots_per_worker,
            threads,
        })
        .collect())
}

/// `CUDA_VISIBLE_DEVICES` if it is set, else the device files of the driver.
fn visible_gpus() -> Vec<String> {
    if let Ok(visible) = env::var("CUDA_VISIBLE_DEVICES") {
        return visible
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty() && *name != "-1")
            .map(str::to_owned)
            .collect();
    }
    let Ok(devices) = fs::read_dir("/dev") else {
        return Vec::new();
    };
    let names = devices
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    let count = names
        .filter(|name| {
            name.strip_prefix("nvidia")
                .is_some_and(|rest| rest.parse::<u32>().is_ok())
        })
        .count();
    (0..count).map(|number| number.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(cores: usize, gpus: usize) -> Machine {
        Machine {
            cores,
            gpus: (0..gpus).map(|number| number.to_string()).collect(),
        }
    }

    #[test]
    fn cores_are_shared_equally_and_never_less_than_one() {
        let table = [(2, 1, 8, 4), (2, 2, 8, 2), (3, 1, 8, 2), (4, 1, 2, 1)];
        for (workers, slots_per_worker, cores, threads) in table {
            let shares = divide(
                Demand {
                    workers,
                    slots_per_worker,
                },
                "auto",
                &machine(cores, 0),
            )
            .unwrap();
            assert_eq!(
                shares,
                vec![
                    Share::Cpu {
                        slots: slots_per_worker,
                        threads
                    };
                    workers as usize
                ]
            );
        }
    }

    #[test]
    fn gpus_are_dealt_out_where_there_are_enough() {
        let demand = Demand {
            workers: 2,
            slots_per_worker: 2,
        };
        let gpu = |names: [&str; 2]| Share::Gpu(names.map(str::to_owned).to_vec());
        assert_eq!(
            divide(demand, "auto", &machine(8, 5)).unwrap(),
            [gpu(["0", "1"]), gpu(["2", "3"])]
        );
        assert_eq!(
            divide(demand, "auto", &machine(8, 3)).unwrap(),
            vec![Share::Cpu { slots: 2, threads: 2 }; 2]
        );
        assert_eq!(
            divide(demand, "cpu", &machine(8, 8)).unwrap(),
            vec![Share::Cpu { slots: 2, threads: 2 }; 2]
        );
    }

    #[test]
    fn a_job_that_needs_more_gpus_than_there_are_is_refused() {
        let error = divide(
            Demand {
                workers: 2,
                slots_per_worker: 1,
            },
            "gpu",
            &machine(8, 1),
        )
        .unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert_eq!(
            error.to_string(),
            "the job asks for 2 GPUs (2 workers of 1 slots), but this machine has 1"
        );
    }
}
