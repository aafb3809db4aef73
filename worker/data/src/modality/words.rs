//! Texts that are lists of words, as transformers' tokenizers take them with `is_split_into_words=True`.
//!
//! What is predicted of a word is read at its first token (`word_ids()` of the recipe for token classification). A tokenizer of bytes sees a space
//! before each word, as with `add_prefix_space=True`: so do `run_ner.py` and whoever trained the network.

use serde_json::Value;
use tokenizers::Encoding;

/// Has a `tokenizer.json` put a space before each word, where it is one of bytes; whether it is.
pub fn with_prefix_space(tokenizer: &mut Value) -> bool {
    let step = &mut tokenizer["pre_tokenizer"];
    let is_of_bytes = step["type"] == "ByteLevel";
    if is_of_bytes {
        step["add_prefix_space"] = true.into();
    }
    is_of_bytes
}

/// Of each token, the number of the word that begins with it, from 1; 0 for the other tokens. Where the start of a word was cut off, the first token that
/// is left of it counts, as in the recipe.
pub(super) fn firsts(encoding: &Encoding) -> Vec<i64> {
    let mut before = None;
    let of_token = |word: &Option<u32>| {
        let begins = word.filter(|_| *word != before);
        before = *word;
        begins.map_or(0, |word| i64::from(word) + 1)
    };
    encoding.get_word_ids().iter().map(of_token).collect()
}
