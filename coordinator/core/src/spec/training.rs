//! How the head is trained.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Decayed, EarlyStopping, EmaSpec, MetricName, MixingSpec, OptimizerSpec, Precision, Sampling, ScheduleSpec, Task,
    duration, watched::on_validation,
};
use crate::task::regression::Distance;

/// How the head is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrainingSpec {
    /// Passes over the training samples.
    #[schemars(range(min = 1, max = 1_000_000), extend("default" = 10))]
    pub epochs: u32,
    /// GLOBAL batch: samples in one optimizer step over all ranks. The result does not depend on how many ranks share it.
    #[schemars(range(min = 1, max = 1_000_000), extend("default" = 32))]
    pub batch_size: u32,
    /// Most samples that one rank puts through the network at once; the batch is accumulated exactly.
    #[schemars(range(min = 1, max = 1_000_000), extend("x-firn-result" = false, "x-firn-default" = "chosen by each rank"))]
    pub micro_batch_size: Option<u32>,
    /// Of sample order, splits, head initialisation and dropout.
    #[schemars(extend("default" = 0))]
    pub seed: u64,
    /// How the samples of an epoch are chosen.
    #[schemars(extend("default" = "shuffle", "x-firn-since" = 5))]
    pub sampling: Sampling,
    /// The update rule.
    pub optimizer: OptimizerSpec,
    /// Layer-wise decay: what the learning rate of a stage is multiplied with for each stage with weights from it up to the head, which has the whole
    /// rate. As timm's `param_groups_layer_decay`; 1 / 2.6 in ULMFiT.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0.0, "default" = 1.0, "x-firn-since" = 5))]
    pub layer_decay: f64,
    /// The learning rate over time.
    pub schedule: ScheduleSpec,
    /// The objective.
    pub loss: LossSpec,
    /// Training images that are mixed with each other.
    #[schemars(extend("x-firn-modality" = "image", "x-firn-default" = "none: each image is alone", "x-firn-since" = 5))]
    pub mixing: Option<MixingSpec>,
    /// When to stop before the last epoch.
    pub early_stopping: Option<EarlyStopping>,
    /// Chooses the best checkpoint.
    #[serde(with = "on_validation")]
    #[schemars(with = "on_validation::Name", extend("x-firn-default" = "the metric of early stopping, else `validation/loss`"))]
    pub best_metric: MetricName,
    /// The class that `bestMetric` is of, where it is of one: `validation/precision`, `validation/recall` and `validation/f1`. A label of a multi-label
    /// classification, a type of entity of a token classification.
    #[schemars(extend("x-firn-default" = "the class of early stopping, where its metric is the one of `bestMetric`", "x-firn-since" = 5))]
    pub best_metric_class: Option<String>,
    /// What BatchNorm layers above the cut normalise by.
    #[serde(rename = "batchNorm", with = "batch_norm")]
    #[schemars(with = "batch_norm::BatchNorm", extend("default" = "eval"))]
    pub train_batch_norm: bool,
    /// Largest L2 norm of the gradient of all trainable tensors together; larger ones are scaled down.
    #[schemars(extend("exclusiveMinimum" = 0.0, "x-firn-default" = "no limit"))]
    pub max_gradient_norm: Option<f64>,
    /// Largest absolute value of the gradient of each trainable number; larger ones are cut. Not together with `maxGradientNorm`.
    #[schemars(extend("exclusiveMinimum" = 0.0, "x-firn-default" = "no limit", "x-firn-since" = 5))]
    pub max_gradient_value: Option<f64>,
    /// Which tensors `optimizer.weightDecay` makes smaller.
    #[serde(rename = "weightDecayOf")]
    #[schemars(extend("x-firn-default" = "`weights` for transformers and ConvNeXt, else `all`", "x-firn-since" = 5))]
    pub decayed: Decayed,
    /// Averages the trained weights, and makes the average what the job leaves.
    #[schemars(extend("x-firn-default" = "none", "x-firn-since" = 5))]
    pub ema: Option<EmaSpec>,
    /// The precision of the products below the cut.
    #[schemars(extend("default" = "fp32", "x-firn-since" = 5))]
    pub frozen_precision: Precision,
    /// How much may change when the number of ranks does.
    #[schemars(extend("default" = "default"))]
    pub determinism: Determinism,
    /// Longest time of training that a loss of all ranks can cost: a checkpoint is stored when the last one is that old, also in the middle
    /// of an epoch. `0s`: only after each epoch.
    #[serde(rename = "checkpointInterval", with = "duration")]
    #[schemars(with = "duration::Duration", extend("x-firn-result" = false, "default" = "60s"))]
    pub checkpoint_interval_ms: u64,
}

/// What the result may depend on besides spec, data and weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Determinism {
    /// The result does not depend on the number of ranks but for the order of floating-point sums.
    #[default]
    Default,
    /// What is learned is bit-identical on machines of one kind, whatever the number of ranks and whatever is lost on the way. Each rank's
    /// part is computed in small fixed slices and on one CPU thread, so it is slower where a rank has several.
    Strict,
}

/// What training makes small.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
#[schemars(extend(
    "x-firn-type" = "cross_entropy",
    "x-firn-type-since" = 3,
    "x-firn-type-default" = "`cross_entropy` of classes, `mse` of numbers, `binary_cross_entropy` of labels"
))]
pub enum LossSpec {
    /// Weighted and smoothed as `torch.nn.CrossEntropyLoss`.
    CrossEntropy {
        /// Mass that is spread evenly over all classes.
        #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0, "default" = 0.0))]
        label_smoothing: f64,
        /// Weights of the classes.
        #[serde(flatten)]
        class_weights: ClassWeights,
    },
    /// Regression: e², as `torch.nn.MSELoss`. An error is one of the standardised target; the mean over targets.
    #[schemars(extend("x-firn-since" = 3))]
    Mse,
    /// Regression: |e|, as `torch.nn.L1Loss`.
    #[schemars(extend("x-firn-since" = 3))]
    L1,
    /// Regression: e²/2 up to `delta`, beyond it `delta`·(|e| - `delta`/2), as `torch.nn.HuberLoss`.
    #[schemars(extend("x-firn-since" = 3))]
    Huber {
        /// Where the loss turns from squared to linear, in standard deviations of the target.
        #[schemars(extend("exclusiveMinimum" = 0.0, "default" = 1.0))]
        delta: f64,
    },
    /// Multi-label: as `torch.nn.BCEWithLogitsLoss`, the mean over labels. The weights are its `pos_weight`: those of samples that have the label.
    #[schemars(extend("x-firn-since" = 5))]
    BinaryCrossEntropy {
        /// Weights of the labels.
        #[serde(flatten)]
        class_weights: ClassWeights,
    },
    /// Classification and token classification: cross-entropy times (1 - p)^`gamma`, where p is the probability of the true class (Lin et al. 2017).
    #[schemars(extend("x-firn-since" = 5))]
    Focal {
        /// How much less a sample counts that the network is sure of; with 0 it is cross-entropy.
        #[schemars(range(min = 0.0, max = 100.0), extend("default" = 2.0))]
        gamma: f64,
        /// Weights of the classes.
        #[serde(flatten)]
        class_weights: ClassWeights,
    },
    /// Multi-label: as `torchvision.ops.sigmoid_focal_loss`, the mean over labels.
    #[schemars(extend("x-firn-since" = 5))]
    SigmoidFocal {
        /// How much less a label counts that the network is sure of; with 0 it is binary cross-entropy.
        #[schemars(range(min = 0.0, max = 100.0), extend("default" = 2.0))]
        gamma: f64,
        /// Weight of samples that have the label; 1 - `alpha` is that of the others. With 0.5 both weigh the same.
        #[schemars(range(min = 0.0, max = 1.0), extend("default" = 0.25))]
        alpha: f64,
    },
}

impl LossSpec {
    /// Whether it compares the outputs of this task.
    pub fn is_of(&self, task: Task) -> bool {
        match self {
            Self::CrossEntropy { .. } | Self::Focal { .. } => matches!(task, Task::Classification | Task::Tokens),
            Self::Mse | Self::L1 | Self::Huber { .. } => task == Task::Regression,
            Self::BinaryCrossEntropy { .. } | Self::SigmoidFocal { .. } => matches!(task, Task::MultiLabel(_)),
        }
    }

    /// What an error costs; `None` of classes and labels.
    pub fn distance(&self) -> Option<Distance> {
        match *self {
            Self::CrossEntropy { .. }
            | Self::BinaryCrossEntropy { .. }
            | Self::Focal { .. }
            | Self::SigmoidFocal { .. } => None,
            Self::Mse => Some(Distance::Squared),
            Self::L1 => Some(Distance::Absolute),
            Self::Huber { delta } => Some(Distance::Huber { delta }),
        }
    }

    /// The word that people write for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::CrossEntropy { .. } => "cross_entropy",
            Self::Mse => "mse",
            Self::L1 => "l1",
            Self::Huber { .. } => "huber",
            Self::BinaryCrossEntropy { .. } => "binary_cross_entropy",
            Self::Focal { .. } => "focal",
            Self::SigmoidFocal { .. } => "sigmoid_focal",
        }
    }

    /// The word of the loss that a task has if nothing is written.
    pub(super) fn default_word(task: Task) -> &'static str {
        match task {
            Task::Classification | Task::Tokens => "cross_entropy",
            Task::Regression => "mse",
            Task::MultiLabel(_) => "binary_cross_entropy",
        }
    }
}

impl Default for LossSpec {
    /// Cross-entropy as it is.
    fn default() -> Self {
        Self::CrossEntropy {
            label_smoothing: 0.0,
            class_weights: ClassWeights::Uniform,
        }
    }
}

/// Weights of the classes, or labels, in the loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "ClassWeightsDocument", into = "ClassWeightsDocument")]
pub enum ClassWeights {
    /// All 1.
    Uniform,
    /// Of classes n / (classes · n_class) over the training samples, as scikit-learn's `balanced`; of labels the samples without one by those with
    /// it.
    Balanced,
    /// By class name; 1 where none is given.
    Named(BTreeMap<String, f64>),
}

/// The weights as they are written.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ClassWeightsDocument {
    /// Weight of each class, or label, by name; what is not named weighs 1. Of classes, the loss is divided by the sum of the samples' weights.
    #[serde(default)]
    #[schemars(extend("additionalProperties" = {"type": "number", "exclusiveMinimum": 0.0}))]
    class_weights: BTreeMap<String, f64>,
    /// Whether the weights are made from the training samples.
    #[schemars(extend("default" = "none"))]
    class_balance: ClassBalance,
}

/// Whether the weights are made from the training samples.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum ClassBalance {
    /// The weights are those of `classWeights`.
    None,
    /// Of classes n / (classes · n_class) of the training samples, as scikit-learn's; of labels the samples without one by those with it.
    Balanced,
}

impl From<ClassWeightsDocument> for ClassWeights {
    fn from(written: ClassWeightsDocument) -> Self {
        match written.class_balance {
            ClassBalance::Balanced => Self::Balanced,
            ClassBalance::None if written.class_weights.is_empty() => Self::Uniform,
            ClassBalance::None => Self::Named(written.class_weights),
        }
    }
}

impl From<ClassWeights> for ClassWeightsDocument {
    fn from(weights: ClassWeights) -> Self {
        let (class_weights, class_balance) = match weights {
            ClassWeights::Uniform => (BTreeMap::new(), ClassBalance::None),
            ClassWeights::Balanced => (BTreeMap::new(), ClassBalance::Balanced),
            ClassWeights::Named(weights) => (weights, ClassBalance::None),
        };
        Self {
            class_weights,
            class_balance,
        }
    }
}

/// A switch that is written as what it means.
mod batch_norm {
    use schemars::JsonSchema;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// What BatchNorm layers above the cut normalise by.
    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    pub(super) enum BatchNorm {
        /// The running statistics, which are kept.
        Eval,
        /// The batch; the running statistics are updated.
        Train,
    }

    pub(super) fn serialize<S: Serializer>(trains: &bool, serializer: S) -> Result<S::Ok, S::Error> {
        let written = if *trains { BatchNorm::Train } else { BatchNorm::Eval };
        written.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
        Ok(matches!(BatchNorm::deserialize(deserializer)?, BatchNorm::Train))
    }
}
