//! What is there now, as the state has it.

use std::{collections::BTreeMap, sync::atomic::AtomicI64};

use firn_core::{
    State, queries,
    state::{Availability, Summary},
};
use prometheus_client::{
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

use super::Labels;
use crate::engine::EngineHandle;

/// Namespaces that have a label of their own: the busiest. All others are one.
const MOST_NAMESPACES: usize = 50;
/// No namespace is called so.
const OTHER_NAMESPACES: &str = "_other";

type Gauges<const N: usize> = Family<Labels<N>, Gauge<i64, AtomicI64>>;

/// Gauges that are set when somebody asks.
pub(super) struct Present {
    jobs: Gauges<1>,
    unfinished: Gauges<1>,
    waiting: Gauge,
    workers: Gauges<1>,
    slots: Gauges<2>,
    mailbox: Gauge,
    writable: Gauge,
}

/// How many there are of each.
#[derive(Default)]
struct Counts {
    jobs: BTreeMap<&'static str, i64>,
    namespaces: BTreeMap<String, i64>,
    waiting: i64,
    workers: BTreeMap<&'static str, i64>,
    slots: BTreeMap<(String, &'static str), i64>,
}

impl Present {
    pub(super) fn registered(registry: &mut Registry) -> Self {
        let present = Self {
            jobs: Family::default(),
            unfinished: Family::default(),
            waiting: Gauge::default(),
            workers: Family::default(),
            slots: Family::default(),
            mailbox: Gauge::default(),
            writable: Gauge::default(),
        };
        registry.register("jobs", "Jobs that are kept, by their state", present.jobs.clone());
        registry.register(
            "namespace_unfinished_jobs",
            "Jobs that have not ended, by namespace; of the busiest namespaces alone, the others together",
            present.unfinished.clone(),
        );
        registry.register("queue_jobs", "Jobs that wait for slots", present.waiting.clone());
        registry.register(
            "workers",
            "Workers that are known, by their state",
            present.workers.clone(),
        );
        registry.register(
            "slots",
            "Slots of attached workers, by kind and use",
            present.slots.clone(),
        );
        registry.register(
            "engine_mailbox_messages",
            "Messages that wait for the engine",
            present.mailbox.clone(),
        );
        registry.register(
            "journal_writable",
            "1 while everything can be recorded, 0 while the disk is nearly full or has failed",
            present.writable.clone(),
        );
        present
    }

    /// Asks the engine, and sets all gauges. An engine that has ended leaves them as they were.
    pub(super) async fn refresh(&self, engine: &EngineHandle) {
        self.mailbox.set(i64::try_from(engine.waiting()).unwrap_or(i64::MAX));
        self.writable.set(i64::from(engine.is_writing()));
        if let Ok(counts) = engine.ask(count).await {
            self.set(counts);
        }
    }

    fn set(&self, counts: Counts) {
        self.waiting.set(counts.waiting);
        for (state, count) in counts.jobs {
            self.jobs.get_or_create(&[("state", state.to_owned())]).set(count);
        }
        for (state, count) in counts.workers {
            self.workers.get_or_create(&[("state", state.to_owned())]).set(count);
        }
        // Kinds and namespaces come and go.
        self.slots.clear();
        for ((kind, used), count) in counts.slots {
            self.slots
                .get_or_create(&[("kind", kind), ("use", used.to_owned())])
                .set(count);
        }
        self.unfinished.clear();
        for (namespace, count) in busiest(counts.namespaces) {
            self.unfinished.get_or_create(&[("namespace", namespace)]).set(count);
        }
    }
}

/// The busiest, and all others as one.
fn busiest(namespaces: BTreeMap<String, i64>) -> Vec<(String, i64)> {
    let mut sorted: Vec<_> = namespaces.into_iter().collect();
    sorted.sort_by_key(|(_, jobs)| std::cmp::Reverse(*jobs));
    let others: i64 = sorted.iter().skip(MOST_NAMESPACES).map(|(_, jobs)| jobs).sum();
    sorted.truncate(MOST_NAMESPACES);
    if others > 0 {
        sorted.push((OTHER_NAMESPACES.to_owned(), others));
    }
    sorted
}

const WORKER_STATES: [&str; 4] = ["Ready", "Draining", "SetAside", "Lost"];

fn count(state: &State) -> Counts {
    let mut counts = Counts {
        waiting: i64::try_from(state.soft.waiting.len()).unwrap_or(i64::MAX),
        // What there is none of is 0, not absent.
        jobs: Summary::ALL.into_iter().map(|summary| (summary.as_str(), 0)).collect(),
        workers: WORKER_STATES.into_iter().map(|state| (state, 0)).collect(),
        ..Counts::default()
    };
    for job in state.jobs.values().filter(|job| !state.erasing.contains(&job.id)) {
        *counts.jobs.entry(queries::summary(state, job).as_str()).or_default() += 1;
        if job.outcome().is_none() {
            *counts
                .namespaces
                .entry(job.spec.metadata.namespace.clone())
                .or_default() += 1;
        }
    }
    for worker in state.workers.values() {
        let of_worker = match worker.availability {
            _ if !worker.is_attached() => "Lost",
            Availability::Ready => "Ready",
            Availability::Drained | Availability::Preempted => "Draining",
            Availability::SetAside => "SetAside",
        };
        *counts.workers.entry(of_worker).or_default() += 1;
        if worker.is_attached() {
            for slot in &worker.description.slots {
                *counts.slots.entry((slot.kind().to_string(), "free")).or_default() += 1;
                counts.slots.entry((slot.kind().to_string(), "used")).or_default();
            }
        }
    }
    for process in state.processes.values() {
        let worker = state.workers.get(&process.worker).filter(|worker| worker.is_attached());
        let slot = worker.and_then(|worker| worker.description.slots.iter().find(|slot| slot.index == process.slot));
        if let Some(slot) = slot {
            let kind = slot.kind().to_string();
            *counts.slots.entry((kind.clone(), "free")).or_default() -= 1;
            *counts.slots.entry((kind, "used")).or_default() += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_namespaces_there_are_only_the_busiest_are_named() {
        let many = (0..200).map(|number| (format!("team-{number:03}"), number)).collect();
        let named = busiest(many);
        assert_eq!(named.len(), MOST_NAMESPACES + 1);
        assert_eq!(named[0], ("team-199".to_owned(), 199));
        assert_eq!(named[MOST_NAMESPACES], (OTHER_NAMESPACES.to_owned(), (0..150).sum()));
        assert_eq!(busiest(BTreeMap::from([("a".to_owned(), 1)])), [("a".to_owned(), 1)]);
    }
}
