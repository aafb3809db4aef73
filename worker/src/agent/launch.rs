//! How a rank is started: which program, and what its environment tells it.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use firn_proto::v1alpha1::StartRank;

use super::{lifeline::AGENT_PID, process::LaunchOrder, slots::Slots};
use crate::connection::{self, ConnectionArguments};

/// What all ranks of this agent have in common.
#[derive(Debug)]
pub(crate) struct Launcher {
    /// This program itself.
    program: PathBuf,
    /// Started in place of the rank, in tests.
    rank_command: Option<Vec<OsString>>,
    connection: ConnectionArguments,
    /// The coordinator's host and port, for programs that look for `MASTER_ADDR`.
    master: (String, u16),
    /// Under which other machines reach this one.
    address: String,
    slots: Slots,
}

impl Launcher {
    pub(crate) fn new(
        connection: ConnectionArguments,
        address: String,
        slots: Slots,
        rank_command: Option<Vec<OsString>>,
    ) -> anyhow::Result<Self> {
        let master = connection::coordinator_address(&connection.coordinator)?;
        Ok(Self {
            program: std::env::current_exe()?,
            rank_command,
            connection,
            master,
            address,
            slots,
        })
    }

    /// The process for an order, or why there cannot be one.
    pub(crate) fn order(&self, order: &StartRank, scratch: &Path) -> Result<LaunchOrder, String> {
        let slot = self.slots.slots.get(order.slot as usize).ok_or_else(|| {
            format!(
                "slot {} was ordered, but this worker has {} slots, numbered from 0",
                order.slot,
                self.slots.slots.len()
            )
        })?;
        let mut environment = self.environment(order, scratch);
        // A rank sees its own GPU alone, and so always as the first.
        let device = match self.slots.visible_devices.get(order.slot as usize) {
            Some(visible) => {
                environment.push(("CUDA_VISIBLE_DEVICES".to_owned(), visible.into()));
                environment.extend(workspace_of_cublas());
                if let Some(library) = &self.slots.preload {
                    environment.push(("LD_PRELOAD".to_owned(), preload_list(library)));
                }
                "cuda:0"
            }
            None => {
                environment.push(("CUDA_VISIBLE_DEVICES".to_owned(), OsString::new()));
                slot.device.as_str()
            }
        };
        environment.push(("FIRN_DEVICE".to_owned(), device.into()));
        let arguments = match &self.rank_command {
            Some(command) => std::iter::once("launch".into())
                .chain(command.iter().cloned())
                .collect(),
            None => vec!["rank".into()],
        };
        Ok(LaunchOrder {
            process_id: order.process_id.clone(),
            program: self.program.clone(),
            arguments,
            environment,
        })
    }

    fn environment(&self, order: &StartRank, scratch: &Path) -> Vec<(String, OsString)> {
        let threads = self.slots.threads_per_slot.to_string();
        let mut environment: Vec<(String, OsString)> = [
            ("RANK", order.rank.to_string()),
            ("LOCAL_RANK", order.local_rank.to_string()),
            ("WORLD_SIZE", order.world_size.to_string()),
            ("LOCAL_WORLD_SIZE", order.local_world_size.to_string()),
            ("MASTER_ADDR", self.master.0.clone()),
            ("MASTER_PORT", self.master.1.to_string()),
            ("OMP_NUM_THREADS", threads.clone()),
            ("MKL_NUM_THREADS", threads.clone()),
            ("FIRN_THREADS", threads),
            ("FIRN_COORDINATOR", self.connection.coordinator.clone()),
            ("FIRN_JOB", order.job.clone()),
            ("FIRN_PROCESS_ID", order.process_id.clone()),
            ("FIRN_GENERATION", order.generation.to_string()),
            ("FIRN_ADDRESS", self.address.clone()),
            (AGENT_PID, std::process::id().to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value.into()))
        .into();
        environment.push(("FIRN_SCRATCH".to_owned(), scratch.into()));
        let files = [
            ("FIRN_CA", &self.connection.ca),
            ("FIRN_CERT", &self.connection.cert),
            ("FIRN_KEY", &self.connection.key),
            ("FIRN_TOKEN_FILE", &self.connection.token_file),
        ];
        for (name, file) in files {
            if let Some(file) = file {
                environment.push((name.to_owned(), file.into()));
            }
        }
        if let Some(token) = &self.connection.token {
            environment.push(("FIRN_TOKEN".to_owned(), token.into()));
        }
        environment
    }
}

/// With a workspace of a fixed size cuBLAS adds in the same order each time. It reads this when it is loaded, which is before a rank knows
/// whether its job is strict; 8 buffers of 4 MiB are what PyTorch names for it. A value that the agent was started with stays.
fn workspace_of_cublas() -> Option<(String, OsString)> {
    const NAME: &str = "CUBLAS_WORKSPACE_CONFIG";
    std::env::var_os(NAME)
        .is_none()
        .then(|| (NAME.to_owned(), ":4096:8".into()))
}

/// The library, before whatever the agent itself was started with.
fn preload_list(library: &Path) -> OsString {
    let mut list = library.as_os_str().to_owned();
    if let Some(already) = std::env::var_os("LD_PRELOAD").filter(|already| !already.is_empty()) {
        list.push(":");
        list.push(already);
    }
    list
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use firn_proto::v1alpha1::Slot;

    use super::*;

    fn launcher(slots: Slots) -> Launcher {
        let connection = ConnectionArguments {
            coordinator: "http://10.1.2.3:7070".into(),
            token: Some("secret".into()),
            cert: Some("/etc/firn/cert.pem".into()),
            key: Some("/etc/firn/key.pem".into()),
            ..Default::default()
        };
        Launcher::new(connection, "10.9.9.9".into(), slots, None).unwrap()
    }

    fn slots(device: &str, visible: &[&str]) -> Slots {
        Slots {
            slots: vec![Slot {
                device: device.into(),
                ..Slot::default()
            }],
            threads_per_slot: 3,
            visible_devices: visible.iter().map(|&entry| entry.to_owned()).collect(),
            preload: None,
        }
    }

    fn environment(launcher: &Launcher, order: &StartRank) -> BTreeMap<String, String> {
        let launch = launcher.order(order, Path::new("/scratch/a")).unwrap();
        assert_eq!(launch.arguments, ["rank"]);
        launch
            .environment
            .into_iter()
            .map(|(name, value)| (name, value.into_string().unwrap()))
            .collect()
    }

    #[test]
    fn a_rank_finds_the_usual_variables_and_its_own() {
        let order = StartRank {
            process_id: "p7".into(),
            job: "jobs/a".into(),
            generation: 4,
            rank: 5,
            world_size: 8,
            local_rank: 1,
            local_world_size: 2,
            slot: 0,
            ..StartRank::default()
        };
        let found = environment(&launcher(slots("cpu", &[])), &order);
        for (name, value) in [
            ("RANK", "5"),
            ("LOCAL_RANK", "1"),
            ("WORLD_SIZE", "8"),
            ("LOCAL_WORLD_SIZE", "2"),
            ("MASTER_ADDR", "10.1.2.3"),
            ("MASTER_PORT", "7070"),
            ("OMP_NUM_THREADS", "3"),
            ("FIRN_JOB", "jobs/a"),
            ("FIRN_PROCESS_ID", "p7"),
            ("FIRN_GENERATION", "4"),
            ("FIRN_DEVICE", "cpu"),
            ("FIRN_ADDRESS", "10.9.9.9"),
            ("FIRN_TOKEN", "secret"),
            ("FIRN_CERT", "/etc/firn/cert.pem"),
            ("FIRN_KEY", "/etc/firn/key.pem"),
            ("FIRN_SCRATCH", "/scratch/a"),
            ("CUDA_VISIBLE_DEVICES", ""),
        ] {
            assert_eq!(found.get(name).map(String::as_str), Some(value), "{name}");
        }
    }

    #[test]
    fn a_rank_on_a_gpu_sees_that_gpu_alone() {
        let found = environment(&launcher(slots("cuda:0", &["GPU-77"])), &StartRank::default());
        assert_eq!(found["CUDA_VISIBLE_DEVICES"], "GPU-77");
        assert_eq!(found["FIRN_DEVICE"], "cuda:0");
        assert_eq!(found["CUBLAS_WORKSPACE_CONFIG"], ":4096:8");
    }

    #[test]
    fn a_slot_that_does_not_exist_is_refused_with_the_number_of_slots() {
        let order = StartRank {
            slot: 3,
            ..StartRank::default()
        };
        let reason = launcher(slots("cpu", &[])).order(&order, Path::new("/")).unwrap_err();
        assert_eq!(
            reason,
            "slot 3 was ordered, but this worker has 1 slots, numbered from 0"
        );
    }
}
