//! Texts as token ids, through a Hugging Face `tokenizer.json`.
//!
//! Truncation keeps the special tokens, as `transformers` does with `truncation=True`, and cuts on the side that it would: that of the
//! `tokenizer_config.json` beside the file, else that of the file. Whatever else the file asks for is replaced: padding goes to the longest of
//! a batch.
//!
//! A tokenizer may have tokens that the weights do not know: some were added to it, or it belongs to another model. Those that it adds to
//! each text are refused at once. Others may never occur, so where they could, the scan looks at the tokens of each text.

use std::path::{Path, PathBuf};

use firn_core::compatibility::DataRules;
use serde_json::Value;
use tokenizers::{PaddingParams, PostProcessor, Tokenizer, TruncationDirection, TruncationParams};

use super::words::{firsts, with_prefix_space};
use super::{Modality, Occasion, Prepared, TextLimits};
use crate::{DataError, RawTensor, Tensors, Values, source::Content};

/// Texts for one tokenizer.
pub(super) struct Texts {
    tokenizer: Tokenizer,
    padding_id: i64,
    /// Rows of the network's table of embeddings, if the tokenizer has tokens beyond them.
    rows: Option<u32>,
    /// Whether texts are lists of words.
    words: bool,
}

impl Texts {
    pub(super) fn load(path: Option<&Path>, max_length: Option<u32>, limits: TextLimits) -> Result<Self, DataError> {
        let Some(path) = path else {
            return Err(DataError::Preprocessing {
                reason: "a text model needs a tokenizer, and none is given".to_owned(),
            });
        };
        if !path.exists() {
            return Err(refused(path, "no such file"));
        }
        let mut tokenizer = opened(path, limits)?;
        let length = allowed_length(max_length, limits, special_tokens(&tokenizer, limits.pairs))?;
        let rows = limits.vocabulary.filter(|rows| has_tokens_beyond(&tokenizer, *rows));
        let padding_id = padding_id(&tokenizer).filter(|id| rows.is_none_or(|rows| *id < rows));
        let truncation = TruncationParams {
            max_length: length as usize,
            direction: match limits.rules {
                DataRules::First => TruncationDirection::Right,
                DataRules::Current => truncation_side(path, &tokenizer)?,
            },
            ..TruncationParams::default()
        };
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(Some(truncation))
            .map_err(|error| refused(path, &error.to_string()))?;
        let texts = Self {
            tokenizer,
            padding_id: i64::from(padding_id.unwrap_or(0)),
            rows,
            words: limits.words,
        };
        texts.check_special_tokens(path)?;
        Ok(texts)
    }

    /// A sentence on the first token that the network has no embedding for.
    fn unknown_token(&self, ids: &[u32]) -> Option<String> {
        let rows = self.rows?;
        let id = ids.iter().find(|id| **id >= rows)?;
        let token = self.tokenizer.id_to_token(*id).unwrap_or_default();
        Some(format!(
            "token `{token}` has id {id}, but the model's table of embeddings has {rows} rows, for ids up to {}",
            rows.saturating_sub(1)
        ))
    }

    /// Those of an empty text stand in every text.
    fn check_special_tokens(&self, path: &Path) -> Result<(), DataError> {
        let encoding = self.tokenizer.encode_fast("", true);
        let encoding = encoding.map_err(|error| refused(path, &error.to_string()))?;
        match self.unknown_token(encoding.get_ids()) {
            Some(unknown) => Err(refused(
                path,
                &format!("{unknown}, and it is added to each text; is this the tokenizer of these weights?"),
            )),
            None => Ok(()),
        }
    }
}

impl Modality for Texts {
    fn samples_per_task(&self) -> usize {
        16
    }

    /// Only where a token could be unknown to the network, or none of some words gives a token: it costs as much as preparing.
    fn inspect(&self, content: &Content<'_>) -> Result<(), String> {
        match self.rows.is_some() || self.words {
            true => self.prepare(content, None).map(drop),
            false => Ok(()),
        }
    }

    /// Its token ids, not padded; of two texts those of both, as the tokenizer's file joins them. Two that are too long together are cut where the longer
    /// one is, token by token.
    fn prepare(&self, content: &Content<'_>, _: Option<Occasion>) -> Result<Prepared, String> {
        let encoding = match content {
            Content::One(bytes) => {
                let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8 text".to_owned())?;
                self.tokenizer.encode_fast(text, true)
            }
            // The fast way forgets the types where no processor joins both.
            Content::Pair([first, second]) => self.tokenizer.encode((*first, *second), true),
            Content::Words(words) => self.tokenizer.encode(*words, true),
        };
        let encoding = encoding.map_err(|error| format!("cannot be tokenised: {error}"))?;
        let has_types = matches!(content, Content::Pair(_));
        if let Some(unknown) = self.unknown_token(encoding.get_ids()) {
            return Err(unknown);
        }
        let words = match content {
            Content::Words(_) => firsts(&encoding),
            Content::One(_) | Content::Pair(_) => Vec::new(),
        };
        match encoding.get_ids() {
            [] => Err("gives no tokens".to_owned()),
            _ if self.words && words.iter().all(|word| *word == 0) => Err("none of its words gives a token".to_owned()),
            ids => {
                let types = encoding.get_type_ids().iter().filter(|_| has_types);
                Ok(Prepared::Tokens {
                    ids: ids.iter().map(|id| i64::from(*id)).collect(),
                    types: types.map(|kind| i64::from(*kind)).collect(),
                    words,
                })
            }
        }
    }

    /// `ids` and `mask`: `(length)` integers of each sample, padded to the longest; the mask is 1 where a token is. Of pairs `types` as well: 1 where the
    /// tokenizer says that a token is of the second text. Of lists of words `words`: the number of the word that begins with a token, from 1, else 0.
    fn collate(&self, samples: &[Prepared]) -> Tensors {
        let samples: Vec<[&[i64]; 3]> = samples.iter().map(Prepared::tokens).collect();
        let length = samples.iter().map(|[ids, ..]| ids.len()).max().unwrap_or(0);
        let padded = |row: &[i64], padding: i64| -> Vec<i64> {
            let missing = length - row.len();
            row.iter()
                .copied()
                .chain(std::iter::repeat_n(padding, missing))
                .collect()
        };
        let array = |name, values: Vec<Vec<i64>>| RawTensor {
            name,
            shape: vec![length],
            values: Values::Integers(values.concat()),
        };
        let column = |part: usize, padding: i64| samples.iter().map(|arrays| padded(arrays[part], padding)).collect();
        let mask = samples.iter().map(|[ids, ..]| padded(&vec![1; ids.len()], 0)).collect();
        let mut arrays = vec![array("ids", column(0, self.padding_id)), array("mask", mask)];
        for (part, name) in [(1, "types"), (2, "words")] {
            if samples.iter().any(|arrays| !arrays[part].is_empty()) {
                arrays.push(array(name, column(part, 0)));
            }
        }
        Tensors {
            samples: samples.len(),
            arrays,
        }
    }
}

/// The file as it is; for lists of words with a space before each.
fn opened(path: &Path, limits: TextLimits) -> Result<Tokenizer, DataError> {
    let loaded = match limits.words {
        false => Tokenizer::from_file(path),
        true => {
            let text = std::fs::read_to_string(path).map_err(|error| refused(path, &error.to_string()))?;
            let file = serde_json::from_str(&text).map(|mut file| {
                let _ = with_prefix_space(&mut file);
                file.to_string()
            });
            file.map_err(Into::into).and_then(|text| text.parse())
        }
    };
    loaded.map_err(|error: tokenizers::Error| refused(path, &error.to_string()))
}

/// Tokens that are added to each text, or pair of texts.
fn special_tokens(tokenizer: &Tokenizer, is_pair: bool) -> usize {
    tokenizer
        .get_post_processor()
        .map_or(0, |processor| processor.added_tokens(is_pair))
}

fn allowed_length(wanted: Option<u32>, limits: TextLimits, special: usize) -> Result<u32, DataError> {
    let model = limits.longest;
    let refuse = |reason: String| Err(DataError::Preprocessing { reason });
    let length = match (wanted, model) {
        (Some(wanted), Some(model)) if wanted > model => {
            return refuse(format!(
                "maxLength is {wanted}, but the model takes at most {model} tokens"
            ));
        }
        (wanted, model) => TextLimits::length(wanted, model),
    };
    if length as usize <= special {
        return refuse(format!(
            "maxLength is {length}, but {special} special tokens are added to each {}",
            if limits.pairs { "pair of texts" } else { "text" }
        ));
    }
    Ok(length)
}

/// On which side a text is cut that is too long.
fn truncation_side(path: &Path, tokenizer: &Tokenizer) -> Result<TruncationDirection, DataError> {
    let own = tokenizer.get_truncation().map(|truncation| truncation.direction);
    let own = own.unwrap_or(TruncationDirection::Right);
    let path = path.with_file_name("tokenizer_config.json");
    if !path.exists() {
        return Ok(own);
    }
    let text = std::fs::read_to_string(&path).map_err(|error| refused(&path, &error.to_string()))?;
    let config: Value = serde_json::from_str(&text).map_err(|error| refused(&path, &error.to_string()))?;
    match config.get("truncation_side") {
        None => Ok(own),
        Some(Value::String(side)) if side == "left" => Ok(TruncationDirection::Left),
        Some(Value::String(side)) if side == "right" => Ok(TruncationDirection::Right),
        Some(other) => Err(refused(
            &path,
            &format!("field `truncation_side`: expected `left` or `right`, found {other}"),
        )),
    }
}

fn has_tokens_beyond(tokenizer: &Tokenizer, rows: u32) -> bool {
    tokenizer.get_vocab(true).values().any(|id| *id >= rows)
}

/// The file's own padding token, else one by its usual names. Any other would do: it is masked.
fn padding_id(tokenizer: &Tokenizer) -> Option<u32> {
    let own = tokenizer.get_padding().map(|PaddingParams { pad_id, .. }| *pad_id);
    let usual = ["[PAD]", "<pad>", "<|endoftext|>"];
    own.or_else(|| usual.iter().find_map(|token| tokenizer.token_to_id(token)))
}

fn refused(path: &Path, reason: &str) -> DataError {
    DataError::Tokenizer {
        path: PathBuf::from(path),
        reason: reason.to_owned(),
    }
}
