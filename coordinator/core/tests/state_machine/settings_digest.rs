//! The digest that names a job's settings is fixed when the job is submitted. It used to be that of the spec as the running program writes
//! it, so an upgrade that wrote it otherwise made every recruit refuse the job's checkpoints, and the job ended as misconfigured.

use firn_core::compatibility::{DataRules, Need, Revision};
use firn_core::record::{Event, JobEvent};
use firn_core::spec::{Determinism, HeadSpec, JobSpec, SplitSource, schema, versions::initial};
use firn_core::state::WorkerDescription;

use crate::bench::*;

/// What is changed in a spec, and how.
type Change = (&'static str, fn(&mut JobSpec));

fn change_submission(coordinator: &mut Coordinator, change: impl Fn(&mut JobSpec, &mut Option<String>)) {
    for record in &mut coordinator.journal {
        if let Event::Job {
            event: JobEvent::Submitted {
                spec, settings_digest, ..
            },
            ..
        } = &mut record.event
        {
            change(std::sync::Arc::make_mut(spec), settings_digest);
        }
    }
    coordinator.state = coordinator.replayed();
}

fn digest(coordinator: &Coordinator) -> String {
    let job = coordinator.state.jobs.values().next().unwrap();
    job.settings_digest()
}

#[test]
fn a_job_that_was_submitted_before_an_upgrade_keeps_the_name_of_its_settings() {
    let mut coordinator = Coordinator::new();
    coordinator.submit(spec("ants"));
    let before = digest(&coordinator);
    // A later program writes the same spec otherwise: here with other content, which is as different as it can be.
    change_submission(&mut coordinator, |spec, _| spec.training.checkpoint_interval_ms += 1000);
    assert_eq!(digest(&coordinator), before);
}

#[test]
fn a_job_of_the_first_program_is_named_as_its_ranks_did() {
    for stored in include_str!("../spec_forms/initial.jsonl").lines() {
        let mut coordinator = Coordinator::new();
        coordinator.submit(spec("ants"));
        change_submission(&mut coordinator, |spec, recorded| {
            *spec = serde_json::from_str(stored).unwrap();
            *recorded = None;
        });
        assert_eq!(
            digest(&coordinator),
            blake3::hash(stored.as_bytes()).to_hex().to_string()
        );
        let job = coordinator.state.jobs.values().next().unwrap();
        assert_eq!(
            DataRules::of_job(job),
            DataRules::First,
            "its ranks have found the samples so"
        );
    }
}

/// The digest of a job that is submitted where every worker is of this build.
fn fresh(change: impl FnOnce(&mut JobSpec)) -> String {
    let mut changed = spec("ants");
    change(&mut changed);
    let mut coordinator = Coordinator::new();
    coordinator.submit(changed);
    digest(&coordinator)
}

#[test]
fn what_cannot_change_the_result_does_not_change_the_name_of_the_settings() {
    let same = fresh(|_| {});
    let changes: [Change; 13] = [
        ("metadata.name", |spec| spec.metadata.name = "bees".to_owned()),
        ("metadata.namespace", |spec| {
            spec.metadata.namespace = "research".to_owned()
        }),
        ("spec.scheduling", |spec| spec.scheduling.priority += 1),
        ("spec.runPolicy", |spec| spec.run_policy.active_deadline_ms = Some(1)),
        ("metadata.labels", |spec| {
            spec.metadata.labels.insert("team".to_owned(), "vision".to_owned());
        }),
        ("spec.resources.workers", |spec| spec.resources.workers.max += 1),
        ("spec.resources.slotsPerWorker", |spec| {
            spec.resources.slots_per_worker += 1
        }),
        ("spec.restartPolicy", |spec| spec.restart_policy.max_restarts += 1),
        ("spec.artifacts.uri", |spec| {
            spec.artifacts.folder = Some("/other".to_owned())
        }),
        ("spec.artifacts.mergedModel", |spec| spec.artifacts.merged_model ^= true),
        ("spec.data.quarantine", |spec| spec.data.quarantine.max_samples += 1),
        ("spec.training.microBatchSize", |spec| {
            spec.training.micro_batch_size = Some(1)
        }),
        ("spec.training.checkpointInterval", |spec| {
            spec.training.checkpoint_interval_ms += 1000
        }),
    ];
    for (field, change) in changes {
        assert_eq!(fresh(change), same, "{field}");
    }
}

#[test]
fn what_can_change_the_result_changes_the_name_of_the_settings() {
    let changes: [Change; 8] = [
        ("spec.model.weights", |spec| {
            spec.model.weights = Some("/other.safetensors".to_owned())
        }),
        ("spec.model.head.dropout", |spec| {
            spec.model.head = HeadSpec::Linear { dropout: 0.1 }
        }),
        ("spec.data.train", |spec| spec.data.train = "/other".to_owned()),
        ("spec.data.validation", |spec| {
            spec.data.validation = Some(SplitSource::FractionOfTrain(0.4))
        }),
        ("spec.training.epochs", |spec| spec.training.epochs += 1),
        ("spec.training.batchSize", |spec| spec.training.batch_size += 1),
        ("spec.training.seed", |spec| spec.training.seed += 1),
        ("spec.training.determinism", |spec| {
            spec.training.determinism = Determinism::Strict
        }),
    ];
    let mut digests = vec![fresh(|_| {})];
    for (field, change) in changes {
        let digest = fresh(change);
        assert!(!digests.contains(&digest), "{field}");
        digests.push(digest);
    }
}

#[test]
fn the_fields_that_cannot_change_the_result_are_these() {
    let mut found = Vec::new();
    schema::walk(&mut |path, field| {
        if !field.shapes_result {
            found.push(path.to_owned());
        }
    });
    let expected = [
        "metadata",
        "spec.data.quarantine",
        "spec.training.microBatchSize",
        "spec.training.checkpointInterval",
        "spec.resources",
        "spec.restartPolicy",
        "spec.artifacts",
        "spec.scheduling",
        "spec.runPolicy",
    ];
    assert_eq!(found, expected);
}

fn older(name: &str) -> WorkerDescription {
    WorkerDescription {
        protocol: Revision::OLDEST,
        ..description(name, &["cpu"])
    }
}

/// As ranks of the first program name the job of this spec.
fn first_name(spec: &JobSpec) -> String {
    let first = serde_json::to_string(&initial::of(spec).unwrap()).unwrap();
    blake3::hash(first.as_bytes()).to_hex().to_string()
}

#[test]
fn while_a_worker_of_the_first_program_is_known_a_job_is_named_as_its_ranks_name_it() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_with(older("w1"), &[]);
    coordinator.submit(spec("ants"));
    assert_eq!(digest(&coordinator), first_name(&spec("ants")));
    assert_eq!(coordinator.starts()[0].worker.as_str(), "w1");
}

#[test]
fn a_job_that_was_submitted_before_a_worker_came_is_named_for_those_that_are_known_when_its_first_gang_is_formed() {
    let mut coordinator = Coordinator::new();
    coordinator.submit(spec("ants"));
    let at_submission = digest(&coordinator);
    coordinator.attach_with(older("w1"), &[]);
    assert_eq!(coordinator.starts()[0].worker.as_str(), "w1");
    assert_eq!(digest(&coordinator), first_name(&spec("ants")));
    assert_eq!(coordinator.replayed().jobs, coordinator.state.jobs, "it is on record");
    assert_eq!(
        DataRules::of_job(coordinator.job("ants")),
        DataRules::First,
        "all ranks read alike"
    );

    let mut coordinator = Coordinator::new();
    coordinator.submit(spec("ants"));
    coordinator.attach("w2", &["cpu"]);
    assert_eq!(coordinator.starts()[0].worker.as_str(), "w2");
    assert_eq!(digest(&coordinator), at_submission, "no older one is known");
    assert_eq!(DataRules::of_job(coordinator.job("ants")), DataRules::Current);
}

#[test]
fn a_job_whose_checkpoints_the_first_program_would_refuse_is_not_placed_on_its_workers() {
    let mut coordinator = Coordinator::new();
    coordinator.submit(spec("ants"));
    coordinator.attach("w2", &["cpu"]);
    coordinator.bring_up();
    let name = digest(&coordinator);
    coordinator.attach_with(older("w1"), &[]);
    assert_eq!(digest(&coordinator), name, "it is fixed now");
    let need = Need::of_job(coordinator.job("ants"));
    assert_eq!(
        need.refuses("worker w1", Revision::OLDEST, "0.1.0").unwrap(),
        "worker w1 speaks revision 1 (build 0.1.0); the job needs 2 because of the digest in its checkpoints"
    );
}
