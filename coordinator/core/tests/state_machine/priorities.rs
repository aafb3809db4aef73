//! Who is served first: priorities, and the fair order among namespaces.

use firn_core::spec::JobSpec;
use firn_core::state::*;
use firn_core::{Input, queries};

use crate::bench::*;

/// A spec of a namespace, with a priority.
pub(crate) fn spec_in(namespace: &str, name: &str, priority: u32) -> JobSpec {
    let mut spec = spec(name);
    spec.metadata.namespace = namespace.to_owned();
    spec.scheduling.priority = priority;
    spec
}

impl Coordinator {
    /// Jobs that have a gang, in the order of submission.
    pub(crate) fn placed(&self) -> Vec<&str> {
        let mut placed: Vec<&Job> = self.state.jobs.values().map(AsRef::as_ref).collect();
        placed.retain(|job| job.gang().is_some());
        placed.sort_by_key(|job| job.sequence);
        placed.into_iter().map(|job| job.id.as_str()).collect()
    }

    /// Ends a job; its ranks obey.
    pub(crate) fn end(&mut self, name: &str) {
        self.accept(Input::Cancel { job: job(name) });
        self.obey();
    }
}

#[test]
fn a_higher_priority_is_served_before_those_that_came_earlier() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a"]);
    coordinator.submit(spec_in("team", "first", 9));
    for (name, priority) in [("usual", 0), ("urgent", 5), ("soon", 1)] {
        coordinator.submit(spec_in("team", name, priority));
    }
    for expected in ["first", "urgent", "soon", "usual"] {
        assert_eq!(coordinator.placed(), [expected]);
        coordinator.end(expected);
    }
}

#[test]
fn a_job_of_lower_priority_says_behind_whom_it_waits() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a"]);
    coordinator.submit(spec_in("team", "first", 9));
    coordinator.submit(spec_in("team", "usual", 0));
    let needs = "needs 1 worker with 1 free cpu slot; 0 of 1 attached workers have one, 1 more is busy";
    assert_eq!(coordinator.why_queued("usual"), needs);
    coordinator.submit(spec_in("other", "urgent", 5));
    assert_eq!(coordinator.why_queued("urgent"), needs);
    assert_eq!(
        coordinator.why_queued("usual"),
        format!("waits behind jobs/urgent, which {needs}")
    );
}

#[test]
fn a_namespace_with_many_jobs_does_not_keep_another_with_one_waiting() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a", "b"]);
    for number in 0..6 {
        coordinator.submit(spec_in("many", &format!("many-{number}"), 0));
    }
    coordinator.submit(spec_in("few", "few-0", 0));
    coordinator.submit(spec_in("few", "few-1", 0));
    assert_eq!(coordinator.placed(), ["many-0", "many-1"]);
    coordinator.end("many-0");
    assert_eq!(coordinator.placed(), ["many-1", "few-0"], "the other uses nothing");
    coordinator.end("few-0");
    assert_eq!(coordinator.placed(), ["many-1", "few-1"]);
    coordinator.end("few-1");
    assert_eq!(coordinator.placed(), ["many-1", "many-2"]);
}

#[test]
fn slots_that_come_at_once_are_shared_out_one_after_the_other() {
    let mut coordinator = Coordinator::new();
    for name in ["a-0", "a-1", "a-2"] {
        coordinator.submit(spec_in("a", name, 0));
    }
    for name in ["b-0", "b-1"] {
        coordinator.submit(spec_in("b", name, 0));
    }
    coordinator.attach("w", &["cpu"; 3]);
    assert_eq!(coordinator.placed(), ["a-0", "a-1", "b-0"]);
}

#[test]
fn a_job_knows_how_many_are_served_before_it() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["w"]);
    coordinator.submit(spec_in("a", "runs", 0));
    for (namespace, name, priority) in [
        ("a", "a-0", 0),
        ("a", "a-1", 0),
        ("b", "b-0", 0),
        ("b", "b-1", 0),
        ("b", "urgent", 3),
    ] {
        coordinator.submit(spec_in(namespace, name, priority));
    }
    let ahead = |name: &str| queries::jobs_ahead(&coordinator.state, coordinator.job(name));
    assert_eq!(ahead("runs"), None);
    let order = ["urgent", "a-0", "b-0", "a-1", "b-1"];
    for (place, name) in (0..).zip(order) {
        assert_eq!(ahead(name), Some(place), "{name}");
    }
    // So it comes to pass, slot by slot.
    for name in order {
        coordinator.attach_cpus(&[name]);
        assert!(coordinator.placed().contains(&name), "{name}");
        let waiting = order.iter().filter(|name| coordinator.job(name).is_queued());
        assert_eq!(
            coordinator.placed().len() + waiting.count(),
            6,
            "one more for each slot"
        );
    }
}
