//! The first form in which specs were stored: the core's types of that time as serde derived them.
//!
//! Journals and snapshots of earlier programs hold it, earlier ranks read it, and the digest that names a job's settings in their
//! checkpoints is that of its JSON, byte for byte. So nothing here changes any more, not even the order of the fields.

mod from_present;
mod to_present;

use std::collections::BTreeMap;

pub use from_present::of;
use serde::{Deserialize, Serialize};

/// One fine-tuning run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// The user's name for it: lower-case letters, digits and `-`, at most 63.
    pub name: String,
    /// The user's own bookkeeping.
    pub labels: BTreeMap<String, String>,
    /// What is learned.
    pub task: Task,
    /// The network and its cut.
    pub model: ModelSpec,
    /// Where the samples are and how they are read.
    pub data: DataSpec,
    /// How the head is trained.
    pub training: TrainingSpec,
    /// Where it runs.
    pub resources: ResourcesSpec,
    /// Times the gang is formed again after a loss.
    pub max_restarts: u32,
    /// What is left behind, and where.
    pub artifacts: ArtifactsSpec,
}

/// What is learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// One class for each sample.
    Classification,
}

/// The network, its weights and its cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelSpec {
    /// The family and size.
    pub architecture: Architecture,
    /// Path of a safetensors file on the workers; `None`: random weights from the seed.
    pub weights: Option<String>,
    /// Path of a `tokenizer.json`; text models only; `None`: beside the weights.
    pub tokenizer: Option<String>,
    /// What is frozen.
    pub freeze: Freeze,
    /// The new output layer.
    pub head: HeadSpec,
    /// Text models: how token states become one vector.
    pub pooling: Pooling,
}

/// The architectures that Firn builds itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// He et al. 2015, basic blocks 2-2-2-2.
    Resnet18,
    /// Basic blocks 3-4-6-3.
    Resnet34,
    /// Bottlenecks 3-4-6-3.
    Resnet50,
    /// Bottlenecks 3-4-23-3.
    Resnet101,
    /// Bottlenecks 3-8-36-3.
    Resnet152,
    /// Sandler et al. 2018, width 1.0.
    MobilenetV2,
    /// Devlin et al. 2018; sizes from the `config.json` beside the weights.
    Bert,
}

/// What a model takes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Modality {
    /// RGB images.
    Image,
    /// Token sequences.
    Text,
}

/// The cut: everything below is frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Freeze {
    /// Only the head trains.
    All,
    /// Up to and including this stage of the architecture.
    Through(String),
    /// Everything trains.
    Nothing,
}

/// The new output layer: dropout, then one linear layer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HeadSpec {
    /// Probability in [0, 1) that a feature is dropped in training.
    pub dropout: f64,
}

/// How token states become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Mean over the tokens that are not padding.
    Mean,
    /// State of the first token.
    Cls,
}

/// Where the samples are and how they are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataSpec {
    /// Layout on disk.
    pub format: DataFormat,
    /// Path of the training split.
    pub train: String,
    /// The split that chooses the best checkpoint.
    pub validation: Option<SplitSource>,
    /// The split that is scored once, at the end.
    pub test: Option<SplitSource>,
    /// From file to network input.
    pub preprocessing: Preprocessing,
    /// Corrupt samples that are set aside before the job fails.
    pub max_quarantined: u32,
}

/// Where a split other than train comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum SplitSource {
    /// A folder or file of its own.
    Path(String),
    /// This fraction of train, in (0, 1), seeded and stratified by class.
    FractionOfTrain(f64),
}

/// Layout on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DataFormat {
    /// One folder a class.
    ImageFolder,
    /// A table with a header line.
    Table {
        /// Between fields: `,` or tab.
        delimiter: char,
        /// Whether fields may be wrapped in double quotes.
        quoted: bool,
        /// Name of the text column.
        text: String,
        /// Name of the label column.
        label: String,
    },
    /// One JSON object a line.
    JsonLines {
        /// Name of the text field.
        text: String,
        /// Name of the label field.
        label: String,
    },
}

/// From file to network input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Preprocessing {
    /// torchvision's `Resize` (shorter side, antialiased bilinear), `CenterCrop`, `ToTensor`, `Normalize`.
    Image {
        /// Pixels of the shorter side.
        resize: u32,
        /// Pixels of the square crop.
        crop: u32,
        /// Of each channel, for values in [0, 1].
        mean: [f64; 3],
        /// Of each channel.
        std: [f64; 3],
    },
    /// Tokenise, cut at `max_length`, pad to the longest of the batch.
    Text {
        /// Tokens, special ones included; `None`: the model's maximum, at most 256.
        max_length: Option<u32>,
    },
}

/// How the head is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingSpec {
    /// Passes over the training samples.
    pub epochs: u32,
    /// Samples in one optimizer step, over all ranks.
    pub batch_size: u32,
    /// Most samples one rank computes at once; `None`: chosen by the rank.
    pub micro_batch_size: Option<u32>,
    /// Of order, splits, initialisation and dropout.
    pub seed: u64,
    /// The update rule.
    pub optimizer: OptimizerSpec,
    /// The learning rate over time.
    pub schedule: ScheduleSpec,
    /// The objective.
    pub loss: LossSpec,
    /// When to stop before the last epoch.
    pub early_stopping: Option<EarlyStopping>,
    /// Chooses the best checkpoint.
    pub best_metric: MetricName,
    /// Whether BatchNorm above the cut normalises by the batch and updates its statistics.
    pub train_batch_norm: bool,
    /// Largest L2 norm of the whole gradient.
    pub max_gradient_norm: Option<f64>,
    /// How much may change when the number of ranks does.
    #[serde(default)]
    pub determinism: Determinism,
    /// Age in milliseconds of the last checkpoint at which another is stored within an epoch; 0: only after each epoch.
    #[serde(default = "default_checkpoint_interval_ms")]
    pub checkpoint_interval_ms: u64,
}

/// What the result may depend on besides spec, data and weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Determinism {
    /// The order of floating-point sums, which the number of ranks and of threads decides.
    #[default]
    Default,
    /// Nothing, on machines of one kind: what is learned is the same to the last bit on any number of ranks.
    Strict,
}

/// Of a spec that says nothing, and of one that was stored before the field existed: a minute.
pub fn default_checkpoint_interval_ms() -> u64 {
    60_000
}

/// The update rule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum OptimizerSpec {
    /// Loshchilov & Hutter 2019, as `torch.optim.AdamW`.
    AdamW {
        /// Peak.
        learning_rate: f64,
        /// Decoupled decay.
        weight_decay: f64,
        /// Decay of the first moment.
        beta1: f64,
        /// Decay of the second moment.
        beta2: f64,
        /// Added to the denominator.
        epsilon: f64,
    },
    /// As `torch.optim.SGD`.
    Sgd {
        /// Peak.
        learning_rate: f64,
        /// L2.
        weight_decay: f64,
        /// In [0, 1).
        momentum: f64,
        /// Nesterov's variant.
        nesterov: bool,
    },
}

/// The learning rate over time: a linear rise, then a shape.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ScheduleSpec {
    /// After the warm-up.
    pub shape: ScheduleShape,
    /// Length of the rise.
    pub warmup: Warmup,
}

/// The learning rate after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleShape {
    /// Stays at the peak.
    Constant,
    /// Falls linearly to 0 at the end.
    Linear,
    /// Falls as half a cosine to 0 at the end.
    Cosine,
}

/// Length of the linear rise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Warmup {
    /// Fraction of all steps, in [0, 1).
    Ratio(f64),
    /// Steps.
    Steps(u32),
}

/// Cross-entropy, weighted and smoothed as `torch.nn.CrossEntropyLoss`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LossSpec {
    /// In [0, 1).
    pub label_smoothing: f64,
    /// Weights of the classes.
    pub class_weights: ClassWeights,
}

/// Weights of the classes in the loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ClassWeights {
    /// All 1.
    Uniform,
    /// n / (classes · n_class) over the training samples, as scikit-learn's `balanced`.
    Balanced,
    /// By class name; 1 where none is given.
    Named(BTreeMap<String, f64>),
}

/// When to stop before the last epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EarlyStopping {
    /// What must improve.
    pub metric: MetricName,
    /// Evaluations without improvement.
    pub patience: u32,
    /// Smallest change that counts.
    pub min_delta: f64,
}

/// A metric of the validation split that can choose a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricName {
    /// Mean unweighted cross-entropy; lower is better. All others: higher is better.
    Loss,
    /// Fraction of samples whose class is right.
    Accuracy,
    /// Mean over classes.
    PrecisionMacro,
    /// Mean over classes.
    RecallMacro,
    /// Mean of the per-class F1.
    F1Macro,
    /// Weighted by support.
    F1Weighted,
    /// From pooled counts.
    F1Micro,
    /// Area under the ROC curve; one-versus-rest mean for more than two classes.
    RocAuc,
}

/// Where a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourcesSpec {
    /// Fewest workers to start with, at least 1.
    pub min_workers: u32,
    /// Most workers, at least `min_workers`.
    pub max_workers: u32,
    /// Ranks on each worker.
    pub slots_per_worker: u32,
    /// Kind of slot.
    pub device: DeviceRequest,
}

/// Kind of slot a job asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceRequest {
    /// GPUs where there are any, else CPUs; never both in one gang.
    Auto,
    /// CPU slots only.
    Cpu,
    /// GPU slots only.
    Gpu,
}

/// What is left behind, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactsSpec {
    /// A folder all workers can write; `None`: the coordinator keeps the small files.
    pub folder: Option<String>,
    /// Whether the full model with the new head is written.
    pub merged_model: bool,
}
