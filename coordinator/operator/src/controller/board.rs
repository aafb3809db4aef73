//! What the operator shows of itself on its port for probes: it is ready while the API server answers it, whether it holds the lease or waits
//! for it. One that waits has to be ready, or no second replica would ever count as started.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use firn_probes::{Exposition, ProbePort, Readiness, process::Process};
use futures::future::BoxFuture;
use prometheus_client::{
    encoding::text::encode,
    metrics::{gauge::Gauge, info::Info},
    registry::Registry,
};
use tokio::sync::watch;
use tracing::info;

use super::lease::Standing;

/// Under which readiness is told over gRPC: the operator as a whole.
const NAMES: &[&str] = &[""];

struct Metrics {
    registry: Registry,
    leading: Gauge,
    standing: watch::Receiver<Standing>,
}

impl Metrics {
    fn of(standing: watch::Receiver<Standing>) -> Self {
        let (mut registry, leading) = (Registry::default(), Gauge::default());
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("firn_operator_build", "The program that answers", build);
        registry.register(
            "firn_operator_leading",
            "1 while this operator holds the lease",
            leading.clone(),
        );
        registry.register_collector(Box::new(Process));
        Self {
            registry,
            leading,
            standing,
        }
    }
}

impl Exposition for Metrics {
    fn text(&self) -> BoxFuture<'_, String> {
        self.leading
            .set(i64::from(*self.standing.borrow() == Standing::Holding));
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes all that is written to it");
        Box::pin(std::future::ready(text))
    }
}

/// Answers probes and Prometheus for as long as it is polled; without an address it answers nobody.
///
/// # Errors
/// If the address cannot be bound.
pub(super) async fn show(address: Option<SocketAddr>, mut standing: watch::Receiver<Standing>) -> anyhow::Result<()> {
    let Some(address) = address else {
        return std::future::pending().await;
    };
    let readiness = Readiness::new("the API server was not asked yet", NAMES);
    let metrics = Arc::new(Metrics::of(standing.clone()));
    let port = ProbePort::open(address, &readiness, metrics).with_context(|| format!("cannot listen on {address}"))?;
    info!("probes and Prometheus are answered on http://{}", port.address());
    loop {
        let serving = match &*standing.borrow_and_update() {
            Standing::Holding | Standing::Waiting => Ok(()),
            Standing::Unanswered(reason) => Err(format!("the API server does not answer: {reason}")),
        };
        readiness.set(serving).await;
        if standing.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}
