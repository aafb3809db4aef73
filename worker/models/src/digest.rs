//! Digests of tensors: of those that must not change, and of those that several processes must hold alike.

use tch::Tensor;

use crate::{error::ModelError, weights::write::tensor_bytes};

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
