//! How samples lie on disk: folders of images, or rows of tables and of JSON lines.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::uri;

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

    /// Rows that hold two texts each, which the network looks at together.
    pub fn pairs(
        layout: RowLayout,
        first: impl Into<String>,
        second: impl Into<String>,
        label: impl Into<LabelColumns>,
    ) -> Self {
        Self::Rows(RowFormat {
            layout,
            input: InputColumn::TextPair([first.into(), second.into()]),
            label: label.into(),
        })
    }

    /// Whether a sample is two texts.
    pub fn has_pairs(&self) -> bool {
        matches!(self, Self::Rows(rows) if matches!(rows.input, InputColumn::TextPair(_)))
    }

    /// Sequences of words, each with its tag.
    pub fn words(layout: RowLayout, words: impl Into<String>, tags: impl Into<String>) -> Self {
        Self::Rows(RowFormat {
            layout,
            input: InputColumn::Words(words.into()),
            label: LabelColumns::Tags(tags.into()),
        })
    }

    /// Whether a sample is a list of words.
    pub fn has_words(&self) -> bool {
        matches!(self, Self::Rows(rows) if matches!(rows.input, InputColumn::Words(_)))
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

/// Which columns of a table, or fields of a JSON line, the network looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputColumn {
    /// The one of this name holds texts.
    Text(String),
    /// These hold two texts, in the order in which the network sees them.
    TextPair([String; 2]),
    /// The one of this name holds the list of the words of a text.
    Words(String),
    /// One holds paths of images.
    Image {
        /// Its name.
        column: String,
        /// Folder at which relative paths begin; none: that of the table.
        root: Option<String>,
    },
}

impl InputColumn {
    /// Their names.
    pub fn names(&self) -> &[String] {
        match self {
            Self::Text(column) | Self::Words(column) | Self::Image { column, .. } => std::slice::from_ref(column),
            Self::TextPair(columns) => columns,
        }
    }

    /// What they hold, in a word for messages: `text` or `image`.
    pub fn role(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::TextPair(_) | Self::Words(_) => "text",
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
    /// The one with the list of the labels that a sample has.
    List {
        /// Its name.
        column: String,
        /// Between the labels.
        separator: char,
    },
    /// Those of which each says whether a sample has the label of its name, in the order of the network's outputs; at least one.
    Flags(Vec<String>),
    /// The one with the list of the tags of a text's words, in their order.
    Tags(String),
}

impl LabelColumns {
    /// Their names.
    pub fn names(&self) -> &[String] {
        match self {
            Self::Class(name) | Self::List { column: name, .. } | Self::Tags(name) => std::slice::from_ref(name),
            Self::Numbers(names) | Self::Flags(names) => names,
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
    /// One word a line, and a blank line between texts.
    Conll,
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
    /// Token classification: one word a line, with columns between spaces or tabs of which the first is the word and the last is its tag; a blank line
    /// between texts. Lines that begin with `-DOCSTART-` are passed over.
    #[schemars(extend("x-firn-since" = 5))]
    Conll,
}

#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Columns {
    /// Name of the text column.
    #[schemars(extend("x-firn-default" = "`text`, unless `image` is given"))]
    text: Option<String>,
    /// Name of the column with the second text of each sample: the hypothesis beside its premise, the sentence that another one is compared with. The
    /// tokenizer puts both into one sequence, as transformers' `tokenizer(text, text_pair)`.
    #[schemars(extend("x-firn-since" = 5, "x-firn-default" = "none: a sample is one text"))]
    text_pair: Option<String>,
    /// Name of the column with the paths of images, in place of texts: relative to `root`, absolute, or `file://` URIs.
    image: Option<String>,
    /// Name of the label column.
    #[schemars(extend("x-firn-default" = "`label`, unless `targets` or `labels` are given"))]
    label: Option<String>,
    /// Regression: the columns with the numbers that are learned; not together with `label`, which names a single one.
    #[serde(default)]
    #[schemars(extend("x-firn-since" = 3, "x-firn-default" = "of a regression the label column"))]
    targets: Vec<String>,
    /// Multi-label: the columns that are named like the labels, each `0` or `1`, `false` or `true`; not together with `label`, which names a single
    /// one that holds lists.
    #[serde(default)]
    #[schemars(extend("x-firn-since" = 5, "x-firn-default" = "none: the label column holds lists"))]
    labels: Vec<String>,
    /// Token classification: name of the field with the array of the words of a text.
    #[schemars(extend("x-firn-since" = 5, "x-firn-default" = "of a token classification `tokens`"))]
    tokens: Option<String>,
    /// Token classification: name of the field with the array of the tags of these words, as names.
    #[schemars(extend("x-firn-since" = 5, "x-firn-default" = "of a token classification `tags`"))]
    tags: Option<String>,
    /// Multi-label: the character between the labels in the label column. A JSON line may hold an array of strings in place of such a text.
    #[schemars(extend("x-firn-since" = 5, "x-firn-default" = "`|` where the label column holds lists"))]
    separator: Option<char>,
}

const TEXT_COLUMN: &str = "text";
const LABEL_COLUMN: &str = "label";
pub(super) const TOKENS_COLUMN: &str = "tokens";
pub(super) const TAGS_COLUMN: &str = "tags";

impl Columns {
    fn with_label(self, label: LabelColumns) -> Self {
        match label {
            LabelColumns::Class(label) => Self {
                label: Some(label),
                ..self
            },
            LabelColumns::Numbers(targets) => Self { targets, ..self },
            LabelColumns::List { column, separator } => Self {
                label: Some(column),
                separator: Some(separator),
                ..self
            },
            LabelColumns::Flags(labels) => Self { labels, ..self },
            LabelColumns::Tags(tags) => Self {
                tags: Some(tags),
                ..self
            },
        }
    }

    fn into_label(self) -> LabelColumns {
        let column = self.label.unwrap_or_else(|| LABEL_COLUMN.to_owned());
        if let Some(tags) = self.tags {
            return LabelColumns::Tags(tags);
        }
        match self.separator {
            _ if !self.targets.is_empty() => LabelColumns::Numbers(self.targets),
            _ if !self.labels.is_empty() => LabelColumns::Flags(self.labels),
            Some(separator) => LabelColumns::List { column, separator },
            None => LabelColumns::Class(column),
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
        let mut columns = written.columns.unwrap_or_default();
        let (text, pair, image) = (columns.text.take(), columns.text_pair.take(), columns.image.take());
        let words = columns.tokens.take();
        let has_words = words.is_some() || written.format == FormatName::Conll;
        if has_words {
            columns.tags.get_or_insert_with(|| TAGS_COLUMN.to_owned());
        }
        let label = columns.into_label();
        let quoted = written.quoting.map(|quoting| quoting == Quoting::Double);
        let Some(layout) = rows(written.format, written.delimiter, quoted) else {
            return Self::ImageFolder;
        };
        let text = text.unwrap_or_else(|| TEXT_COLUMN.to_owned());
        if has_words {
            let input = InputColumn::Words(words.unwrap_or_else(|| TOKENS_COLUMN.to_owned()));
            return Self::Rows(RowFormat { layout, input, label });
        }
        match (image, pair) {
            (Some(image), _) => Self::images(layout, image, label, written.root),
            (None, Some(pair)) => Self::pairs(layout, text, pair, label),
            (None, None) => Self::texts(layout, text, label),
        }
    }
}

/// How rows are written under the word of a layout that has rows.
fn rows(format: FormatName, delimiter: Option<char>, quoted: Option<bool>) -> Option<RowLayout> {
    let (usual, is_quoted) = match format {
        FormatName::ImageFolder => return None,
        FormatName::Jsonl => return Some(RowLayout::JsonLines),
        FormatName::Conll => return Some(RowLayout::Conll),
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
        let mut columns = Columns::default();
        let root = match input {
            InputColumn::Text(text) => {
                columns.text = Some(text);
                None
            }
            InputColumn::TextPair([text, pair]) => {
                (columns.text, columns.text_pair) = (Some(text), Some(pair));
                None
            }
            InputColumn::Words(words) => {
                columns.tokens = Some(words);
                None
            }
            InputColumn::Image { column, root } => {
                columns.image = Some(column);
                root
            }
        };
        let columns = columns.with_label(label);
        let (format, quoting, delimiter) = match layout {
            RowLayout::JsonLines => (FormatName::Jsonl, None, None),
            RowLayout::Conll => (FormatName::Conll, None, None),
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
            // Those of `conll` have no names.
            columns: (format != FormatName::Conll).then_some(columns),
            quoting,
            delimiter,
            root,
        }
    }
}
