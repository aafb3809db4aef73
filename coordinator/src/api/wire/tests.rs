//! A stored job is the same spec again, whatever the spec; and what is wrong with a message is all found at once.

mod specs;

use std::collections::BTreeMap;

use firn_core::compatibility::{Need, Revision};
use firn_core::spec::{
    Architecture, DataFormat, DeviceRequest, Freeze, JobSpec, LossSpec, MetricName, MissingLabels, OptimizerSpec,
    Pooling, Preprocessing, ResourcesSpec, RowLayout, ScheduleShape, ScheduleSpec, Warmup, schema, validate, versions,
};
use firn_proto::v1alpha1 as wire;
use proptest::prelude::*;

use super::{Violation, invalid_job, job_spec, stored_job, violations};
use specs::valid_spec;

proptest! {
    #[test]
    fn a_stored_job_is_the_same_spec_again(spec in valid_spec()) {
        prop_assert_eq!(validate(&spec), []);
        let stored = stored_job(&spec);
        prop_assert_eq!(job_spec(&stored), Ok(spec.clone()));
        // And through the stored JSON that ranks read.
        let json = serde_json::to_string(&spec).unwrap();
        prop_assert_eq!(serde_json::from_str::<JobSpec>(&json).unwrap(), spec);
    }
}

proptest! {
    #[test]
    fn ranks_of_the_first_program_are_kept_from_exactly_what_the_form_that_they_read_cannot_express(spec in valid_spec()) {
        let (need, first) = (Need::of(&spec), versions::known_to(Revision::OLDEST, &spec));
        prop_assert_eq!(need == Need::NOTHING, first.is_ok());
        let named = need.because.as_deref().map(schema::find);
        prop_assert!(named.is_none_or(|field| field.is_some()), "{:?}", need.because);
        if let Ok(first) = first {
            let mut read = serde_json::from_str::<JobSpec>(&first.to_string()).unwrap();
            // The first program takes every label for a class, and the coordinator refuses those that the spec does.
            if spec.data.missing_labels == Some(MissingLabels::Error) {
                prop_assert_eq!(read.data.missing_labels.replace(MissingLabels::Error), Some(MissingLabels::Keep));
            }
            prop_assert_eq!(read, versions::needed_by_ranks(&spec));
        }
    }
}

fn smallest_job(architecture: &str, format: &str) -> wire::FineTuneJob {
    let uri = |uri: &str| {
        Some(wire::SplitSpec {
            uri: uri.to_owned(),
            split: None,
        })
    };
    wire::FineTuneJob {
        api_version: super::API_VERSION.to_owned(),
        kind: super::KIND.to_owned(),
        metadata: Some(wire::Metadata {
            name: "smallest".to_owned(),
            ..Default::default()
        }),
        spec: Some(wire::JobSpec {
            task: Some(wire::TaskSpec {
                r#type: "classification".to_owned(),
                ..Default::default()
            }),
            model: Some(wire::ModelSpec {
                architecture: architecture.to_owned(),
                weights: "file:///models/weights.safetensors".to_owned(),
                ..Default::default()
            }),
            data: Some(wire::DataSpec {
                format: format.to_owned(),
                train: uri("/data/train"),
                ..Default::default()
            }),
            ..Default::default()
        }),
        status: None,
    }
}

#[test]
fn every_default_is_the_documented_one() {
    let spec = job_spec(&smallest_job("mobilenet_v2", "imagefolder")).unwrap();
    assert_eq!(spec.model.freeze, Freeze::All.into());
    assert_eq!(spec.model.tokenizer, None);
    assert_eq!(
        spec.data.preprocessing,
        Architecture::MobilenetV2.default_preprocessing()
    );
    let training = &spec.training;
    assert_eq!((training.epochs, training.batch_size, training.seed), (10, 32, 0));
    let adamw = OptimizerSpec::AdamW {
        learning_rate: 1e-3,
        weight_decay: 0.01,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
    };
    assert_eq!(training.optimizer, adamw);
    assert_eq!(
        training.schedule,
        ScheduleSpec {
            shape: ScheduleShape::Constant,
            warmup: Warmup::Ratio(0.0)
        }
    );
    assert_eq!(training.loss, LossSpec::default());
    assert_eq!(
        (training.early_stopping.clone(), training.best_metric),
        (None, MetricName::LOSS)
    );
    let resources = ResourcesSpec {
        workers: firn_core::spec::WorkersSpec { min: 1, max: 1 },
        slots_per_worker: 1,
        device: DeviceRequest::Auto,
    };
    assert_eq!(spec.resources, resources);
    assert_eq!(
        (
            spec.restart_policy.max_restarts,
            spec.data.quarantine.max_samples,
            spec.artifacts.merged_model
        ),
        (3, 0, true)
    );
}

#[test]
fn defaults_of_text_models_are_their_own() {
    let spec = job_spec(&smallest_job("bert", "tsv")).unwrap();
    assert_eq!(spec.model.tokenizer.as_deref(), Some("/models/tokenizer.json"));
    assert_eq!(spec.model.pooling, Pooling::Mean);
    assert_eq!(spec.data.preprocessing, Preprocessing::Text { max_length: None });
    let table = |delimiter, quoted| DataFormat::texts(RowLayout::Delimited { delimiter, quoted }, "text", "label");
    assert_eq!(spec.data.format, table('\t', false));
    assert_eq!(
        job_spec(&smallest_job("bert", "csv")).unwrap().data.format,
        table(',', true)
    );
}

#[test]
fn defaults_follow_other_choices() {
    let mut job = smallest_job("resnet18", "imagefolder");
    let spec = job.spec.as_mut().unwrap();
    spec.data.as_mut().unwrap().validation = Some(wire::SplitSpec {
        split: Some(0.2),
        ..Default::default()
    });
    spec.training = Some(wire::TrainingSpec {
        optimizer: Some(wire::OptimizerSpec {
            r#type: "sgd".to_owned(),
            ..Default::default()
        }),
        early_stopping: Some(wire::EarlyStoppingSpec {
            metric: "validation/f1_macro".into(),
            ..Default::default()
        }),
        ..Default::default()
    });
    let workers = wire::WorkersSpec {
        min: Some(3),
        max: None,
    };
    spec.resources = Some(wire::ResourcesSpec {
        workers: Some(workers),
        ..Default::default()
    });
    let spec = job_spec(&job).unwrap();
    assert_eq!(spec.training.best_metric, MetricName::named("f1_macro"));
    assert_eq!(spec.training.early_stopping.map(|stopping| stopping.patience), Some(3));
    let sgd = OptimizerSpec::Sgd {
        learning_rate: 1e-3,
        weight_decay: 0.0,
        momentum: 0.9,
        nesterov: false,
    };
    assert_eq!(spec.training.optimizer, sgd);
    assert_eq!(spec.resources.workers.max, 3);
}

#[test]
fn an_empty_message_names_all_that_is_required() {
    let found = job_spec(&wire::FineTuneJob::default()).unwrap_err();
    let fields: Vec<&str> = found.iter().map(|violation| violation.field.as_str()).collect();
    let required = [
        "apiVersion",
        "kind",
        "metadata.name",
        "spec.task.type",
        "spec.model.architecture",
        "spec.data.format",
        "spec.data.train.uri",
    ];
    assert_eq!(fields, required);
}

#[test]
fn a_choice_that_was_not_understood_starts_no_avalanche() {
    let mut job = smallest_job("resnet19", "imagefolder");
    let spec = job.spec.as_mut().unwrap();
    let model = spec.model.as_mut().unwrap();
    model.freeze = Some(wire::FreezeSpec {
        through: "layer.3".to_owned(),
        ..Default::default()
    });
    model.pooling = "cls".to_owned();
    spec.training = Some(wire::TrainingSpec {
        batch_norm: "train".to_owned(),
        ..Default::default()
    });
    let found = job_spec(&job).unwrap_err();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].field, "spec.model.architecture");
}

#[test]
fn violations_travel_in_the_status() {
    let found = vec![
        Violation {
            field: "spec.training.epochs".to_owned(),
            message: "must be from 1 to 9, found 0".to_owned(),
        },
        Violation {
            field: "kind".to_owned(),
            message: "is required".to_owned(),
        },
    ];
    let status = invalid_job(&found);
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert_eq!(
        status.message(),
        "the job is not valid: spec.training.epochs: must be from 1 to 9, found 0 (and 1 more)"
    );
    assert_eq!(violations(&status), found);
    assert_eq!(violations(&tonic::Status::not_found("jobs/none")), []);
}

#[test]
fn labels_are_kept() {
    let mut job = smallest_job("resnet18", "imagefolder");
    job.metadata.as_mut().unwrap().labels = BTreeMap::from([("team".to_owned(), "vision".to_owned())]);
    assert_eq!(job_spec(&job).unwrap().metadata.labels["team"], "vision");
}
