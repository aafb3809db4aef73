//! Writing safetensors, byte for byte the same for the same content.
//!
//! The `safetensors` crate keeps a header's metadata in a `HashMap`, so two writes of one checkpoint differ in their bytes and in
//! their digest; hence a writer of our own for this small format: u64 header length, JSON header padded with spaces to 8 bytes,
//! then the tensors, contiguous and little-endian (<https://github.com/huggingface/safetensors#format>).

use std::io::{self, Write};

use safetensors::Dtype;
use serde_json::{Map, Value, json};
use tch::{Kind, Tensor};

use crate::error::ModelError;

/// One tensor to be written.
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<i64>,
    pub(crate) bytes: Vec<u8>,
}

impl Entry {
    /// The tensor's values, in its own type, from whatever device it is on.
    pub(crate) fn of(name: impl Into<String>, tensor: &Tensor) -> Result<Self, ModelError> {
        let name = name.into();
        let dtype = match tensor.f_kind()? {
            Kind::Float => Dtype::F32,
            Kind::Double => Dtype::F64,
            Kind::Half => Dtype::F16,
            Kind::BFloat16 => Dtype::BF16,
            Kind::Int64 => Dtype::I64,
            other => {
                let (expected, found) = ("a floating-point type or Int64".to_owned(), format!("{other:?}"));
                return Err(ModelError::Mismatch {
                    what: format!("tensor `{name}`"),
                    expected,
                    found,
                });
            }
        };
        Ok(Self {
            name,
            dtype,
            shape: tensor.size(),
            bytes: tensor_bytes(tensor)?,
        })
    }
}

/// The values of a tensor as contiguous little-endian bytes.
pub(crate) fn tensor_bytes(tensor: &Tensor) -> Result<Vec<u8>, ModelError> {
    let tensor = tensor.f_detach()?.f_to_device(tch::Device::Cpu)?.f_contiguous()?;
    let mut bytes = vec![0; tensor.numel() * tensor.f_kind()?.elt_size_in_bytes()];
    tensor.f_copy_data_u8(&mut bytes, tensor.numel())?;
    Ok(bytes)
}

/// Writes a whole file: tensors sorted by name, metadata in the order given.
pub(crate) fn write(out: &mut dyn Write, mut entries: Vec<Entry>, metadata: &[(String, String)]) -> io::Result<()> {
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let mut header = Map::new();
    if !metadata.is_empty() {
        let metadata: Map<_, _> = metadata
            .iter()
            .map(|(k, v)| (k.clone(), Value::from(v.clone())))
            .collect();
        header.insert("__metadata__".to_owned(), Value::Object(metadata));
    }
    let mut offset = 0;
    for entry in &entries {
        let end = offset + entry.bytes.len();
        let dtype = format!("{:?}", entry.dtype);
        header.insert(
            entry.name.clone(),
            json!({"dtype": dtype, "shape": entry.shape, "data_offsets": [offset, end]}),
        );
        offset = end;
    }
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    entries.iter().try_for_each(|entry| out.write_all(&entry.bytes))
}
