//! What people see of a job.

use firn_core::Input;
use firn_core::queries::{Activity, progress, summary};
use firn_core::state::*;

use crate::bench::*;

fn conditions(coordinator: &Coordinator) -> Vec<String> {
    let conditions = firn_core::queries::conditions(&coordinator.state, coordinator.job("ants"));
    let show = |condition: Condition| {
        format!(
            "{}={} {}: {}",
            condition.kind.as_str(),
            condition.status.as_str(),
            condition.reason,
            condition.message
        )
    };
    conditions.into_iter().map(show).collect()
}

#[test]
fn conditions_tell_the_life_of_a_job() {
    let mut coordinator = Coordinator::new();
    coordinator.submit(spec_on("ants", 2));
    assert_eq!(
        conditions(&coordinator),
        ["Queued=True WaitingForSlots: needs 2 workers with 1 free cpu slot each; no worker is attached"]
    );
    coordinator.pass(500);
    coordinator.attach_cpus(&["a", "b"]);
    assert_eq!(
        conditions(&coordinator),
        [
            "Queued=False SlotsFound: 2 ranks on a, b",
            "Admitted=True GangFormed: 2 ranks on a, b",
            "Running=False Rendezvous: waits for its ranks to join",
        ]
    );
    assert_eq!(coordinator.job("ants").conditions[0].last_transition, coordinator.now);
    let ranks = coordinator.bring_up();
    assert_eq!(
        conditions(&coordinator)[2],
        "Running=True GangStarted: 2 ranks joined in generation 1 (ring)"
    );
    coordinator.exited(&ranks[1], Ending::Killed(9));
    let killed = "rank 1 on host-b was killed by signal 9 (SIGKILL)";
    assert_eq!(
        conditions(&coordinator)[2],
        format!("Running=False Rendezvous: waits for its ranks to join: {killed}")
    );
    let recruits = coordinator.start_ranks();
    coordinator.join(&recruits[0]).unwrap();
    let ranks = coordinator.rejoin(&ranks[..1], 0);
    assert_eq!(
        conditions(&coordinator)[2],
        "Running=True GangStarted: 2 ranks joined in generation 3 (ring)"
    );
    coordinator.prepare(&ranks, &TRAIN_AND_VALIDATION);
    coordinator.train(&ranks, 0);
    coordinator.finish(&ranks[0]);
    assert_eq!(
        conditions(&coordinator),
        [
            "Queued=False SlotsFound: 2 ranks on a, b",
            "Admitted=False Ended: 1 epoch done",
            "Running=False Ended: 1 epoch done",
            "Succeeded=True Completed: 1 epoch done",
        ]
    );
}

#[test]
fn a_cancelled_job_is_failed_with_the_reason_cancelled() {
    let mut coordinator = Coordinator::new();
    coordinator.submit(spec("ants"));
    coordinator.accept(Input::Cancel { job: job("ants") });
    assert_eq!(
        conditions(&coordinator),
        [
            "Queued=False Ended: a person ended the job",
            "Failed=True Cancelled: a person ended the job"
        ]
    );
    assert_eq!(summary(&coordinator.state, coordinator.job("ants")), Summary::Cancelled);
}

#[test]
fn a_restart_that_waits_says_why() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a"]);
    coordinator.submit(spec("ants"));
    while !matches!(coordinator.job("ants").phase, Phase::Restarting(_)) {
        coordinator.live(2_000);
        let ranks = coordinator.bring_up();
        coordinator.exited(&ranks[0], Ending::Exited(1));
    }
    let message = "is to be formed again: rank 0 on host-a exited with status 1";
    assert_eq!(
        conditions(&coordinator),
        [
            format!("Queued=True Restarting: {message}"),
            format!("Admitted=False Restarting: {message}"),
            "Running=False RankLost: rank 0 on host-a exited with status 1".to_owned(),
        ]
    );
}

#[test]
fn summary_and_activity_follow_the_job() {
    let mut coordinator = Coordinator::new();
    coordinator.submit(spec("ants"));
    let seen = |coordinator: &Coordinator| {
        let job = coordinator.job("ants");
        (
            summary(&coordinator.state, job).as_str(),
            progress(job, coordinator.now).activity.as_str(),
        )
    };
    assert_eq!(seen(&coordinator), ("Queued", ""));
    coordinator.attach_cpus(&["a"]);
    assert_eq!(seen(&coordinator), ("Starting", "rendezvous"));
    let ranks = coordinator.bring_up();
    assert_eq!(seen(&coordinator), ("Running", "indexing"));
    coordinator.register(&ranks[0], dataset(&EVERY_SPLIT));
    assert_eq!(seen(&coordinator), ("Running", "scanning"));
    coordinator.prepare(&ranks, &EVERY_SPLIT);
    assert_eq!(seen(&coordinator), ("Running", "training"));
    coordinator.commit(&ranks[0], 0, 0..4).unwrap();
    assert_eq!(seen(&coordinator), ("Running", "validation"));
    coordinator.store(&ranks[0], 1, 4).unwrap();
    assert_eq!(seen(&coordinator), ("Running", "validation"));
    coordinator.walk(&ranks, Pass::validation(0));
    assert_eq!(seen(&coordinator), ("Running", "test"));
    coordinator.walk(
        &ranks,
        Pass::Evaluate {
            split: SplitName::Test,
            epoch: 0,
        },
    );
    assert_eq!(seen(&coordinator), ("Finishing", "exporting"));
    coordinator.finish(&ranks[0]);
    assert_eq!(seen(&coordinator), ("Succeeded", ""));
}

#[test]
fn speed_and_time_left_come_from_the_times_of_the_commits() {
    let mut coordinator = Coordinator::new();
    let mut wanted = spec("ants");
    wanted.training.epochs = 10;
    let ranks = coordinator.training_job(wanted, &TRAIN_AND_VALIDATION);
    let now = coordinator.now;
    assert_eq!(progress(coordinator.job("ants"), now).total_steps, 40);
    coordinator.commit(&ranks[0], 0, 0..1).unwrap();
    let first = progress(coordinator.job("ants"), coordinator.now);
    assert_eq!((first.samples_per_second, first.eta_seconds), (0.0, None));
    coordinator.live(500);
    coordinator.commit(&ranks[0], 0, 1..3).unwrap();
    let two = progress(coordinator.job("ants"), coordinator.now);
    assert_eq!(
        (two.step, two.samples_per_second, two.eta_seconds),
        (3, 40.0, Some(37.0 / 4.0))
    );
    assert_eq!((two.epoch, two.epochs, two.loss), (0, 10, Some(1.0 / 3.0)));
    coordinator.live(500);
    coordinator.commit(&ranks[0], 0, 3..4).unwrap();
    assert_eq!(
        progress(coordinator.job("ants"), coordinator.now).samples_per_second,
        25.0
    );
    // an evaluation that takes long does not slow the training
    coordinator.store(&ranks[0], 1, 4).unwrap();
    coordinator.walk(&ranks, Pass::validation(0));
    coordinator.live(20_000);
    coordinator.commit(&ranks[0], 1, 4..5).unwrap();
    coordinator.live(1_000);
    coordinator.commit(&ranks[0], 1, 5..6).unwrap();
    let next = progress(coordinator.job("ants"), coordinator.now);
    assert_eq!(
        (next.epoch, next.samples_per_second, next.activity),
        (1, 10.0, Activity::Training)
    );
    // and what is long past is no speed
    coordinator.live(60_000);
    assert_eq!(
        progress(coordinator.job("ants"), coordinator.now).samples_per_second,
        0.0
    );
}

#[test]
fn a_slot_tells_whose_rank_may_be_alive_on_it() {
    let mut coordinator = Coordinator::new();
    let ranks = coordinator.training_job(spec("ants"), &TRAIN_AND_VALIDATION);
    let on_slot =
        |coordinator: &Coordinator| firn_core::queries::job_on_slot(&coordinator.state, &"w0".into(), 0).cloned();
    assert_eq!(on_slot(&coordinator), Some(job("ants")));
    coordinator.accept(Input::Cancel { job: job("ants") });
    assert_eq!(on_slot(&coordinator), Some(job("ants")));
    coordinator.exited(&ranks[0], Ending::Exited(12));
    assert_eq!(on_slot(&coordinator), None);
}
