//! The digest that names a job's settings is fixed when the job is submitted. It used to be that of the spec as the running program writes
//! it, so an upgrade that wrote it otherwise made every recruit refuse the job's checkpoints, and the job ended as misconfigured.

use firn_core::record::{Event, JobEvent};
use firn_core::spec::JobSpec;

use crate::bench::*;

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
    }
}
