//! The proof that the frozen part stayed frozen.
//!
//! Two digests: of the tensors as loaded (what the user trusts and the export copies), and of the folded copies that compute below
//! the cut. The second would miss nothing only if the copies follow from the originals, so the originals are folded again and compared, at
//! load and at the end. In between it is enough that neither has changed a byte: equal originals fold to equal copies.

use tch::Tensor;

use crate::{digest::digest_of, error::ModelError};

/// Tells these digests apart from those of other tensors.
const CONTEXT: &str = "firn 2026 frozen tensors v1";

/// Digests of everything below the cut, taken from the tensors in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FrozenProof {
    /// BLAKE3 (hex) over name, type, shape and bytes of every parameter and every running statistic, sorted by name.
    pub original: String,
    /// The same over the folded copies.
    pub derived: String,
}

/// The tensors of the frozen part, shared with the model, and the digests that they must have. It can be checked on another thread while the
/// model trains: nobody writes to these tensors.
#[derive(Debug)]
pub struct FrozenTensors {
    pub(crate) original: Vec<(String, Tensor)>,
    pub(crate) derived: Vec<(String, Tensor)>,
    pub(crate) expected: FrozenProof,
}

impl FrozenTensors {
    /// Takes the digests anew and compares them with those taken at load, for the originals and for the copies that compute.
    ///
    /// # Errors
    /// [`ModelError::FrozenChanged`] when a byte differs.
    pub fn verify(self) -> Result<FrozenProof, ModelError> {
        let expected = self.expected.clone();
        let now = self.digests()?;
        compare("the loaded tensors", &expected.original, &now.original)?;
        compare("the folded copies", &expected.derived, &now.derived)?;
        Ok(now)
    }

    pub(crate) fn digests(self) -> Result<FrozenProof, ModelError> {
        Ok(FrozenProof {
            original: digest(self.original)?,
            derived: digest(self.derived)?,
        })
    }
}

/// BLAKE3 (hex) of tensors of the frozen part.
pub(crate) fn digest(tensors: Vec<(String, Tensor)>) -> Result<String, ModelError> {
    digest_of(CONTEXT, tensors)
}

/// Refuses a digest that is not the expected one.
pub(crate) fn compare(what: &'static str, expected: &str, found: &str) -> Result<(), ModelError> {
    match expected == found {
        true => Ok(()),
        false => Err(ModelError::FrozenChanged {
            what,
            expected: expected.to_owned(),
            found: found.to_owned(),
        }),
    }
}
