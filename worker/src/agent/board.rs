//! What the agent shows of itself on its port for probes: it is ready while it is attached to its coordinator.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context as _;
use firn_probes::{Exposition, ProbePort, Readiness, process::Process};
use futures::future::BoxFuture;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge, info::Info},
    registry::Registry,
};
use tracing::info;

/// Under which readiness is told over gRPC: the agent as a whole.
const NAMES: &[&str] = &[""];
const AWAY: &str = "not attached to the coordinator";

/// What there is now, and what has been so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shown {
    /// Whether a stream to the coordinator is open.
    pub(super) is_attached: bool,
    /// Rank processes that run or are being started.
    pub(super) ranks_alive: u64,
    /// Lines of ranks that the coordinator has not taken yet.
    pub(super) lines_waiting: u64,
    /// Ends of rank processes, by how they ended.
    pub(super) exits: BTreeMap<&'static str, u64>,
}

/// Shows it to whoever asks, if there is a port for that.
pub(super) struct Board {
    shown: Arc<Mutex<Shown>>,
    port: Option<(ProbePort, Readiness)>,
}

impl Board {
    /// Opens the port, if there is to be one.
    pub(super) fn open(address: Option<SocketAddr>) -> anyhow::Result<Self> {
        let shown = Arc::default();
        let open = |address| {
            let readiness = Readiness::new(AWAY, NAMES);
            let metrics = Arc::new(Metrics::of(Arc::clone(&shown)));
            let port =
                ProbePort::open(address, &readiness, metrics).with_context(|| format!("cannot listen on {address}"))?;
            info!("probes and Prometheus are answered on http://{}", port.address());
            anyhow::Ok((port, readiness))
        };
        let port = address.map(open).transpose()?;
        Ok(Self { shown, port })
    }

    /// From now on. Nothing is counted where nobody can ask.
    pub(super) async fn show(&self, now: impl FnOnce() -> Shown) {
        let Some((_, readiness)) = &self.port else { return };
        let now = now();
        let is_attached = now.is_attached;
        *lock(&self.shown) = now;
        readiness
            .set(if is_attached { Ok(()) } else { Err(AWAY.to_owned()) })
            .await;
    }
}

struct Metrics {
    registry: Registry,
}

impl Metrics {
    fn of(shown: Arc<Mutex<Shown>>) -> Self {
        let mut registry = Registry::default();
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("firn_agent_build", "The program that answers", build);
        registry.register_collector(Box::new(OfAgent { shown }));
        registry.register_collector(Box::new(Process));
        Self { registry }
    }
}

impl Exposition for Metrics {
    fn text(&self) -> BoxFuture<'_, String> {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes all that is written to it");
        Box::pin(std::future::ready(text))
    }
}

/// Read when somebody asks.
#[derive(Debug)]
struct OfAgent {
    shown: Arc<Mutex<Shown>>,
}

impl Collector for OfAgent {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let shown = lock(&self.shown).clone();
        let gauges = [
            (
                "firn_agent_attached",
                "1 while a stream to the coordinator is open",
                u64::from(shown.is_attached),
            ),
            (
                "firn_agent_ranks_alive",
                "Rank processes that run or are being started",
                shown.ranks_alive,
            ),
            (
                "firn_agent_log_lines_waiting",
                "Lines of ranks that the coordinator has not taken yet",
                shown.lines_waiting,
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let help = "Ends of rank processes, by how they ended";
        let exits = Exits(&shown.exits);
        exits.encode(encoder.encode_descriptor("firn_agent_rank_exits", help, None, exits.metric_type())?)
    }
}

struct Exits<'a>(&'a BTreeMap<&'static str, u64>);

impl EncodeMetric for Exits<'_> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        for (&reason, &count) in self.0 {
            ConstCounter::new(count).encode(encoder.encode_family(&[("reason", reason)])?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

fn lock(shown: &Mutex<Shown>) -> MutexGuard<'_, Shown> {
    shown.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_the_agent_shows_is_told_to_prometheus() {
        let shown = Shown {
            is_attached: true,
            ranks_alive: 2,
            lines_waiting: 30,
            exits: BTreeMap::from([("ok", 4), ("out_of_memory", 1)]),
        };
        let text = Metrics::of(Arc::new(Mutex::new(shown))).text().await;
        for line in [
            "# TYPE firn_agent_attached gauge\nfirn_agent_attached 1\n",
            "firn_agent_ranks_alive 2\n",
            "firn_agent_log_lines_waiting 30\n",
            "# TYPE firn_agent_rank_exits counter\nfirn_agent_rank_exits_total{reason=\"ok\"} 4\n",
            "firn_agent_rank_exits_total{reason=\"out_of_memory\"} 1\n",
            "# UNIT process_cpu_seconds seconds\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
