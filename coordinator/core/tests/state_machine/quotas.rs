//! What a namespace may hold at once.

use firn_core::identifiers::Namespace;
use firn_core::queue::quota::Quota;
use firn_core::state::*;
use firn_core::{Event, Input};

use crate::bench::*;
use crate::priorities::spec_in;

impl Coordinator {
    fn set_quota(&mut self, namespace: &str, slots: Option<u32>, jobs: Option<u32>) {
        let (namespace, quota) = (Namespace::from(namespace), Some(Quota { slots, jobs }));
        self.accept(Input::SetQuota { namespace, quota });
    }

    /// Reason and sentence of the condition `Queued`.
    fn waits_for(&self, name: &str) -> (String, String) {
        let (status, reason, message) = self.condition(name, ConditionKind::Queued);
        assert_eq!(status, ConditionStatus::True);
        (reason, message)
    }

    fn slots_of(&self, name: &str) -> u64 {
        self.job(name).used().slots
    }
}

fn for_quota(message: &str) -> (String, String) {
    ("WaitingForQuota".to_owned(), message.to_owned())
}

#[test]
fn a_job_whose_quota_is_used_up_waits_and_keeps_nobody_of_other_namespaces_waiting() {
    let mut coordinator = Coordinator::new();
    coordinator.attach("w", &["cpu"; 4]);
    coordinator.set_quota("team-a", Some(2), None);
    for name in ["a-0", "a-1", "a-2", "a-3"] {
        coordinator.submit(spec_in("team-a", name, 7));
    }
    assert_eq!(coordinator.placed(), ["a-0", "a-1"]);
    let used_up = "namespace team-a uses 2 of its 2 slots; the job needs 1 more";
    assert_eq!(coordinator.waits_for("a-2"), for_quota(used_up));
    let behind = format!("waits behind jobs/a-2: {used_up}");
    assert_eq!(coordinator.waits_for("a-3"), for_quota(&behind));
    coordinator.submit(spec_in("team-b", "b-0", 0));
    assert_eq!(coordinator.placed(), ["a-0", "a-1", "b-0"]);
    coordinator.end("a-0");
    assert_eq!(coordinator.placed(), ["a-1", "a-2", "b-0"]);
}

#[test]
fn a_quota_of_jobs_counts_those_that_have_a_gang() {
    let mut coordinator = Coordinator::new();
    coordinator.attach("w", &["cpu"; 4]);
    coordinator.set_quota("team-a", None, Some(1));
    coordinator.submit(spec_in("team-a", "a-0", 0));
    coordinator.submit(spec_in("team-a", "a-1", 0));
    assert_eq!(
        coordinator.waits_for("a-1"),
        for_quota("namespace team-a runs 1 of its 1 job")
    );
    coordinator.end("a-0");
    assert_eq!(coordinator.placed(), ["a-1"]);
}

#[test]
fn a_job_that_could_never_fit_says_so_and_keeps_nobody_waiting() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a", "b", "c"]);
    coordinator.set_quota("team-a", Some(2), None);
    let mut large = spec_on("large", 3);
    large.metadata.namespace = "team-a".to_owned();
    coordinator.submit(large);
    assert_eq!(
        coordinator.waits_for("large"),
        for_quota("needs at least 3 slots, and the quota of namespace team-a is 2")
    );
    coordinator.submit(spec_in("team-a", "small", 0));
    assert_eq!(coordinator.placed(), ["small"]);
    coordinator.set_quota("team-a", Some(3), None);
    assert_eq!(
        coordinator.waits_for("large"),
        for_quota("namespace team-a uses 1 of its 3 slots; the job needs 3 more")
    );
    coordinator.end("small");
    assert_eq!(coordinator.placed(), ["large"]);
}

#[test]
fn an_elastic_gang_grows_only_as_far_as_its_quota() {
    let mut coordinator = Coordinator::new();
    coordinator.set_quota("team-a", Some(3), None);
    let mut elastic = spec_in("team-a", "elastic", 0);
    elastic.resources.workers.max = 4;
    coordinator.submit(elastic);
    coordinator.attach_cpus(&["a", "b"]);
    coordinator.bring_up();
    assert_eq!(coordinator.slots_of("elastic"), 2);
    coordinator.attach_cpus(&["c", "d"]);
    assert_eq!(coordinator.slots_of("elastic"), 3, "a recruit counts");
    coordinator.submit(spec_in("team-b", "b-0", 0));
    assert_eq!(coordinator.placed(), ["elastic", "b-0"]);
    coordinator.end("b-0");
    coordinator.set_quota("team-a", Some(9), None);
    assert_eq!(coordinator.slots_of("elastic"), 4);
}

#[test]
fn a_first_gang_is_as_large_as_its_quota_allows() {
    let mut coordinator = Coordinator::new();
    coordinator.set_quota("team-a", Some(5), None);
    coordinator.attach("a", &["cpu"; 2]);
    coordinator.attach("b", &["cpu"; 2]);
    coordinator.attach("c", &["cpu"; 2]);
    let mut elastic = spec_in("team-a", "elastic", 0);
    elastic.resources.workers.max = 3;
    elastic.resources.slots_per_worker = 2;
    coordinator.submit(elastic);
    assert_eq!(coordinator.slots_of("elastic"), 4, "whole workers only");
}

#[test]
fn a_quota_that_is_lowered_takes_nothing_from_running_jobs() {
    let mut coordinator = Coordinator::new();
    coordinator.attach("w", &["cpu"; 4]);
    for name in ["a-0", "a-1", "a-2"] {
        coordinator.submit(spec_in("team-a", name, 0));
    }
    coordinator.set_quota("team-a", Some(1), None);
    assert_eq!(coordinator.placed(), ["a-0", "a-1", "a-2"]);
    assert_eq!(coordinator.stops(), []);
    coordinator.submit(spec_in("team-a", "a-3", 0));
    assert_eq!(
        coordinator.waits_for("a-3"),
        for_quota("namespace team-a uses 3 slots, more than its quota of 1; the job needs 1 more")
    );
    for name in ["a-0", "a-1"] {
        coordinator.end(name);
        assert!(!coordinator.placed().contains(&"a-3"));
    }
    coordinator.end("a-2");
    assert_eq!(coordinator.placed(), ["a-3"]);
}

#[test]
fn a_quota_is_recorded_once_and_outlives_the_coordinator() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["w"]);
    coordinator.submit(spec_in("team-a", "a-0", 0));
    coordinator.set_quota("team-a", Some(0), None);
    coordinator.set_quota("team-a", Some(0), None);
    let changes = coordinator.journal.iter();
    let changes = changes.filter(|record| matches!(record.event, Event::QuotaChanged { .. }));
    assert_eq!(changes.count(), 1);
    coordinator.end("a-0");
    coordinator.submit(spec_in("team-a", "a-1", 0));
    coordinator.crash();
    coordinator.attach_cpus(&["w"]);
    assert_eq!(
        coordinator.waits_for("a-1"),
        for_quota("needs at least 1 slot, and the quota of namespace team-a is 0")
    );
    // Without any limit there is no quota.
    coordinator.set_quota("team-a", None, None);
    assert!(coordinator.state.quotas.is_empty());
    assert_eq!(coordinator.placed(), ["a-1"]);
}

#[test]
fn the_share_of_a_namespace_is_that_of_its_quota() {
    let mut coordinator = Coordinator::new();
    coordinator.set_quota("small", Some(2), None);
    for name in ["s-0", "s-1"] {
        coordinator.submit(spec_in("small", name, 0));
    }
    for name in ["l-0", "l-1", "l-2", "l-3"] {
        coordinator.submit(spec_in("large", name, 0));
    }
    coordinator.attach("w", &["cpu"; 4]);
    // One of two is half of it all: two of four are no more.
    assert_eq!(coordinator.placed(), ["s-0", "s-1", "l-0", "l-1"]);
    let mut coordinator = Coordinator::new();
    coordinator.set_quota("small", Some(2), None);
    for name in ["l-0", "l-1", "l-2", "l-3"] {
        coordinator.submit(spec_in("large", name, 0));
    }
    for name in ["s-0", "s-1"] {
        coordinator.submit(spec_in("small", name, 0));
    }
    coordinator.attach("w", &["cpu"; 4]);
    assert_eq!(coordinator.placed(), ["l-0", "l-1", "l-2", "s-0"]);
}
