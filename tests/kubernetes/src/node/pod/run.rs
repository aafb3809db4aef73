//! One run of a container: from its first process to how it ended, and what of that is told.

use std::{
    fs::{self, File},
    process::Stdio,
    time::Duration,
};

use firn_tests::memory::SmallMemory;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateRunning, ContainerStateTerminated};
use kube::{ResourceExt as _, runtime::events::EventType};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
    time::{Instant, sleep, sleep_until},
};

use super::{
    container::ContainerLife,
    probes::{self, Probed},
    quantity, status, told_to_go,
};
use crate::node::confinement::{Confinement, NOT_STARTED};

/// Between two looks at whether memory ran out, or a process has come.
const SOON: Duration = Duration::from_millis(50);
/// Bytes of a message that a container may leave behind.
const LONGEST_MESSAGE: usize = 4096;

/// A container that runs.
struct Running {
    child: Child,
    memory: Option<SmallMemory>,
}

impl ContainerLife {
    /// Runs it once; returns how it ended.
    pub(super) async fn once(
        &self,
        confinement: &Confinement,
        attempt: u32,
    ) -> anyhow::Result<ContainerStateTerminated> {
        let began = status::now();
        let mut running = self.start(confinement, attempt).await?;
        let id = format!("firn-test-node://{}", running.child.id().unwrap_or_default());
        let probes = Probed::of(&self.container);
        self.set(|status| {
            status.container_id = Some(id.clone());
            status.started = Some(!probes.has_startup());
            status.ready = !probes.has_startup() && !probes.has_readiness();
            status.state = Some(ContainerState {
                running: Some(ContainerStateRunning {
                    started_at: Some(began.clone()),
                }),
                ..ContainerState::default()
            });
        });
        let place = probes::Place {
            address: self.life.address,
            process: running.child.id().unwrap_or_default(),
            confinement,
        };
        let mut stop = self.life.stop.clone();
        let mut out_of_memory = false;
        let exit = tokio::select! {
            exit = running.child.wait() => exit,
            () = told_to_go(&mut stop) => self.end(&mut running, None).await,
            (why, grace) = probes.watch(&place, |change| self.set(change)) => {
                self.life.tell(EventType::Warning, "Unhealthy", &why).await;
                let grace = grace.or(self.life.spec.termination_grace_period_seconds).unwrap_or(30);
                self.end(&mut running, Some(grace)).await
            }
            () = ran_out(running.memory.as_ref()) => {
                out_of_memory = true;
                signal(&running.child, Signal::SIGKILL);
                running.child.wait().await
            }
        };
        let code = exit?.code().unwrap_or(137);
        out_of_memory |= running.memory.as_ref().is_some_and(SmallMemory::has_run_out);
        let mut end = self.told(code, attempt);
        if out_of_memory && code != 0 {
            end.reason = Some("OOMKilled".to_owned());
        }
        end.container_id = Some(id);
        end.started_at = Some(began);
        Ok(end)
    }

    async fn start(&self, confinement: &Confinement, attempt: u32) -> anyhow::Result<Running> {
        let life = &self.life;
        let logs = life.node.settings.folder.join("logs");
        fs::create_dir_all(&logs)?;
        let log = File::create(logs.join(self.log_name(attempt)))?;
        let limits = self
            .container
            .resources
            .as_ref()
            .and_then(|resources| resources.limits.as_ref());
        let limit = limits.and_then(|limits| quantity::value(limits.get("memory")?));
        let memory = limit.and_then(|bytes| SmallMemory::create(bytes as u64));
        let mut child = Command::new("/proc/self/exe")
            .arg("confine")
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        if let (Some(memory), Some(id)) = (&memory, child.id()) {
            memory.take_in(Pid::from_raw(id.cast_signed()))?;
        }
        if let Some(mut input) = child.stdin.take() {
            input.write_all(&serde_json::to_vec(confinement)?).await?;
        }
        Ok(Running { child, memory })
    }

    fn log_name(&self, attempt: u32) -> String {
        let life = &self.life;
        format!(
            "{}_{}_{}_{attempt}.log",
            life.namespace(),
            life.pod.name_any(),
            self.container.name
        )
    }

    /// Tells it to go, and kills it when its time is up. The pod's own time, if none is given, which can become shorter.
    async fn end(&self, running: &mut Running, grace: Option<i64>) -> std::io::Result<std::process::ExitStatus> {
        let mut stop = self.life.stop.clone();
        let seconds = |told: Option<i64>| Duration::from_secs(told.unwrap_or_default().max(0).cast_unsigned());
        let began = Instant::now();
        let mut deadline = began + seconds(grace.or(*stop.borrow_and_update()));
        while !signal(&running.child, Signal::SIGTERM) && Instant::now() < deadline {
            // It is being started.
            if let Ok(exit) = tokio::time::timeout(SOON, running.child.wait()).await {
                return exit;
            }
        }
        loop {
            tokio::select! {
                exit = running.child.wait() => return exit,
                () = sleep_until(deadline) => {
                    if !signal(&running.child, Signal::SIGKILL) {
                        running.child.start_kill()?;
                    }
                    return running.child.wait().await;
                }
                _ = stop.changed() => deadline = deadline.min(Instant::now() + seconds(*stop.borrow_and_update())),
            }
        }
    }

    /// How it ended, with what it left as its last words.
    fn told(&self, code: i32, attempt: u32) -> ContainerStateTerminated {
        let folder = self.life.folder.join("containers").join(&self.container.name);
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
        let failure = read("failure");
        if code == i32::from(NOT_STARTED) && !failure.is_empty() {
            return not_started(&failure);
        }
        let mut message = read("message");
        let falls_back = self.container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
        if message.is_empty() && falls_back && code != 0 {
            let log = self.life.node.settings.folder.join("logs").join(self.log_name(attempt));
            message = fs::read_to_string(log).unwrap_or_default();
        }
        let begin = message.len().saturating_sub(LONGEST_MESSAGE);
        let begin = (begin..=message.len())
            .find(|at| message.is_char_boundary(*at))
            .unwrap_or_default();
        ContainerStateTerminated {
            exit_code: code,
            reason: Some(if code == 0 { "Completed" } else { "Error" }.to_owned()),
            message: Some(message[begin..].to_owned()).filter(|message| !message.is_empty()),
            finished_at: Some(status::now()),
            ..ContainerStateTerminated::default()
        }
    }
}

/// A container without a process.
pub(super) fn not_started(message: &str) -> ContainerStateTerminated {
    ContainerStateTerminated {
        exit_code: i32::from(NOT_STARTED),
        reason: Some("StartError".to_owned()),
        message: Some(message.to_owned()),
        finished_at: Some(status::now()),
        ..ContainerStateTerminated::default()
    }
}

/// Sends a signal to the container's first process; whether there was one.
fn signal(child: &Child, signal: Signal) -> bool {
    let first = child.id().and_then(probes::first_process);
    first.is_some_and(|process| kill(Pid::from_raw(process), signal).is_ok())
}

/// Waits until a process of the container was killed because memory ran out: then all of it goes.
async fn ran_out(memory: Option<&SmallMemory>) {
    let Some(memory) = memory else {
        return std::future::pending().await;
    };
    while !memory.has_run_out() {
        sleep(SOON).await;
    }
}
