//! A coordinator and workers on this machine, private to one run.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use futures::future::{self, FutureExt as _};
use tokio::time::{interval, timeout};

use super::{
    child::{Child, ChildPlan},
    resume,
    shares::Share,
};
use crate::cmd::{
    connection::Connection, console::Console, deadline::CALL_TIMEOUT, error::CommandError, settings::Settings,
    view::humanise::counted, worker_program, workers,
};

/// Replaying a large kept journal takes seconds; more than this is a fault.
const COORDINATOR_START: Duration = Duration::from_secs(60);
/// Loading libtorch on a slow disk takes seconds.
const WORKERS_START: Duration = Duration::from_secs(120);
/// Between two looks at what cannot be waited for.
const LOOK: Duration = Duration::from_millis(25);
/// How long ranks may take to stop; an agent needs a little longer.
const RANK_GRACE: Duration = Duration::from_secs(8);
const AGENT_GRACE: Duration = Duration::from_secs(10);
/// Workers that are started again in one run.
const MOST_REPLACEMENTS: usize = 3;
const COORDINATOR_GRACE: Duration = Duration::from_secs(5);

/// Processes that serve one run; dropping it kills them all.
pub(super) struct Cluster {
    // Dropped in this order: workers first, so that none is left to notice that the coordinator is gone.
    agents: Vec<Child>,
    coordinator: Child,
    /// Of each agent.
    shares: Vec<Share>,
    folder: PathBuf,
    programs: Programs,
    replacements: usize,
    /// To the private coordinator.
    pub(super) connection: Connection,
}

/// A process that has ended before its time.
pub(super) struct UnexpectedEnd {
    /// Place of the agent among the workers; `None`: it was the coordinator.
    agent: Option<usize>,
    /// What is to be told about it.
    pub(super) error: CommandError,
}

/// The executables that a run needs.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    own: PathBuf,
    worker: PathBuf,
}

impl Programs {
    /// `firn` is this process.
    pub(super) fn find() -> Result<Self, CommandError> {
        let own = worker_program::own()?;
        let worker = worker_program::find(&own)?;
        Ok(Self { own, worker })
    }
}

impl Cluster {
    /// Starts the coordinator, and waits until it is ready.
    pub(super) async fn start(folder: &Path, programs: &Programs) -> Result<Self, CommandError> {
        resume::last_breath(&folder.join("coordinator")).await?;
        let ready_file = folder.join("coordinator.address");
        match fs::remove_file(&ready_file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(CommandError::file("remove", &ready_file)(error));
            }
            _ => {}
        }
        let mut coordinator = Child::start(coordinator_plan(folder, programs, &ready_file), &programs.own)?;
        let address = address_when_ready(&mut coordinator, &ready_file).await?;
        let connection = Connection::to(Settings {
            call_timeout: CALL_TIMEOUT,
            coordinator: address.clone(),
            ca: None,
            identity: None,
            token: None,
        })?;
        Ok(Self {
            agents: Vec::new(),
            coordinator,
            shares: Vec::new(),
            folder: folder.to_owned(),
            programs: programs.clone(),
            replacements: 0,
            connection,
        })
    }

    /// Starts one agent for each share.
    pub(super) fn add_agents(&mut self, shares: &[Share]) -> Result<(), CommandError> {
        for (number, share) in (self.agents.len()..).zip(shares) {
            let plan = agent_plan(number, share, &self.folder, &self.programs, &self.connection.address)?;
            self.agents.push(Child::start(plan, &self.programs.own)?);
            self.shares.push(share.clone());
        }
        Ok(())
    }

    /// Whether an agent of this name was started.
    pub(super) fn has_agent(&self, name: &str) -> bool {
        (0..self.agents.len()).any(|number| agent_name(number) == name)
    }

    /// Waits until every worker is attached, so that the job starts with all of them.
    pub(super) async fn wait_for_workers(&mut self, console: &mut Console) -> Result<(), CommandError> {
        let wanted = self.agents.len();
        let connection = self.connection.clone();
        let attached = async {
            let mut look = interval(LOOK);
            loop {
                look.tick().await;
                let ready = workers::all(&connection)
                    .await?
                    .iter()
                    .filter(|worker| worker.state == "Ready")
                    .count();
                if ready >= wanted {
                    return Ok::<(), CommandError>(());
                }
            }
        };
        tokio::select! {
            result = timeout(WORKERS_START, attached) => match result {
                Ok(result) => result?,
                Err(_) => return Err(self.workers_missing()),
            },
            end = self.unexpected_end() => return Err(end.error),
        }
        console.say(&format!("{} ready on this machine", counted(wanted as u64, "worker")));
        Ok(())
    }

    /// Waits for a process to end that should run on, and says which.
    pub(super) async fn unexpected_end(&mut self) -> UnexpectedEnd {
        let agents = self
            .agents
            .iter_mut()
            .enumerate()
            .map(|(index, child)| (Some(index), child));
        let children = agents.chain(std::iter::once((None, &mut self.coordinator)));
        let ends = children.map(|(agent, child)| {
            async move {
                let error = match child.ended().await {
                    Ok(status) => child.unexpected_end(status),
                    Err(error) => error,
                };
                UnexpectedEnd { agent, error }
            }
            .boxed()
        });
        future::select_all(ends).await.0
    }

    /// Starts a new worker in the place of one that has ended, under a new name: the old one is taken until its lease
    /// ends.
    ///
    /// The coordinator and a worker that ends again and again are not replaced: their error is the run's.
    pub(super) fn replace(&mut self, end: UnexpectedEnd) -> Result<String, CommandError> {
        let Some(index) = end.agent.filter(|_| self.replacements < MOST_REPLACEMENTS) else {
            return Err(end.error);
        };
        let number = self.agents.len() + self.replacements;
        self.replacements += 1;
        let plan = agent_plan(
            number,
            &self.shares[index],
            &self.folder,
            &self.programs,
            &self.connection.address,
        )?;
        let name = plan.name.clone();
        self.agents[index] = Child::start(plan, &self.programs.own)?;
        Ok(name)
    }

    /// Ends the workers, then the coordinator.
    pub(super) async fn stop(mut self) {
        future::join_all(self.agents.iter_mut().map(|agent| agent.stop(AGENT_GRACE))).await;
        self.coordinator.stop(COORDINATOR_GRACE).await;
    }

    fn workers_missing(&self) -> CommandError {
        let mut message = format!(
            "not all of the {} came up within {} s",
            counted(self.agents.len() as u64, "worker"),
            WORKERS_START.as_secs()
        );
        for line in self.agents.iter().flat_map(Child::last_lines) {
            message.push_str("\n  | ");
            message.push_str(&line);
        }
        CommandError::Local(message)
    }
}

fn coordinator_plan(folder: &Path, programs: &Programs, ready_file: &Path) -> ChildPlan {
    ChildPlan {
        name: "coordinator".to_owned(),
        program: programs.own.clone(),
        arguments: vec![
            "serve".into(),
            "--listen".into(),
            "127.0.0.1:0".into(),
            "--data-dir".into(),
            folder.join("coordinator").into(),
            "--ready-file".into(),
            ready_file.into(),
        ],
        environment: Vec::new(),
        log: folder.join("coordinator.log"),
    }
}

fn agent_name(number: usize) -> String {
    format!("local-{number}")
}

fn agent_plan(
    number: usize,
    share: &Share,
    folder: &Path,
    programs: &Programs,
    address: &str,
) -> Result<ChildPlan, CommandError> {
    let name = agent_name(number);
    let state = folder.join(&name);
    fs::create_dir_all(&state).map_err(CommandError::file("create", &state))?;
    let mut arguments = vec![
        "agent".into(),
        "--coordinator".into(),
        address.into(),
        "--name".into(),
        name.clone().into(),
    ];
    arguments.extend([
        "--grace".into(),
        format!("{}s", RANK_GRACE.as_secs()).into(),
        "--address".into(),
        "127.0.0.1".into(),
        "--state-dir".into(),
        state.into(),
    ]);
    let devices = match share {
        Share::Cpu { slots, threads } => {
            arguments.extend([
                "--cpu-slots".into(),
                slots.to_string().into(),
                "--threads-per-slot".into(),
                threads.to_string().into(),
            ]);
            String::new()
        }
        Share::Gpu(devices) => devices.join(","),
    };
    Ok(ChildPlan {
        program: programs.worker.clone(),
        arguments,
        environment: vec![("CUDA_VISIBLE_DEVICES", devices)],
        log: folder.join(format!("{name}.log")),
        name: format!("worker {name}"),
    })
}

/// The coordinator writes its address, with the port it was given, once it serves.
async fn address_when_ready(coordinator: &mut Child, ready_file: &Path) -> Result<String, CommandError> {
    let written = async {
        let mut look = interval(LOOK);
        loop {
            look.tick().await;
            if let Some(address) = fs::read_to_string(ready_file)
                .ok()
                .as_deref()
                .and_then(complete_address)
            {
                return address;
            }
        }
    };
    tokio::select! {
        address = timeout(COORDINATOR_START, written) => {
            address.map_err(|_| CommandError::Local(format!("the coordinator was not ready within {} s", COORDINATOR_START.as_secs())))
        }
        status = coordinator.ended() => Err(coordinator.unexpected_end(status?)),
    }
}

/// `host:port` or a URL on a line that has its end.
fn complete_address(text: &str) -> Option<String> {
    let line = text.strip_suffix('\n')?.trim();
    if line.is_empty() {
        return None;
    }
    Some(if line.contains("://") {
        line.to_owned()
    } else {
        format!("http://{line}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_counts_once_its_line_is_complete() {
        assert_eq!(complete_address(""), None);
        assert_eq!(complete_address("127.0.0.1:39"), None);
        assert_eq!(
            complete_address("127.0.0.1:39121\n").as_deref(),
            Some("http://127.0.0.1:39121")
        );
        assert_eq!(
            complete_address("http://127.0.0.1:39121\n").as_deref(),
            Some("http://127.0.0.1:39121")
        );
    }

    #[test]
    fn an_agent_is_told_its_share_and_sees_only_its_devices() {
        let folder = tempfile::tempdir().unwrap();
        let programs = Programs {
            own: "/bin/firn".into(),
            worker: "/bin/firn-worker".into(),
        };
        let plan = |share| agent_plan(1, &share, folder.path(), &programs, "http://127.0.0.1:1").unwrap();

        let cpu = plan(Share::Cpu { slots: 2, threads: 3 });
        let tail: Vec<_> = cpu.arguments[cpu.arguments.len() - 4..].to_vec();
        assert_eq!(tail, ["--cpu-slots", "2", "--threads-per-slot", "3"]);
        assert_eq!(cpu.environment, [("CUDA_VISIBLE_DEVICES", String::new())]);

        let gpu = plan(Share::Gpu(vec!["2".into(), "3".into()]));
        assert_eq!(gpu.environment, [("CUDA_VISIBLE_DEVICES", "2,3".to_owned())]);
        assert!(!gpu.arguments.iter().any(|argument| argument == "--cpu-slots"));
    }
}
