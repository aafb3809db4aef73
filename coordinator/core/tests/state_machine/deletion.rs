//! Jobs are deleted: on demand, and beyond what is kept.

use firn_core::identifiers::JobId;
use firn_core::state::*;
use firn_core::{Effect, Event, Input, JobEvent, Reply};

use crate::bench::*;
use crate::queue::marked;

fn cancelled(coordinator: &mut Coordinator, name: &str) -> JobId {
    let id = coordinator.submit(spec(name));
    coordinator.accept(Input::Cancel { job: id.clone() });
    id
}

fn delete(name: &str) -> Input {
    Input::Delete { job: job(name) }
}

fn erasures(coordinator: &mut Coordinator) -> Vec<JobId> {
    let effects = coordinator.take_effects().into_iter();
    let jobs = effects.filter_map(|effect| match effect {
        Effect::EraseJob { job } => Some(job),
        _ => None,
    });
    jobs.collect()
}

fn erase_all(coordinator: &mut Coordinator) -> Vec<JobId> {
    let jobs = erasures(coordinator);
    for job in &jobs {
        coordinator.accept(Input::JobErased {
            job: job.clone(),
            bytes: 5,
        });
    }
    jobs
}

fn reasons(coordinator: &Coordinator) -> Vec<(JobId, Deletion)> {
    let records = coordinator.journal.iter();
    let deleted = records.filter_map(|record| match &record.event {
        Event::Job {
            job,
            event: JobEvent::Deleted { reason },
        } => Some((job.clone(), *reason)),
        _ => None,
    });
    deleted.collect()
}

#[test]
fn only_a_job_that_has_ended_is_deleted_and_then_its_name_is_free() {
    let mut coordinator = Coordinator::new();
    coordinator.submit(spec("ants"));
    assert_eq!(
        coordinator.refuse(delete("ants")),
        "job jobs/ants has not ended, and only ended jobs are deleted: end it with `firn cancel ants` first"
    );
    assert_eq!(coordinator.refuse(delete("bees")), "job jobs/bees does not exist");
    coordinator.accept(Input::Cancel { job: job("ants") });
    assert_eq!(coordinator.accept(delete("ants")), Reply::Done);
    assert_eq!(erasures(&mut coordinator), [job("ants")]);
    assert_eq!(
        coordinator.submit(spec("ants")),
        job("ants-2"),
        "its files are still there"
    );
    let records = coordinator.journal.len();
    assert_eq!(coordinator.accept(delete("ants")), Reply::Done);
    assert_eq!(coordinator.journal.len(), records);
    coordinator.accept(Input::JobErased {
        job: job("ants"),
        bytes: 5,
    });
    assert_eq!(coordinator.submit(spec("ants")), job("ants"));
    assert_eq!(coordinator.job("ants").sequence, 2);
    coordinator.crash();
}

#[test]
fn a_marked_deletion_acts_once() {
    let mut coordinator = Coordinator::new();
    cancelled(&mut coordinator, "ants");
    let once = || marked("once", "delete ants", delete("ants"));
    assert_eq!(coordinator.accept(once()), Reply::Done);
    erase_all(&mut coordinator);
    let other = coordinator.submit(spec("ants"));
    coordinator.accept(Input::Cancel { job: other });
    coordinator.crash();
    assert_eq!(coordinator.accept(once()), Reply::Done);
    assert!(
        coordinator.state.jobs.contains_key(&job("ants")),
        "another job of that name stays"
    );
}

#[test]
fn a_deletion_that_was_begun_is_taken_up_by_the_next_coordinator() {
    let mut coordinator = Coordinator::new();
    cancelled(&mut coordinator, "ants");
    coordinator.accept(delete("ants"));
    coordinator.crash();
    assert_eq!(erase_all(&mut coordinator), [job("ants")]);
    coordinator.crash();
    assert_eq!(erasures(&mut coordinator), []);
}

#[test]
fn the_files_wait_for_the_last_process_of_the_job() {
    let mut coordinator = Coordinator::new();
    let ranks = coordinator.training_job(spec("ants"), &TRAIN_AND_VALIDATION);
    coordinator.accept(Input::Cancel { job: job("ants") });
    coordinator.take_effects();
    coordinator.accept(delete("ants"));
    assert_eq!(erasures(&mut coordinator), []);
    for rank in &ranks {
        coordinator.exited(rank, Ending::Killed(9));
    }
    assert_eq!(erase_all(&mut coordinator), [job("ants")]);
    assert!(coordinator.state.processes.is_empty());
}

#[test]
fn of_many_ended_jobs_all_but_the_newest_are_a_row_each() {
    let mut coordinator = Coordinator::new();
    for number in 0..50 {
        cancelled(&mut coordinator, &format!("job-{number}"));
        coordinator.pass(1_000);
    }
    assert_eq!((coordinator.state.jobs.len(), coordinator.state.past.len()), (16, 34));
    let bytes = serde_json::to_vec(&coordinator.state.past).unwrap().len();
    assert!(bytes < 34 * 100, "{bytes} bytes of rows");
    // What was ended and went out of sight is still known.
    assert_eq!(coordinator.submit(spec("job-0")), job("job-0-2"));
    assert_eq!(coordinator.accept(Input::Cancel { job: job("job-1") }), Reply::Done);
    coordinator.crash();
    assert_eq!(coordinator.accept(delete("job-1")), Reply::Done);
    assert_eq!(erase_all(&mut coordinator), [job("job-1")]);
    assert_eq!(coordinator.state.past.len(), 33);
}

fn keeping(retention: Retention) -> Coordinator {
    let mut coordinator = Coordinator::new();
    coordinator.state.settings.retention = retention;
    coordinator
}

#[test]
fn without_a_limit_nothing_is_ever_deleted() {
    let mut coordinator = Coordinator::new();
    cancelled(&mut coordinator, "ants");
    coordinator.pass(1_000_000_000);
    assert_eq!(reasons(&coordinator), []);
}

#[test]
fn a_job_is_deleted_when_it_has_been_kept_for_long_enough() {
    let limit = 3_600_000;
    let mut coordinator = keeping(Retention {
        age: Some(limit),
        ..Retention::default()
    });
    cancelled(&mut coordinator, "ants");
    coordinator.pass(limit / 2);
    cancelled(&mut coordinator, "bees");
    coordinator.pass(limit / 2 - 1);
    assert_eq!(reasons(&coordinator), []);
    coordinator.pass(1);
    assert_eq!(reasons(&coordinator), [(job("ants"), Deletion::TooOld { limit })]);
    erase_all(&mut coordinator);
    coordinator.pass(limit);
    assert_eq!(erase_all(&mut coordinator), [job("bees")]);
    assert_eq!(firn_core::deadline(&coordinator.state), None);
}

#[test]
fn beyond_a_number_the_jobs_that_ended_first_are_deleted() {
    let mut coordinator = keeping(Retention {
        jobs: Some(2),
        ..Retention::default()
    });
    coordinator.submit(spec("first"));
    for name in ["second", "third"] {
        cancelled(&mut coordinator, name);
        coordinator.pass(10);
    }
    assert_eq!(reasons(&coordinator), []);
    coordinator.accept(Input::Cancel { job: job("first") });
    assert_eq!(reasons(&coordinator), [(job("second"), Deletion::TooMany { limit: 2 })]);
    erase_all(&mut coordinator);
    coordinator.crash();
    assert_eq!(erasures(&mut coordinator), []);
}

/// A job that ends well, with one artifact on the coordinator.
fn with_a_file(coordinator: &mut Coordinator, name: &str) {
    let ranks = coordinator.training_job(spec(name), &TRAIN_AND_VALIDATION);
    let artifact = Artifact {
        name: "head.safetensors".to_owned(),
        size_bytes: 1_000,
        sha256: "ab".repeat(32),
        location: "coordinator".to_owned(),
    };
    coordinator.accept(Input::Cancel { job: job(name) });
    for rank in &ranks {
        coordinator.exited(rank, Ending::Killed(9));
    }
    // As a job leaves it that has ended well; how it came there is told elsewhere.
    let kept = coordinator.state.jobs.get_mut(&job(name)).expect("it is at hand");
    std::sync::Arc::make_mut(kept).run.artifacts.push(artifact);
}

#[test]
fn a_job_with_a_file_that_nobody_has_fetched_stays_unless_that_is_wanted() {
    for unfetched in [false, true] {
        let mut coordinator = keeping(Retention {
            bytes: Some(999),
            unfetched,
            ..Retention::default()
        });
        with_a_file(&mut coordinator, "ants");
        cancelled(&mut coordinator, "bees");
        let expected = [(job("ants"), Deletion::TooLarge { limit: 999 })];
        if unfetched {
            assert_eq!(reasons(&coordinator), expected);
            continue;
        }
        assert_eq!(reasons(&coordinator), []);
        let fetched = |artifact: &str| Input::ArtifactFetched {
            job: job("ants"),
            artifact: artifact.to_owned(),
        };
        coordinator.accept(fetched("another"));
        assert_eq!(reasons(&coordinator), []);
        coordinator.accept(fetched("head.safetensors"));
        assert_eq!(reasons(&coordinator), expected);
    }
}
