//! Texts as token ids, through a Hugging Face `tokenizer.json`.
//!
//! Truncation keeps the special tokens, as `transformers` does with `truncation=True`; padding goes to the longest of a batch. Whatever
//! truncation and padding the file itself asks for is replaced.

use std::path::{Path, PathBuf};

use tokenizers::{PaddingParams, PostProcessor, Tokenizer, TruncationParams};

use super::{Modality, Prepared};
use crate::{DataError, RawTensor, Tensors, Values};

/// Most tokens when neither the spec nor the model says.
const DEFAULT_MAX_LENGTH: u32 = 256;

/// Texts for one tokenizer.
pub(super) struct Texts {
    tokenizer: Tokenizer,
    padding_id: i64,
}

impl Texts {
    pub(super) fn load(
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
}

impl Modality for Texts {
    fn samples_per_task(&self) -> usize {
        16
    }

    fn inspect(&self, _: &[u8]) -> Result<(), String> {
        Ok(())
    }

    /// Its token ids, not padded.
    fn prepare(&self, bytes: &[u8]) -> Result<Prepared, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8 text".to_owned())?;
        let encoding = self
            .tokenizer
            .encode_fast(text, true)
            .map_err(|error| format!("cannot be tokenised: {error}"))?;
        match encoding.get_ids() {
            [] => Err("gives no tokens".to_owned()),
            ids => Ok(Prepared::Integers(ids.iter().map(|id| i64::from(*id)).collect())),
        }
    }

    /// `ids` and `mask`: `(length)` integers of each sample, padded to the longest; the mask is 1 where a token is.
    fn collate(&self, samples: &[Prepared]) -> Tensors {
        let samples: Vec<&[i64]> = samples.iter().map(Prepared::integers).collect();
        let length = samples.iter().map(|ids| ids.len()).max().unwrap_or(0);
        let mut ids = Vec::with_capacity(samples.len() * length);
        let mut mask = Vec::with_capacity(samples.len() * length);
        for sample in &samples {
            ids.extend_from_slice(sample);
            ids.resize(ids.len() + length - sample.len(), self.padding_id);
            mask.resize(mask.len() + sample.len(), 1);
            mask.resize(mask.len() + length - sample.len(), 0);
        }
        let array = |name, values| RawTensor {
            name,
            shape: vec![length],
            values: Values::Integers(values),
        };
        Tensors {
            samples: samples.len(),
            arrays: vec![array("ids", ids), array("mask", mask)],
        }
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
