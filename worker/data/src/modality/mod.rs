//! What a sample is to a network. A modality makes numbers of the bytes of one sample, and puts such samples side by side; where the bytes
//! came from is no concern of its. Each has a file or a folder here, and its line in [`Preprocessor::new`].

pub(crate) mod image;
mod text;
mod words;

use std::{borrow::Cow, path::Path};

use firn_core::{
    compatibility::DataRules,
    order::Turn,
    spec::{AugmentationSpec, Preprocessing},
};

use self::image::Images;
use self::text::Texts;
pub use self::words::with_prefix_space;
use crate::{DataError, Source, Tensors, source::Content};

/// A kind of sample, with the settings of a job.
trait Modality: Send + Sync {
    /// Samples that one task of a loader prepares: enough that handing over costs little beside the work.
    fn samples_per_task(&self) -> usize;

    /// What is wrong with a sample that can be told without preparing it.
    fn inspect(&self, content: &Content<'_>) -> Result<(), String>;

    /// The numbers of one sample, or why it has none. On an occasion of training it is changed as the job asks for.
    fn prepare(&self, content: &Content<'_>, occasion: Option<Occasion>) -> Result<Prepared, String>;

    /// Puts samples that this modality prepared side by side.
    fn collate(&self, samples: &[Prepared]) -> Tensors;
}

/// An epoch of training, which samples are prepared for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrainingEpoch {
    /// The job's seed.
    pub seed: u64,
    /// From 0.
    pub epoch: u32,
}

impl TrainingEpoch {
    pub(crate) fn of(self, turn: Turn) -> Occasion {
        let (Self { seed, epoch }, turn) = (self, turn.key());
        Occasion { seed, epoch, turn }
    }
}

/// A sample's turn in an epoch of training: all that its random changes depend on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Occasion {
    pub(crate) seed: u64,
    pub(crate) epoch: u32,
    /// [`Turn::key`].
    pub(crate) turn: u64,
}

/// The numbers of one sample, ready to be put into a batch.
pub(crate) enum Prepared {
    /// Pixels.
    Bytes(Vec<u8>),
    /// Normalised pixels.
    Floats(Vec<f32>),
    /// Token ids; of each token which of two texts it belongs to, 0 or 1, nothing where there is one text; and of lists of words the number of the word that
    /// begins with it, from 1, or 0.
    Tokens {
        ids: Vec<i64>,
        types: Vec<i64>,
        words: Vec<i64>,
    },
}

impl Prepared {
    /// Empty for other numbers.
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Floats(_) | Self::Tokens { .. } => &[],
        }
    }

    /// Empty for other numbers.
    fn floats(&self) -> &[f32] {
        match self {
            Self::Floats(floats) => floats,
            Self::Bytes(_) | Self::Tokens { .. } => &[],
        }
    }

    /// Ids, types and words; empty for other numbers.
    fn tokens(&self) -> [&[i64]; 3] {
        match self {
            Self::Tokens { ids, types, words } => [ids, types, words],
            Self::Bytes(_) | Self::Floats(_) => [&[]; 3],
        }
    }
}

/// What a network that takes texts allows, and the job; nothing is known of a network that takes something else.
#[derive(Debug, Clone, Copy, Default)]
pub struct TextLimits {
    /// Most tokens of a sample.
    pub longest: Option<u32>,
    /// Token ids are below this number.
    pub vocabulary: Option<u32>,
    /// Whether a sample is two texts.
    pub pairs: bool,
    /// Whether a sample is a list of words.
    pub words: bool,
    /// By which the job reads its data.
    pub rules: DataRules,
}

/// Most tokens when neither the spec nor the model says.
const DEFAULT_MAX_LENGTH: u32 = 256;

impl TextLimits {
    /// Tokens at which a job cuts texts that names this number or none, for a network that takes so many at most.
    pub fn length(wanted: Option<u32>, longest: Option<u32>) -> u32 {
        let usual = || longest.unwrap_or(DEFAULT_MAX_LENGTH).min(DEFAULT_MAX_LENGTH);
        wanted.unwrap_or_else(usual)
    }
}

/// From a sample to network input. Shared by all threads of a loader.
pub struct Preprocessor {
    modality: Box<dyn Modality>,
}

impl Preprocessor {
    /// Builds the steps of samples that are the same in each epoch. `tokenizer` is the path of a `tokenizer.json`; it and `limits` are only needed for texts.
    ///
    /// # Errors
    ///
    /// When the tokenizer cannot be loaded, or the settings cannot work.
    pub fn new(preprocessing: &Preprocessing, tokenizer: Option<&Path>, limits: TextLimits) -> Result<Self, DataError> {
        Self::augmented(preprocessing, None, tokenizer, limits)
    }

    /// The same where samples are changed in epochs of training.
    ///
    /// # Errors
    ///
    /// Those of [`Self::new`].
    pub fn augmented(
        preprocessing: &Preprocessing,
        augmentation: Option<&AugmentationSpec>,
        tokenizer: Option<&Path>,
        limits: TextLimits,
    ) -> Result<Self, DataError> {
        let modality: Box<dyn Modality> = match preprocessing {
            Preprocessing::Image {
                resize,
                interpolation,
                crop_mode,
                crop,
                mean,
                std,
            } => Box::new(Images::new(
                (*resize, *interpolation, *crop_mode),
                *crop,
                (mean, std),
                augmentation,
            )?),
            Preprocessing::Text { max_length } => Box::new(Texts::load(tokenizer, *max_length, limits)?),
        };
        Ok(Self { modality })
    }

    /// The crop of an image as bytes: `crop * crop * 3`, rows from the top, before normalisation.
    ///
    /// # Errors
    ///
    /// The sentence that a [`crate::CorruptSample`] would carry; or that this preprocessor is for texts.
    pub fn crop_bytes(&self, file: &[u8]) -> Result<Vec<u8>, String> {
        match self.modality.prepare(&Content::One(Cow::Borrowed(file)), None)? {
            Prepared::Bytes(bytes) => Ok(bytes),
            Prepared::Floats(_) | Prepared::Tokens { .. } => Err("this preprocessor is for texts".to_owned()),
        }
    }

    pub(crate) fn samples_per_task(&self) -> usize {
        self.modality.samples_per_task()
    }

    pub(crate) fn inspect(&self, content: &Content<'_>) -> Result<(), String> {
        self.modality.inspect(content)
    }

    pub(crate) fn prepare(&self, source: &Source, occasion: Option<Occasion>) -> Result<Prepared, String> {
        self.modality.prepare(&source.read()?, occasion)
    }

    pub(crate) fn collate(&self, samples: &[Prepared]) -> Tensors {
        self.modality.collate(samples)
    }
}
