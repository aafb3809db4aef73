//! What a library looks for beside the weights: the tokenizer of texts, and how images are prepared.

use std::{fs, io, path::Path};

use firn_core::spec::{JobSpec, Preprocessing, model_folder};
use firn_data::TextLimits;
use firn_models::{Model, ModelError, export};
use serde_json::{Map, Value, json};

use crate::rank::{
    failure::RankFailure,
    files::model_files::{self, SPECIAL_TOKENS},
};

const TOKENIZER: &str = "tokenizer.json";

/// The files by name: of texts the tokenizer that the job used, and what transformers reads beside it; of images of a network of transformers what its image
/// processor is made from.
///
/// # Errors
/// A tokenizer that was there when the job began, and is gone.
pub(super) fn files(spec: &JobSpec, model: &Model) -> Result<Vec<(&'static str, Vec<u8>)>, RankFailure> {
    match &spec.data.preprocessing {
        Preprocessing::Text { max_length } => {
            let length = TextLimits::length(*max_length, model.max_length());
            let has_types = spec.data.format.has_pairs() && model.has_token_types();
            match model_files::tokenizer(&spec.model)? {
                Some(path) => of_texts(&path, (length, has_types), spec.data.format.has_words()),
                None => Ok(Vec::new()),
            }
        }
        images => {
            let config = export::opened(model).and_then(|_| model_folder::preprocessor_config(images));
            let file = config.map(|config| (model_folder::PREPROCESSOR, pretty(&config)));
            Ok(file.into_iter().collect())
        }
    }
}

fn of_texts(tokenizer: &Path, read: (u32, bool), has_words: bool) -> Result<Vec<(&'static str, Vec<u8>)>, RankFailure> {
    let own = fs::read(tokenizer).map_err(|source| unreadable(tokenizer, source))?;
    let spaced = has_words.then(|| spaced(&own)).flatten();
    let has_space = spaced.is_some();
    let own = spaced.unwrap_or(own);
    let mut files = vec![(TOKENIZER, own)];
    if let Some(tokens) = beside(tokenizer, SPECIAL_TOKENS)? {
        files.push((SPECIAL_TOKENS, tokens));
    }
    let written = beside(tokenizer, model_folder::TOKENIZER_CONFIG)?;
    let written = written.and_then(|bytes| serde_json::from_slice::<Map<String, Value>>(&bytes).ok());
    let mut config = tokenizer_config(written.unwrap_or_default(), read);
    if has_space {
        config["add_prefix_space"] = true.into();
    }
    files.push((model_folder::TOKENIZER_CONFIG, pretty(&config)));
    Ok(files)
}

/// The file that puts a space before each word, as the job did; `None` where the tokenizer needs none.
fn spaced(own: &[u8]) -> Option<Vec<u8>> {
    let mut file: Value = serde_json::from_slice(own).ok()?;
    firn_data::with_prefix_space(&mut file).then(|| pretty(&file))
}

/// That of the tokenizer, which cuts where the job did, and tells of the types of tokens that the network read of pairs. Without one transformers would take a
/// tokenizer class by the network, and not the file's.
fn tokenizer_config(mut written: Map<String, Value>, (length, has_types): (u32, bool)) -> Value {
    if written.is_empty() {
        written.insert("tokenizer_class".to_owned(), "PreTrainedTokenizerFast".into());
        written.insert("model_input_names".to_owned(), json!(["input_ids", "attention_mask"]));
    }
    if has_types {
        let names = json!(["input_ids", "token_type_ids", "attention_mask"]);
        written.insert("model_input_names".to_owned(), names);
    }
    written.insert("model_max_length".to_owned(), length.into());
    written.into()
}

/// The bytes of a file beside another; `None`: it is not there.
fn beside(path: &Path, name: &str) -> Result<Option<Vec<u8>>, RankFailure> {
    let path = path.with_file_name(name);
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(&path, error)),
    }
}

fn unreadable(path: &Path, source: io::Error) -> RankFailure {
    let path = path.to_path_buf();
    ModelError::Read { path, source }.into()
}

/// As JSON that people read.
pub(super) fn pretty(value: &Value) -> Vec<u8> {
    serde_json::to_vec_pretty(value).expect("a JSON value is JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tokenizer_cuts_where_the_job_did_and_keeps_what_it_says_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = folder.path().join("own.json");
        fs::write(&tokenizer, "{}").unwrap();
        let names = |files: &[(&'static str, Vec<u8>)]| files.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        let config =
            |files: &[(&'static str, Vec<u8>)]| -> Value { serde_json::from_slice(&files.last().unwrap().1).unwrap() };
        let alone = of_texts(&tokenizer, (24, false), false).unwrap();
        assert_eq!(names(&alone), ["tokenizer.json", "tokenizer_config.json"]);
        assert_eq!(
            config(&alone),
            json!({
                "tokenizer_class": "PreTrainedTokenizerFast",
                "model_input_names": ["input_ids", "attention_mask"],
                "model_max_length": 24,
            })
        );
        let written = json!({"model_max_length": 512, "truncation_side": "left", "pad_token": "<pad>"});
        fs::write(folder.path().join("tokenizer_config.json"), written.to_string()).unwrap();
        fs::write(folder.path().join("special_tokens_map.json"), "{}").unwrap();
        let all = of_texts(&tokenizer, (24, false), true).unwrap();
        assert_eq!(
            names(&all),
            ["tokenizer.json", "special_tokens_map.json", "tokenizer_config.json"]
        );
        assert_eq!(
            config(&all),
            json!({"model_max_length": 24, "truncation_side": "left", "pad_token": "<pad>"})
        );
        let of_pairs = config(&of_texts(&tokenizer, (24, true), false).unwrap());
        assert_eq!(
            of_pairs["model_input_names"],
            json!(["input_ids", "token_type_ids", "attention_mask"])
        );
        fs::write(
            &tokenizer,
            r#"{"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false}}"#,
        )
        .unwrap();
        let spaced = of_texts(&tokenizer, (24, false), true).unwrap();
        let file: Value = serde_json::from_slice(&spaced[0].1).unwrap();
        assert_eq!(file["pre_tokenizer"]["add_prefix_space"], true);
        assert_eq!(config(&spaced)["add_prefix_space"], true);
    }
}
