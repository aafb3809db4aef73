//! What a spec must keep to beyond its types: ranges, and rules between fields.
//!
//! All violations are found at once: someone who submits from far away should not learn of them one by one. What needs the data or the
//! weights to be seen (a class that is not there, the number of a model's layers) is checked by the ranks before the first step.

mod augmentation;
mod freeze;
mod head;
mod mixing;
mod ranges;
mod schedule;
mod task;
mod torchscript;
mod violations;
mod watched;

use std::collections::BTreeMap;

pub use violations::Violation;
pub(super) use violations::within;

use super::number::number;
use super::resources::MOST_WORKERS;
use super::{
    Architecture, Crops, DataFormat, Determinism, InputColumn, JobSpec, Modality, OptimizerSpec, Pooling,
    Preprocessing, ResourcesSpec, SplitSource, Task, TrainingSpec, WeightsPlace, Word, WorkersSpec, hub,
};
use crate::slices;
use violations::Violations;

/// Everything in the spec that cannot be run; empty: it is valid. First what is wrong with a section, in the order of the fields, then what
/// does not go together.
pub fn validate(spec: &JobSpec) -> Vec<Violation> {
    let mut violations = Violations::default();
    metadata(spec, &mut violations);
    watched::check(spec, &mut violations);
    task::check(spec, &mut violations);
    model(spec, &mut violations);
    freeze::check(spec, &mut violations);
    head::check(spec, &mut violations);
    data(spec, &mut violations);
    augmentation::check(&spec.data, &mut violations);
    training(&spec.training, &mut violations);
    mixing::check(spec, &mut violations);
    schedule::check(&spec.training, &mut violations);
    resources(spec, &mut violations);
    ranges::check(spec, &mut violations);
    violations.sort();
    validation_rules(spec, &mut violations);
    shared_batch(spec, &mut violations);
    violations.found
}

const MOST_LABELS: usize = 64;
const MOST_LABEL_BYTES: usize = 256;

fn metadata(spec: &JobSpec, violations: &mut Violations) {
    let (name, namespace) = (&spec.metadata.name, &spec.metadata.namespace);
    for (field, found) in [("metadata.name", name), ("metadata.namespace", namespace)] {
        violations.require(is_label(found), field, || {
            format!(
                "must be 1 to 63 lower-case letters, digits and `-`, with a letter or digit at both ends, found `{found}`"
            )
        });
    }
    labels("metadata.labels", &spec.metadata.labels, violations);
    labels(
        "spec.scheduling.workerSelector",
        &spec.scheduling.worker_selector,
        violations,
    );
}

fn labels(field: &str, labels: &BTreeMap<String, String>, violations: &mut Violations) {
    violations.require(labels.len() <= MOST_LABELS, field, || {
        format!("must be at most {MOST_LABELS} labels, found {}", labels.len())
    });
    for (key, value) in labels {
        let fits = !key.is_empty() && key.len() <= MOST_LABEL_BYTES && value.len() <= MOST_LABEL_BYTES;
        violations.require(fits, &format!("{field}.{key}"), || {
            format!("key and value must be at most {MOST_LABEL_BYTES} bytes, and the key not empty")
        });
    }
}

/// A label of a domain name (RFC 1123), as Kubernetes asks for.
pub(crate) fn is_label(name: &str) -> bool {
    let letters = name
        .bytes()
        .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    letters && !name.starts_with('-') && !name.ends_with('-') && (1..=63).contains(&name.len())
}

fn model(spec: &JobSpec, violations: &mut Violations) {
    let model = &spec.model;
    let architecture = model.architecture.word();
    for (field, place) in [("weights", &model.weights), ("tokenizer", &model.tokenizer)] {
        let is_of_the_hub = |place: &&String| place.starts_with(hub::SCHEME);
        violations.absolute(
            &format!("spec.model.{field}"),
            place.as_ref().filter(|place| !is_of_the_hub(place)),
        );
    }
    if model.architecture == Architecture::TorchScript {
        torchscript::weights(model, violations);
    } else if let Some(weights) = &model.weights {
        violations.require(WeightsPlace::of(weights).is_some(), "spec.model.weights", || {
            format!(
                "must be a `.safetensors` file, the `.safetensors.index.json` of a sharded one, or a folder that holds either (with a `/` at \
                 its end): other formats can run code when they are opened; found `{weights}`"
            )
        });
    }
    match model.architecture.modality() {
        Modality::Text => {
            violations.require(
                model.weights.is_some() || model.tokenizer.is_some(),
                "spec.model.tokenizer",
                || format!("is required for `{architecture}` without weights: it gives the vocabulary, and the `config.json` beside it the sizes"),
            );
        }
        Modality::Image => {
            violations.require(model.tokenizer.is_none(), "spec.model.tokenizer", || {
                format!("must be left out for `{architecture}`, which takes images")
            });
        }
    }
    if spec.task == Task::Tokens {
        let fits = model.pooling == Pooling::None || model.architecture.modality() == Modality::Image;
        violations.require(fits, "spec.model.pooling", || {
            let (task, found) = (spec.task.word(), model.pooling.word());
            format!("must be left out for {task}, where each word has a state of its own, found `{found}`")
        });
        return;
    }
    let poolings = model.architecture.poolings();
    violations.require(poolings.contains(&model.pooling), "spec.model.pooling", || {
        let words: Vec<_> = poolings.iter().map(|pooling| format!("`{}`", pooling.word())).collect();
        let found = model.pooling.word();
        format!("must be {} for `{architecture}`, found `{found}`", words.join(" or "))
    });
}

fn data(spec: &JobSpec, violations: &mut Violations) {
    let data = &spec.data;
    let (architecture, format) = (spec.model.architecture, data.format.word());
    violations.require(
        architecture.modality() == data.format.modality(),
        "spec.data.format",
        || {
            let (takes, gives) = match architecture.modality() {
                Modality::Image => ("images", "text"),
                Modality::Text => ("text", "images"),
            };
            format!("`{format}` gives {gives}, but `{}` takes {takes}", architecture.word())
        },
    );
    violations.absolute("spec.data.train.uri", Some(&data.train));
    let mut taken = 0.0;
    for (field, source) in [
        ("spec.data.validation", &data.validation),
        ("spec.data.test", &data.test),
    ] {
        match source {
            None => {}
            Some(SplitSource::Path(path)) => violations.absolute(&format!("{field}.uri"), Some(path)),
            Some(SplitSource::FractionOfTrain(fraction)) => {
                // Out of its range, it is told alone.
                let inside = *fraction > 0.0 && *fraction < 1.0;
                taken += if inside { *fraction } else { 0.0 };
            }
        }
    }
    violations.require(taken < 1.0, "spec.data.test.split", || {
        format!(
            "validation and test together must leave samples to train on, but take {} of train",
            number(taken)
        )
    });
    if let DataFormat::Rows(rows) = &data.format
        && let InputColumn::Image { root, .. } = &rows.input
    {
        violations.absolute("spec.data.root", root.as_ref());
    }
    preprocessing(&data.preprocessing, violations);
    if let Preprocessing::Image { crop, .. } = data.preprocessing {
        let (holds, expected) = match architecture.crops() {
            Crops::From(smallest) => (crop >= smallest || crop == 0, format!("at least {smallest}")),
            Crops::Only(size) => (crop == size || crop == 0, size.to_string()),
        };
        violations.require(holds, "spec.data.preprocessing.crop", || {
            format!("must be {expected} for `{}`, found {crop}", architecture.word())
        });
    }
}

fn preprocessing(preprocessing: &Preprocessing, violations: &mut Violations) {
    if let Preprocessing::Image { resize, crop, .. } = preprocessing {
        violations.require(*crop >= 1 && crop <= resize, "spec.data.preprocessing.crop", || {
            format!("must be from 1 to resize ({resize}), found {crop}")
        });
    }
}

fn training(training: &TrainingSpec, violations: &mut Violations) {
    if let Some(micro) = training.micro_batch_size {
        let batch = training.batch_size;
        let fits = micro >= 1 && micro <= batch.max(1);
        violations.require(fits, "spec.training.microBatchSize", || {
            format!("must be from 1 to batchSize ({batch}), found {micro}")
        });
    }
    if training.max_gradient_norm.is_some() {
        let alone = training.max_gradient_value.is_none();
        violations.require(alone, "spec.training.maxGradientValue", || {
            "not together with maxGradientNorm: a gradient is limited by its norm or by its values".to_owned()
        });
    }
    if let OptimizerSpec::Sgd { momentum, nesterov, .. } = training.optimizer {
        violations.require(!nesterov || momentum > 0.0, "spec.training.optimizer.nesterov", || {
            "needs a momentum above 0, found 0".to_owned()
        });
    }
}

/// What needs a validation split, and what has no effect on this model.
fn validation_rules(spec: &JobSpec, violations: &mut Violations) {
    let training = &spec.training;
    watched::needs_validation(spec, violations);
    if training.train_batch_norm {
        trained_batch_norm(spec, violations);
    }
}

/// BatchNorm that trains needs layers to train, and goes over a rank's part of the batch at once.
fn trained_batch_norm(spec: &JobSpec, violations: &mut Violations) {
    let architecture = spec.model.architecture;
    if !architecture.has_batch_norm() {
        let message = format!("must be `eval`: `{}` has no BatchNorm layers", architecture.word());
        violations.add("spec.training.batchNorm", message);
    } else if spec.model.freeze.trains_head_alone() {
        let message = "must be `eval` when freeze.through is `all`: no BatchNorm layer is above the cut";
        violations.add("spec.training.batchNorm", message.to_owned());
    } else if spec.model.lora.is_some() {
        let message = "must be `eval` where there is model.lora: only adapters and the head train";
        violations.add("spec.training.batchNorm", message.to_owned());
    }
    let (micro, batch) = (spec.training.micro_batch_size, spec.training.batch_size);
    violations.require(
        micro.is_none_or(|size| size >= batch),
        "spec.training.microBatchSize",
        || {
            "must not be below batchSize when batchNorm is `train`: the statistics are those of the whole batch, so each rank computes its part at once"
                .to_owned()
        },
    );
}

/// A rank of a strict job takes whole slices, so there must be one for each.
fn strict_ranks(training: &TrainingSpec, ranks: u64, violations: &mut Violations) {
    let slices = slices::of_job(training);
    let is_bound = training.determinism == Determinism::Strict;
    let batch = u64::from(training.batch_size);
    violations.require(
        !is_bound || ranks > batch || ranks <= u64::from(slices),
        "spec.training.determinism",
        || {
            format!(
                "must be `default` for {ranks} ranks: `strict` cuts a batch of {batch} into {slices} slices, and each rank takes at least one"
            )
        },
    );
}

fn resources(spec: &JobSpec, violations: &mut Violations) {
    let WorkersSpec { min, max } = spec.resources.workers;
    violations.require(max >= min && max <= MOST_WORKERS, "spec.resources.workers.max", || {
        format!("must be from min ({min}) to {MOST_WORKERS}, found {max}")
    });
    violations.absolute("spec.artifacts.uri", spec.artifacts.folder.as_ref());
}

/// Each rank has a part of the batch.
fn shared_batch(spec: &JobSpec, violations: &mut Violations) {
    let ResourcesSpec {
        workers,
        slots_per_worker,
        ..
    } = spec.resources;
    let batch = spec.training.batch_size;
    let ranks = u64::from(workers.max) * u64::from(slots_per_worker);
    violations.require(ranks <= u64::from(batch.max(1)), "spec.training.batchSize", || {
        let workers = workers.max;
        format!("must be at least the {ranks} ranks that share it ({workers} workers × {slots_per_worker} slots), found {batch}")
    });
    strict_ranks(&spec.training, ranks, violations);
}
