//! Specs that earlier builds stored are read for ever, and mean the same. See `spec_forms/README.md`.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use firn_core::compatibility::Revision;
use firn_core::spec::{DataFormat, Decayed, JobSpec, MissingLabels, StageDropout, Task, versions, versions::initial};
use firn_core::task::LabelThresholds;
use serde_json::Value;

const INITIAL: &str = include_str!("spec_forms/initial.jsonl");
const REVISION_4: &str = include_str!("spec_forms/revision-4.jsonl");
const LABELS: &str = include_str!("spec_forms/labels.jsonl");

#[test]
fn the_first_form_is_read_and_written_byte_for_byte() {
    assert_eq!(INITIAL.lines().count(), 4);
    for stored in INITIAL.lines() {
        let spec: JobSpec = serde_json::from_str(stored).unwrap();
        let again = initial::of(&spec).expect("what the first form said it can say again");
        assert_eq!(serde_json::to_string(&again).unwrap(), stored);
    }
}

#[test]
fn the_stored_document_of_an_earlier_job_is_the_same_job() {
    for stored in INITIAL.lines() {
        let spec: JobSpec = serde_json::from_str(stored).unwrap();
        let document = serde_json::to_string(&spec).unwrap();
        assert!(document.starts_with(r#"{"apiVersion":"firn.dev/v1alpha1","kind":"FineTuneJob","#));
        assert_eq!(serde_json::from_str::<JobSpec>(&document).unwrap(), spec, "{document}");
    }
}

#[test]
fn ranks_that_read_one_file_of_weights_get_no_index_and_no_folder() {
    let mut spec: JobSpec = serde_json::from_str(INITIAL.lines().next().unwrap()).unwrap();
    for place in ["/data/minilm/model.safetensors.index.json", "/data/minilm/"] {
        spec.model.weights = Some(place.to_owned());
        assert_eq!(initial::of(&spec).unwrap_err(), "spec.model.weights");
    }
}

#[test]
fn the_stored_document_can_be_submitted_again_and_stays_the_same() {
    for stored in INITIAL.lines() {
        let spec: JobSpec = serde_json::from_str(stored).unwrap();
        let document = spec.to_document();
        let again = JobSpec::from_document(document.clone()).unwrap();
        assert_eq!(again, spec);
        assert_eq!(again.to_document(), document);
    }
}

#[test]
fn a_stored_document_that_lacks_a_later_field_gets_its_default() {
    let spec: JobSpec = serde_json::from_str(INITIAL.lines().next().unwrap()).unwrap();
    let mut document = spec.to_document();
    let training = document["spec"]["training"].as_object_mut().unwrap();
    training.shift_remove("checkpointInterval").unwrap();
    training.shift_remove("optimizer").unwrap();
    assert_eq!(serde_json::from_value::<JobSpec>(document).unwrap(), spec);
}

#[test]
fn a_table_that_was_submitted_before_there_were_missing_labels_takes_every_label_for_a_class() {
    let mut tables = 0;
    for line in INITIAL.lines() {
        let spec: JobSpec = serde_json::from_str(line).unwrap();
        let is_table = spec.data.format != DataFormat::ImageFolder;
        assert_eq!(spec.data.missing_labels, is_table.then_some(MissingLabels::Keep));
        tables += usize::from(is_table);
        let mut document = spec.to_document();
        document["spec"]["data"]
            .as_object_mut()
            .unwrap()
            .shift_remove("missingLabels");
        assert_eq!(
            serde_json::from_value::<JobSpec>(document.clone()).unwrap(),
            spec,
            "stored before the field was"
        );
        let new = JobSpec::from_document(document).unwrap();
        assert_eq!(
            new.data.missing_labels,
            is_table.then_some(MissingLabels::Error),
            "submitted now"
        );
    }
    assert!(tables > 0);
}

#[test]
fn a_job_that_was_submitted_before_one_could_choose_what_decays_and_drops_decays_all_and_drops_nothing() {
    let mut texts = 0;
    for stored in REVISION_4.lines() {
        let spec: JobSpec = serde_json::from_str(stored).unwrap();
        assert_eq!(spec.training.decayed, Decayed::All);
        assert_eq!(spec.model.dropout, StageDropout::None);
        let told = versions::known_to(Revision(4), &spec).unwrap();
        assert_eq!(
            told.to_string(),
            stored,
            "ranks of its time are told what they were told then"
        );
        let new = JobSpec::from_document(serde_json::from_str(stored).unwrap()).unwrap();
        let is_text = new.training.decayed == Decayed::Weights;
        assert_eq!(new.training.decayed, spec.model.architecture.default_decayed());
        if is_text {
            let refused = |spec: &JobSpec| versions::known_to(Revision(4), spec).unwrap_err().into_owned();
            assert_eq!(
                refused(&new),
                "spec.model.dropout",
                "a rank of that time would drop nothing"
            );
            let mut kept = new.clone();
            kept.model.dropout = StageDropout::None;
            assert_eq!(
                refused(&kept),
                "spec.training.weightDecayOf",
                "a rank of that time would let all decay"
            );
        }
        texts += usize::from(is_text);
    }
    assert!(texts > 0);
}

#[test]
fn a_job_of_labels_that_was_submitted_before_thresholds_could_be_chosen_predicts_from_a_half_on() {
    let spec: JobSpec = serde_json::from_str(LABELS).unwrap();
    assert_eq!(spec.task, Task::MultiLabel(LabelThresholds::DEFAULT));
    let mut written = spec.to_document();
    assert_eq!(written["spec"]["task"]["threshold"], 0.5);
    assert_eq!(JobSpec::from_document(written.clone()).unwrap(), spec);
    let task = written["spec"]["task"].as_object_mut().unwrap();
    task.retain(|field, _| field == "type");
    assert_eq!(
        written,
        serde_json::from_str::<Value>(LABELS).unwrap(),
        "nothing else is said otherwise"
    );
}

#[test]
fn a_document_with_a_field_or_version_that_this_build_does_not_know_is_refused_by_name() {
    let spec: JobSpec = serde_json::from_str(INITIAL.lines().next().unwrap()).unwrap();
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut document = spec.to_document();
        change(&mut document);
        serde_json::from_value::<JobSpec>(document).unwrap_err().to_string()
    };
    let message = refused(&|document| document["spec"]["training"]["epoch"] = 3.into());
    assert_eq!(message, "spec.training.epoch: unknown field; did you mean `epochs`?");
    let message = refused(&|document| document["apiVersion"] = "firn.dev/v9".into());
    assert_eq!(message, "apiVersion: must be `firn.dev/v1alpha1`, found `firn.dev/v9`");
}
