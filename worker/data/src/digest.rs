//! How fields go into a digest.

/// The length first, so that no two different sequences of fields hash the same bytes.
pub(crate) fn update_with_length(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}
