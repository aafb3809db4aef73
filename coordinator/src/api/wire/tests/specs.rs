//! Valid specs of every kind, for tests that hold for all of them.

mod data;
mod model;
mod training;

use firn_core::slices;
use firn_core::spec::{
    Architecture, ArtifactsSpec, AugmentationSpec, DataFormat, DataSpec, Determinism, DeviceRequest, HeadSpec, JobSpec,
    Metadata, MissingLabels, PreemptionPolicy, Preprocessing, QuarantineSpec, ResourcesSpec, RestartPolicy, RunPolicy,
    SchedulingSpec, SplitSource, Task, Word, WorkersSpec,
};
use proptest::prelude::*;

use self::{
    data::{data, data_choices, split},
    model::model,
    training::training,
};

fn word<W: Word + std::fmt::Debug>() -> impl Strategy<Value = W> {
    prop::sample::select(W::WORDS.iter().map(|(_, choice)| choice.clone()).collect::<Vec<W>>())
}

fn path() -> impl Strategy<Value = String> {
    "/[a-zA-Z0-9 %é_.-]{1,12}(/[a-z]{1,8}){0,2}"
}

fn resources(one_rank: bool) -> impl Strategy<Value = ResourcesSpec> {
    (1u32..5, 0u32..4, 1u32..9, word::<DeviceRequest>()).prop_map(move |(min_workers, more, slots, device)| {
        ResourcesSpec {
            workers: WorkersSpec {
                min: if one_rank { 1 } else { min_workers },
                max: if one_rank { 1 } else { min_workers + more },
            },
            slots_per_worker: if one_rank { 1 } else { slots },
            device,
        }
    })
}

fn scheduling() -> impl Strategy<Value = (SchedulingSpec, RunPolicy)> {
    let selector = prop::collection::btree_map("[a-z]{1,6}", "[a-z]{0,6}", 0..3);
    let policy = (prop::option::of(1u64..10_000), prop::option::of(0u32..10_000));
    (0u32..1000, word::<PreemptionPolicy>(), selector, policy).prop_map(
        |(priority, preemption_policy, worker_selector, (active_deadline_ms, ttl_seconds_after_finished))| {
            let scheduling = SchedulingSpec {
                priority,
                preemption_policy,
                worker_selector,
            };
            let run_policy = RunPolicy {
                active_deadline_ms,
                ttl_seconds_after_finished,
            };
            (scheduling, run_policy)
        },
    )
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let labels = prop::collection::btree_map("[a-z]{1,6}", ".{0,12}", 0..3);
    ("[a-z0-9]{1,9}", "[a-z0-9]{1,9}", labels).prop_map(|(name, namespace, labels)| Metadata {
        name,
        namespace,
        labels,
    })
}

fn data_of(
    (format, preprocessing): (DataFormat, Preprocessing),
    (train, validation, test): (String, Option<SplitSource>, Option<SplitSource>),
    (max_samples, missing, augmentation): (u32, MissingLabels, Option<AugmentationSpec>),
) -> DataSpec {
    DataSpec {
        missing_labels: (format != DataFormat::ImageFolder).then_some(missing),
        format,
        classes: Vec::new(),
        train,
        validation,
        test,
        preprocessing,
        augmentation,
        quarantine: QuarantineSpec { max_samples },
    }
}

/// Any spec that keeps to every rule.
pub(super) fn valid_spec() -> impl Strategy<Value = JobSpec> {
    word::<Architecture>()
        .prop_flat_map(|architecture| (model(architecture), data(architecture), path(), split(), split()))
        .prop_flat_map(|(model, (format, preprocessing), train, validation, test)| {
            let batch_norm = model.architecture.has_batch_norm() && !model.freeze.trains_head_alone();
            let is_image = matches!(preprocessing, Preprocessing::Image { .. });
            let data = data_choices(is_image).prop_map(move |choices| {
                let places = (train.clone(), validation.clone(), test.clone());
                data_of((format.clone(), preprocessing.clone()), places, choices)
            });
            (
                Just(model),
                data.clone(),
                data.prop_flat_map(move |data| training(data.validation.is_some(), batch_norm, is_image)),
            )
        })
        .prop_flat_map(|(model, data, training)| {
            let one_rank = training.train_batch_norm;
            (
                Just((model, data, training)),
                resources(one_rank),
                metadata(),
                0u32..100,
                (prop::option::of(path()), scheduling()),
            )
        })
        .prop_map(
            |((model, mut data, mut training), resources, metadata, max_restarts, rest)| {
                let (folder, (scheduling, run_policy)) = rest;
                let ranks = resources.workers.max * resources.slots_per_worker;
                if ranks > slices::of_job(&training) {
                    training.determinism = Determinism::Default;
                }
                let is_ordinal = matches!(model.head, HeadSpec::Ordinal { .. });
                if is_ordinal || training.watched().any(|field| field.watched.metric.counts_distances()) {
                    data.classes = ["none", "mild", "severe"].map(str::to_owned).to_vec();
                }
                if !model.freeze.unfreeze.is_empty() {
                    (training.epochs, training.layer_decay) = (training.epochs.max(3), 0.75);
                }
                JobSpec {
                    metadata,
                    task: Task::Classification,
                    model,
                    data,
                    training,
                    resources,
                    restart_policy: RestartPolicy { max_restarts },
                    artifacts: ArtifactsSpec {
                        folder,
                        merged_model: max_restarts % 2 == 0,
                    },
                    scheduling,
                    run_policy,
                }
            },
        )
}
