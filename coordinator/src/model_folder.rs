//! A job whose model is a folder, here or on the Hugging Face Hub: its small JSON files are read, and what they say is written into the job in its place.
//!
//! This happens where the job is submitted, if the folder is seen there or the Hub answers, and else in the coordinator. So the job that is stored names its
//! architecture, its weights and all of its preprocessing like any other, and ranks need know nothing of folders.

mod source;

use std::path::Path;

use firn_core::spec::{
    Preprocessing, Violation, Word,
    hub::{self, HubModel},
    model_folder::{CONFIG, Described, ModelFolder, PREPROCESSOR, TOKENIZER_CONFIG},
    uri,
};
use firn_hub::HubError;
use firn_proto::v1alpha1::{FineTuneJob, ModelSpec, PreprocessingSpec};

use self::source::Source;

/// The field that names the folder.
const FIELD: &str = "spec.model.uri";
/// The weights that a folder may hold.
const WEIGHTS: [&str; 2] = ["model.safetensors", "model.safetensors.index.json"];

/// Why a folder was not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unread {
    /// The job could not honour it.
    Refused(Violation),
    /// The Hub did not show it to this process. Another one may have a network, a token or a cache that this one has not.
    Unseen(Violation),
}

impl Unread {
    /// What is wrong, for somebody after whom nobody looks.
    pub fn into_violation(self) -> Violation {
        match self {
            Self::Refused(violation) | Self::Unseen(violation) => violation,
        }
    }
}

impl From<Violation> for Unread {
    fn from(violation: Violation) -> Self {
        Self::Refused(violation)
    }
}

/// Reads the folder that the job names, if it names one that is seen here. What is not seen stays for somebody else to look at, and what
/// contradicts itself for the rules of the spec.
///
/// # Errors
/// What of the folder the job could not honour, or why the Hub does not show it. The job is then as it was.
pub fn read(job: &mut FineTuneJob) -> Result<(), Unread> {
    let Some(spec) = job.spec.as_mut() else { return Ok(()) };
    let Some(model) = spec.model.as_mut() else {
        return Ok(());
    };
    if model.uri.is_empty() || !model.architecture.is_empty() || !model.weights.is_empty() {
        return Ok(());
    }
    let Some(source) = source(&model.uri)? else {
        return Ok(());
    };
    let described = describe(&source)?;
    let preprocessing = &mut spec.data.get_or_insert_default().preprocessing;
    let is_complete = preprocessing.as_ref().is_some_and(is_complete);
    model.uri.clear();
    model.weights = source.weights();
    write(described, model, preprocessing.get_or_insert_default());
    let needs_images = Word::from_word(&model.architecture).is_some_and(takes_images);
    if needs_images && !is_complete && preprocessing.as_ref().is_none_or(|found| found.resize.is_none()) {
        return Err(violation(format!(
            "{source} holds no `{PREPROCESSOR}`, which says how images are prepared; write resize, crop, mean and std into spec.data.preprocessing"
        ))
        .into());
    }
    Ok(())
}

fn takes_images(architecture: firn_core::spec::Architecture) -> bool {
    architecture.modality() == firn_core::spec::Modality::Image
}

fn is_complete(written: &PreprocessingSpec) -> bool {
    written.resize.is_some() && written.crop.is_some() && !written.mean.is_empty() && !written.std.is_empty()
}

/// What the URI names, if it is seen here or on the Hub.
fn source(uri: &str) -> Result<Option<Source>, Unread> {
    if uri.starts_with(hub::SCHEME) {
        let model = HubModel::parse(uri).map_err(violation)?;
        return Source::of_hub(&model).map(Some).map_err(unseen);
    }
    let path = uri::path(uri).ok().filter(|path| Path::new(path).exists());
    Ok(path.map(|path| Source::Folder(path.into())))
}

/// What the folder says, once it holds weights.
fn describe(source: &Source) -> Result<Described, Unread> {
    let json = |name: &str| source.json(name);
    let config = json(CONFIG)?.ok_or_else(|| {
        violation(format!(
            "{source} holds no `{CONFIG}`, which says what network it is; name `architecture` and `weights` in its place"
        ))
    })?;
    let folder = ModelFolder {
        config,
        preprocessor: json(PREPROCESSOR)?,
        tokenizer: json(TOKENIZER_CONFIG)?,
    };
    let described = folder
        .describe()
        .map_err(|reason| violation(format!("{source}: {reason}")))?;
    weights(source)?;
    if !takes_images(described.architecture) {
        tokenizer(source)?;
    }
    Ok(described)
}

fn weights(source: &Source) -> Result<(), Violation> {
    if WEIGHTS.iter().any(|name| source.holds(name)) {
        return Ok(());
    }
    let pickle = ["pytorch_model.bin", "pytorch_model.bin.index.json"];
    let reason = match pickle.into_iter().find(|name| source.holds(name)) {
        Some(pickle) => format!(
            "but `{pickle}`, a pickle, which Firn never opens; {}",
            source.conversion()
        ),
        None => "which hold the weights".to_owned(),
    };
    Err(violation(format!(
        "{source} holds neither `{}` nor `{}`, {reason}",
        WEIGHTS[0], WEIGHTS[1]
    )))
}

fn tokenizer(source: &Source) -> Result<(), Violation> {
    if source.holds("tokenizer.json") {
        return Ok(());
    }
    let older = ["vocab.txt", "vocab.json", "tokenizer.model", "spiece.model"];
    let older = older.into_iter().find(|name| source.holds(name));
    let found = older.map_or_else(String::new, |name| format!(" (only `{name}`)"));
    Err(violation(format!(
        "{source} holds no `tokenizer.json`{found}; {}",
        source.tokenizer_remedy()
    )))
}

/// Puts what the folder says where nothing was written.
fn write(described: Described, model: &mut ModelSpec, preprocessing: &mut PreprocessingSpec) {
    described.architecture.word().clone_into(&mut model.architecture);
    match described.preprocessing {
        Some(Preprocessing::Image {
            resize,
            interpolation,
            crop_mode,
            crop,
            mean,
            std,
        }) => {
            preprocessing.resize.get_or_insert(resize);
            preprocessing.crop.get_or_insert(crop);
            if preprocessing.interpolation.is_empty() {
                interpolation.word().clone_into(&mut preprocessing.interpolation);
            }
            if preprocessing.crop_mode.is_empty() {
                crop_mode.word().clone_into(&mut preprocessing.crop_mode);
            }
            if preprocessing.mean.is_empty() {
                preprocessing.mean = mean.to_vec();
            }
            if preprocessing.std.is_empty() {
                preprocessing.std = std.to_vec();
            }
        }
        Some(Preprocessing::Text {
            max_length: Some(longest),
        }) => {
            preprocessing.max_length.get_or_insert(longest);
        }
        Some(Preprocessing::Text { max_length: None }) | None => {}
    }
}

fn unseen(error: HubError) -> Unread {
    Unread::Unseen(violation(error.to_string()))
}

fn violation(message: String) -> Violation {
    Violation {
        field: FIELD.to_owned(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use firn_proto::v1alpha1::{DataSpec, JobSpec};
    use serde_json::{Value, json};
    use tempfile::TempDir;

    use super::*;

    fn folder(files: &[(&str, Value)]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content.to_string()).unwrap();
        }
        folder
    }

    fn job(folder: &TempDir, preprocessing: PreprocessingSpec) -> FineTuneJob {
        FineTuneJob {
            spec: Some(JobSpec {
                model: Some(ModelSpec {
                    uri: folder.path().display().to_string(),
                    ..ModelSpec::default()
                }),
                data: Some(DataSpec {
                    preprocessing: Some(preprocessing),
                    ..DataSpec::default()
                }),
                ..JobSpec::default()
            }),
            ..FineTuneJob::default()
        }
    }

    fn told(folder: &TempDir) -> String {
        let Unread::Refused(violation) = read(&mut job(folder, PreprocessingSpec::default())).unwrap_err() else {
            panic!("a folder that is seen here is nobody else's to look at");
        };
        assert_eq!(violation.field, FIELD);
        violation
            .message
            .replace(&folder.path().display().to_string(), "FOLDER")
    }

    fn vit() -> Vec<(&'static str, Value)> {
        vec![
            (
                "config.json",
                json!({"model_type": "vit", "image_size": 32, "patch_size": 8}),
            ),
            ("model.safetensors", json!("")),
            (
                "preprocessor_config.json",
                json!({
                    "image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}, "resample": 2,
                    "image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25],
                }),
            ),
        ]
    }

    #[test]
    fn a_folder_says_all_that_is_not_written() {
        let folder = folder(&vit());
        let mut job = job(
            &folder,
            PreprocessingSpec {
                mean: vec![0.1, 0.2, 0.3],
                ..PreprocessingSpec::default()
            },
        );
        read(&mut job).unwrap();
        let spec = job.spec.unwrap();
        let model = spec.model.unwrap();
        assert_eq!((model.architecture.as_str(), model.uri.as_str()), ("vit", ""));
        assert_eq!(model.weights, format!("{}/", folder.path().display()));
        assert_eq!(
            spec.data.unwrap().preprocessing.unwrap(),
            PreprocessingSpec {
                resize: Some(32),
                interpolation: "bilinear".to_owned(),
                crop_mode: "squash".to_owned(),
                crop: Some(32),
                mean: vec![0.1, 0.2, 0.3],
                std: vec![0.25; 3],
                max_length: None,
            }
        );
    }

    #[test]
    fn what_a_folder_lacks_is_named() {
        assert!(told(&folder(&[])).starts_with("FOLDER holds no `config.json`, which says what network it is"));
        let config = ("config.json", json!({"model_type": "bert"}));
        let pickle = ("pytorch_model.bin", json!(""));
        assert_eq!(
            told(&folder(&[config.clone(), pickle])),
            "FOLDER holds neither `model.safetensors` nor `model.safetensors.index.json`, but `pytorch_model.bin`, a pickle, which Firn never \
             opens; `firn models --inspect` prints the command that converts it"
        );
        let weights = ("model.safetensors", json!(""));
        assert_eq!(
            told(&folder(&[config, weights, ("vocab.txt", json!(""))])),
            "FOLDER holds no `tokenizer.json` (only `vocab.txt`); transformers writes it: \
             `AutoTokenizer.from_pretrained(\"FOLDER\").save_pretrained(\"FOLDER\")`"
        );
        let without_preprocessor = &vit()[..2];
        assert_eq!(
            told(&folder(without_preprocessor)),
            "FOLDER holds no `preprocessor_config.json`, which says how images are prepared; write resize, crop, mean and std into \
             spec.data.preprocessing"
        );
    }

    #[test]
    fn a_folder_that_is_not_seen_here_is_left_to_the_coordinator() {
        let folder = folder(&vit());
        let mut job = job(&folder, PreprocessingSpec::default());
        folder.close().unwrap();
        let before = job.clone();
        read(&mut job).unwrap();
        assert_eq!(job, before);
    }
}
