//! A checkpoint: one safetensors file in memory, the same bytes for the same state.
//!
//! It holds `model.NAME` for [`Model::trainable_state`](crate::Model::trainable_state), `optimizer.SLOT.NAME` for the optimizer, `average.NAME`
//! where the job has an average of the trained weights, and in its header what it belongs to. Where it is written and when it counts is decided elsewhere.

use std::collections::HashMap;

use safetensors::SafeTensors;
use tch::{Kind, Tensor};

use crate::{
    error::ModelError,
    optimizer::OptimizerState,
    weights::write::{Entry, write},
};

/// Raised when older programs could not read the file.
const FORMAT: &str = "firn.checkpoint.1";

/// The trainable state at a step.
#[derive(Debug)]
pub struct Checkpoint {
    /// Optimizer steps taken since the start of the job.
    pub step: u64,
    /// Epochs completed.
    pub epochs: u32,
    /// Digest of the job's spec.
    pub spec_digest: String,
    /// Digest of the frozen part.
    pub frozen_digest: String,
    /// The model's trainable state.
    pub model: Vec<(String, Tensor)>,
    /// The optimizer's state.
    pub optimizer: OptimizerState,
    /// The average of the trained state, where the job has one.
    pub average: Option<Vec<(String, Tensor)>>,
}

/// The file of a checkpoint.
pub fn encode(checkpoint: &Checkpoint) -> Result<Vec<u8>, ModelError> {
    let model = checkpoint
        .model
        .iter()
        .map(|(name, tensor)| Entry::of(format!("model.{name}"), tensor));
    let slots = checkpoint.optimizer.tensors.iter();
    let optimizer = slots.map(|(name, tensor)| Entry::of(format!("optimizer.{name}"), tensor));
    let average = checkpoint.average.iter().flatten();
    let average = average.map(|(name, tensor)| Entry::of(format!("average.{name}"), tensor));
    let entries = model.chain(optimizer).chain(average).collect::<Result<Vec<_>, _>>()?;
    let order = |tensors: &[(String, Tensor)]| {
        tensors
            .iter()
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>()
            .join("\n")
    };
    let mut metadata = vec![
        ("format", FORMAT.to_owned()),
        ("step", checkpoint.step.to_string()),
        ("epochs", checkpoint.epochs.to_string()),
        ("optimizer_step", checkpoint.optimizer.step.to_string()),
        ("spec_digest", checkpoint.spec_digest.clone()),
        ("frozen_digest", checkpoint.frozen_digest.clone()),
        ("model_order", order(&checkpoint.model)),
        ("optimizer_order", order(&checkpoint.optimizer.tensors)),
    ];
    if let Some(average) = &checkpoint.average {
        metadata.push(("average_order", order(average)));
    }
    let mut bytes = Vec::new();
    let metadata: Vec<_> = metadata
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    write(&mut bytes, entries, &metadata).expect("writing to memory succeeds: names and shapes are plain JSON");
    Ok(bytes)
}

/// Reads the file of a checkpoint, on the CPU.
///
/// # Errors
/// A damaged file, another format, and tensors whose names are not those that its header lists.
pub fn decode(bytes: &[u8]) -> Result<Checkpoint, ModelError> {
    let broken = |reason: String| ModelError::NotSafetensors {
        file: "checkpoint".to_owned(),
        reason,
    };
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| broken(error.to_string()))?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| broken(error.to_string()))?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let format = field(&metadata, "format")?;
    if format != FORMAT {
        return Err(unfit("format", FORMAT.to_owned(), format.to_owned()));
    }
    let model = listed(&tensors, &metadata, "model")?;
    let slots = listed(&tensors, &metadata, "optimizer")?;
    let average = match metadata.contains_key("average_order") {
        true => Some(listed(&tensors, &metadata, "average")?),
        false => None,
    };
    let all = model.len() + slots.len() + average.as_ref().map_or(0, Vec::len);
    if tensors.len() != all {
        let expected = format!("{all} as its header lists");
        return Err(unfit("number of tensors", expected, tensors.len().to_string()));
    }
    Ok(Checkpoint {
        step: number(&metadata, "step")?,
        epochs: number(&metadata, "epochs")?,
        spec_digest: field(&metadata, "spec_digest")?.to_owned(),
        frozen_digest: field(&metadata, "frozen_digest")?.to_owned(),
        model,
        optimizer: OptimizerState {
            step: number(&metadata, "optimizer_step")?,
            tensors: slots,
        },
        average,
    })
}

impl Checkpoint {
    /// Refuses a checkpoint of another spec or over another frozen part.
    pub fn belongs_to(&self, spec_digest: &str, frozen_digest: &str) -> Result<(), ModelError> {
        let pairs = [
            ("spec digest", spec_digest, &self.spec_digest),
            ("frozen digest", frozen_digest, &self.frozen_digest),
        ];
        match pairs.into_iter().find(|(_, expected, found)| expected != found) {
            Some((what, expected, found)) => Err(unfit(what, expected.to_owned(), found.clone())),
            None => Ok(()),
        }
    }
}

fn listed(
    tensors: &SafeTensors<'_>,
    metadata: &HashMap<String, String>,
    part: &str,
) -> Result<Vec<(String, Tensor)>, ModelError> {
    let order = field(metadata, &format!("{part}_order"))?;
    let names = order.split('\n').filter(|name| !name.is_empty());
    names
        .map(|name| {
            let key = format!("{part}.{name}");
            let view = tensors.tensor(&key).map_err(|_| {
                unfit(
                    &format!("tensor `{key}`"),
                    "its values".to_owned(),
                    "nothing".to_owned(),
                )
            })?;
            let kind = match view.dtype() {
                safetensors::Dtype::F32 => Kind::Float,
                safetensors::Dtype::F64 => Kind::Double,
                safetensors::Dtype::I64 => Kind::Int64,
                other => {
                    return Err(unfit(
                        &format!("type of `{key}`"),
                        "F32, F64 or I64".to_owned(),
                        format!("{other:?}"),
                    ));
                }
            };
            let shape: Vec<i64> = view.shape().iter().map(|&length| length as i64).collect();
            Ok((name.to_owned(), Tensor::f_from_data_size(view.data(), &shape, kind)?))
        })
        .collect()
}

fn field<'a>(metadata: &'a HashMap<String, String>, name: &str) -> Result<&'a str, ModelError> {
    let found = metadata.get(name).map(String::as_str);
    found.ok_or_else(|| {
        unfit(
            &format!("header field `{name}`"),
            "a value".to_owned(),
            "nothing".to_owned(),
        )
    })
}

fn number<T: std::str::FromStr>(metadata: &HashMap<String, String>, name: &str) -> Result<T, ModelError> {
    let text = field(metadata, name)?;
    text.parse().map_err(|_| {
        unfit(
            &format!("header field `{name}`"),
            "a whole number".to_owned(),
            text.to_owned(),
        )
    })
}

fn unfit(what: &str, expected: String, found: String) -> ModelError {
    ModelError::Checkpoint {
        what: what.to_owned(),
        expected,
        found,
    }
}
