//! Jobs in the queue.

use std::sync::Arc;

use firn_core::compatibility::Revision;
use firn_core::identifiers::RequestId;
use firn_core::spec::{DeviceRequest, PlateauSpec, ScheduleShape};
use firn_core::state::*;
use firn_core::{Event, Input, JobEvent, Reply};

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
    let submit = || {
        let spec = Arc::new(spec("ants"));
        marked("once", "submit ants", Input::Submit { spec })
    };
    assert_eq!(coordinator.accept(submit()), Reply::Submitted(job("ants")));
    assert_eq!(coordinator.accept(submit()), Reply::Submitted(job("ants")));
    coordinator.crash();
    assert_eq!(coordinator.accept(submit()), Reply::Submitted(job("ants")));
    assert_eq!(coordinator.state.jobs.len(), 1);
    let records = coordinator.journal.len();
    assert_eq!(coordinator.accept(submit()), Reply::Submitted(job("ants")));
    assert_eq!(coordinator.journal.len(), records, "a repeat leaves no trace");
}

#[test]
fn a_request_id_stands_for_one_call_with_one_content() {
    let mut coordinator = Coordinator::new();
    let submit = |name| Input::Submit {
        spec: Arc::new(spec(name)),
    };
    coordinator.accept(marked("once", "submit ants", submit("ants")));
    let used = |id: &str| {
        format!(
            "request id `{id}` was used before, for another call: expected the same call with the same content, or a new id"
        )
    };
    let cancel = Input::Cancel { job: job("ants") };
    for other in [
        marked("once", "submit bees", submit("bees")),
        marked("once", "cancel ants", cancel.clone()),
    ] {
        assert_eq!(coordinator.refuse(other), used("once"));
    }
    coordinator.accept(marked("twice", "cancel ants", cancel.clone()));
    assert_eq!(coordinator.accept(marked("twice", "cancel ants", cancel)), Reply::Done);
    coordinator.crash();
    assert_eq!(
        coordinator.refuse(marked("twice", "submit bees", submit("bees"))),
        used("twice")
    );
    assert_eq!(coordinator.state.jobs.len(), 1);
}

#[test]
fn a_call_that_was_refused_is_decided_anew_when_it_is_repeated() {
    let mut coordinator = Coordinator::new();
    let cancel = || marked("once", "cancel ants", Input::Cancel { job: job("ants") });
    assert_eq!(coordinator.refuse(cancel()), "job jobs/ants does not exist");
    coordinator.submit(spec("ants"));
    assert_eq!(coordinator.accept(cancel()), Reply::Done);
    assert_eq!(coordinator.job("ants").outcome(), Some(&Outcome::Cancelled));
}

#[test]
fn only_calls_of_people_can_be_marked() {
    let mut coordinator = Coordinator::new();
    let refusal = coordinator.refuse(marked(
        "once",
        "attach",
        Input::AgentAttached {
            description: description("a", &["cpu"]),
            processes: Vec::new(),
            stream: firn_core::identifiers::StreamId(1),
        },
    ));
    assert_eq!(refusal, "request_id: expected a call whose answer can be remembered");
    assert!(coordinator.state.workers.is_empty(), "and nothing was done");
}

#[test]
fn marks_of_journals_that_kept_no_answers_still_count() {
    let mut coordinator = Coordinator::new();
    coordinator.submit(spec("ants"));
    // As an earlier program wrote it.
    for record in &mut coordinator.journal {
        if let Event::Job {
            event: JobEvent::Submitted { request, .. },
            ..
        } = &mut record.event
        {
            *request = Some(RequestId::from("once"));
        }
    }
    coordinator.state = coordinator.replayed();
    let submit = marked(
        "once",
        "submit ants",
        Input::Submit {
            spec: Arc::new(spec("ants")),
        },
    );
    assert_eq!(coordinator.accept(submit), Reply::Submitted(job("ants")));
    assert_eq!(coordinator.state.jobs.len(), 1);
}

pub(crate) fn marked(id: &str, body: &str, mutation: Input) -> Input {
    let request = Request {
        id: RequestId::from(id),
        body: Some(body.into()),
    };
    Input::Once {
        request,
        mutation: Box::new(mutation),
    }
}

#[test]
fn more_jobs_than_the_limit_are_refused() {
    let mut coordinator = Coordinator::new();
    coordinator.state.settings.unfinished_jobs = 1;
    coordinator.submit(spec("ants"));
    let refusal = coordinator.refuse(Input::Submit {
        spec: Arc::new(spec("bees")),
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

#[test]
fn a_worker_that_does_not_know_what_a_job_asks_for_is_not_chosen_and_is_named_with_the_field() {
    let mut coordinator = Coordinator::new();
    let older = WorkerDescription {
        protocol: Revision::OLDEST,
        ..description("w1", &["cpu"])
    };
    coordinator.attach_with(older, &[]);
    let mut wanted = spec("ants");
    wanted.training.schedule.shape = ScheduleShape::Plateau(PlateauSpec::DEFAULT);
    coordinator.submit(wanted);
    assert_eq!(
        coordinator.why_queued("ants"),
        "needs 1 worker with 1 free cpu slot; no worker is attached; worker w1 speaks revision 1 (build 0.1.0); the job needs 2 \
         because of spec.training.schedule.type"
    );
    // One that asks for nothing new is not kept waiting behind it.
    coordinator.submit(spec("bees"));
    assert_eq!(coordinator.starts()[0].worker.as_str(), "w1");
    coordinator.attach("w2", &["cpu"]);
    assert_eq!(coordinator.starts()[0].worker.as_str(), "w2");
    assert!(matches!(coordinator.job("ants").phase, Phase::Starting(_)));
}
