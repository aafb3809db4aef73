//! A network that belongs to one cluster of this machine: a bridge with a /20 of the addresses that are set aside for measuring networks, in
//! which the lower half is for Services and the upper one for pods. So tests run at once, and disturb no network of the machine.

use std::{net::Ipv4Addr, path::Path, process::Command};

use anyhow::{Context as _, bail};

use crate::process::Process;

/// The first address of all: 198.18.0.0/15 is nobody's (RFC 2544).
const FIRST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
/// Bits of a cluster's addresses.
const BITS: u32 = 12;
/// Clusters that have room.
const CLUSTERS: u32 = 32;
/// Nodes of a cluster that have room: the bridge's own address is in the eighth part.
const NODES: u8 = 7;
/// Takes the network away, and the folder with all that belongs to the cluster, when it is told to end. Others may still be ending.
const HOLD: &str = r#"
end() { ip link del "$0"; for _ in 1 2 3; do sleep 0.3; rm -rf -- "$1" && break; done; exit; }
trap 'end "$1"' TERM
while :; do read -rt 60 <> <(:); done"#;

/// Tries whether networks can be made here, in one that ends with the attempt.
pub(crate) fn try_one() -> anyhow::Result<()> {
    run("unshare", &["--net", "ip", "link", "add", "firn-k", "type", "bridge"])
}

/// A network, until it is dropped, or until the test is killed.
#[derive(Debug)]
pub(crate) struct Subnet {
    number: u32,
    _holder: Process,
}

impl Subnet {
    /// Takes one that is free, for a cluster whose files lie in `folder`, which goes with it.
    pub(crate) fn take(folder: &Path) -> anyhow::Result<Self> {
        // A bridge can be made once. Its hardware address is its own: one that it takes from its cables would change with each of them, and the
        // pods would go on sending to the one before for half a minute.
        let free = (0..CLUSTERS).find(|number| {
            let own = hardware_address(gateway(*number));
            ip(&["link", "add", &bridge(*number), "address", &own, "type", "bridge"]).is_ok()
        });
        let number = free.context("no network can be made: `ip link add` of a bridge fails")?;
        let bridge = bridge(number);
        let arguments = ["-c", HOLD, &bridge, &folder.to_string_lossy()].map(str::to_owned);
        let holder = Process::start_tidy("network", (Path::new("bash"), &arguments), folder, &[])?;
        let subnet = Self {
            number,
            _holder: holder,
        };
        let own = format!("{}/{}", gateway(number), 32 - BITS);
        ip(&["address", "add", &own, "dev", &bridge])?;
        ip(&["link", "set", &bridge, "up"])?;
        // Every address of a Service is this machine's: the proxy listens there.
        let services = format!("{}/21", subnet.services());
        ip(&["route", "add", "local", &services, "dev", &bridge, "table", "local"])?;
        Ok(subnet)
    }

    /// The name of its bridge.
    pub(crate) fn bridge(&self) -> String {
        bridge(self.number)
    }

    /// Where Services begin; the API server has the first address after it.
    pub(crate) fn services(&self) -> Ipv4Addr {
        self.at(0)
    }

    /// Where the pods of a node begin: 254 addresses.
    ///
    /// # Errors
    /// If there is no room for so many nodes.
    pub(crate) fn pods(&self, node: u8) -> anyhow::Result<Ipv4Addr> {
        anyhow::ensure!(node < NODES, "a cluster has room for {NODES} nodes");
        Ok(self.at((1 << (BITS - 1)) + (u32::from(node) << 8)))
    }

    /// This machine's own address.
    pub(crate) fn gateway(&self) -> Ipv4Addr {
        gateway(self.number)
    }

    fn at(&self, offset: u32) -> Ipv4Addr {
        at(self.number, offset)
    }
}

fn at(number: u32, offset: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(FIRST) + (number << BITS) + offset)
}

fn gateway(number: u32) -> Ipv4Addr {
    at(number, (1 << BITS) - 2)
}

/// The hardware address that goes with an address: who takes over an address is reached at once by those who knew the one before. The first part
/// says that nobody has registered it.
pub(crate) fn hardware_address(address: Ipv4Addr) -> String {
    let [first, second, third, fourth] = address.octets();
    format!("02:f1:{first:02x}:{second:02x}:{third:02x}:{fourth:02x}")
}

fn bridge(number: u32) -> String {
    format!("firn-k{number}")
}

fn ip(words: &[&str]) -> anyhow::Result<()> {
    run("ip", words)
}

fn run(program: &str, words: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program).args(words).output();
    let output = output.with_context(|| format!("cannot run `{program}`"))?;
    if !output.status.success() {
        bail!(
            "`{program} {}`: {}",
            words.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
