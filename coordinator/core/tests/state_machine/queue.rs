//! Jobs in the queue.

use std::sync::Arc;

use firn_core::identifiers::RequestId;
use firn_core::spec::DeviceRequest;
use firn_core::state::*;
use firn_core::{Input, Reply};

use crate::bench::*;

#[test]
fn a_job_is_named_after_its_spec_and_the_next_of_that_name_gets_a_number() {
    let mut coordinator = Coordinator::new();
    assert_eq!(coordinator.submit(spec("ants")), job("ants"));
    assert_eq!(coordinator.submit(spec("ants-3")), job("ants-3"));
    assert_eq!(coordinator.submit(spec("ants")), job("ants-2"));
    assert_eq!(coordinator.submit(spec("ants")), job("ants-4"));
}

#[test]
fn a_repeated_request_gets_the_first_answer_also_after_a_crash() {
    let mut coordinator = Coordinator::new();
    let submit = |name| Input::Submit {
        spec: Arc::new(spec(name)),
        request: Some(RequestId::from("once")),
    };
    assert_eq!(coordinator.accept(submit("ants")), Reply::Submitted(job("ants")));
    assert_eq!(coordinator.accept(submit("bees")), Reply::Submitted(job("ants")));
    coordinator.crash();
    assert_eq!(coordinator.accept(submit("bees")), Reply::Submitted(job("ants")));
    assert_eq!(coordinator.state.jobs.len(), 1);
}

#[test]
fn more_jobs_than_the_limit_are_refused() {
    let mut coordinator = Coordinator::new();
    coordinator.state.settings.unfinished_jobs = 1;
    coordinator.submit(spec("ants"));
    let refusal = coordinator.refuse(Input::Submit {
        spec: Arc::new(spec("bees")),
        request: None,
    });
    assert_eq!(refusal, "at most 1 unfinished jobs are taken");
    coordinator.accept(Input::Cancel { job: job("ants") });
    coordinator.submit(spec("bees"));
}

#[test]
fn a_waiting_job_says_what_it_lacks() {
    let mut coordinator = Coordinator::new();
    coordinator.submit(spec_on("pair", 2));
    assert_eq!(
        coordinator.why_queued("pair"),
        "needs 2 workers with 1 free cpu slot each; no worker is attached"
    );
    let stream = coordinator.attach("a", &["cpu"]);
    assert_eq!(
        coordinator.why_queued("pair"),
        "needs 2 workers with 1 free cpu slot each; 1 of 1 attached workers has one"
    );
    coordinator.accept(Input::AgentDetached {
        worker: "a".into(),
        stream,
    });
    assert_eq!(
        coordinator.why_queued("pair"),
        "needs 2 workers with 1 free cpu slot each; no worker is attached"
    );
}

#[test]
fn a_job_behind_one_that_waits_for_slots_in_use_waits_too() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a", "b", "c"]);
    coordinator.submit(spec_on("first", 2));
    coordinator.submit(spec_on("large", 3));
    coordinator.submit(spec("small"));
    assert!(matches!(coordinator.job("first").phase, Phase::Starting(_)));
    let needs = "needs 3 workers with 1 free cpu slot each; 1 of 3 attached workers has one, 2 more are busy";
    assert_eq!(coordinator.why_queued("large"), needs);
    assert_eq!(
        coordinator.why_queued("small"),
        format!("waits behind jobs/large, which {needs}")
    );
}

#[test]
fn a_job_that_all_workers_together_cannot_hold_keeps_nobody_waiting() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a"]);
    coordinator.submit(spec_on("impossible", 9));
    coordinator.submit(spec("small"));
    assert!(matches!(coordinator.job("small").phase, Phase::Starting(_)));
}

#[test]
fn a_job_that_waits_for_gpus_does_not_hold_up_a_job_for_cpus() {
    let mut coordinator = Coordinator::new();
    coordinator.attach("a", &["cuda:0"]);
    coordinator.attach("b", &["cpu"]);
    coordinator.submit(spec("first"));
    coordinator.submit(spec("second"));
    let mut on_cpu = spec("third");
    on_cpu.resources.device = DeviceRequest::Cpu;
    coordinator.submit(on_cpu);
    assert_eq!(
        coordinator.why_queued("second"),
        "needs 1 worker with 1 free gpu slot; 0 of 2 attached workers have one, 1 more is busy"
    );
    assert!(matches!(coordinator.job("third").phase, Phase::Starting(_)));
}

#[test]
fn a_waiting_job_can_be_cancelled_and_stays_cancelled() {
    let mut coordinator = Coordinator::new();
    coordinator.submit(spec("ants"));
    assert_eq!(coordinator.accept(Input::Cancel { job: job("ants") }), Reply::Done);
    assert_eq!(coordinator.job("ants").outcome(), Some(&Outcome::Cancelled));
    coordinator.attach_cpus(&["a"]);
    assert!(coordinator.starts().is_empty());
    assert_eq!(coordinator.accept(Input::Cancel { job: job("ants") }), Reply::Done);
    assert_eq!(
        coordinator.refuse(Input::Cancel { job: job("bees") }),
        "job jobs/bees does not exist"
    );
}

#[test]
fn a_cancelled_job_frees_its_slots_only_when_its_ranks_are_gone() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a"]);
    coordinator.submit(spec("ants"));
    let ranks = coordinator.bring_up();
    coordinator.submit(spec("bees"));
    coordinator.accept(Input::Cancel { job: job("ants") });
    assert_eq!(coordinator.job("ants").outcome(), Some(&Outcome::Cancelled));
    assert_eq!(coordinator.stops(), [ranks[0].process.clone()]);
    assert_eq!(coordinator.job("bees").phase, Phase::Queued);
    coordinator.obey();
    assert!(matches!(coordinator.job("bees").phase, Phase::Starting(_)));
    assert_eq!(coordinator.job("ants").outcome(), Some(&Outcome::Cancelled));
}
