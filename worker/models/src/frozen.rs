//! The proof that the frozen part stayed frozen.
//!
//! Two digests: of the tensors as loaded (what the user trusts and the export copies), and of the folded copies that compute below
//! the cut. The second would miss nothing only if the copies follow from the originals, so the check folds again and compares.

use tch::Tensor;

use crate::{error::ModelError, weights::write::tensor_bytes};

/// Digests of everything below the cut, taken from the tensors in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrozenProof {
    /// BLAKE3 (hex) over name, type, shape and bytes of every parameter and every running statistic, sorted by name.
    pub original: String,
    /// The same over the folded copies.
    pub derived: String,
}

/// BLAKE3 over names, types, shapes and bytes, sorted by name.
pub(crate) fn digest(mut tensors: Vec<(String, Tensor)>) -> Result<String, ModelError> {
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let mut hasher = blake3::Hasher::new_derive_key("firn 2026 frozen tensors v1");
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
