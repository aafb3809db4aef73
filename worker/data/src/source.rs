//! Where the bytes of a sample are. A format says where, a modality makes numbers of them; neither knows the other.

use std::borrow::Cow;
use std::path::PathBuf;

use crate::digest::update_with_length;

/// What the network looks at, before it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A whole file.
    File {
        /// Where it is on this worker.
        path: PathBuf,
        /// Bytes, when it was indexed.
        size: u64,
    },
    /// The text itself, out of a row.
    Text(String),
    /// Two texts that belong together.
    TextPair([String; 2]),
    /// The words of a text, in their order.
    Words(Vec<String>),
    /// Nothing: the row of the sample has a label and no input, as this sentence says.
    Unusable(String),
}

impl Source {
    /// All of it.
    ///
    /// # Errors
    ///
    /// The sentence that a [`crate::CorruptSample`] carries.
    pub fn read(&self) -> Result<Content<'_>, String> {
        match self {
            Self::File { path, .. } => match std::fs::read(path) {
                Ok(bytes) => Ok(Content::One(Cow::Owned(bytes))),
                Err(error) => Err(format!("cannot read {}: {error}", path.display())),
            },
            Self::Text(text) => Ok(Content::One(Cow::Borrowed(text.as_bytes()))),
            Self::TextPair([first, second]) => Ok(Content::Pair([first, second])),
            Self::Words(words) => Ok(Content::Words(words)),
            Self::Unusable(reason) => Err(reason.clone()),
        }
    }

    /// Adds to the digest of a split what is known without reading: the size of a file, or the text.
    pub(crate) fn update(&self, hasher: &mut blake3::Hasher) {
        match self {
            Self::File { size, .. } => {
                hasher.update(&[0]);
                hasher.update(&size.to_le_bytes());
            }
            Self::Text(text) => {
                hasher.update(&[1]);
                update_with_length(hasher, text.as_bytes());
            }
            Self::TextPair(texts) => {
                hasher.update(&[3]);
                for text in texts {
                    update_with_length(hasher, text.as_bytes());
                }
            }
            Self::Words(words) => {
                hasher.update(&[4]);
                hasher.update(&(words.len() as u64).to_le_bytes());
                for word in words {
                    update_with_length(hasher, word.as_bytes());
                }
            }
            Self::Unusable(reason) => {
                hasher.update(&[2]);
                update_with_length(hasher, reason.as_bytes());
            }
        }
    }
}

/// What a sample holds, once it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content<'a> {
    /// The bytes of a file or of a text.
    One(Cow<'a, [u8]>),
    /// Two texts.
    Pair([&'a str; 2]),
    /// The words of a text.
    Words(&'a [String]),
}

impl Content<'_> {
    /// What a file holds.
    ///
    /// # Errors
    /// A pair of texts, or words.
    pub(crate) fn one(&self) -> Result<&[u8], String> {
        match self {
            Self::One(bytes) => Ok(&**bytes),
            Self::Pair(_) => Err("is two texts, where a file is expected".to_owned()),
            Self::Words(_) => Err("is a list of words, where a file is expected".to_owned()),
        }
    }

    /// The bytes of each part.
    pub(crate) fn parts(&self) -> Vec<&[u8]> {
        match self {
            Self::One(bytes) => vec![&**bytes],
            Self::Pair(texts) => texts.iter().map(|text| text.as_bytes()).collect(),
            Self::Words(words) => words.iter().map(|word| word.as_bytes()).collect(),
        }
    }
}
