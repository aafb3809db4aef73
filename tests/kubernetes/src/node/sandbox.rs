//! What the containers of a pod share: a network of its own, held by a process that does nothing else, and the pod's cable to the bridge.

use std::{
    io::{Read as _, Write as _, stdin, stdout},
    net::Ipv4Addr,
    process::{ExitCode, Stdio},
};

use anyhow::Context as _;
use nix::{
    sched::{CloneFlags, unshare},
    sys::{prctl, signal::Signal},
};
use tokio::{
    io::AsyncReadExt as _,
    process::{Child, Command},
};

use crate::subnet::hardware_address;

/// Bits of the network that all pods are in.
const PREFIX: u8 = 20;

/// A pod's network, until it is dropped.
pub(super) struct Sandbox {
    holder: Child,
    cable: String,
}

/// Where a pod is to be.
pub(super) struct Place<'a> {
    pub(super) bridge: &'a str,
    pub(super) gateway: Ipv4Addr,
    pub(super) address: Ipv4Addr,
}

/// The process that holds it: it lives until its input ends, or the node is gone.
///
/// # Errors
/// If this is not root.
pub fn hold() -> anyhow::Result<ExitCode> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    unshare(CloneFlags::CLONE_NEWNET)?;
    // As container runtimes do: who is not root may listen wherever it wants.
    std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")?;
    stdout().write_all(b"!")?;
    stdout().flush()?;
    stdin().read_to_end(&mut Vec::new())?;
    Ok(ExitCode::SUCCESS)
}

impl Sandbox {
    /// Makes it.
    pub(super) async fn create(place: &Place<'_>) -> anyhow::Result<Self> {
        let mut holder = Command::new("/proc/self/exe")
            .arg("hold")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut output = holder.stdout.take().context("its output is a pipe")?;
        output
            .read_exact(&mut [0])
            .await
            .context("the network of a pod was not made")?;
        let sandbox = Self {
            cable: cable(place),
            holder,
        };
        sandbox.connect(place).await?;
        Ok(sandbox)
    }

    /// The process in whose network the containers are.
    pub(super) fn process(&self) -> u32 {
        self.holder.id().unwrap_or_default()
    }

    async fn connect(&self, place: &Place<'_>) -> anyhow::Result<()> {
        let (cable, bridge, process) = (self.cable.as_str(), place.bridge, self.process().to_string());
        // Of a pod before it, whose end this machine has not cleared away yet.
        let _ = run("ip", &["link", "del", cable]).await;
        let hardware = hardware_address(place.address);
        let peer = ["peer", "name", "eth0", "address", &hardware, "netns", &process];
        run(
            "ip",
            &[&["link", "add", cable, "type", "veth"], peer.as_slice()].concat(),
        )
        .await?;
        run("ip", &["link", "set", cable, "master", bridge, "up"]).await?;
        let own = format!("{}/{PREFIX}", place.address);
        let inside = ["--target", &process, "--net", "ip"];
        let gateway = place.gateway.to_string();
        for words in [
            ["link", "set", "lo", "up"].as_slice(),
            &["address", "add", &own, "dev", "eth0"],
            &["link", "set", "eth0", "up"],
            &["route", "add", "default", "via", &gateway],
        ] {
            run("nsenter", &[&inside, words].concat()).await?;
        }
        Ok(())
    }
}

/// The bridge's end; an interface's name has at most 15 letters.
fn cable(place: &Place<'_>) -> String {
    let [_, _, third, fourth] = place.address.octets();
    let number = place.bridge.trim_start_matches("firn-k");
    format!("fk{number}-{third:x}-{fourth:x}")
}

async fn run(program: &str, words: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program).args(words).output().await;
    let output = output.with_context(|| format!("cannot run `{program}`"))?;
    anyhow::ensure!(
        output.status.success(),
        "`{program} {}`: {}",
        words.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
