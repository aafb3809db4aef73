//! What a job is: the one definition of the spec.
//!
//! The serde form of a [`JobSpec`] is the document that people write and that `spec.json` holds: `apiVersion`, `kind`, `metadata`, `spec`.
//! Beside each field stand its explanation, its words, its range and its default, and [`schema`] reads them: from there come the reading of
//! YAML and JSON, the conversion of the wire's messages, the reference page, `firn explain`, and the schema of a Kubernetes resource.
//! Defaults that depend on other fields are filled in by `defaults`; rules between fields stand in [`validate`].
//!
//! A `JobSpec` that [`JobSpec::from_document`] gives is one that can be run as far as can be known without seeing the data. It is stored
//! with every default written out. Forms that earlier programs stored are read for ever: see [`versions`].

mod architecture;
mod augmentation;
mod data;
mod defaults;
mod document;
mod duration;
mod ema;
mod exact;
mod format;
mod freeze;
mod head;
pub mod hub;
mod lora;
mod mixing;
mod model;
pub mod model_folder;
mod nearest;
mod number;
mod optimizer;
mod precision;
mod resources;
mod sampling;
mod schedule;
mod scheduling;
pub mod schema;
pub(crate) mod settings;
mod training;
pub mod uri;
mod validate;
pub mod versions;
mod watched;
mod weights;
mod word;
mod words;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::metrics::MetricName;
pub use crate::task::Task;
pub use architecture::{
    Architecture, BertKind, CifarResnet, Configured, Convnext, Crops, DecoderKind, Efficientnet, Misfit, MobileBlock,
    MobilenetV3, Modality, Network, Pooling, Resnet, StageFacts, Swin, SwinVersion, Vgg, Vit, VitKind,
};
pub use augmentation::{
    AugmentationSpec, ColorJitterSpec, ErasedValue, PaddingMode, RandAugmentSpec, RandomCropSpec, RandomErasingSpec,
    RandomResizedCropSpec, TrivialAugmentWideSpec, WarpInterpolation,
};
pub use data::{CropMode, DataSpec, Interpolation, MissingLabels, Preprocessing, QuarantineSpec, SplitSource};
pub use ema::EmaSpec;
pub use exact::to_value;
pub use format::{DataFormat, InputColumn, LabelColumns, RowFormat, RowLayout};
pub use freeze::{Freeze, FreezeSpec};
pub use head::{HeadActivation, HeadSpec};
pub use lora::LoraSpec;
pub use mixing::MixingSpec;
pub use model::{ModelSpec, StageDropout};
pub use nearest::nearest;
pub use optimizer::{Decayed, OptimizerSpec};
pub use precision::Precision;
pub use resources::{ArtifactsSpec, DeviceRequest, ResourcesSpec, RestartPolicy, WorkersSpec};
pub use sampling::Sampling;
pub use schedule::{Anneal, OneCycleSpec, PlateauSpec, ScheduleShape, ScheduleSpec, ThresholdMode, Warmup};
pub use scheduling::{PreemptionPolicy, RunPolicy, SchedulingSpec};
pub use training::{ClassWeights, Determinism, LossSpec, TrainingSpec};
pub(crate) use validate::is_label;
pub use validate::{Violation, validate};
pub use watched::{EarlyStopping, WatchedField};
pub use weights::{WeightsPlace, beside_weights};
pub use word::Word;

/// The only `apiVersion`.
pub const API_VERSION: &str = "firn.dev/v1alpha1";
/// The only `kind`.
pub const KIND: &str = "FineTuneJob";

/// One fine-tuning run.
///
/// The derived serde form is private: sections beside each other. The document nests them, see `document`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct JobSpec {
    /// How the job is called.
    #[schemars(extend("x-firn-result" = false))]
    pub metadata: Metadata,
    /// What is learned.
    pub task: Task,
    /// The network, its weights and its cut.
    pub model: ModelSpec,
    /// Where the samples are and how they are read.
    pub data: DataSpec,
    /// How the head is trained.
    pub training: TrainingSpec,
    /// Where it runs.
    #[schemars(extend("x-firn-result" = false))]
    pub resources: ResourcesSpec,
    /// What it survives.
    #[schemars(extend("x-firn-result" = false))]
    pub restart_policy: RestartPolicy,
    /// What is left behind, and where.
    #[schemars(extend("x-firn-result" = false))]
    pub artifacts: ArtifactsSpec,
    /// Where it stands among other jobs.
    #[schemars(extend("x-firn-result" = false, "x-firn-reader" = "coordinator", "x-firn-since" = 4))]
    pub scheduling: SchedulingSpec,
    /// How long it may run, and how long it is kept.
    #[schemars(extend("x-firn-result" = false, "x-firn-reader" = "coordinator", "x-firn-since" = 4))]
    pub run_policy: RunPolicy,
}

/// How a job is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Lower-case letters, digits and `-`, at most 63. If a job of that name exists, the new job's id gets `-2`, `-3`, …
    pub name: String,
    /// Whose job it is: quotas and rights are given by namespace. Lower-case letters, digits and `-`, at most 63.
    #[schemars(extend("x-firn-reader" = "coordinator", "x-firn-since" = 4, "default" = "default"))]
    pub namespace: String,
    /// Free text for the user's own bookkeeping.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}
