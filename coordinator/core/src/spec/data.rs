//! Where the samples are and how they are read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AugmentationSpec, DataFormat, uri};

/// Where the samples are and how they are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataSpec {
    /// Layout on disk.
    #[serde(flatten)]
    pub format: DataFormat,
    /// Tables and JSON lines: what is done with rows whose label is missing, which is what pandas takes for a missing value: nothing, `NaN`,
    /// `null`, `None`, `NA` and their like.
    #[schemars(extend("x-firn-default" = "`error`; none for `imagefolder`"))]
    pub missing_labels: Option<MissingLabels>,
    /// Names of the classes, or of the tags of words, in the order of the network's outputs; of an `ordinal` head from the lowest rank to the highest.
    #[serde(default)]
    #[schemars(extend("x-firn-since" = 5, "x-firn-default" = "those of train in alphabetical order, in a table numbers by their value"))]
    pub classes: Vec<String>,
    /// The split that is trained on.
    #[serde(with = "train")]
    #[schemars(with = "train::TrainDocument")]
    pub train: String,
    /// The split that chooses the best checkpoint.
    pub validation: Option<SplitSource>,
    /// The split that is scored once, at the end, with the best checkpoint.
    pub test: Option<SplitSource>,
    /// From file to network input.
    pub preprocessing: Preprocessing,
    /// Random changes of training images.
    #[schemars(extend("x-firn-modality" = "image", "x-firn-default" = "none: an image is the same in each epoch", "x-firn-since" = 5))]
    pub augmentation: Option<AugmentationSpec>,
    /// Samples that are set aside.
    #[schemars(extend("x-firn-result" = false))]
    pub quarantine: QuarantineSpec,
}

/// Samples that are set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuarantineSpec {
    /// Corrupt samples that are set aside, and listed in the result, before the job fails. With 0 the first one fails it.
    #[schemars(extend("default" = 0))]
    pub max_samples: u32,
}

/// What is done with rows whose label is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MissingLabels {
    /// The job fails, with the number of such rows and the first few lines.
    Error,
    /// They are left out, and counted in a warning.
    Drop,
    /// Words such as `None` and `NA` are classes like any other; an empty label fails the job.
    Keep,
}

impl MissingLabels {
    /// What `pandas.read_csv` takes for a missing value unless it is told otherwise (pandas 2, `STR_NA_VALUES`), less the empty text.
    const WORDS: [&str; 18] = [
        "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
        "NULL", "NaN", "None", "n/a", "nan", "null",
    ];

    /// Whether a label is a word for none.
    pub fn is_missing(label: &str) -> bool {
        Self::WORDS.contains(&label)
    }
}

/// Where a split other than train comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "SplitDocument", into = "SplitDocument")]
pub enum SplitSource {
    /// A folder or file of its own.
    Path(String),
    /// This fraction of train, in (0, 1), seeded and stratified by class; of labels that do not exclude each other, and of tags, train keeps a sample of each.
    FractionOfTrain(f64),
}

/// A split as it is written.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
struct SplitDocument {
    /// A folder or a file.
    #[serde(default, with = "uri::optional")]
    #[schemars(with = "Option<uri::Uri>")]
    uri: Option<String>,
    /// Instead of `uri`, for validation and test: this fraction of train, seeded and stratified by class.
    #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))]
    split: Option<f64>,
}

impl TryFrom<SplitDocument> for SplitSource {
    type Error = &'static str;

    fn try_from(written: SplitDocument) -> Result<Self, Self::Error> {
        match (written.uri, written.split) {
            (Some(path), None) => Ok(Self::Path(path)),
            (None, Some(fraction)) => Ok(Self::FractionOfTrain(fraction)),
            (None, None) => Err(NEEDS_A_SOURCE),
            (Some(_), Some(_)) => Err(HAS_TWO_SOURCES),
        }
    }
}

/// Of a split that names no source.
pub(super) const NEEDS_A_SOURCE: &str = "needs `uri` or `split`";
/// Of a split that names two sources.
pub(super) const HAS_TWO_SOURCES: &str = "must have `uri` or `split`, found both";

impl From<SplitSource> for SplitDocument {
    fn from(source: SplitSource) -> Self {
        match source {
            SplitSource::Path(path) => Self {
                uri: Some(path),
                split: None,
            },
            SplitSource::FractionOfTrain(fraction) => Self {
                uri: None,
                split: Some(fraction),
            },
        }
    }
}

/// Train is written as the others are, and has a path in any case.
mod train {
    use schemars::JsonSchema;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::uri;

    /// The split that is trained on.
    #[derive(Serialize, Deserialize, JsonSchema)]
    pub(super) struct TrainDocument {
        /// A folder or a file.
        #[serde(with = "uri")]
        #[schemars(with = "uri::Uri")]
        uri: String,
        /// Only for validation and test: train is what they are split from.
        split: Option<f64>,
    }

    pub(super) fn serialize<S: Serializer>(path: &str, serializer: S) -> Result<S::Ok, S::Error> {
        let uri = path.to_owned();
        TrainDocument { uri, split: None }.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
        Ok(TrainDocument::deserialize(deserializer)?.uri)
    }
}

/// From file to network input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum Preprocessing {
    /// torchvision's `Resize` (shorter side, antialiased), `CenterCrop`, `ToTensor`, `Normalize`.
    Image {
        /// Pixels of the shorter side after the antialiased resize.
        #[schemars(range(min = 1, max = 8192), extend("x-firn-modality" = "image", "x-firn-default" = "the architecture's own"))]
        resize: u32,
        /// How pixels between those of the image are made by the resize.
        #[serde(default)]
        #[schemars(extend("x-firn-since" = 5, "x-firn-modality" = "image", "x-firn-default" = "the architecture's own"))]
        interpolation: Interpolation,
        /// What the resize does to the proportions of an image.
        #[serde(default)]
        #[schemars(extend("x-firn-since" = 5, "x-firn-modality" = "image", "x-firn-default" = "the architecture's own"))]
        crop_mode: CropMode,
        /// Pixels of the square centre crop, at most `resize`.
        #[schemars(range(min = 1, max = 8192), extend("x-firn-modality" = "image", "x-firn-default" = "the architecture's own"))]
        crop: u32,
        /// Mean of each channel, of values in [0, 1]. That of `inception_v3` is 0.5, and so is `std`, which is what torchvision's
        /// normalisation and its `transform_input` give together.
        #[schemars(inner(range(min = 0.0, max = 1.0)), extend("x-firn-modality" = "image", "x-firn-items" = "three numbers, one for each channel", "x-firn-default" = "the architecture's own"))]
        mean: [f64; 3],
        /// Standard deviation of each channel.
        #[schemars(extend("items" = {"type": "number", "exclusiveMinimum": 0.0}, "x-firn-modality" = "image", "x-firn-items" = "three numbers, one for each channel", "x-firn-default" = "the architecture's own"))]
        std: [f64; 3],
    },
    /// Tokenise, cut at `max_length`, pad to the longest of the batch.
    Text {
        /// Tokens after which a sample is cut, special tokens included.
        #[schemars(range(min = 3, max = 65_536), extend("x-firn-modality" = "text", "x-firn-default" = "the model's maximum, at most 256"))]
        max_length: Option<u32>,
    },
}

impl Preprocessing {
    /// Pixels a side of the images that the network sees.
    pub fn crop(&self) -> Option<u32> {
        match *self {
            Self::Image { crop, .. } => Some(crop),
            Self::Text { .. } => None,
        }
    }
}

/// What a resize does to the proportions of an image, in timm's words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CropMode {
    /// They are kept: the shorter side gets `resize` pixels.
    #[default]
    Center,
    /// They are not: both sides get `resize` pixels.
    Squash,
}

/// The filter of a resize.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// A triangle over two pixels.
    #[default]
    Bilinear,
    /// Keys's cubic over four pixels, with a = -0.5.
    Bicubic,
}
