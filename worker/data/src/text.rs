//! Texts as token ids, through a Hugging Face `tokenizer.json`.
//!
//! Truncation keeps the special tokens, as `transformers` does with `truncation=True`; padding goes to the longest of a batch. Whatever
//! truncation and padding the file itself asks for is replaced.

use std::path::{Path, PathBuf};

use tokenizers::{PaddingParams, PostProcessor, Tokenizer, TruncationParams};

use crate::{BatchTensors, DataError};

/// Most tokens when neither the spec nor the model says.
const DEFAULT_MAX_LENGTH: u32 = 256;

pub(crate) struct Tokens {
    tokenizer: Tokenizer,
    padding_id: i64,
}

impl Tokens {
    pub(crate) fn load(
        path: Option<&Path>,
        max_length: Option<u32>,
        model_max_length: Option<u32>,
    ) -> Result<Self, DataError> {
        let Some(path) = path else {
            return Err(DataError::Preprocessing {
                reason: "a text model needs a tokenizer, and none is given".to_owned(),
            });
        };
        if !path.exists() {
            return Err(refused(path, "no such file"));
        }
        let mut tokenizer = Tokenizer::from_file(path).map_err(|error| refused(path, &error.to_string()))?;
        let length = allowed_length(max_length, model_max_length, special_tokens(&tokenizer))?;
        let padding_id = padding_id(&tokenizer);
        let truncation = TruncationParams {
            max_length: length as usize,
            ..TruncationParams::default()
        };
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(Some(truncation))
            .map_err(|error| refused(path, &error.to_string()))?;
        Ok(Self { tokenizer, padding_id })
    }

    pub(crate) fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        let encoding = self
            .tokenizer
            .encode_fast(text, true)
            .map_err(|error| format!("cannot be tokenised: {error}"))?;
        match encoding.get_ids() {
            [] => Err("gives no tokens".to_owned()),
            ids => Ok(ids.to_vec()),
        }
    }

    /// To the longest; the mask is 1 where a token is.
    pub(crate) fn pad(&self, samples: &[Vec<u32>]) -> BatchTensors {
        let length = samples.iter().map(Vec::len).max().unwrap_or(0);
        let mut ids = Vec::with_capacity(samples.len() * length);
        let mut mask = Vec::with_capacity(samples.len() * length);
        for sample in samples {
            ids.extend(sample.iter().map(|id| i64::from(*id)));
            ids.resize(ids.len() + length - sample.len(), self.padding_id);
            mask.resize(mask.len() + sample.len(), 1);
            mask.resize(mask.len() + length - sample.len(), 0);
        }
        BatchTensors::Tokens { ids, mask, length }
    }
}

/// Tokens that are added to each text.
fn special_tokens(tokenizer: &Tokenizer) -> usize {
    tokenizer
        .get_post_processor()
        .map_or(0, |processor| processor.added_tokens(false))
}

fn allowed_length(wanted: Option<u32>, model: Option<u32>, special: usize) -> Result<u32, DataError> {
    let refuse = |reason: String| Err(DataError::Preprocessing { reason });
    let length = match (wanted, model) {
        (Some(wanted), Some(model)) if wanted > model => {
            return refuse(format!(
                "maxLength is {wanted}, but the model takes at most {model} tokens"
            ));
        }
        (Some(wanted), _) => wanted,
        (None, model) => model.unwrap_or(DEFAULT_MAX_LENGTH).min(DEFAULT_MAX_LENGTH),
    };
    if length as usize <= special {
        return refuse(format!(
            "maxLength is {length}, but {special} special tokens are added to each text"
        ));
    }
    Ok(length)
}

/// The file's own padding token, else one by its usual names, else 0; masked either way.
fn padding_id(tokenizer: &Tokenizer) -> i64 {
    let own = tokenizer.get_padding().map(|PaddingParams { pad_id, .. }| *pad_id);
    let usual = ["[PAD]", "<pad>", "<|endoftext|>"];
    i64::from(
        own.or_else(|| usual.iter().find_map(|token| tokenizer.token_to_id(token)))
            .unwrap_or(0),
    )
}

fn refused(path: &Path, reason: &str) -> DataError {
    DataError::Tokenizer {
        path: PathBuf::from(path),
        reason: reason.to_owned(),
    }
}
