//! The result beside the checkpoint that it is made of: every trained tensor of `head.safetensors` is one of the best checkpoint, or of the average
//! in it where the job has one, and the other way round.
//!
//! The two files name their tensors differently (a checkpoint as Firn does, the result as torchvision or Hugging Face do), so tensors are
//! compared as a collection: by type, shape and content.

use std::{collections::BTreeMap, io::Read as _};

use firn_core::audit::{Finding, Flaw, Receipt};
use safetensors::SafeTensors;
use sha2::{Digest as _, Sha256};

use super::files::{self, CheckedFile, FileState};
use crate::artifacts::{ArtifactStore, FileKind};

/// The file that holds the trained tensors.
const RESULT: &str = "head.safetensors";
/// Before the names of the model's tensors in a checkpoint; the optimizer's stand beside them.
const MODEL: &str = "model.";
/// The same of their average, where a job has one: it is what the job leaves.
const AVERAGE: &str = "average.";
/// Larger files are not read into memory for this.
const LARGEST: u64 = 4 << 30;

/// How the result and its checkpoint compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeightState {
    /// They hold the same tensors.
    Verified {
        /// How many.
        tensors: usize,
    },
    /// They do not.
    Different {
        /// What differs.
        how: String,
    },
    /// They could not be compared.
    NotChecked {
        /// What stood in the way.
        why: String,
    },
}

impl WeightState {
    /// For programs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Verified { .. } => "verified",
            Self::Different { .. } => "different",
            Self::NotChecked { .. } => "not checked",
        }
    }

    /// For people.
    pub fn detail(&self) -> String {
        match self {
            Self::Verified { tensors: 1 } => format!("the trained tensor of {RESULT} is that of the best checkpoint"),
            Self::Verified { tensors } => format!("all {tensors} tensors of {RESULT} are those of the best checkpoint"),
            Self::Different { how: text } | Self::NotChecked { why: text } => text.clone(),
        }
    }

    pub(super) fn finding(&self) -> Option<Finding> {
        match self {
            Self::Different { how } => Some(Finding::new(Flaw::Artifact, how.clone())),
            Self::Verified { .. } | Self::NotChecked { .. } => None,
        }
    }
}

/// Compares them, once the job has left its result.
pub(super) fn check(store: &ArtifactStore, receipt: &Receipt, files: &[CheckedFile]) -> Option<WeightState> {
    let left = receipt.artifacts.iter().find(|artifact| artifact.name == RESULT)?;
    let best = receipt.result.as_ref()?;
    let is_meant = |file: &&CheckedFile| match file.kind {
        "artifact" => file.name == RESULT,
        _ => file.recorded.sha256 == best.sha256,
    };
    let mut meant = files.iter().filter(is_meant);
    if let Some(file) = meant.find(|file| file.state != FileState::Verified) {
        let why = format!("the {} {} is {}", file.kind, file.name, file.state.as_str());
        return Some(WeightState::NotChecked { why });
    }
    let job = receipt.job.as_str();
    let location = Some(left.location.as_str()).filter(|location| location.starts_with("file://"));
    let read = |kind: FileKind, sha256: &str, location: Option<&str>, name: &str| {
        let mut bytes = Vec::new();
        let file = files::open(store, job, &kind, (sha256, location))?;
        file.take(LARGEST).read_to_end(&mut bytes).ok()?;
        Some((name.to_owned(), bytes))
    };
    let result = read(FileKind::Artifact(RESULT.to_owned()), &left.sha256, location, RESULT);
    let checkpoint = read(
        FileKind::Checkpoint,
        &best.sha256,
        best.location.as_deref(),
        "the best checkpoint",
    );
    let (Some(result), Some(checkpoint)) = (result, checkpoint) else {
        let why = "the files cannot be read a second time".to_owned();
        return Some(WeightState::NotChecked { why });
    };
    Some(compare(&result, &checkpoint))
}

fn compare(result: &(String, Vec<u8>), checkpoint: &(String, Vec<u8>)) -> WeightState {
    let best = match tensors(checkpoint, AVERAGE) {
        Ok(average) if average.is_empty() => tensors(checkpoint, MODEL),
        average => average,
    };
    match (tensors(result, ""), best) {
        (Ok(left), Ok(best)) => difference(left, best),
        (Err(why), _) | (_, Err(why)) => WeightState::NotChecked { why },
    }
}

/// What a tensor is, whatever its name: type, shape, SHA-256 of its bytes.
type Content = (String, Vec<usize>, String);

/// Names by content, of the tensors whose names begin so.
fn tensors((file, bytes): &(String, Vec<u8>), prefix: &str) -> Result<BTreeMap<Content, Vec<String>>, String> {
    let parsed = SafeTensors::deserialize(bytes).map_err(|error| format!("{file} is no safetensors file: {error}"))?;
    let mut found: BTreeMap<Content, Vec<String>> = BTreeMap::new();
    for (name, view) in parsed.iter() {
        let Some(name) = name.strip_prefix(prefix) else {
            continue;
        };
        let digest = hex::encode(Sha256::digest(view.data()));
        let content = (format!("{:?}", view.dtype()), view.shape().to_vec(), digest);
        found.entry(content).or_default().push(name.to_owned());
    }
    found.values_mut().for_each(|names| names.sort());
    Ok(found)
}

fn difference(left: BTreeMap<Content, Vec<String>>, best: BTreeMap<Content, Vec<String>>) -> WeightState {
    let count = |names: Option<&Vec<String>>| names.map_or(0, Vec::len);
    let lacking = |these: &BTreeMap<Content, Vec<String>>, those: &BTreeMap<Content, Vec<String>>| {
        let mut names = these
            .iter()
            .filter(|(content, names)| names.len() > count(those.get(content)));
        names.next().and_then(|(_, names)| names.first().cloned())
    };
    if let Some(name) = lacking(&left, &best) {
        let how = format!("tensor {name} of {RESULT} is none of the best checkpoint");
        return WeightState::Different { how };
    }
    if let Some(name) = lacking(&best, &left) {
        let how = format!("tensor {name} of the best checkpoint is not in {RESULT}");
        return WeightState::Different { how };
    }
    let tensors = left.values().map(Vec::len).sum();
    WeightState::Verified { tensors }
}

#[cfg(test)]
mod tests {
    use safetensors::{Dtype, serialize, tensor::TensorView};

    use super::*;

    fn file(name: &str, tensors: &[(&str, [f32; 2])]) -> (String, Vec<u8>) {
        let bytes: Vec<Vec<u8>> = tensors
            .iter()
            .map(|(_, values)| values.iter().flat_map(|value| value.to_le_bytes()).collect())
            .collect();
        let views = tensors.iter().zip(&bytes).map(|((name, _), bytes)| {
            let view = TensorView::new(Dtype::F32, vec![2], bytes).unwrap();
            ((*name).to_owned(), view)
        });
        (name.to_owned(), serialize(views.collect::<Vec<_>>(), None).unwrap())
    }

    fn checkpoint() -> (String, Vec<u8>) {
        let tensors = [
            ("model.head.weight", [1.0, 2.0]),
            ("model.head.bias", [0.0, 0.0]),
            ("optimizer.momentum.head.weight", [9.0, 9.0]),
        ];
        file("the best checkpoint", &tensors)
    }

    #[test]
    fn tensors_are_the_same_whatever_their_names() {
        let result = file(RESULT, &[("fc.weight", [1.0, 2.0]), ("fc.bias", [0.0, 0.0])]);
        assert_eq!(compare(&result, &checkpoint()), WeightState::Verified { tensors: 2 });
    }

    #[test]
    fn what_a_job_with_an_average_leaves_is_the_average() {
        let tensors = [
            ("model.head.weight", [1.0, 2.0]),
            ("average.head.weight", [0.5, 1.0]),
            ("optimizer.momentum.head.weight", [9.0, 9.0]),
        ];
        let checkpoint = file("the best checkpoint", &tensors);
        let averaged = file(RESULT, &[("fc.weight", [0.5, 1.0])]);
        assert_eq!(compare(&averaged, &checkpoint), WeightState::Verified { tensors: 1 });
        let trained = file(RESULT, &[("fc.weight", [1.0, 2.0])]);
        assert_eq!(
            compare(&trained, &checkpoint).detail(),
            "tensor fc.weight of head.safetensors is none of the best checkpoint"
        );
    }

    #[test]
    fn a_changed_a_missing_and_a_repeated_tensor_are_named() {
        let changed = file(RESULT, &[("fc.weight", [1.0, 2.5]), ("fc.bias", [0.0, 0.0])]);
        let missing = file(RESULT, &[("fc.weight", [1.0, 2.0])]);
        let all = [
            ("fc.weight", [1.0, 2.0]),
            ("fc.bias", [0.0, 0.0]),
            ("fc.more", [0.0, 0.0]),
        ];
        for (result, expected) in [
            (
                changed,
                "tensor fc.weight of head.safetensors is none of the best checkpoint",
            ),
            (
                missing,
                "tensor head.bias of the best checkpoint is not in head.safetensors",
            ),
            (
                file(RESULT, &all),
                "tensor fc.bias of head.safetensors is none of the best checkpoint",
            ),
        ] {
            let state = compare(&result, &checkpoint());
            assert_eq!(state.detail(), expected);
            assert_eq!(state.finding().unwrap().flaw, Flaw::Artifact);
        }
    }

    #[test]
    fn a_file_of_another_kind_is_not_compared_and_not_called_wrong() {
        let state = compare(&(RESULT.to_owned(), b"something".to_vec()), &checkpoint());
        assert!(
            state.detail().starts_with("head.safetensors is no safetensors file"),
            "{state:?}"
        );
        assert_eq!(state.finding(), None);
    }
}
