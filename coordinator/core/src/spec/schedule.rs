//! The learning rate over time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::MetricName;
use super::watched::on_validation;

/// The learning rate over time: a linear rise, then a shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleSpec {
    /// After the warm-up.
    #[serde(flatten)]
    pub shape: ScheduleShape,
    /// Length of the rise.
    #[serde(flatten)]
    pub warmup: Warmup,
}

/// The learning rate after the warm-up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
#[schemars(extend("x-firn-type" = "constant"))]
pub enum ScheduleShape {
    /// Stays at the peak.
    Constant,
    /// Falls linearly to 0 at the last step.
    Linear,
    /// Falls as half a cosine to 0 at the last step.
    Cosine,
    /// Falls when a metric of the validation no longer improves, as `torch.optim.lr_scheduler.ReduceLROnPlateau`; needs `data.validation`.
    Plateau(PlateauSpec),
    /// Falls as half a cosine, several times, from the peak to a floor each: transformers'
    /// `get_cosine_with_hard_restarts_schedule_with_warmup`, in one cycle its `get_cosine_with_min_lr_schedule_with_warmup`.
    #[schemars(extend("x-firn-since" = 5))]
    CosineRestarts {
        /// How often it falls, in parts of equal length.
        #[schemars(range(min = 1, max = 1_000_000), extend("default" = 1))]
        cycles: u32,
        /// The rate falls no further.
        #[schemars(range(min = 0.0), extend("default" = 0.0))]
        min_learning_rate: f64,
    },
    /// Falls to a floor at the last step by a power of what is left, as transformers' `get_polynomial_decay_schedule_with_warmup`.
    #[schemars(extend("x-firn-since" = 5))]
    Polynomial {
        /// 1 is linear.
        #[schemars(extend("exclusiveMinimum" = 0.0, "default" = 1.0))]
        power: f64,
        /// The rate falls no further.
        #[schemars(range(min = 0.0), extend("default" = 0.0))]
        min_learning_rate: f64,
    },
    /// Is multiplied with `gamma` after every so many epochs, as `torch.optim.lr_scheduler.StepLR`.
    #[schemars(extend("x-firn-since" = 5))]
    Step {
        /// Epochs from one fall to the next.
        #[schemars(range(min = 1, max = 1_000_000), extend("default" = 10))]
        step_size: u32,
        /// What the rate is multiplied with.
        #[schemars(extend("exclusiveMinimum" = 0.0, "default" = 0.1))]
        gamma: f64,
    },
    /// Is multiplied with `gamma` before each epoch of a list, as `torch.optim.lr_scheduler.MultiStepLR`.
    #[schemars(extend("x-firn-since" = 5))]
    MultiStep {
        /// Epochs, from 0, each later than the one before it.
        #[serde(default)]
        #[schemars(extend("x-firn-default" = "none, which is refused"))]
        milestones: Vec<u32>,
        /// What the rate is multiplied with.
        #[schemars(extend("exclusiveMinimum" = 0.0, "default" = 0.1))]
        gamma: f64,
    },
    /// Is multiplied with `gamma` after each epoch, as `torch.optim.lr_scheduler.ExponentialLR`.
    #[schemars(extend("x-firn-since" = 5))]
    Exponential {
        /// What the rate is multiplied with.
        #[schemars(extend("exclusiveMinimum" = 0.0, "default" = 0.95))]
        gamma: f64,
    },
    /// Rises to the peak and falls far below where it began, as `torch.optim.lr_scheduler.OneCycleLR`. It has no other warm-up.
    #[schemars(extend("x-firn-since" = 5))]
    OneCycle(OneCycleSpec),
    /// Falls as 1 / √step, as transformers' `get_inverse_sqrt_schedule`.
    #[schemars(extend("x-firn-since" = 5))]
    InverseSqrt {
        /// Steps after which, without a warm-up, the rate is 1 / √2 of the peak.
        #[schemars(range(min = 1), extend("x-firn-default" = "the steps of the warm-up; 10000 without one"))]
        timescale: Option<u32>,
    },
    /// Rises exponentially from a small rate to the optimizer's: the range test of Smith (2015). The job ends after its steps or once the loss has
    /// diverged, and leaves nothing; `firn lr-find` submits such jobs. It has no warm-up.
    #[schemars(extend("x-firn-since" = 5))]
    RangeTest {
        /// Rate of the first step.
        #[schemars(extend("exclusiveMinimum" = 0.0, "default" = 1e-7))]
        start_learning_rate: f64,
        /// Steps from there to the optimizer's rate.
        #[schemars(range(min = 2, max = 1_000_000), extend("default" = 100))]
        steps: u32,
    },
}

/// How a cycle rises and falls: the arguments of `torch.optim.lr_scheduler.OneCycleLR`, with its defaults.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OneCycleSpec {
    /// Fraction of all steps in which the rate rises.
    #[schemars(range(min = 0.0, max = 1.0), extend("default" = OneCycleSpec::DEFAULT.pct_start))]
    pub pct_start: f64,
    /// The rate begins at the peak divided by this.
    #[schemars(range(min = 1.0), extend("default" = OneCycleSpec::DEFAULT.div_factor))]
    pub div_factor: f64,
    /// The rate ends at where it began, divided by this.
    #[schemars(range(min = 1.0), extend("default" = OneCycleSpec::DEFAULT.final_div_factor))]
    pub final_div_factor: f64,
    /// The form of rise and fall.
    #[schemars(extend("default" = OneCycleSpec::DEFAULT.anneal))]
    pub anneal: Anneal,
}

impl OneCycleSpec {
    /// What a spec means that says nothing else.
    pub const DEFAULT: Self = Self {
        pct_start: 0.3,
        div_factor: 25.0,
        final_div_factor: 1e4,
        anneal: Anneal::Cosine,
    };
}

/// The form of rise and fall of a cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Anneal {
    /// Half a cosine.
    #[serde(rename = "cos")]
    Cosine,
    /// A line.
    #[serde(rename = "linear")]
    Linear,
}

/// When the learning rate falls, and how far: the arguments of `torch.optim.lr_scheduler.ReduceLROnPlateau`, with its defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlateauSpec {
    /// What the rate is multiplied with.
    #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0, "default" = PlateauSpec::DEFAULT.factor))]
    pub factor: f64,
    /// Evaluations without improvement after which one more reduces.
    #[schemars(extend("default" = PlateauSpec::DEFAULT.patience))]
    pub patience: u32,
    /// Smallest change that counts as an improvement.
    #[schemars(range(min = 0.0), extend("default" = PlateauSpec::DEFAULT.threshold))]
    pub threshold: f64,
    /// What the threshold is measured in.
    #[schemars(extend("default" = PlateauSpec::DEFAULT.threshold_mode))]
    pub threshold_mode: ThresholdMode,
    /// Evaluations after a reduction that do not count.
    #[schemars(extend("default" = PlateauSpec::DEFAULT.cooldown))]
    pub cooldown: u32,
    /// The rate falls no further.
    #[schemars(range(min = 0.0), extend("default" = PlateauSpec::DEFAULT.min_learning_rate))]
    pub min_learning_rate: f64,
    /// What must improve.
    #[serde(with = "on_validation")]
    #[schemars(with = "on_validation::Name", extend("default" = on_validation::written(PlateauSpec::DEFAULT.metric)))]
    pub metric: MetricName,
    /// The class that `metric` is of, where it is of one, as `training.bestMetricClass` says.
    #[schemars(extend("x-firn-default" = "none: the metric is of all classes", "x-firn-since" = 5))]
    pub class: Option<String>,
}

impl PlateauSpec {
    /// What a spec means that says nothing else.
    pub const DEFAULT: Self = Self {
        metric: MetricName::LOSS,
        class: None,
        factor: 0.1,
        patience: 10,
        threshold: 1e-4,
        threshold_mode: ThresholdMode::Relative,
        cooldown: 0,
        min_learning_rate: 0.0,
    };
}

/// What the threshold of a plateau is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ThresholdMode {
    /// A part of the best value.
    #[serde(rename = "rel")]
    Relative,
    /// The metric's own unit.
    #[serde(rename = "abs")]
    Absolute,
}

/// Length of the linear rise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum Warmup {
    /// Fraction of all steps in which the rate rises linearly from 0.
    #[serde(rename = "warmupRatio")]
    Ratio(
        #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0, "x-firn-default" = "0, unless `warmupSteps` is given"))]
         f64,
    ),
    /// The same in steps; not together with `warmupRatio`.
    #[serde(rename = "warmupSteps")]
    Steps(u32),
}
