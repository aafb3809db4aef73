//! The table of metrics. A new one is a row here and its formula.

use super::calibration::{self, Calibration};
use super::counts::{self, ClassCounts, Counts};
use super::label_sets::{self, LabelSet};
use super::moments::{self, Moments};
use super::one_vs_rest::CurveKind;
use super::ranks::{self, Orders};
use super::scored::{self, Scored};
use super::{average_precision, roc};
use crate::compatibility::Revision;

/// A quantity that says how good a model is.
#[derive(Debug)]
pub struct Metric {
    /// As in the spec, in `metrics.json` and in every view; scikit-learn's name where it has one.
    pub name: &'static str,
    /// Which of two values is the better one.
    pub better: Better,
    /// How it is computed.
    pub formula: Formula,
    /// What it is, in one line.
    pub about: &'static str,
    /// The first revision of the protocol whose ranks know its name.
    pub since: Revision,
}

impl Metric {
    const fn since(self, revision: u32) -> Self {
        let since = Revision(revision);
        Self { since, ..self }
    }
}

/// Which of two values is the better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// The larger.
    Higher,
    /// The smaller.
    Lower,
}

/// How a metric is computed, which also says from what. `None`: it is undefined for this split.
#[derive(Debug, Clone, Copy)]
pub enum Formula {
    /// The mean over samples, or over the words of a token classification, of the loss, without weights of classes and without smoothing. Every task has it.
    Loss,
    /// Classification and token classification: of samples, or of words, from how often each class was true, predicted, and both.
    Accuracy(fn(&Counts) -> Option<f64>),
    /// Classification: from how often each class was true, predicted, and both.
    Counts(fn(&Counts) -> Option<f64>),
    /// Classification and multi-label: the same, where it does not matter whether classes exclude each other. Token classification: of types of entities,
    /// those that are true or predicted somewhere.
    PerClass(fn(&Counts) -> Option<f64>),
    /// Of one class that a spec names, or of one label or type of entity: from how often it was true, predicted, and both. All classes of a split have
    /// it, so it is no value of the split, and shown by class.
    OneClass(fn(&ClassCounts) -> f64),
    /// Multi-label: the mean over samples of how far the predicted labels of one are the true ones.
    LabelSets(fn(&LabelSet) -> f64),
    /// Classification: the mean over samples of what the scores of one are worth, or of a number that is 0 or 1; `None` of a sample: undefined
    /// for its split. What looks at all labels of a sample at once belongs here, too.
    Predictions(fn(&Scored<'_>) -> Option<f64>),
    /// Classification: from how often predictions of each confidence are right.
    Confidence(fn(&Calibration) -> Option<f64>),
    /// Classification and multi-label: from how many samples of a class, and of others, have each score of it, in falling order of the score. Of two
    /// classes that of the second one's score; of more, and of labels, the average over all.
    OneVsRest(&'static CurveKind, Average),
    /// Classification: the area under the ROC curve of each pair of classes that the split holds, on the samples of both; once by the score of
    /// the one, once of the other. The average over all of these.
    OneVsOne(Average),
    /// Regression: from the moments of one target; of several, the unweighted mean over them.
    Moments(fn(&Moments) -> Option<f64>),
    /// Regression: the mean over samples of an error between value and prediction; of several targets, the unweighted mean over them.
    Errors(fn(f64, f64) -> f64),
    /// Regression: from the orders of one target's values and predictions, each sample counting so often; of several, the unweighted mean over
    /// them.
    Orders(fn(&Orders, &[u32]) -> Option<f64>),
}

/// How the values of classes become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Average {
    /// Every class counts the same.
    Macro,
    /// Every class counts as its true samples.
    Weighted,
}

impl Formula {
    /// Whether single predictions are needed, which no record holds.
    pub fn needs_predictions(self) -> bool {
        match self {
            Self::Loss | Self::Accuracy(_) | Self::Counts(_) | Self::Moments(_) => false,
            Self::PerClass(_) | Self::OneClass(_) => false,
            Self::LabelSets(_)
            | Self::Predictions(_)
            | Self::Confidence(_)
            | Self::OneVsRest(..)
            | Self::OneVsOne(_) => true,
            Self::Errors(_) | Self::Orders(_) => true,
        }
    }
}

const fn higher(name: &'static str, formula: Formula, about: &'static str) -> Metric {
    let better = Better::Higher;
    Metric {
        name,
        better,
        formula,
        about,
        since: Revision::UNMARKED,
    }
}

const fn lower(name: &'static str, formula: Formula, about: &'static str) -> Metric {
    let better = Better::Lower;
    Metric {
        name,
        better,
        formula,
        about,
        since: Revision::UNMARKED,
    }
}

/// Every metric, in the order in which people look for them.
pub const METRICS: &[Metric] = &[
    lower(
        "loss",
        Formula::Loss,
        "mean loss without weights, smoothing and focal factors: cross-entropy, or what the spec says for numbers",
    ),
    higher(
        "accuracy",
        Formula::Accuracy(counts::accuracy),
        "fraction of samples whose class is right, or of words whose tag is",
    ),
    higher(
        "top_2_accuracy",
        Formula::Predictions(scored::top::<2>),
        "fraction of samples whose class is among the two likeliest",
    )
    .since(5),
    higher(
        "top_3_accuracy",
        Formula::Predictions(scored::top::<3>),
        "fraction of samples whose class is among the three likeliest",
    )
    .since(5),
    higher(
        "top_4_accuracy",
        Formula::Predictions(scored::top::<4>),
        "fraction of samples whose class is among the four likeliest",
    )
    .since(5),
    higher(
        "top_5_accuracy",
        Formula::Predictions(scored::top::<5>),
        "fraction of samples whose class is among the five likeliest",
    )
    .since(5),
    higher(
        "top_10_accuracy",
        Formula::Predictions(scored::top::<10>),
        "fraction of samples whose class is among the ten likeliest",
    )
    .since(5),
    higher(
        "balanced_accuracy",
        Formula::Counts(counts::balanced_accuracy),
        "mean recall of the classes that the split holds",
    ),
    higher(
        "precision_macro",
        Formula::PerClass(counts::precision_macro),
        "mean precision over classes",
    ),
    higher(
        "recall_macro",
        Formula::PerClass(counts::recall_macro),
        "mean recall over classes",
    ),
    higher("f1_macro", Formula::PerClass(counts::f1_macro), "mean F1 over classes"),
    higher(
        "precision_micro",
        Formula::PerClass(counts::precision_micro),
        "precision of pooled counts",
    ),
    higher(
        "recall_micro",
        Formula::PerClass(counts::recall_micro),
        "recall of pooled counts",
    ),
    higher("f1_micro", Formula::PerClass(counts::f1_micro), "F1 of pooled counts"),
    higher(
        "precision_weighted",
        Formula::PerClass(counts::precision_weighted),
        "precision, weighted by true samples",
    ),
    higher(
        "recall_weighted",
        Formula::PerClass(counts::recall_weighted),
        "recall, weighted by true samples",
    ),
    higher(
        "f1_weighted",
        Formula::PerClass(counts::f1_weighted),
        "F1, weighted by true samples",
    ),
    higher(
        "precision",
        Formula::OneClass(ClassCounts::precision),
        "precision of one class, label or type of entity, which is named beside it",
    )
    .since(5),
    higher(
        "recall",
        Formula::OneClass(ClassCounts::recall),
        "recall of one class, label or type of entity, which is named beside it",
    )
    .since(5),
    higher(
        "f1",
        Formula::OneClass(ClassCounts::f1),
        "F1 of one class, label or type of entity, which is named beside it",
    )
    .since(5),
    higher(
        "roc_auc",
        Formula::OneVsRest(&roc::AREA, Average::Macro),
        "area under the ROC curve; of more than two classes one against the rest, mean",
    ),
    higher(
        "roc_auc_ovr_weighted",
        Formula::OneVsRest(&roc::AREA, Average::Weighted),
        "area under the ROC curve, one against the rest, weighted by true samples",
    )
    .since(5),
    higher(
        "roc_auc_ovo",
        Formula::OneVsOne(Average::Macro),
        "area under the ROC curve of each pair of classes, mean",
    )
    .since(5),
    higher(
        "roc_auc_ovo_weighted",
        Formula::OneVsOne(Average::Weighted),
        "area under the ROC curve of each pair of classes, weighted by true samples of both",
    )
    .since(5),
    higher(
        "average_precision",
        Formula::OneVsRest(&average_precision::AREA, Average::Macro),
        "area under the steps of precision over recall; of more than two classes one against the rest, mean",
    ),
    higher(
        "average_precision_weighted",
        Formula::OneVsRest(&average_precision::AREA, Average::Weighted),
        "the same, weighted by true samples",
    )
    .since(5),
    lower(
        "log_loss",
        Formula::Predictions(scored::log_loss),
        "negative logarithm of the true class's probability, which is kept away from 0",
    )
    .since(5),
    lower(
        "brier_score",
        Formula::Predictions(scored::brier_score),
        "squared distance of the probabilities from the truth; of two classes half of it",
    )
    .since(5),
    lower(
        "expected_calibration_error",
        Formula::Confidence(calibration::expected_error),
        "distance of confidence from accuracy in 15 bins of equal width",
    )
    .since(5),
    higher(
        "matthews_correlation",
        Formula::Counts(counts::matthews_correlation),
        "Gorodkin's R_K, in [-1, 1]",
    ),
    higher(
        "cohen_kappa",
        Formula::Counts(counts::cohen_kappa),
        "agreement beyond chance",
    ),
    higher(
        "quadratic_weighted_kappa",
        Formula::Counts(counts::quadratic_weighted_kappa),
        "the same of classes that are ranks: a miss counts as the square of its distance",
    )
    .since(5),
    lower(
        "ordinal_mae",
        Formula::Predictions(scored::rank_distance),
        "distance of the predicted class from the true one, of classes that are ranks",
    )
    .since(5),
    higher(
        "exact_match",
        Formula::LabelSets(label_sets::exact_match),
        "fraction of samples whose labels are all right, and no other is predicted",
    )
    .since(5),
    lower(
        "hamming_loss",
        Formula::LabelSets(label_sets::hamming_loss),
        "fraction of labels that are wrong",
    )
    .since(5),
    higher(
        "precision_samples",
        Formula::LabelSets(label_sets::precision),
        "mean precision over samples",
    )
    .since(5),
    higher(
        "recall_samples",
        Formula::LabelSets(label_sets::recall),
        "mean recall over samples",
    )
    .since(5),
    higher("f1_samples", Formula::LabelSets(label_sets::f1), "mean F1 over samples").since(5),
    lower(
        "mae",
        Formula::Moments(moments::mean_absolute_error),
        "mean absolute error, in the units of the target",
    )
    .since(3),
    lower(
        "mse",
        Formula::Moments(moments::mean_squared_error),
        "mean squared error, in the squared units of the target",
    )
    .since(5),
    lower(
        "rmse",
        Formula::Moments(moments::root_mean_squared_error),
        "root of the mean squared error, in the units of the target",
    )
    .since(3),
    lower(
        "mape",
        Formula::Errors(ranks::relative_error),
        "mean of the absolute error by the absolute value, as a fraction",
    )
    .since(5),
    higher(
        "r2",
        Formula::Moments(moments::r2),
        "fraction of the variance that is explained",
    )
    .since(3),
    higher(
        "explained_variance",
        Formula::Moments(moments::explained_variance),
        "fraction of the variance that is explained, whatever the mean error",
    )
    .since(5),
    higher(
        "pearson",
        Formula::Moments(moments::pearson),
        "linear correlation of values and predictions",
    )
    .since(3),
    higher(
        "spearman",
        Formula::Orders(ranks::spearman),
        "correlation of the ranks of values and predictions",
    )
    .since(3),
];
