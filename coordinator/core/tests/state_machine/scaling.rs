//! A job is changed while it goes on: more workers, fewer, another priority.

use firn_core::compatibility::Revision;
use firn_core::identifiers::{Generation, RankIdentity};
use firn_core::spec::Determinism;
use firn_core::state::*;
use firn_core::{Input, Leave, Reply};

use crate::bench::*;

const LEFT: Ending = Ending::Exited(13);

fn update(changes: JobChanges) -> Input {
    Input::Update {
        job: job("ants"),
        changes,
    }
}

fn most(workers: u32) -> Input {
    update(JobChanges {
        workers_max: Some(workers),
        ..JobChanges::default()
    })
}

fn fewest(workers: u32) -> Input {
    update(JobChanges {
        workers_min: Some(workers),
        ..JobChanges::default()
    })
}

/// A job that trains on as many of these workers as it may have; ranks in the order of the names.
fn training(names: &[&str], max: u32) -> (Coordinator, Vec<RankIdentity>) {
    let mut wanted = spec_on("ants", max);
    wanted.resources.workers.min = 1;
    wanted.restart_policy.max_restarts = 0;
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(names);
    coordinator.submit(wanted);
    let ranks = coordinator.bring_up();
    coordinator.prepare(&ranks, &TRAIN_AND_VALIDATION);
    (coordinator, ranks)
}

fn workers(coordinator: &Coordinator) -> Vec<String> {
    let gang = coordinator.job("ants").gang().unwrap();
    let mut names: Vec<String> = gang.living().map(|member| member.worker.to_string()).collect();
    names.sort();
    names
}

#[track_caller]
fn assert_nothing_lost(coordinator: &Coordinator) {
    let job = coordinator.job("ants");
    assert_eq!((job.losses.len(), job.restarts), (0, 0));
    assert_eq!(job.run.ledger.rolled_back, []);
}

#[test]
fn fewer_workers_let_the_last_names_go_at_a_step_and_more_recruit_others() {
    let (mut coordinator, ranks) = training(&["ants-1", "ants-2", "ants-10"], 3);
    let digest = coordinator.job("ants").settings_digest();
    coordinator.commit(&ranks[0], 0, 0..2).unwrap();
    coordinator.accept(most(2));
    assert_eq!(workers(&coordinator), ["ants-1", "ants-2"], "10 comes after 2");
    let (gone, stays): (Vec<RankIdentity>, Vec<RankIdentity>) = ranks
        .into_iter()
        .partition(|rank| coordinator.state.processes[&rank.process].worker.as_str() == "ants-10");
    let leave = Leave {
        store_checkpoint: false,
    };
    assert_eq!(coordinator.news(&gone[0]).leave, Some(leave));
    let news = coordinator.news(&stays[0]);
    assert_eq!((news.generation, news.at_step_boundary), (Generation(2), true));
    coordinator.exited(&gone[0], LEFT);
    let ranks = coordinator.rejoin(&stays, 2);
    assert_eq!(coordinator.job("ants").spec.resources.workers.max, 2);
    assert_eq!(
        coordinator.job("ants").settings_digest(),
        digest,
        "the settings keep their name"
    );
    coordinator.live(10_000);
    assert!(coordinator.starts().is_empty(), "it has what it may have");

    coordinator.accept(most(3));
    let recruit = coordinator.start_ranks();
    assert_eq!(recruit.len(), 1);
    coordinator.join(&recruit[0]).unwrap();
    coordinator.rejoin(&ranks, 3);
    assert_eq!(workers(&coordinator), ["ants-1", "ants-10", "ants-2"]);
    assert!(matches!(coordinator.job("ants").phase, Phase::Running(_)));
    assert_nothing_lost(&coordinator);
}

#[test]
fn recruits_of_workers_that_are_too_many_are_let_go_of() {
    let (mut coordinator, ranks) = training(&["a"], 2);
    coordinator.attach_cpus(&["b"]);
    let recruit = coordinator.start_ranks();
    coordinator.accept(most(1));
    assert_eq!(coordinator.stops(), [recruit[0].process.clone()]);
    coordinator.exited(&recruit[0], LEFT);
    assert_eq!(coordinator.job("ants").generation, Generation(1), "nobody else notices");
    coordinator.commit(&ranks[0], 0, 0..2).unwrap();
    assert_nothing_lost(&coordinator);
}

#[test]
fn a_gang_whose_members_all_come_last_hands_over_to_the_recruit_that_stays() {
    let (mut coordinator, ranks) = training(&["b"], 2);
    coordinator.commit(&ranks[0], 0, 0..2).unwrap();
    coordinator.attach_cpus(&["a"]);
    let recruit = coordinator.start_ranks();
    coordinator.accept(most(1));
    let leave = Leave { store_checkpoint: true };
    assert_eq!(coordinator.news(&ranks[0]).leave, Some(leave));
    coordinator.store(&ranks[0], 0, 2).unwrap();
    coordinator.exited(&ranks[0], LEFT);
    coordinator.join(&recruit[0]).unwrap();
    let ranks = coordinator.members("ants");
    assert_eq!(coordinator.world(&ranks[0]).steps_done, 2);
    assert_eq!(workers(&coordinator), ["a"]);
    assert_nothing_lost(&coordinator);
}

#[test]
fn a_gang_that_waits_for_workers_works_when_fewer_are_needed() {
    let mut wanted = spec_on("ants", 2);
    wanted.resources.workers.min = 2;
    let mut coordinator = Coordinator::new();
    let ranks = coordinator.training_job(wanted, &TRAIN_AND_VALIDATION);
    coordinator.commit(&ranks[0], 0, 0..2).unwrap();
    coordinator.exited(&ranks[1], Ending::Killed(9));
    let rest = coordinator.rejoin(&ranks[..1], 2);
    assert!(matches!(coordinator.job("ants").phase, Phase::Starting(_)));
    coordinator.accept(fewest(1));
    assert!(matches!(coordinator.job("ants").phase, Phase::Running(_)));
    assert_eq!(coordinator.world(&rest[0]).steps_done, 2);
}

#[test]
fn a_queued_job_is_placed_when_fewer_workers_will_do() {
    let mut wanted = spec_on("ants", 2);
    wanted.resources.workers.min = 2;
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a"]);
    coordinator.submit(wanted);
    assert!(coordinator.starts().is_empty());
    coordinator.accept(fewest(1));
    assert_eq!(coordinator.starts().len(), 1);
}

#[test]
fn a_gang_that_works_with_fewer_workers_than_are_now_wanted_works_on_and_says_nothing_else() {
    let (mut coordinator, ranks) = training(&["a"], 2);
    coordinator.accept(fewest(2));
    assert_eq!(
        coordinator.condition("ants", ConditionKind::Running),
        (
            ConditionStatus::True,
            "GangStarted".to_owned(),
            "1 rank joined in generation 1 (solo)".to_owned()
        )
    );
    assert_eq!(coordinator.condition("ants", ConditionKind::Queued).1, "SlotsFound");
    assert_eq!(coordinator.commit(&ranks[0], 0, 0..2), Ok(Reply::StepsCommitted(2)));
}

#[test]
fn what_could_not_be_submitted_is_refused() {
    let (mut coordinator, _) = training(&["a"], 2);
    assert_eq!(
        coordinator.refuse(fewest(3)),
        "the job would not be valid: spec.resources.workers.max: must be from min (3) to 10000, found 2"
    );
    assert_eq!(
        coordinator.refuse(fewest(0)),
        "the job would not be valid: spec.resources.workers.min: must be from 1 to 10000, found 0"
    );
    let urgent = JobChanges {
        priority: Some(2_000_000_000),
        ..JobChanges::default()
    };
    assert_eq!(
        coordinator.refuse(update(urgent)),
        "the job would not be valid: spec.scheduling.priority: must be at most 1000000000, found 2000000000"
    );
    assert!(
        coordinator
            .refuse(most(11))
            .contains("must be at least the 11 ranks that share it")
    );
    let mut strict = spec_on("bees", 1);
    strict.training.determinism = Determinism::Strict;
    strict.training.batch_size = 20;
    coordinator.submit(strict);
    let refusal = coordinator.refuse(Input::Update {
        job: job("bees"),
        changes: JobChanges {
            workers_max: Some(19),
            ..JobChanges::default()
        },
    });
    assert!(
        refusal.contains("spec.training.determinism: must be `default` for 19 ranks"),
        "{refusal}"
    );
    coordinator.accept(Input::Cancel { job: job("ants") });
    assert_eq!(coordinator.refuse(most(2)), "job jobs/ants has ended: it was cancelled");
}

#[test]
fn the_same_numbers_again_change_nothing() {
    let (mut coordinator, _) = training(&["a"], 2);
    let records = coordinator.journal.len();
    assert_eq!(coordinator.accept(most(2)), Reply::Done);
    assert_eq!(coordinator.journal.len(), records);
    coordinator.accept(update(JobChanges {
        priority: Some(7),
        ..JobChanges::default()
    }));
    assert_eq!(coordinator.job("ants").spec.scheduling.priority, 7);
    coordinator.crash();
    assert_eq!(coordinator.job("ants").spec.scheduling.priority, 7);
}

#[test]
fn a_coordinator_that_dies_after_the_change_lets_the_surplus_go_when_it_is_back() {
    let (mut coordinator, ranks) = training(&["a", "b"], 2);
    coordinator.commit(&ranks[0], 0, 0..2).unwrap();
    coordinator.accept(most(1));
    coordinator.crash();
    for (name, rank) in ["a", "b"].into_iter().zip(&ranks) {
        let living = LivingProcess {
            process: rank.process.clone(),
            pid: 100,
        };
        coordinator.attach_with(description(name, &["cpu"]), &[living]);
    }
    assert!(coordinator.news(&ranks[1]).leave.is_some());
    coordinator.exited(&ranks[1], LEFT);
    let ranks = coordinator.rejoin(&ranks[..1], 2);
    assert_eq!(coordinator.commit(&ranks[0], 0, 2..3), Ok(Reply::StepsCommitted(3)));
    assert_nothing_lost(&coordinator);
}

#[test]
fn a_gang_does_not_grow_beside_a_worker_that_would_compute_otherwise() {
    let mut coordinator = Coordinator::new();
    let older = WorkerDescription {
        protocol: Revision(4),
        ..description("w1", &["cpu"])
    };
    coordinator.attach_with(older, &[]);
    let mut wanted = spec("ants");
    wanted.training.train_batch_norm = true;
    coordinator.submit(wanted);
    coordinator.bring_up();
    assert_eq!(
        coordinator.refuse(most(2)),
        "the job would not be valid: spec.resources.workers.max: cannot be changed while worker w1 speaks revision 4 (build 0.1.0); the job needs 5 because of \
         spec.training.batchNorm"
    );
    assert_eq!(coordinator.job("ants").spec.resources.workers.max, 1);
}
