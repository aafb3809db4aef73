//! Several machines on one: network namespaces on a bridge, each with a cable that can be pulled.
//!
//! This machine is on the bridge too, so a coordinator (or a [`LinkProxy`](crate::proxy::link::LinkProxy) in front of one that listens on
//! loopback) is reached by all hosts at [`Network::address`]. Needs root and `ip` (iproute2).

use std::{
    net::Ipv4Addr,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::Context as _;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::skip::skipped;

/// Networks that this process has made, so that each gets names and addresses of its own.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A bridge and its hosts. Dropping it removes all of it, and kills the processes on its hosts.
pub struct Network {
    /// Prefix of all names: an interface's has at most 15 letters.
    name: String,
    /// The first three bytes of all addresses.
    prefix: [u8; 3],
    hosts: Vec<Host>,
}

/// A network namespace.
#[derive(Clone)]
pub struct Host {
    namespace: String,
    /// The bridge's end of its cable.
    port: String,
    address: Ipv4Addr,
}

impl Network {
    /// A network of `hosts` machines. None, and a line that says why, where none can be made.
    pub fn create(hosts: u8) -> Option<Self> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let [.., high, low] = std::process::id().to_be_bytes();
        let prefix = [10, 128 + (high ^ number.to_le_bytes()[0]) % 127, low];
        let mut network = Self {
            name: format!("fn{:x}{number:x}", std::process::id()),
            prefix,
            hosts: Vec::new(),
        };
        match network.build(hosts) {
            Ok(()) => Some(network),
            Err(error) => {
                skipped(&format!("no network namespaces can be made here: {error:#}"));
                None
            }
        }
    }

    fn build(&mut self, hosts: u8) -> anyhow::Result<()> {
        let bridge = self.bridge();
        ip(&format!("link add {bridge} type bridge"))?;
        ip(&format!("address add {}/24 dev {bridge}", self.address()))?;
        ip(&format!("link set {bridge} up"))?;
        for number in 0..hosts {
            let host = Host {
                namespace: format!("{}-{number}", self.name),
                port: format!("{}p{number}", self.name),
                address: self.number(number + 2),
            };
            let Host {
                namespace,
                port,
                address,
            } = host.clone();
            // Before the first of it is made, so that all of it is removed again.
            self.hosts.push(host);
            ip(&format!("netns add {namespace}"))?;
            ip(&format!("link add {port} type veth peer name eth0 netns {namespace}"))?;
            ip(&format!("link set {port} master {bridge}"))?;
            ip(&format!("link set {port} up"))?;
            ip(&format!("-n {namespace} link set lo up"))?;
            ip(&format!("-n {namespace} address add {address}/24 dev eth0"))?;
            ip(&format!("-n {namespace} link set eth0 up"))?;
        }
        Ok(())
    }

    fn bridge(&self) -> String {
        format!("{}br", self.name)
    }

    fn number(&self, last: u8) -> Ipv4Addr {
        let [first, second, third] = self.prefix;
        Ipv4Addr::new(first, second, third, last)
    }

    /// This machine's own address in the network.
    pub fn address(&self) -> Ipv4Addr {
        self.number(1)
    }

    /// Its hosts.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // What was never made, or has gone already, needs no removing.
        for host in &self.hosts {
            host.kill_all();
            let _ = ip(&format!("link del {}", host.port));
            let _ = ip(&format!("netns del {}", host.namespace));
        }
        let _ = ip(&format!("link del {}", self.bridge()));
    }
}

impl Host {
    /// Its address in the network.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// A command that runs there, in the process that is started: signals reach it.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]).arg(program);
        command
    }

    /// Pulls its cable: nothing comes through, and no connection hears of it.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn take_link_down(&self) -> anyhow::Result<()> {
        ip(&format!("link set {} down", self.port)).map(drop)
    }

    /// Whether what it sends to another host gets there. What comes from there is not touched.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn route_to(&self, other: &Self, open: bool) -> anyhow::Result<()> {
        let (namespace, address) = (&self.namespace, other.address);
        let word = if open { "del" } else { "add" };
        ip(&format!("-n {namespace} route {word} blackhole {address}/32")).map(drop)
    }

    fn kill_all(&self) {
        let listed = ip(&format!("netns pids {}", self.namespace)).unwrap_or_default();
        for pid in listed.lines().filter_map(|line| line.trim().parse().ok()) {
            // It may have ended meanwhile.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    /// Plugs it in again.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn bring_link_up(&self) -> anyhow::Result<()> {
        ip(&format!("link set {} up", self.port)).map(drop)
    }
}

/// Runs `ip` with these words, and gives what it printed.
fn ip(words: &str) -> anyhow::Result<String> {
    let output = Command::new("ip")
        .args(words.split(' '))
        .output()
        .context("cannot run `ip`")?;
    anyhow::ensure!(
        output.status.success(),
        "`ip {words}`: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
