//! What training makes small, in sums.
//!
//! Ranks hand out two sums over their samples, Σwℓ and Σw; the division happens once, after they were added over micro-batches and ranks.
//! So an objective never averages. Each has its own file; [`Objective`] chooses.

mod binary_cross_entropy;
mod cross_entropy;
mod distance;
mod focal;

pub use binary_cross_entropy::BinaryCrossEntropy;
pub use cross_entropy::CrossEntropy;
pub use distance::{Distance, Distances, Scale};
pub use focal::{Focal, SigmoidFocal};

use tch::{Device, Tensor};

use crate::error::ModelError;

/// What training makes small.
pub enum Objective {
    /// Of exclusive classes.
    CrossEntropy(CrossEntropy),
    /// Of numbers.
    Distances(Distances),
    /// Of labels that do not exclude each other.
    BinaryCrossEntropy(BinaryCrossEntropy),
    /// Of exclusive classes, less of those that are learned already.
    Focal(Focal),
    /// Of labels that do not exclude each other, less of those that are learned already.
    SigmoidFocal(SigmoidFocal),
}

/// What is expected of the network for the samples of a batch.
#[derive(Debug, Clone, Copy)]
pub enum Expected<'a> {
    /// The class of each sample, below the number of outputs.
    Classes(&'a [i64]),
    /// The numbers of each sample, sample after sample, in the units of their targets.
    Numbers(&'a [f64]),
    /// The labels of each sample, below the number of outputs.
    Labels(&'a [Vec<u32>]),
    /// Soft targets: a share of the class of each sample, and the rest of another one's.
    MixedClasses {
        /// The class of each sample.
        own: &'a [i64],
        /// Of what each is mixed with.
        partners: &'a [i64],
        /// Of the sample's own class, in [0, 1].
        share: f64,
    },
    /// The same of labels.
    MixedLabels {
        /// The labels of each sample.
        own: &'a [Vec<u32>],
        /// Of what each is mixed with.
        partners: &'a [Vec<u32>],
        /// Of the sample's own labels, in [0, 1].
        share: f64,
    },
}

/// Both sums of a batch.
#[derive(Debug)]
pub struct LossSums {
    /// Σᵢwᵢℓᵢ, a scalar that gradients flow from.
    pub loss: Tensor,
    /// Σᵢwᵢ; the number of samples where all weigh 1.
    pub weight: f64,
}

impl Objective {
    /// `class_weights`: one for each class, `None` for all 1; `label_smoothing` in [0, 1).
    ///
    /// # Errors
    /// When the weights cannot be put on the device.
    pub fn cross_entropy(
        class_weights: Option<&[f64]>,
        label_smoothing: f64,
        device: Device,
    ) -> Result<Self, ModelError> {
        CrossEntropy::new(class_weights, label_smoothing, device).map(Self::CrossEntropy)
    }

    /// `scales`: of each target, in the order of the outputs.
    pub fn distances(distance: Distance, scales: Vec<Scale>) -> Self {
        Self::Distances(Distances::new(distance, scales))
    }

    /// `positive_weights`: one for each label, `None` for all 1.
    ///
    /// # Errors
    /// When the weights cannot be put on the device.
    pub fn binary_cross_entropy(positive_weights: Option<&[f64]>, device: Device) -> Result<Self, ModelError> {
        BinaryCrossEntropy::new(positive_weights, device).map(Self::BinaryCrossEntropy)
    }

    /// Focal loss of classes. `gamma`: at least 0; `class_weights`: one for each class, `None` for all 1.
    ///
    /// # Errors
    /// When the weights cannot be put on the device.
    pub fn focal(gamma: f64, class_weights: Option<&[f64]>, device: Device) -> Result<Self, ModelError> {
        Focal::new(gamma, class_weights, device).map(Self::Focal)
    }

    /// Focal loss of labels. `gamma`: at least 0; `alpha`: from 0 to 1, the weight of samples that have a label.
    pub fn sigmoid_focal(gamma: f64, alpha: f64) -> Self {
        Self::SigmoidFocal(SigmoidFocal::new(gamma, alpha))
    }

    /// The sums over a batch of outputs `(n, outputs)`.
    ///
    /// # Errors
    /// When what is expected does not fit the outputs, in number or in kind.
    pub fn sums(&self, outputs: &Tensor, expected: Expected<'_>) -> Result<LossSums, ModelError> {
        match (self, expected) {
            (Self::CrossEntropy(loss), Expected::Classes(labels)) => loss.sums(outputs, labels),
            (Self::CrossEntropy(loss), Expected::MixedClasses { own, partners, share }) => {
                loss.mixed_sums(outputs, [own, partners], share)
            }
            (Self::Distances(loss), Expected::Numbers(values)) => loss.sums(outputs, values),
            (Self::BinaryCrossEntropy(loss), Expected::Labels(labels)) => loss.sums(outputs, labels),
            (Self::BinaryCrossEntropy(loss), Expected::MixedLabels { own, partners, share }) => {
                loss.mixed_sums(outputs, [own, partners], share)
            }
            (Self::Focal(loss), Expected::Classes(labels)) => loss.sums(outputs, labels),
            (Self::SigmoidFocal(loss), Expected::Labels(labels)) => loss.sums(outputs, labels),
            (objective, found) => Err(other_kind(objective.expects(), found.kind())),
        }
    }

    fn expects(&self) -> &'static str {
        match self {
            Self::CrossEntropy(_) | Self::Focal(_) => "classes",
            Self::Distances(_) => "numbers",
            Self::BinaryCrossEntropy(_) | Self::SigmoidFocal(_) => "labels",
        }
    }
}

impl Expected<'_> {
    fn kind(&self) -> &'static str {
        match self {
            Self::Classes(_) => "classes",
            Self::Numbers(_) => "numbers",
            Self::Labels(_) => "labels",
            Self::MixedClasses { .. } => "mixed classes",
            Self::MixedLabels { .. } => "mixed labels",
        }
    }
}

fn other_kind(expected: &str, found: &str) -> ModelError {
    mismatch("what is expected of a batch", expected.to_owned(), found.to_owned())
}

fn mismatch(what: &str, expected: String, found: String) -> ModelError {
    ModelError::Mismatch {
        what: what.to_owned(),
        expected,
        found,
    }
}
