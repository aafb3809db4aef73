//! Where weights lie: in one safetensors file, in the shards of an index, or in a folder that holds either.
//!
//! Told by the name alone, since who reads a spec need not see the files. A folder is what has no extension: `minilm`, `all-MiniLM-L6-v2.1`
//! (digits are none), or anything with a `/` at its end.

use std::path::Path;

/// How weights are stored, by the name of their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightsPlace {
    /// One safetensors file.
    File,
    /// The `….safetensors.index.json` beside the shards.
    Index,
    /// `model.safetensors` in it, else `model.safetensors.index.json`.
    Folder,
}

impl WeightsPlace {
    /// `None`: a file of another format.
    pub fn of(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next().unwrap_or_default();
        let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
        if name.ends_with(".safetensors") {
            Some(Self::File)
        } else if name.ends_with(".safetensors.index.json") {
            Some(Self::Index)
        } else {
            let is_folder = extension.bytes().all(|byte| byte.is_ascii_digit());
            is_folder.then_some(Self::Folder)
        }
    }
}

/// The path of a file that belongs to the weights: beside them, or in their folder.
pub fn beside_weights(weights: &str, name: &str) -> Option<String> {
    let folder = match WeightsPlace::of(weights) {
        Some(WeightsPlace::Folder) => Path::new(weights),
        _ => Path::new(weights).parent()?,
    };
    Some(folder.join(name).to_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_of_weights_is_told_by_its_name() {
        for (path, place, tokenizer) in [
            ("/m/model.safetensors", Some(WeightsPlace::File), "/m/tokenizer.json"),
            (
                "/m/model.safetensors.index.json",
                Some(WeightsPlace::Index),
                "/m/tokenizer.json",
            ),
            ("/m/minilm", Some(WeightsPlace::Folder), "/m/minilm/tokenizer.json"),
            ("/m/minilm/", Some(WeightsPlace::Folder), "/m/minilm/tokenizer.json"),
            (
                "/m/MiniLM-L6-v2.1",
                Some(WeightsPlace::Folder),
                "/m/MiniLM-L6-v2.1/tokenizer.json",
            ),
            (
                "/m/bert.base/",
                Some(WeightsPlace::Folder),
                "/m/bert.base/tokenizer.json",
            ),
            ("/m/resnet18.pth", None, "/m/tokenizer.json"),
            ("/m/config.json", None, "/m/tokenizer.json"),
        ] {
            assert_eq!(WeightsPlace::of(path), place, "{path}");
            assert_eq!(
                beside_weights(path, "tokenizer.json").as_deref(),
                Some(tokenizer),
                "{path}"
            );
        }
    }
}
