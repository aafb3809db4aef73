//! Whether transformers opens a network as it is exported, and by which class.

/// How the file of the whole network is opened in transformers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// By this class, and so by `AutoModelForSequenceClassification` or `AutoModelForImageClassification`: it computes the same features, ends in
    /// one linear layer of the same name, and predicts the same.
    ByClass(&'static str),
    /// Only without its head: the class of transformers computes something else between the encoder and its output, for this reason.
    WithoutHead(&'static str),
}

/// What a classifier of a decoder reads, in transformers.
pub(crate) const READS_LAST_TOKEN: &str =
    "transformers' classifier reads the state of the last token, and this head that of `pooling`";
