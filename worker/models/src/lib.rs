//! The networks that Firn fine-tunes: architectures, weights, the cut, heads, losses and optimizers, on libtorch.
//!
//! A network is a sequence of named stages. The cut stands between two of them: [`Model::features`] computes everything below it,
//! frozen (eval mode, no gradient, no changed buffer, proven by digest); [`Model::logits`] computes everything above it and the new
//! head. What trains is the small list [`Model::trainable`]; that list is all that checkpoints, collectives and optimizers see.
//!
//! Every random value is a function of what it is for (seed, name, sample), never of the order or the rank that asks for it.

mod architecture;
mod auxiliary;
pub mod checkpoint;
mod cut;
mod digest;
mod error;
pub mod export;
pub mod export_adapter;
mod facts;
mod frozen;
mod head;
mod input;
mod inspect;
mod l2_norm;
mod layers;
mod model;
mod objective;
mod optimizer;
mod parameter_builder;
mod random;
#[cfg(test)]
#[path = "../tests/models/reference.rs"]
mod reference;
mod shared_batch;
mod stage;
mod weights;

pub use architecture::{Shapes, tensors};
pub use auxiliary::Outputs;
pub use error::{ModelError, TensorProblem};
pub use facts::stage_facts;
pub use frozen::{FrozenProof, FrozenTensors};
pub use input::{Input, Normalisation};
pub use inspect::{Inspection, OutputLayer, inspect};
pub use l2_norm::l2_norm;
pub use layers::{dropout::Dropout, precision::has_bfloat16};
pub use model::{Model, ModelOptions, ModelSummary, Placement, state_digest};
pub use objective::{
    BinaryCrossEntropy, CrossEntropy, Distance, Distances, Expected, Focal, LossSums, Objective, Scale, SigmoidFocal,
};
pub use optimizer::{Optimizer, OptimizerState};
pub use shared_batch::{Exchange, SharedBatch};
pub use stage::Features;
pub use weights::{naming::Library, notes::WeightsNote};
