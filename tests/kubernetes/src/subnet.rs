//! Loopback addresses that belong to one cluster of this machine: 127.N.0.0/16, in which the lower half is for Services and the upper one
//! for pods. So tests run at once, and every pod and every Service can have the ports that it wants.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::Context as _;

/// The networks that clusters take.
const NETWORKS: std::ops::RangeInclusive<u8> = 65..=126;
/// Whoever listens here has the network.
const HOLDER: (u8, u16) = (254, 10_250);

/// A network, until it is dropped.
#[derive(Debug)]
pub(crate) struct Subnet {
    network: u8,
    _holder: TcpListener,
}

impl Subnet {
    /// Takes one that is free.
    pub(crate) fn take() -> anyhow::Result<Self> {
        let mut free = NETWORKS.filter_map(|network| {
            let address = Ipv4Addr::new(127, network, 127, HOLDER.0);
            let holder = TcpListener::bind((address, HOLDER.1)).ok()?;
            Some(Self {
                network,
                _holder: holder,
            })
        });
        free.next().context("no loopback network is free")
    }

    /// Where Services begin; the API server has the first address after it.
    pub(crate) fn services(&self) -> Ipv4Addr {
        Ipv4Addr::new(127, self.network, 0, 0)
    }

    /// Where the pods of a node begin: 254 addresses.
    pub(crate) fn pods(&self, node: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.network, 128 + node, 0)
    }
}
