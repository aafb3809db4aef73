#!/usr/bin/env python3
"""Golden metrics, from scikit-learn.

    python3 tests/reference/metrics.py > coordinator/core/tests/golden/metrics.json

Needs numpy and scikit-learn. The samples are made from a fixed seed and stand in the file, so that the test needs neither.
The label set is always range(classes), whatever a split holds; zero_division is 0. `null` stands for what scikit-learn
calls undefined.
"""

import json
import math
import warnings

import numpy
import sklearn
from sklearn import metrics
from sklearn.preprocessing import label_binarize

warnings.filterwarnings("ignore")


def defined(value):
    return None if math.isnan(value) else float(value)


def area(labels, scores, classes, multi_class="ovr", average="macro"):
    try:
        if classes == 2:
            return defined(metrics.roc_auc_score(labels, scores[:, 1]))
        if multi_class == "ovo" and len(set(labels)) < 2:  # no pair of classes
            return None
        return defined(
            metrics.roc_auc_score(labels, scores, multi_class=multi_class, average=average, labels=range(classes))
        )
    except ValueError:  # one class only
        return None


def average_precision(labels, scores, classes, average="macro"):
    if classes == 2:
        return defined(metrics.average_precision_score(labels, scores[:, 1]))
    truth = label_binarize(labels, classes=range(classes))
    return defined(metrics.average_precision_score(truth, scores, average=average))


def brier_score(labels, scores, classes):
    if classes == 2:
        return metrics.brier_score_loss(labels, scores[:, 1], pos_label=1)
    return metrics.brier_score_loss(labels, scores, labels=range(classes))


def top_k(labels, scores, classes, k):
    # scikit-learn warns that all would be right.
    return None if k >= classes else metrics.top_k_accuracy_score(labels, scores, k=k, labels=range(classes))


def calibration_error(labels, scores):
    """Guo et al. 2017, with 15 bins of equal width that hold their upper edges."""
    confidence, right = scores.max(axis=1), scores.argmax(axis=1) == labels
    bins = numpy.digitize(confidence, numpy.arange(1, 15) / 15, right=True)
    distances = [abs(right[bins == k].mean() - confidence[bins == k].mean()) * numpy.mean(bins == k) for k in set(bins)]
    return math.fsum(distances)


def case(name, labels, scores):
    labels = numpy.asarray(labels)
    scores = numpy.asarray(scores, dtype=numpy.float64).round(8)
    classes = scores.shape[1]
    every_class = list(range(classes))
    predicted = scores.argmax(axis=1)
    expected = {
        "loss": metrics.log_loss(labels, scores, labels=every_class),
        "accuracy": metrics.accuracy_score(labels, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(labels, predicted),
        "matthews_correlation": metrics.matthews_corrcoef(labels, predicted),
        "cohen_kappa": metrics.cohen_kappa_score(labels, predicted, labels=every_class),
        "quadratic_weighted_kappa": metrics.cohen_kappa_score(labels, predicted, labels=every_class, weights="quadratic"),
        "ordinal_mae": metrics.mean_absolute_error(labels, predicted),
        "roc_auc": area(labels, scores, classes),
        "roc_auc_ovr_weighted": area(labels, scores, classes, average="weighted"),
        "roc_auc_ovo": area(labels, scores, classes, multi_class="ovo"),
        "roc_auc_ovo_weighted": area(labels, scores, classes, multi_class="ovo", average="weighted"),
        "average_precision": average_precision(labels, scores, classes),
        "average_precision_weighted": average_precision(labels, scores, classes, average="weighted"),
        "log_loss": metrics.log_loss(labels, scores, labels=every_class),
        "brier_score": brier_score(labels, scores, classes),
        "expected_calibration_error": calibration_error(labels, scores),
        **{f"top_{k}_accuracy": top_k(labels, scores, classes, k) for k in (2, 3, 4, 5, 10)},
    }
    expected = {key: None if value is None else defined(value) for key, value in expected.items()}
    settings = {"labels": every_class, "zero_division": 0}
    for average in ("macro", "micro", "weighted"):
        values = metrics.precision_recall_fscore_support(labels, predicted, average=average, **settings)
        for key, value in zip(("precision", "recall", "f1"), values):
            expected[f"{key}_{average}"] = float(value)
    per_class = metrics.precision_recall_fscore_support(labels, predicted, average=None, **settings)
    return {
        "name": name,
        "classes": classes,
        "labels": labels.tolist(),
        "scores": scores.ravel().tolist(),
        "expected": expected,
        "per_class": [[float(x) for x in row[:3]] + [int(row[3])] for row in zip(*per_class)],
        "confusion": metrics.confusion_matrix(labels, predicted, labels=every_class).ravel().tolist(),
    }


def softmax(logits):
    exponentials = numpy.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def drawn(random, samples, classes, skill, true_classes=None, predicted_classes=None, grid=None):
    labels = random.choice(true_classes if true_classes is not None else classes, size=samples)
    logits = random.normal(size=(samples, classes)) + skill * numpy.eye(classes)[labels]
    if predicted_classes is not None:
        logits[:, [c for c in range(classes) if c not in predicted_classes]] -= 12
    scores = softmax(logits)
    if grid:  # many ties
        scores = numpy.round(scores * grid) / grid + 1e-3
        scores /= scores.sum(axis=1, keepdims=True)
    return labels, scores


random = numpy.random.default_rng(20240229)
CASES = [
    case("two classes", *drawn(random, 200, 2, 1.0)),
    case("two classes with many ties", *drawn(random, 150, 2, 0.5, grid=4)),
    case("two classes that are told apart perfectly", [0, 1, 0, 1], [[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]]),
    case("three classes", *drawn(random, 300, 3, 1.2)),
    case("ten classes, few samples", *drawn(random, 40, 10, 1.5)),
    case("three classes with many ties", *drawn(random, 90, 3, 0.7, grid=5)),
    case("a class that is never predicted", *drawn(random, 120, 4, 1.0, predicted_classes=[0, 1, 3])),
    case("a class without a true sample", *drawn(random, 120, 4, 1.0, true_classes=[0, 1, 3])),
    case(
        "a class that is neither true nor predicted",
        *drawn(random, 120, 4, 1.0, true_classes=[0, 1, 3], predicted_classes=[0, 1, 3]),
    ),
    case("one true class only", *drawn(random, 30, 3, 0.5, true_classes=[1])),
    case("one predicted class only", *drawn(random, 30, 3, 0.5, predicted_classes=[2])),
    case("a single sample, right", [1], [[0.2, 0.5, 0.3]]),
    case("a single sample, wrong", [0], [[0.2, 0.5, 0.3]]),
    case("twelve classes", *drawn(random, 150, 12, 1.5)),
    case("twelve classes that are all equally likely", *drawn(random, 60, 12, 0.0, grid=0.001)),
    case("eleven classes, of which few are true", *drawn(random, 80, 11, 1.0, true_classes=[0, 4, 10])),
    case("certain, and sometimes wrong", [0, 1, 2, 0], [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]]),
    case("one true class of two", [1, 1, 1], [[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]]),
    case("confidences on the edges of bins", [0, 1, 0, 1], [[0.6, 0.4], [0.4, 0.6], [0.8, 0.2], [0.8, 0.2]]),
    case("worse than chance", *drawn(random, 100, 2, -1.0)),
]

print(json.dumps({"made_by": f"tests/reference/metrics.py with scikit-learn {sklearn.__version__}", "cases": CASES}))
