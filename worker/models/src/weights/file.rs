//! The weights of one network, read whole: one safetensors file, or the shards of an index.
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

use super::{
    index::{INDEX, ShardIndex},
    recognise::{accident, has_name_of_pickle, is_pickle},
};
use crate::error::ModelError;

/// Tensors in memory.
pub(crate) struct WeightFile {
    /// The file, or the index of its shards.
    pub(crate) path: PathBuf,
    /// BLAKE3 of the whole file; of the index and the digests of its shards, if it is sharded.
    pub(crate) digest: blake3::Hash,
    parts: Vec<Vec<u8>>,
    entries: BTreeMap<String, FileEntry>,
}

/// Where one tensor lies.
pub(crate) struct FileEntry {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<i64>,
    /// Index of the part that holds it.
    part: usize,
    range: Range<usize>,
}

impl WeightFile {
    /// Reads a safetensors file, or the shards of an index, or what a folder holds of these, as transformers looks for it. A pickle is
    /// known by its bytes, whatever its name, and never opened as one.
    pub(crate) fn open(path: &Path) -> Result<Self, ModelError> {
        let path = match path.is_dir() {
            true => in_folder(path)?,
            false => path.to_path_buf(),
        };
        if path.to_string_lossy().ends_with(INDEX) {
            return Self::sharded(path);
        }
        let (bytes, entries) = part(path.clone(), 0)?;
        Ok(Self {
            path,
            digest: blake3::hash(&bytes),
            parts: vec![bytes],
            entries,
        })
    }

    fn sharded(path: PathBuf) -> Result<Self, ModelError> {
        let bytes = std::fs::read(&path).map_err(|source| ModelError::Read {
            path: path.clone(),
            source,
        })?;
        let index = ShardIndex::parse(&path, &bytes)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&bytes);
        let (mut parts, mut shards) = (Vec::new(), BTreeMap::new());
        for shard in index.shards() {
            let (bytes, entries) = part(index.place(shard), parts.len()).map_err(|error| match error {
                ModelError::Read { source, .. } => index.no_file(shard, &source),
                other => other,
            })?;
            hasher.update(blake3::hash(&bytes).as_bytes());
            parts.push(bytes);
            shards.insert(shard, entries);
        }
        let mut entries = BTreeMap::new();
        for (tensor, shard) in index.tensors() {
            let held = shards.get_mut(shard).and_then(|entries| entries.remove(tensor));
            let held = held.ok_or_else(|| index.not_in_its_shard(tensor, shard))?;
            entries.insert(tensor.to_owned(), held);
        }
        Ok(Self {
            digest: hasher.finalize(),
            parts,
            entries,
            path,
        })
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> + Clone {
        self.entries.keys().map(String::as_str)
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&FileEntry> {
        self.entries.get(key)
    }

    /// A field of the header of the first file, if it is there.
    pub(crate) fn metadata(&self, field: &str) -> Option<String> {
        let (_, header) = SafeTensors::read_metadata(self.parts.first()?).ok()?;
        header.metadata().as_ref()?.get(field).cloned()
    }

    /// Files that hold tensors.
    pub(crate) fn files(&self) -> usize {
        self.parts.len()
    }

    /// The raw bytes of a tensor.
    pub(crate) fn bytes(&self, entry: &FileEntry) -> &[u8] {
        &self.parts[entry.part][entry.range.clone()]
    }

    /// The tensor as fp32; `None` when the type holds no real numbers.
    pub(crate) fn tensor(&self, entry: &FileEntry) -> Result<Option<Tensor>, ModelError> {
        let Some(kind) = kind(entry.dtype) else { return Ok(None) };
        Ok(Some(
            Tensor::f_from_data_size(self.bytes(entry), &entry.shape, kind)?.f_to_kind(Kind::Float)?,
        ))
    }
}

/// The weights in a folder: the whole file before the index of a sharded one.
fn in_folder(folder: &Path) -> Result<PathBuf, ModelError> {
    let usual = ["model.safetensors".to_owned(), format!("model{INDEX}")];
    if let Some(found) = usual.iter().map(|name| folder.join(name)).find(|path| path.exists()) {
        return Ok(found);
    }
    let files = std::fs::read_dir(folder).map_err(|source| ModelError::Read {
        path: folder.to_path_buf(),
        source,
    })?;
    let names = files
        .flatten()
        .map(|file| file.file_name().to_string_lossy().into_owned());
    let is_weights = |name: &String| name.ends_with(".safetensors") || name.ends_with(INDEX);
    let mut others: Vec<String> = names.filter(is_weights).map(|name| format!("`{name}`")).collect();
    others.sort();
    Err(ModelError::NoWeightsInFolder {
        path: folder.to_path_buf(),
        found: match others.as_slice() {
            [] => "no other safetensors file is there".to_owned(),
            others => format!("name one of its files: {}", others.join(", ")),
        },
    })
}

/// The bytes of one file and where its tensors lie in them; `part` is its place among the files of the network.
fn part(path: PathBuf, part: usize) -> Result<(Vec<u8>, BTreeMap<String, FileEntry>), ModelError> {
    let refused_by_name = has_name_of_pickle(&path);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(_) if refused_by_name => return Err(ModelError::PickleRefused { path }),
        Err(source) => return Err(ModelError::Read { path, source }),
    };
    let found = entries(&bytes, part).map_err(|reason| accident(&bytes).unwrap_or(reason));
    match found {
        Ok(entries) => Ok((bytes, entries)),
        Err(_) if refused_by_name || is_pickle(&bytes) => Err(ModelError::PickleRefused { path }),
        Err(reason) => Err(ModelError::NotSafetensors {
            file: path.display().to_string(),
            reason,
        }),
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

fn entries(bytes: &[u8], part: usize) -> Result<BTreeMap<String, FileEntry>, String> {
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
                    part,
                    range,
                },
            ))
        })
        .collect()
}
