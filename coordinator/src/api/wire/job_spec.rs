//! A job as it was submitted → a job that can be run.

use std::path::Path;

use firn_core::spec::{
    Architecture, ArtifactsSpec, DataFormat, DeviceRequest, Freeze, HeadSpec, JobSpec, Modality, ModelSpec,
    ResourcesSpec, Task, Word, validate,
};
use firn_proto::v1alpha1 as wire;

use super::{
    Violation,
    data::{self, Data},
    fields::Fields,
    training::training,
};

/// The only `apiVersion`.
pub const API_VERSION: &str = "firn.dev/v1alpha1";
/// The only `kind`.
pub const KIND: &str = "FineTuneJob";

/// Turns a submitted job into a validated spec in which every default is filled in.
///
/// # Errors
/// Everything that is wrong with it, in the order of the fields.
pub fn job_spec(job: &wire::FineTuneJob) -> Result<JobSpec, Vec<Violation>> {
    let mut fields = Fields::default();
    fields.require(job.api_version == API_VERSION, "apiVersion", || {
        expected(API_VERSION, &job.api_version)
    });
    fields.require(job.kind == KIND, "kind", || expected(KIND, &job.kind));

    let metadata = job.metadata.clone().unwrap_or_default();
    fields.require(!metadata.name.is_empty(), "metadata.name", || "is required".to_owned());
    let submitted = job.spec.clone().unwrap_or_default();
    let task = fields.word("spec.task.type", &submitted.task.unwrap_or_default().r#type);

    let written_model = submitted.model.unwrap_or_default();
    let architecture = fields.word::<Architecture>("spec.model.architecture", &written_model.architecture);
    let written_data = submitted.data.unwrap_or_default();
    let format = data::format(&mut fields, &written_data);
    let chosen = Chosen::new(architecture, format);

    let model = model(&mut fields, &written_model, &chosen);
    let Data {
        train,
        validation,
        test,
        preprocessing,
        max_quarantined,
    } = data::data(&mut fields, &written_data, &chosen);
    let written_training = submitted.training.unwrap_or_default();
    let training = training(&mut fields, &written_training, validation.is_some());

    let spec = JobSpec {
        name: metadata.name,
        labels: metadata.labels,
        task: task.unwrap_or(Task::Classification),
        model,
        data: firn_core::spec::DataSpec {
            format: chosen.format,
            train,
            validation,
            test,
            preprocessing,
            max_quarantined,
        },
        training,
        resources: resources(&mut fields, &submitted.resources.unwrap_or_default()),
        max_restarts: submitted.restart_policy.unwrap_or_default().max_restarts.unwrap_or(3),
        artifacts: artifacts(&mut fields, &submitted.artifacts.unwrap_or_default()),
    };
    fields.add_rules(validate(&spec), chosen.unreliable);
    let violations = fields.into_violations();
    if violations.is_empty() {
        Ok(spec)
    } else {
        Err(violations)
    }
}

fn expected(expected: &str, found: &str) -> String {
    if found.is_empty() {
        format!("is required: `{expected}`")
    } else {
        format!("must be `{expected}`, found `{found}`")
    }
}

/// The two choices on which other defaults and rules depend.
pub(super) struct Chosen {
    /// What was chosen, or a stand-in that agrees with the format.
    pub(super) architecture: Architecture,
    /// What was chosen, or a stand-in that agrees with the architecture.
    pub(super) format: DataFormat,
    /// Whether the modality is what the user chose: fields of the other one may then be refused.
    pub(super) modality_is_known: bool,
    /// Fields about which nothing true can be said, because they depend on a choice that was not understood.
    unreliable: &'static [&'static str],
}

impl Chosen {
    fn new(architecture: Option<Architecture>, format: Option<DataFormat>) -> Self {
        let stand_in = |modality| match modality {
            Modality::Image => DataFormat::ImageFolder,
            Modality::Text => DataFormat::JsonLines {
                text: "text".to_owned(),
                label: "label".to_owned(),
            },
        };
        match (architecture, format) {
            (Some(architecture), Some(format)) => {
                let modality_is_known = architecture.modality() == format.modality();
                Self {
                    architecture,
                    format,
                    modality_is_known,
                    unreliable: &[],
                }
            }
            (Some(architecture), None) => Self {
                format: stand_in(architecture.modality()),
                architecture,
                modality_is_known: true,
                unreliable: &["spec.data.columns"],
            },
            (None, format) => {
                let format = format.unwrap_or(DataFormat::ImageFolder);
                let architecture = match format.modality() {
                    Modality::Image => Architecture::Resnet18,
                    Modality::Text => Architecture::Bert,
                };
                let unreliable = &[
                    "spec.model.freeze",
                    "spec.model.tokenizer",
                    "spec.model.pooling",
                    "spec.data.format",
                    "spec.data.preprocessing",
                    "spec.training.batchNorm",
                ];
                Self {
                    architecture,
                    format,
                    modality_is_known: false,
                    unreliable,
                }
            }
        }
    }

    /// Notes a field that is set though it has no meaning for the chosen model.
    pub(super) fn only_for(&self, fields: &mut Fields, modality: Modality, is_set: bool, field: &str) {
        if self.modality_is_known && self.architecture.modality() != modality {
            let takes = match self.architecture.modality() {
                Modality::Image => "images",
                Modality::Text => "text",
            };
            fields.absent(is_set, field, &format!("`{}` takes {takes}", self.architecture.word()));
        }
    }
}

fn model(fields: &mut Fields, written: &wire::ModelSpec, chosen: &Chosen) -> ModelSpec {
    let weights = fields.path("spec.model.weights", &written.weights);
    let named_tokenizer = fields.path("spec.model.tokenizer", &written.tokenizer);
    let beside_weights = || {
        let folder = Path::new(weights.as_deref()?).parent()?;
        Some(folder.join("tokenizer.json").to_string_lossy().into_owned())
    };
    let tokenizer = match chosen.architecture.modality() {
        Modality::Text => named_tokenizer.or_else(beside_weights),
        Modality::Image => named_tokenizer,
    };
    chosen.only_for(
        fields,
        Modality::Text,
        !written.pooling.is_empty(),
        "spec.model.pooling",
    );
    let freeze = match written.freeze.clone().unwrap_or_default().through.as_str() {
        "" | "all" => Freeze::All,
        "none" => Freeze::Nothing,
        stage => Freeze::Through(stage.to_owned()),
    };
    let head = written.head.clone().unwrap_or_default();
    if !matches!(head.r#type.as_str(), "" | "linear") {
        fields.unknown_word("spec.model.head.type", &head.r#type, &["linear"]);
    }
    ModelSpec {
        architecture: chosen.architecture,
        weights,
        tokenizer,
        freeze,
        head: HeadSpec {
            dropout: head.dropout.unwrap_or(0.0),
        },
        pooling: fields.word_or(
            "spec.model.pooling",
            &written.pooling,
            chosen.architecture.poolings()[0],
        ),
    }
}

fn resources(fields: &mut Fields, written: &wire::ResourcesSpec) -> ResourcesSpec {
    let workers = written.workers.unwrap_or_default();
    let min_workers = workers.min.unwrap_or(1);
    ResourcesSpec {
        min_workers,
        max_workers: workers.max.unwrap_or(min_workers),
        slots_per_worker: written.slots_per_worker.unwrap_or(1),
        device: fields.word_or("spec.resources.device", &written.device, DeviceRequest::Auto),
    }
}

fn artifacts(fields: &mut Fields, written: &wire::ArtifactsSpec) -> ArtifactsSpec {
    ArtifactsSpec {
        folder: fields.path("spec.artifacts.uri", &written.uri),
        merged_model: written.merged_model.unwrap_or(true),
    }
}
