//! One weights file, read whole.
//!
//! The file is read rather than mapped: a mapping changes under the reader when somebody rewrites the file, and the digest taken
//! here is what later proves that the frozen part is that of the file.

use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
};

use safetensors::{Dtype, SafeTensors};
use tch::{Kind, Tensor};

use super::recognise::accident;
use crate::error::ModelError;

/// A safetensors file in memory.
pub(crate) struct WeightFile {
    pub(crate) path: PathBuf,
    /// BLAKE3 of the whole file.
    pub(crate) digest: blake3::Hash,
    bytes: Vec<u8>,
    entries: BTreeMap<String, FileEntry>,
}

/// Where one tensor lies in the file.
pub(crate) struct FileEntry {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<i64>,
    range: Range<usize>,
}

impl WeightFile {
    /// Reads a safetensors file; a pickle is refused unread.
    pub(crate) fn open(path: &Path) -> Result<Self, ModelError> {
        let path = path.to_path_buf();
        let extension = path
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or_default()
            .to_ascii_lowercase();
        if matches!(
            extension.as_str(),
            "bin" | "pt" | "pth" | "pkl" | "pickle" | "ckpt" | "t7"
        ) {
            return Err(ModelError::PickleRefused { path });
        }
        let bytes = std::fs::read(&path).map_err(|source| ModelError::Read {
            path: path.clone(),
            source,
        })?;
        if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"\x80\x02") {
            return Err(ModelError::PickleRefused { path });
        }
        let entries = index(&bytes)
            .map_err(|reason| accident(&bytes).unwrap_or(reason))
            .map_err(|reason| ModelError::NotSafetensors {
                file: path.display().to_string(),
                reason,
            })?;
        Ok(Self {
            path,
            digest: blake3::hash(&bytes),
            bytes,
            entries,
        })
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> + Clone {
        self.entries.keys().map(String::as_str)
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&FileEntry> {
        self.entries.get(key)
    }

    /// The raw bytes of a tensor of this file.
    pub(crate) fn bytes(&self, entry: &FileEntry) -> &[u8] {
        &self.bytes[entry.range.clone()]
    }

    /// The tensor as fp32; `None` when the type holds no real numbers.
    pub(crate) fn tensor(&self, entry: &FileEntry) -> Result<Option<Tensor>, ModelError> {
        let Some(kind) = kind(entry.dtype) else { return Ok(None) };
        Ok(Some(
            Tensor::f_from_data_size(self.bytes(entry), &entry.shape, kind)?.f_to_kind(Kind::Float)?,
        ))
    }
}

fn kind(dtype: Dtype) -> Option<Kind> {
    match dtype {
        Dtype::F64 => Some(Kind::Double),
        Dtype::F32 => Some(Kind::Float),
        Dtype::F16 => Some(Kind::Half),
        Dtype::BF16 => Some(Kind::BFloat16),
        _ => None,
    }
}

fn index(bytes: &[u8]) -> Result<BTreeMap<String, FileEntry>, String> {
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let origin = bytes.as_ptr() as usize;
    tensors
        .iter()
        .map(|(key, view)| {
            let start = view.data().as_ptr() as usize - origin;
            let shape = view.shape().iter().map(|&n| i64::try_from(n)).collect::<Result<_, _>>();
            let shape = shape.map_err(|_| format!("`{key}` has the shape {:?}", view.shape()))?;
            let range = start..start + view.data().len();
            Ok((
                key.to_owned(),
                FileEntry {
                    dtype: view.dtype(),
                    shape,
                    range,
                },
            ))
        })
        .collect()
}
