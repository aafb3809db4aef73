//! What Prometheus is told, in the OpenMetrics format.
//!
//! Names follow the conventions of the field: base units (seconds, bytes), `_total` for what only grows, and no label that grows with what people
//! do: no names of jobs or workers, and of namespaces only the busiest. What only grows is counted from the records, once they are durable, since this
//! process began; what is there now is read from the state when somebody asks.

mod present;
mod rpc;

use std::{sync::OnceLock, time::Duration};

use firn_core::{Event, JobEvent, Record, state::FailureReason};
use firn_probes::{Exposition, process::Process};
use futures::future::BoxFuture;
use prometheus_client::{
    encoding::text::encode,
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::{Registry, Unit},
};

use crate::engine::EngineHandle;
use present::Present;

pub(crate) use rpc::Measured;

/// Labels of one metric.
type Labels<const N: usize> = [(&'static str, String); N];

/// All that is measured.
pub struct Metrics {
    registry: Registry,
    /// Whom to ask for what is there now; nobody before the journal is replayed.
    engine: OnceLock<EngineHandle>,
    present: Present,
    decisions: Histogram,
    appends: Histogram,
    calls: Family<Labels<3>, Histogram, fn() -> Histogram>,
    steps: Counter,
    samples: Counter,
    losses: Family<Labels<1>, Counter>,
    restarts: Counter,
}

/// What explains the loss of ranks. These begin at 0: a counter that comes with its first loss hides that one from whoever asks how much it grew.
const REASONS_OF_LOSSES: [FailureReason; 4] = [
    FailureReason::NodeFailures,
    FailureReason::OutOfMemory,
    FailureReason::HardwareSuspected,
    FailureReason::InternalError,
];

/// 50 µs to 26 s.
fn fine_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.000_05, 2.0, 20))
}

/// 0.5 ms to 4 min.
fn coarse_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.000_5, 2.0, 20))
}

fn of_reason(reason: FailureReason) -> Labels<1> {
    [("reason", reason.as_str().to_owned())]
}

fn none_lost() -> Family<Labels<1>, Counter> {
    let losses = Family::<Labels<1>, Counter>::default();
    for reason in REASONS_OF_LOSSES {
        losses.get_or_create(&of_reason(reason)).inc_by(0);
    }
    losses
}

impl Default for Metrics {
    fn default() -> Self {
        let mut all = Registry::default();
        // Under names that all programs have.
        all.register_collector(Box::new(Process));
        let registry = all.sub_registry_with_prefix("firn");
        let (decisions, appends) = (fine_buckets(), fine_buckets());
        let calls = Family::new_with_constructor(coarse_buckets as fn() -> Histogram);
        let (steps, samples, restarts) = (Counter::default(), Counter::default(), Counter::default());
        let losses = none_lost();
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program that answers", build);
        registry.register_with_unit(
            "engine_decision",
            "Time that the core takes to decide on one message",
            Unit::Seconds,
            decisions.clone(),
        );
        registry.register_with_unit(
            "journal_append",
            "Time from the first byte of a commit until the disk has it all",
            Unit::Seconds,
            appends.clone(),
        );
        registry.register_with_unit(
            "rpc_duration",
            "Time from a call until its answer has ended, streams included",
            Unit::Seconds,
            calls.clone(),
        );
        registry.register("steps_committed", "Optimizer steps that count", steps.clone());
        registry.register("samples_trained", "Samples of the steps that count", samples.clone());
        registry.register(
            "ranks_lost",
            "Rank processes that were lost, by what explains it",
            losses.clone(),
        );
        registry.register(
            "gang_restarts",
            "Gangs that lost all their ranks and were formed again",
            restarts.clone(),
        );
        let present = Present::registered(registry);
        Self {
            registry: all,
            engine: OnceLock::new(),
            present,
            decisions,
            appends,
            calls,
            steps,
            samples,
            losses,
            restarts,
        }
    }
}

impl Metrics {
    /// From now on the state can be asked for.
    pub fn ask(&self, engine: EngineHandle) {
        // The first one is the only one.
        let _ = self.engine.set(engine);
    }

    /// The core has decided on a message.
    pub(crate) fn decided(&self, took: Duration) {
        self.decisions.observe(took.as_secs_f64());
    }

    /// A commit is on the disk.
    pub(crate) fn appended(&self, took: Duration) {
        self.appends.observe(took.as_secs_f64());
    }

    /// A call was answered.
    fn called(&self, (service, method): (&'static str, &'static str), code: tonic::Code, took: Duration) {
        let labels = [
            ("service", service.to_owned()),
            ("method", method.to_owned()),
            ("code", format!("{code:?}")),
        ];
        self.calls.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Counts what a durable record tells.
    pub(crate) fn recorded(&self, record: &Record) {
        let Event::Job { event, .. } = &record.event else {
            return;
        };
        match event {
            JobEvent::StepsCommitted { steps, .. } => {
                self.steps.inc_by(steps.len() as u64);
                self.samples
                    .inc_by(steps.iter().map(|step| u64::from(step.samples)).sum());
            }
            JobEvent::RanksLost { processes, cause, .. } => {
                let reason = of_reason(cause.failure.reason);
                self.losses.get_or_create(&reason).inc_by(processes.len() as u64);
            }
            JobEvent::RestartScheduled { cause: Some(_), .. } => {
                self.restarts.inc();
            }
            _ => {}
        }
    }
}

impl Exposition for Metrics {
    fn text(&self) -> BoxFuture<'_, String> {
        Box::pin(async {
            if let Some(engine) = self.engine.get() {
                self.present.refresh(engine).await;
            }
            let mut text = String::new();
            encode(&mut text, &self.registry).expect("a string takes all that is written to it");
            text
        })
    }
}
