//! Whether transformers opens a network as it is exported, and by which class.

use firn_core::spec::{HeadActivation, HeadSpec, Word as _};

use super::Family;
use crate::{parameter_builder::NamedTensor, weights::naming::Library};

/// How the file of the whole network is opened in transformers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// By this class, and so by `AutoModelForSequenceClassification`, `AutoModelForTokenClassification` or `AutoModelForImageClassification`: it computes the
    /// same features, ends in one linear layer of the same name, and predicts the same.
    ByClass(&'static str),
    /// By this class, and so by `AutoModelForSequenceClassification`: its head has the two layers of this network's.
    ByDenseClass(&'static DenseClass),
    /// Only without its head: the class of transformers computes something else between the encoder and its output, for this reason.
    WithoutHead(String),
}

impl Opened {
    /// The class that opens the network with its head.
    pub fn class(&self) -> Option<&'static str> {
        match self {
            Self::ByClass(name) => Some(name),
            Self::ByDenseClass(class) => Some(class.name),
            Self::WithoutHead(_) => None,
        }
    }
}

/// A classifier of transformers that reads the state of the first token through a dense layer, as wide as the state, and an activation. Of the heads of a
/// job an `mlp` with one hidden layer is the same.
#[derive(Debug, PartialEq, Eq)]
pub struct DenseClass {
    /// As transformers names it.
    pub name: &'static str,
    /// Before the name of every tensor of the encoder.
    pub(crate) encoder: &'static str,
    /// The layer before the output.
    pub(crate) dense: &'static str,
    pub(crate) activation: HeadActivation,
    /// The output layer.
    pub(crate) output: &'static str,
    /// What PEFT stores whole, that both layers are in.
    pub(crate) modules: &'static [&'static str],
    /// The field of `config.json` with the probability that a unit before the output is dropped.
    pub(crate) dropout: &'static str,
}

impl DenseClass {
    /// The name that a tensor of an `mlp` with one hidden layer has in the class; `tail`: its name in the head, `1.weight` or `4.bias`.
    pub(crate) fn tensor(&self, tail: &str) -> String {
        match tail.strip_prefix("1.") {
            Some(parameter) => format!("{}.{parameter}", self.dense),
            None => format!("{}.{}", self.output, tail.trim_start_matches("4.")),
        }
    }

    /// Whether a head of states of this width has the form of the class.
    fn is_form_of(&self, head: &HeadSpec, width: i64) -> bool {
        match head {
            HeadSpec::Mlp {
                hidden_sizes,
                activation,
                ..
            } => *activation == self.activation && matches!(hidden_sizes[..], [size] if i64::from(size) == width),
            _ => false,
        }
    }

    /// Why a network without this form is opened without its head, and what of a spec would give it the form.
    pub(crate) fn misses(&self, width: i64) -> Opened {
        let activation = self.activation.word();
        Opened::WithoutHead(format!(
            "transformers' classifier reads the class token through `{}`, a layer with {activation}; it opens a job with `pooling: cls` and \
             `head: {{type: mlp, hiddenSizes: [{width}], activation: {activation}}}`",
            self.dense
        ))
    }
}

/// What a classifier of a decoder reads, in transformers.
pub(crate) const READS_LAST_TOKEN: &str =
    "transformers' classifier reads the state of the last token, and this head that of `pooling`";

/// How a network with this head, of features this wide, is opened; `None` where its names are those of another library.
pub(crate) fn of(
    family: &dyn Family,
    library: Library,
    entries: &[NamedTensor],
    (head, width): (&HeadSpec, i64),
) -> Option<Opened> {
    let opened = family.opened(library, entries);
    Some(match opened.filter(|_| library == Library::HuggingFace)? {
        Opened::ByClass(_) if !head.is_linear() => {
            Opened::WithoutHead("transformers' classifier ends in one linear layer".to_owned())
        }
        Opened::ByDenseClass(class) if !class.is_form_of(head, width) => class.misses(width),
        opened => opened,
    })
}
