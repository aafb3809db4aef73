//! The questions that tell whether a container has started, is ready and lives.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Stdio,
    time::Duration,
};

use k8s_openapi::{
    api::core::v1::{Container, ContainerStatus, HTTPGetAction, Probe},
    apimachinery::pkg::util::intstr::IntOrString,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::Command,
    time::{sleep, timeout},
};
use tonic::transport::Endpoint;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::node::confinement::Confinement;

/// Bytes of an answer that tell its status.
const STATUS_LINE: usize = 12;

/// A container's probes.
pub(super) struct Probed<'a> {
    container: &'a Container,
}

/// Where a container is.
pub(super) struct Place<'a> {
    pub(super) address: Ipv4Addr,
    /// That holds its namespaces.
    pub(super) process: u32,
    pub(super) confinement: &'a Confinement,
}

/// Why a container has to be ended, and the seconds that its probe gives it.
type Verdict = (String, Option<i64>);

impl<'a> Probed<'a> {
    pub(super) fn of(container: &'a Container) -> Self {
        Self { container }
    }

    pub(super) fn has_startup(&self) -> bool {
        self.container.startup_probe.is_some()
    }

    pub(super) fn has_readiness(&self) -> bool {
        self.container.readiness_probe.is_some()
    }

    /// Asks for as long as the container runs; returns if it has to be ended.
    pub(super) async fn watch(&self, place: &Place<'_>, set: impl Fn(&dyn Fn(&mut ContainerStatus))) -> Verdict {
        if let Some(probe) = &self.container.startup_probe {
            if let Err(verdict) = self.until_started(probe, place).await {
                return verdict;
            }
            let is_ready = !self.has_readiness();
            set(&|status| {
                status.started = Some(true);
                status.ready = is_ready;
            });
        }
        tokio::select! {
            () = self.readiness(place, &set) => std::future::pending().await,
            verdict = self.liveness(place) => verdict,
        }
    }

    async fn until_started(&self, probe: &Probe, place: &Place<'_>) -> Result<(), Verdict> {
        let mut failures = 0;
        let mut rhythm = Rhythm::of(probe);
        loop {
            rhythm.wait().await;
            match self.ask(probe, place).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    failures += 1;
                    if failures >= probe.failure_threshold.unwrap_or(3) {
                        return Err((
                            format!("Startup probe failed: {error}"),
                            probe.termination_grace_period_seconds,
                        ));
                    }
                }
            }
        }
    }

    async fn readiness(&self, place: &Place<'_>, set: &impl Fn(&dyn Fn(&mut ContainerStatus))) {
        let Some(probe) = &self.container.readiness_probe else {
            return;
        };
        let mut rhythm = Rhythm::of(probe);
        let (mut is_ready, mut in_a_row) = (false, 0);
        loop {
            rhythm.wait().await;
            let answer = self.ask(probe, place).await.is_ok();
            in_a_row = if answer == is_ready { 0 } else { in_a_row + 1 };
            let threshold = match answer {
                true => probe.success_threshold.unwrap_or(1),
                false => probe.failure_threshold.unwrap_or(3),
            };
            if in_a_row >= threshold {
                (is_ready, in_a_row) = (answer, 0);
                set(&|status| status.ready = answer);
            }
        }
    }

    async fn liveness(&self, place: &Place<'_>) -> Verdict {
        let Some(probe) = &self.container.liveness_probe else {
            return std::future::pending().await;
        };
        let mut rhythm = Rhythm::of(probe);
        let mut failures = 0;
        loop {
            rhythm.wait().await;
            match self.ask(probe, place).await {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures += 1;
                    if failures >= probe.failure_threshold.unwrap_or(3) {
                        return (
                            format!("Liveness probe failed: {error}"),
                            probe.termination_grace_period_seconds,
                        );
                    }
                }
            }
        }
    }

    /// Asks once.
    async fn ask(&self, probe: &Probe, place: &Place<'_>) -> Result<(), String> {
        let limit = seconds(probe.timeout_seconds, 1);
        let answer = async {
            if let Some(action) = &probe.exec {
                run(place, action.command.as_deref().unwrap_or_default()).await
            } else if let Some(action) = &probe.http_get {
                let port = self.port(&action.port)?;
                get(SocketAddr::from((place.address, port)), action).await
            } else if let Some(action) = &probe.tcp_socket {
                let address = SocketAddr::from((place.address, self.port(&action.port)?));
                TcpStream::connect(address)
                    .await
                    .map(drop)
                    .map_err(|error| error.to_string())
            } else if let Some(action) = &probe.grpc {
                let port = u16::try_from(action.port).map_err(|error| error.to_string())?;
                let service = action.service.clone().unwrap_or_default();
                check(SocketAddr::from((place.address, port)), service).await
            } else {
                Err("no action is known".to_owned())
            }
        };
        timeout(limit, answer)
            .await
            .unwrap_or_else(|_| Err(format!("timed out after {} s", limit.as_secs())))
    }

    /// A number, or the name of one of the container's ports.
    fn port(&self, port: &IntOrString) -> Result<u16, String> {
        let number = match port {
            IntOrString::Int(number) => Some(*number),
            IntOrString::String(name) => {
                let mut ports = self.container.ports.iter().flatten();
                ports
                    .find(|port| port.name.as_ref() == Some(name))
                    .map(|port| port.container_port)
            }
        };
        let number = number.and_then(|number| u16::try_from(number).ok());
        number.ok_or_else(|| format!("no port {port:?}"))
    }
}

/// When a probe asks.
struct Rhythm {
    next: Duration,
    period: Duration,
}

impl Rhythm {
    fn of(probe: &Probe) -> Self {
        Self {
            next: seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds, 10),
        }
    }

    async fn wait(&mut self) {
        sleep(self.next).await;
        self.next = self.period;
    }
}

fn seconds(given: Option<i32>, default: i32) -> Duration {
    Duration::from_secs(u64::from(given.unwrap_or(default).max(0).unsigned_abs()))
}

/// The process that is the first in a container, by the one that holds its namespaces.
pub(super) fn first_process(holder: u32) -> Option<i32> {
    let children = std::fs::read_to_string(format!("/proc/{holder}/task/{holder}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

async fn run(place: &Place<'_>, command: &[String]) -> Result<(), String> {
    let process = first_process(place.process).ok_or("the container does not run")?;
    let container = place.confinement;
    let output = Command::new("nsenter")
        .args([
            "--target",
            &process.to_string(),
            "--mount",
            "--uts",
            "--ipc",
            "--pid",
            "--root",
            "--wd",
        ])
        .args([
            "--setuid",
            &container.user.to_string(),
            "--setgid",
            &container.group.to_string(),
            "--",
        ])
        .args(command)
        .env_clear()
        .envs(&container.environment)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await;
    let output = output.map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// A kubelet takes any status from 200 to 399.
async fn get(address: SocketAddr, action: &HTTPGetAction) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let path = action.path.as_deref().unwrap_or("/");
    let mut request =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: kube-probe/1.37\r\nConnection: close\r\n");
    for header in action.http_headers.iter().flatten() {
        request.push_str(&format!("{}: {}\r\n", header.name, header.value));
    }
    request.push_str("\r\n");
    let mut stream = TcpStream::connect(address).await.map_err(text)?;
    stream.write_all(request.as_bytes()).await.map_err(text)?;
    let mut status = [0; STATUS_LINE];
    stream.read_exact(&mut status).await.map_err(text)?;
    let status = String::from_utf8_lossy(&status).into_owned();
    match status.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok()) {
        Some(200..=399) => Ok(()),
        _ => Err(format!("HTTP probe failed with {status:?}")),
    }
}

async fn check(address: SocketAddr, service: String) -> Result<(), String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| error.to_string())?;
    let channel = endpoint.connect().await.map_err(|error| error.to_string())?;
    let answer = HealthClient::new(channel).check(HealthCheckRequest { service }).await;
    match answer.map_err(|status| status.to_string())?.into_inner().status() {
        ServingStatus::Serving => Ok(()),
        other => Err(format!("service unhealthy (responded with {:?})", other.as_str_name())),
    }
}
