//! Where the samples are and how they are read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::uri;

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
    /// This fraction of train, in (0, 1), seeded and stratified by class.
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

/// Layout on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Layout", into = "Layout")]
pub enum DataFormat {
    /// One folder a class.
    ImageFolder,
    /// One sample a row: a table with a header line, or JSON lines.
    Rows(RowFormat),
}

impl DataFormat {
    /// Rows that hold texts.
    pub fn texts(layout: RowLayout, text: impl Into<String>, label: impl Into<LabelColumns>) -> Self {
        Self::Rows(RowFormat {
            layout,
            input: InputColumn::Text(text.into()),
            label: label.into(),
        })
    }

    /// Rows that hold paths of images.
    pub fn images(
        layout: RowLayout,
        image: impl Into<String>,
        label: impl Into<LabelColumns>,
        root: Option<String>,
    ) -> Self {
        let column = image.into();
        Self::Rows(RowFormat {
            layout,
            input: InputColumn::Image { column, root },
            label: label.into(),
        })
    }
}

/// How rows are written, and which of their columns hold what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowFormat {
    /// How a row is written.
    pub layout: RowLayout,
    /// What the network looks at.
    pub input: InputColumn,
    /// Where the labels stand.
    pub label: LabelColumns,
}

/// Which column of a table, or field of a JSON line, the network looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputColumn {
    /// The one of this name holds texts.
    Text(String),
    /// One holds paths of images.
    Image {
        /// Its name.
        column: String,
        /// Folder at which relative paths begin; none: that of the table.
        root: Option<String>,
    },
}

impl InputColumn {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Text(column) | Self::Image { column, .. } => column,
        }
    }

    /// What it holds, in a word for messages: `text` or `image`.
    pub fn role(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Image { .. } => "image",
        }
    }
}

/// Which columns of a table, or fields of a JSON line, hold the label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelColumns {
    /// The one with the name of the class.
    Class(String),
    /// Those with the numbers of a regression, in the order of the network's outputs; at least one.
    Numbers(Vec<String>),
}

impl LabelColumns {
    /// Their names.
    pub fn names(&self) -> &[String] {
        match self {
            Self::Class(name) => std::slice::from_ref(name),
            Self::Numbers(names) => names,
        }
    }
}

impl<Name: Into<String>> From<Name> for LabelColumns {
    fn from(name: Name) -> Self {
        Self::Class(name.into())
    }
}

/// How the rows of a file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowLayout {
    /// Fields in a line, under a header line.
    Delimited {
        /// Between fields: an ASCII character that is no quote and ends no line.
        delimiter: char,
        /// Whether fields may be wrapped in double quotes.
        quoted: bool,
    },
    /// One JSON object a line.
    JsonLines,
}

/// The layout as it is written, beside the splits.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Layout {
    /// Layout on disk.
    format: FormatName,
    /// Which columns of a table, or fields of a JSON line, hold what.
    #[schemars(extend("x-firn-default" = "the defaults of its fields; none for `imagefolder`"))]
    columns: Option<Columns>,
    /// `csv` and `tsv`: whether fields may be wrapped.
    #[schemars(extend("x-firn-default" = "`double` for `csv`, `none` for `tsv`"))]
    quoting: Option<Quoting>,
    /// `csv` and `tsv`: the character between fields, `;` or `|` for example.
    #[schemars(extend("x-firn-default" = "`,` for `csv`, a tab for `tsv`"))]
    delimiter: Option<char>,
    /// With `columns.image`: the folder at which relative paths of images begin.
    #[serde(default, with = "uri::optional")]
    #[schemars(with = "Option<uri::Uri>", extend("x-firn-default" = "the folder of the table"))]
    root: Option<String>,
}

/// The word of a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum FormatName {
    /// One folder a class.
    ImageFolder,
    /// A table with a header line and commas between the fields, or what `delimiter` says.
    Csv,
    /// A table with a header line and tabs between the fields.
    Tsv,
    /// One JSON object a line.
    Jsonl,
}

#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Columns {
    /// Name of the text column.
    #[schemars(extend("x-firn-default" = "`text`, unless `image` is given"))]
    text: Option<String>,
    /// Name of the column with the paths of images, in place of texts: relative to `root`, absolute, or `file://` URIs.
    image: Option<String>,
    /// Name of the label column.
    #[schemars(extend("x-firn-default" = "`label`, unless `targets` are given"))]
    label: Option<String>,
    /// Regression: the columns with the numbers that are learned; not together with `label`, which names a single one.
    #[serde(default)]
    #[schemars(extend("x-firn-since" = 3, "x-firn-default" = "of a regression the label column"))]
    targets: Vec<String>,
}

const TEXT_COLUMN: &str = "text";
const LABEL_COLUMN: &str = "label";

impl Columns {
    fn of(text: Option<String>, image: Option<String>, label: LabelColumns) -> Self {
        let (label, targets) = match label {
            LabelColumns::Class(name) => (Some(name), Vec::new()),
            LabelColumns::Numbers(names) => (None, names),
        };
        Self {
            text,
            image,
            label,
            targets,
        }
    }
}

/// Whether the fields of a table may be wrapped.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Quoting {
    /// Fields may be wrapped in double quotes.
    Double,
    /// Every character stands for itself.
    None,
}

impl From<Layout> for DataFormat {
    fn from(written: Layout) -> Self {
        let Columns {
            text,
            image,
            label,
            targets,
        } = written.columns.unwrap_or_default();
        let label = match targets.is_empty() {
            true => LabelColumns::Class(label.unwrap_or_else(|| LABEL_COLUMN.to_owned())),
            false => LabelColumns::Numbers(targets),
        };
        let quoted = written.quoting.map(|quoting| quoting == Quoting::Double);
        let Some(layout) = rows(written.format, written.delimiter, quoted) else {
            return Self::ImageFolder;
        };
        match image {
            Some(image) => Self::images(layout, image, label, written.root),
            None => Self::texts(layout, text.unwrap_or_else(|| TEXT_COLUMN.to_owned()), label),
        }
    }
}

/// How rows are written under the word of a layout that has rows.
fn rows(format: FormatName, delimiter: Option<char>, quoted: Option<bool>) -> Option<RowLayout> {
    let (usual, is_quoted) = match format {
        FormatName::ImageFolder => return None,
        FormatName::Jsonl => return Some(RowLayout::JsonLines),
        FormatName::Csv => (',', true),
        FormatName::Tsv => ('\t', false),
    };
    Some(RowLayout::Delimited {
        delimiter: delimiter.unwrap_or(usual),
        quoted: quoted.unwrap_or(is_quoted),
    })
}

impl From<DataFormat> for Layout {
    fn from(format: DataFormat) -> Self {
        let DataFormat::Rows(RowFormat { layout, input, label }) = format else {
            return Self {
                format: FormatName::ImageFolder,
                columns: None,
                quoting: None,
                delimiter: None,
                root: None,
            };
        };
        let (columns, root) = match input {
            InputColumn::Text(text) => (Columns::of(Some(text), None, label), None),
            InputColumn::Image { column, root } => (Columns::of(None, Some(column), label), root),
        };
        let (format, quoting, delimiter) = match layout {
            RowLayout::JsonLines => (FormatName::Jsonl, None, None),
            RowLayout::Delimited { delimiter, quoted } => (
                if delimiter == '\t' {
                    FormatName::Tsv
                } else {
                    FormatName::Csv
                },
                Some(if quoted { Quoting::Double } else { Quoting::None }),
                Some(delimiter),
            ),
        };
        Self {
            format,
            columns: Some(columns),
            quoting,
            delimiter,
            root,
        }
    }
}

/// From file to network input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum Preprocessing {
    /// torchvision's `Resize` (shorter side, antialiased bilinear), `CenterCrop`, `ToTensor`, `Normalize`.
    Image {
        /// Pixels of the shorter side after the antialiased bilinear resize.
        #[schemars(range(min = 1, max = 8192), extend("x-firn-modality" = "image", "x-firn-default" = "the architecture's own"))]
        resize: u32,
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
