//! The classifiers of transformers for BERT, RoBERTa and DistilBERT, as their `…ForSequenceClassification` build them; and what their classifiers of
//! tokens are called.

use firn_core::spec::{BertKind, HeadActivation};

use crate::architecture::DenseClass;

/// The classifier of an encoder.
pub(super) fn of(kind: BertKind) -> &'static DenseClass {
    match kind {
        BertKind::Original => &BERT,
        BertKind::Roberta => &ROBERTA,
        BertKind::Distilled => &DISTILBERT,
    }
}

/// The class that ends in one linear layer for each token.
pub(super) fn of_tokens(kind: BertKind) -> &'static str {
    match kind {
        BertKind::Original => "BertForTokenClassification",
        BertKind::Roberta => "RobertaForTokenClassification",
        BertKind::Distilled => "DistilBertForTokenClassification",
    }
}

const BERT: DenseClass = DenseClass {
    name: "BertForSequenceClassification",
    encoder: "bert.",
    dense: "bert.pooler.dense",
    activation: HeadActivation::Tanh,
    output: "classifier",
    modules: &["pooler.dense", "classifier"],
    dropout: "classifier_dropout",
};

const ROBERTA: DenseClass = DenseClass {
    name: "RobertaForSequenceClassification",
    encoder: "roberta.",
    dense: "classifier.dense",
    activation: HeadActivation::Tanh,
    output: "classifier.out_proj",
    modules: &["classifier"],
    dropout: "classifier_dropout",
};

const DISTILBERT: DenseClass = DenseClass {
    name: "DistilBertForSequenceClassification",
    encoder: "distilbert.",
    dense: "pre_classifier",
    activation: HeadActivation::Relu,
    output: "classifier",
    modules: &["pre_classifier", "classifier"],
    dropout: "seq_classif_dropout",
};
