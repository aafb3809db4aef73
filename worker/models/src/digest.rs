//! Digests of tensors, for comparing what several processes hold.

use tch::Tensor;

use crate::{error::ModelError, model::Model, optimizer::Optimizer, weights::write::tensor_bytes};

/// BLAKE3 (hex) of everything that the next step depends on: [`Model::trainable_state`], the optimizer's tensors and its step. Ranks that
/// have applied the same steps have the same digest; one that differs has computed or stored something wrongly.
///
/// Takes about as long as reading the state twice: once to copy it in order, once to hash.
pub fn state_digest(model: &Model, optimizer: &Optimizer) -> Result<String, ModelError> {
    let state = optimizer.state();
    let mut tensors = model.trainable_state();
    // Names of parameters never begin with a digit.
    tensors.push(("0 step".to_owned(), Tensor::f_from_slice(&[state.step as i64])?));
    let slots = state.tensors.into_iter();
    tensors.extend(slots.map(|(name, tensor)| (format!("0 optimizer {name}"), tensor)));
    digest_of("firn 2026 trainable state v1", tensors)
}

/// BLAKE3 over names, types, shapes and bytes, sorted by name.
pub(crate) fn digest_of(context: &str, mut tensors: Vec<(String, Tensor)>) -> Result<String, ModelError> {
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for (name, tensor) in tensors {
        hasher
            .update(&(name.len() as u64).to_le_bytes())
            .update(name.as_bytes());
        let kind = format!("{:?}", tensor.f_kind()?);
        hasher
            .update(&(kind.len() as u64).to_le_bytes())
            .update(kind.as_bytes());
        let shape = tensor.size();
        hasher.update(&(shape.len() as u64).to_le_bytes());
        for length in shape {
            hasher.update(&length.to_le_bytes());
        }
        hasher.update(&tensor_bytes(&tensor)?);
    }
    Ok(hasher.finalize().to_hex().to_string())
}
