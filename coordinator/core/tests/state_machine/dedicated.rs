//! Workers that are there for one job or namespace alone, and workers that a job selects by their labels.

use firn_core::spec::{DeviceRequest, JobSpec};
use firn_core::state::*;
use firn_core::{Effect, Input};

use crate::bench::*;

fn selecting(name: &str, selector: &[&str]) -> JobSpec {
    let mut spec = spec(name);
    spec.scheduling.worker_selector = labels(selector);
    spec
}

fn in_namespace(mut spec: JobSpec, namespace: &str) -> JobSpec {
    namespace.clone_into(&mut spec.metadata.namespace);
    spec
}

/// The same worker, its agent started anew.
fn anew(description: WorkerDescription) -> WorkerDescription {
    WorkerDescription {
        instance: "second start".into(),
        ..description
    }
}

/// Which agents were told of which end, since the last look.
fn dismissals(coordinator: &mut Coordinator) -> Vec<(String, String)> {
    let effects = coordinator.take_effects().into_iter();
    let told = effects.filter_map(|effect| match effect {
        Effect::DismissAgent { worker, job, end } => Some((worker.to_string(), format!("{job} {end}"))),
        _ => None,
    });
    told.collect()
}

fn told(worker: &str, what: &str) -> (String, String) {
    (worker.to_owned(), what.to_owned())
}

fn workers_of(coordinator: &mut Coordinator) -> Vec<String> {
    let starts = coordinator.starts().into_iter();
    starts
        .map(|start| format!("{} on {}", start.job, start.worker))
        .collect()
}

#[test]
fn a_worker_for_one_job_waits_for_it_and_is_given_no_other() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_with(dedicated("a", &["cpu"], "ants"), &[]);
    coordinator.submit(spec("bees"));
    assert_eq!(
        coordinator.why_queued("bees"),
        "needs 1 worker with 1 free cpu slot; no suitable worker is attached; 1 of 1 worker serves other jobs"
    );
    coordinator.submit(spec("ants"));
    assert_eq!(workers_of(&mut coordinator), ["ants on a"]);
    assert_eq!(coordinator.job("bees").phase, Phase::Queued);
}

#[test]
fn a_job_with_workers_of_its_own_may_use_shared_ones_too_unless_its_selector_says_otherwise() {
    for (selector, expected) in [
        (&[][..], &["ants on own", "ants on shared"][..]),
        (&["queue=a"][..], &["ants on own"][..]),
    ] {
        let mut coordinator = Coordinator::new();
        let own = WorkerDescription {
            labels: labels(&["queue=a"]),
            ..dedicated("own", &["cpu"], "ants")
        };
        coordinator.attach_with(own, &[]);
        coordinator.attach_cpus(&["shared"]);
        let mut wanted = selecting("ants", selector);
        wanted.resources.workers.max = 2;
        coordinator.submit(wanted);
        assert_eq!(workers_of(&mut coordinator), expected);
    }
}

#[test]
fn a_worker_for_a_namespace_is_given_jobs_of_that_alone() {
    let mut coordinator = Coordinator::new();
    let of_vision = Serves {
        job: None,
        namespace: Some("vision".to_owned()),
    };
    let worker = WorkerDescription {
        serves: of_vision,
        ..description("a", &["cpu"])
    };
    coordinator.attach_with(worker, &[]);
    coordinator.submit(spec("ants"));
    assert_eq!(coordinator.job("ants").phase, Phase::Queued);
    coordinator.submit(in_namespace(spec("bees"), "vision"));
    assert_eq!(workers_of(&mut coordinator), ["bees on a"]);
}

#[test]
fn what_is_missing_is_named() {
    let fleet: [WorkerDescription; 5] = [
        dedicated("a", &["cpu"], "bees"),
        dedicated("b", &["cpu"], "bees"),
        dedicated("c", &["cpu"], "flies"),
        labelled("d", &["cpu"], &["zone=b"]),
        labelled("e", &["cpu"], &["zone=a"]),
    ];
    let table: [(&[&str], u32, &str); 5] = [
        (
            &["zone=a"],
            2,
            "needs 2 workers with 1 free cpu slot each; 1 of 1 suitable workers has one; 3 of 5 workers serve other jobs; \
             1 lacks the label zone=a",
        ),
        (
            &[],
            3,
            "needs 3 workers with 1 free cpu slot each; 2 of 2 suitable workers have one; 3 of 5 workers serve other jobs",
        ),
        (
            &["zone=c"],
            1,
            "needs 1 worker with 1 free cpu slot; no suitable worker is attached; 3 of 5 workers serve other jobs; \
             2 lack the label zone=c",
        ),
        (
            &["gpu=h100", "zone=b"],
            1,
            "needs 1 worker with 1 free cpu slot; no suitable worker is attached; 3 of 5 workers serve other jobs; \
             1 lacks the label gpu=h100; 1 lacks the labels gpu=h100, zone=b",
        ),
        (
            &["zone=a", "rack=1"],
            1,
            "needs 1 worker with 1 free cpu slot; no suitable worker is attached; 3 of 5 workers serve other jobs; \
             1 lacks the label rack=1; 1 lacks the labels rack=1, zone=a",
        ),
    ];
    for (selector, workers, reason) in table {
        let mut coordinator = Coordinator::new();
        for worker in fleet.clone() {
            coordinator.attach_with(worker, &[]);
        }
        let mut wanted = selecting("ants", selector);
        wanted.resources.workers.min = workers;
        wanted.resources.workers.max = workers;
        coordinator.submit(wanted);
        assert_eq!(coordinator.why_queued("ants"), reason, "{selector:?}");
    }
}

#[test]
fn only_labels_are_missing_where_all_workers_are_shared() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a", "b"]);
    coordinator.submit(selecting("ants", &["zone=a"]));
    assert_eq!(
        coordinator.why_queued("ants"),
        "needs 1 worker with 1 free cpu slot; no suitable worker is attached; 2 of 2 workers lack the label zone=a"
    );
    coordinator.attach_with(labelled("c", &["cpu"], &["zone=a", "rack=7"]), &[]);
    assert_eq!(workers_of(&mut coordinator), ["ants on c"]);
}

#[test]
fn gpus_of_workers_that_a_job_may_not_have_do_not_make_it_wait_for_gpus() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_with(dedicated("a", &["cuda:0"], "bees"), &[]);
    coordinator.attach_with(labelled("b", &["cuda:0"], &["zone=b"]), &[]);
    coordinator.attach_with(labelled("c", &["cpu"], &["zone=a"]), &[]);
    let wanted = selecting("ants", &["zone=a"]);
    assert_eq!(wanted.resources.device, DeviceRequest::Auto);
    coordinator.submit(wanted);
    assert_eq!(workers_of(&mut coordinator), ["ants on c"]);
}

#[test]
fn a_job_with_workers_of_its_own_does_not_wait_behind_one_that_waits_for_shared_ones() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["shared"]);
    coordinator.submit(spec("first"));
    coordinator.submit(spec("second"));
    coordinator.submit(spec("third"));
    coordinator.attach_with(dedicated("own", &["cpu"], "third"), &[]);
    assert_eq!(workers_of(&mut coordinator), ["first on shared", "third on own"]);
    // What an earlier job waits for is not given to a later one that could have it beside its own.
    let mut greedy = spec_on("greedy", 2);
    greedy.resources.workers.max = 2;
    coordinator.submit(greedy);
    coordinator.attach_with(dedicated("more", &["cpu"], "greedy"), &[]);
    assert_eq!(
        coordinator.why_queued("greedy"),
        "waits behind jobs/second, which needs 1 worker with 1 free cpu slot; 0 of 1 suitable workers have one, \
         1 more is busy; 2 of 3 workers serve other jobs"
    );
    coordinator.accept(Input::Cancel { job: job("first") });
    coordinator.obey();
    assert_eq!(workers_of(&mut coordinator), ["second on shared"]);
}

#[test]
fn a_waiting_gang_is_not_dissolved_for_a_job_that_may_not_have_its_slots() {
    let mut coordinator = Coordinator::new();
    let mut wanted = spec_on("ants", 2);
    wanted.restart_policy.max_restarts = 9;
    for name in ["a", "b"] {
        coordinator.attach_with(dedicated(name, &["cpu"], "ants"), &[]);
    }
    coordinator.submit(wanted);
    let ranks = coordinator.bring_up();
    let stream = coordinator.state.soft.streams[&"b".into()];
    coordinator.accept(Input::AgentLeaving {
        worker: "b".into(),
        stream,
    });
    assert!(coordinator.job("ants").gang().is_some());
    coordinator.attach_cpus(&["shared"]);
    coordinator.submit(spec("bees"));
    coordinator.bring_up();
    coordinator.submit(spec("flies"));
    coordinator.live(2 * coordinator.state.settings.warm_patience);
    assert!(coordinator.job("flies").gang().is_none());
    let gang = coordinator
        .job("ants")
        .gang()
        .expect("it keeps what no other job could have");
    assert!(gang.living().any(|member| member.process == ranks[0].process));
}

#[test]
fn the_agents_of_a_job_are_told_of_its_end_once_a_stream_whatever_it_was() {
    let mut coordinator = Coordinator::new();
    for (name, to) in [("a", "ants"), ("b", "ants"), ("c", "bees")] {
        coordinator.attach_with(dedicated(name, &["cpu"], to), &[]);
    }
    coordinator.attach_cpus(&["shared"]);
    coordinator.submit(spec("ants"));
    coordinator.submit(spec("bees"));
    coordinator.bring_up();
    assert_eq!(dismissals(&mut coordinator), []);
    coordinator.accept(Input::Cancel { job: job("ants") });
    assert_eq!(
        dismissals(&mut coordinator),
        [told("a", "ants Cancelled"), told("b", "ants Cancelled")]
    );
    coordinator.obey();
    assert_eq!(dismissals(&mut coordinator), []);
    // Whoever was away, or comes too late, hears it, too; also from another coordinator.
    coordinator.crash();
    for worker in [
        dedicated("a", &["cpu"], "ants"),
        anew(dedicated("b", &["cpu"], "ants")),
        dedicated("late", &["cpu"], "ants"),
        dedicated("c", &["cpu"], "bees"),
    ] {
        coordinator.attach_with(worker, &[]);
    }
    let all = ["a", "b", "late"].map(|name| told(name, "ants Cancelled"));
    assert_eq!(dismissals(&mut coordinator), all);
}

#[test]
fn an_agent_of_a_job_that_was_deleted_leaves_and_gets_nothing_of_the_next_job_of_that_name() {
    let mut coordinator = Coordinator::new();
    let worker = || dedicated("a", &["cpu"], "ants");
    coordinator.attach_with(worker(), &[]);
    coordinator.submit(spec("ants"));
    coordinator.bring_up();
    coordinator.accept(Input::Cancel { job: job("ants") });
    coordinator.obey();
    coordinator.accept(Input::Delete { job: job("ants") });
    coordinator.take_effects();
    coordinator.attach_with(worker(), &[]);
    assert_eq!(dismissals(&mut coordinator), [told("a", "ants Deleted")]);
    coordinator.accept(Input::JobErased {
        job: job("ants"),
        bytes: 0,
    });
    assert_eq!(coordinator.submit(spec("ants")), job("ants"));
    coordinator.attach_with(worker(), &[]);
    assert_eq!(dismissals(&mut coordinator), [told("a", "ants Deleted")]);
    assert_eq!(coordinator.job("ants").phase, Phase::Queued);
    coordinator.crash();
    coordinator.attach_with(worker(), &[]);
    assert_eq!(dismissals(&mut coordinator), [told("a", "ants Deleted")]);
    // The agent that is started for the new job serves it.
    coordinator.attach_with(anew(worker()), &[]);
    assert_eq!(workers_of(&mut coordinator), ["ants on a"]);
}

#[test]
fn an_agent_that_left_is_replaced_under_its_name_and_the_gang_grows_back() {
    let mut coordinator = Coordinator::new();
    let mut wanted = spec("ants");
    wanted.resources.workers.max = 2;
    for name in ["w0", "w1"] {
        coordinator.attach_with(dedicated(name, &["cpu"], "ants"), &[]);
    }
    coordinator.submit(wanted);
    let ranks = coordinator.bring_up();
    coordinator.prepare(&ranks, &TRAIN_AND_VALIDATION);
    let stream = coordinator.state.soft.streams[&"w1".into()];
    let worker = || "w1".into();
    coordinator.accept(Input::AgentDraining {
        worker: worker(),
        stream,
    });
    coordinator.exited(&ranks[1], Ending::Exited(13));
    coordinator.accept(Input::AgentLeaving {
        worker: worker(),
        stream,
    });
    assert_eq!(coordinator.job("ants").losses_counted, 0);
    coordinator.attach_with(anew(dedicated("w1", &["cpu"], "ants")), &[]);
    assert_eq!(workers_of(&mut coordinator), ["ants on w1"]);
}

/// A job on two workers of its own, of which `w1` seems to be connected and is gone.
fn vanished() -> Coordinator {
    let mut coordinator = Coordinator::new();
    let mut wanted = spec("ants");
    wanted.resources.workers.max = 2;
    for name in ["w0", "w1"] {
        coordinator.attach_with(dedicated(name, &["cpu"], "ants"), &[]);
    }
    coordinator.submit(wanted);
    let ranks = coordinator.bring_up();
    coordinator.prepare(&ranks, &TRAIN_AND_VALIDATION);
    coordinator
}

#[test]
fn an_agent_in_place_of_one_that_vanished_is_taken_before_the_lease_ends_and_the_loss_counts_once() {
    let mut coordinator = vanished();
    let (_, unwanted) = coordinator.attach_with(anew(dedicated("w1", &["cpu"], "ants")), &[]);
    assert!(unwanted.is_empty());
    coordinator.live(coordinator.state.settings.exit_grace + 1_000);
    let job = coordinator.job("ants");
    assert_eq!((job.losses_counted, job.losses.len()), (1, 1));
    assert_eq!(workers_of(&mut coordinator), ["ants on w1"]);
    // The lease of the one before is nobody's.
    coordinator.live(2 * coordinator.state.settings.lease);
    assert_eq!(coordinator.job("ants").losses_counted, 1);
}

#[test]
fn the_agent_that_was_replaced_does_not_get_its_name_back() {
    let mut coordinator = vanished();
    coordinator.attach_with(anew(dedicated("w1", &["cpu"], "ants")), &[]);
    let back = Input::AgentAttached {
        description: dedicated("w1", &["cpu"], "ants"),
        processes: Vec::new(),
        stream: firn_core::identifiers::StreamId(77),
    };
    let refusal = "another agent has come in place of this one as worker w1, from host host-w1";
    assert_eq!(coordinator.refuse(back.clone()), refusal);
    coordinator.crash();
    assert_eq!(coordinator.refuse(back), refusal);
}

#[test]
fn of_two_agents_that_serve_all_the_second_one_of_a_name_is_refused() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a"]);
    for second in [anew(description("a", &["cpu"])), anew(dedicated("a", &["cpu"], "ants"))] {
        let refused = coordinator.refuse(Input::AgentAttached {
            description: second,
            processes: Vec::new(),
            stream: firn_core::identifiers::StreamId(77),
        });
        assert_eq!(refused, "worker a is attached already from host host-a");
    }
}

#[test]
fn a_failing_worker_is_not_set_aside_for_others_that_may_not_take_its_jobs() {
    for (other, expected) in [
        (dedicated("b", &["cpu"], "bees"), Availability::Ready),
        (dedicated("b", &["cpu"], "ants"), Availability::SetAside),
        (description("b", &["cpu"]), Availability::SetAside),
    ] {
        let mut coordinator = Coordinator::new();
        let mut wanted = spec("ants");
        wanted.restart_policy.max_restarts = 9;
        coordinator.attach_with(dedicated("a", &["cpu"], "ants"), &[]);
        coordinator.submit(wanted);
        for _ in 0..coordinator.state.settings.worker_failures {
            let mut ranks = coordinator.start_ranks();
            while ranks.is_empty() {
                coordinator.live(2_000);
                ranks = coordinator.start_ranks();
            }
            coordinator.join(&ranks[0]).unwrap();
            if !coordinator.state.workers.contains_key(&"b".into()) {
                coordinator.attach_with(other.clone(), &[]);
            }
            coordinator.exited(&ranks[0], Ending::Killed(9));
            coordinator.live(3_000);
        }
        assert_eq!(
            coordinator.state.workers[&"a".into()].availability,
            expected,
            "{other:?}"
        );
    }
}

#[test]
fn what_a_program_before_labels_recorded_of_a_worker_serves_all() {
    let mut document = serde_json::to_value(labelled("a", &["cpu"], &["zone=a"])).unwrap();
    let fields = document.as_object_mut().unwrap();
    assert!(fields.remove("labels").is_some() && !fields.contains_key("serves"));
    let read: WorkerDescription = serde_json::from_value(document).unwrap();
    assert_eq!(read, description("a", &["cpu"]));
    assert!(read.serves.is_shared());
}
