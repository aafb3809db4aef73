#!/usr/bin/env python3
"""Golden metrics of samples that may have several labels, from scikit-learn, and their intervals.

    python3 tests/reference/labels.py > coordinator/core/tests/golden/labels.json

Needs numpy and scikit-learn. The samples are made from a fixed seed and stand in the file, so that the test needs neither.
A label is predicted from a probability of 0.5 on, in `tuned` from its own best threshold; zero_division is 0. `null` stands for what scikit-learn calls undefined.
Which samples are drawn again follows from the seed by the generator of order.py.
"""

import contextlib
import importlib.util
import io
import json
import math
import pathlib
import warnings

import numpy
import sklearn
from sklearn import metrics

warnings.filterwarnings("ignore")

BOOTSTRAP = 3
RESAMPLES = 200

place = importlib.util.spec_from_file_location("order", pathlib.Path(__file__).with_name("order.py"))
order = importlib.util.module_from_spec(place)
with contextlib.redirect_stdout(io.StringIO()):
    place.loader.exec_module(order)


def area(truth, scores, average):
    """scikit-learn leaves out labels that all samples have or none, with a warning; here that is undefined, unless they weigh nothing."""
    counts = truth.sum(axis=0)
    counted = counts > 0 if average == "weighted" else numpy.ones(truth.shape[1], dtype=bool)
    if not counted.any() or ((counts == 0) | (counts == len(truth)))[counted].any():
        return None
    return metrics.roc_auc_score(truth[:, counted], scores[:, counted], average=average)


def precision_area(truth, scores, average):
    if average == "weighted" and truth.sum() == 0:
        return None
    return metrics.average_precision_score(truth, scores, average=average)


def best_thresholds(truth, scores):
    """Of each label the first threshold of the curve with the highest F1, which is the lowest; None where no sample has the label."""
    found = []
    for own, column in zip(truth.T, scores.T):
        if not own.any():
            found.append(None)
            continue
        precision, recall, thresholds = metrics.precision_recall_curve(own, column)
        f1 = 2 * precision * recall / numpy.maximum(precision + recall, 1e-300)
        # What differs by rounding alone is the same.
        found.append(float(thresholds[numpy.flatnonzero(f1[:-1] >= f1[:-1].max() - 1e-12)[0]]))
    return found


def expected(truth, scores, thresholds=0.5):
    predicted = (scores >= thresholds).astype(int)
    found = {
        "loss": float(numpy.mean([metrics.log_loss(truth[:, k], scores[:, k], labels=[0, 1]) for k in range(truth.shape[1])])),
        "exact_match": metrics.accuracy_score(truth, predicted),
        "hamming_loss": metrics.hamming_loss(truth, predicted),
        "roc_auc": area(truth, scores, "macro"),
        "roc_auc_ovr_weighted": area(truth, scores, "weighted"),
        "average_precision": precision_area(truth, scores, "macro"),
        "average_precision_weighted": precision_area(truth, scores, "weighted"),
    }
    for average in ("macro", "micro", "weighted", "samples"):
        values = metrics.precision_recall_fscore_support(truth, predicted, average=average, zero_division=0)
        found.update(zip((f"precision_{average}", f"recall_{average}", f"f1_{average}"), values))
    return {name: None if value is None or math.isnan(value) else float(value) for name, value in found.items()}


def interval(values):
    values = numpy.array([numpy.nan if value is None else value for value in values], dtype=numpy.float64)
    if 2 * numpy.isnan(values).sum() > len(values):
        return None
    return numpy.nanpercentile(values, [2.5, 97.5]).tolist()


def of_each_label(truth, scores):
    """Precision, recall and F1 of each label by itself, as `f1/0`."""
    values = metrics.precision_recall_fscore_support(truth, (scores >= 0.5).astype(int), average=None, zero_division=0)
    columns = zip(("precision", "recall", "f1"), values)
    return {f"{kind}/{label}": float(value) for kind, column in columns for label, value in enumerate(column)}


def intervals(seed, truth, scores):
    def resample(number):
        stream = order.words(seed, BOOTSTRAP, number)
        places = [order.below(stream, len(truth)) for _ in range(len(truth))]
        return expected(truth[places], scores[places]) | of_each_label(truth[places], scores[places])

    found = [resample(number) for number in range(RESAMPLES)]
    return {name: interval([values[name] for values in found]) for name in found[0]}


def case(name, truth, scores, seed=None):
    truth = numpy.asarray(truth)
    scores = numpy.asarray(scores, dtype=numpy.float64).round(8)
    thresholds = best_thresholds(truth, scores)
    tuned = numpy.array([0.5 if threshold is None else threshold for threshold in thresholds])
    per_label = metrics.precision_recall_fscore_support(truth, (scores >= 0.5).astype(int), average=None, zero_division=0)
    return {
        "name": name,
        "labels": [numpy.flatnonzero(row).tolist() for row in truth],
        "scores": scores.tolist(),
        "expected": expected(truth, scores),
        "per_label": [[float(x) for x in row[:3]] + [int(row[3])] for row in zip(*per_label)],
        "thresholds": thresholds,
        "tuned": expected(truth, scores, tuned),
        "seed": seed,
        "intervals": None if seed is None else intervals(seed, truth, scores),
    }


def drawn(random, samples, rates, skill, grid=None):
    truth = (random.random((samples, len(rates))) < numpy.array(rates)).astype(int)
    scores = 1 / (1 + numpy.exp(-(random.normal(size=truth.shape) + skill * (2 * truth - 1))))
    return truth, (numpy.round(scores * grid) / grid).clip(0.05, 0.95) if grid else scores


random = numpy.random.default_rng(20240304)
CASES = [
    case("three labels", *drawn(random, 200, [0.3, 0.5, 0.1], 1.0), seed=0),
    case("two labels", *drawn(random, 60, [0.4, 0.6], 0.8), seed=2**64 - 1),
    case("twelve labels, most samples have none", *drawn(random, 150, [0.05] * 12, 1.5)),
    case("many ties, some of them at the threshold", *drawn(random, 120, [0.4, 0.6], 0.5, grid=4), seed=7),
    case("a label that no sample has", *drawn(random, 50, [0.5, 0.0, 0.3], 1.0)),
    case("a label that every sample has", *drawn(random, 50, [0.5, 1.0, 0.3], 1.0)),
    case("no sample has any label", *drawn(random, 20, [0.0, 0.0], 1.0)),
    case("nothing is predicted", numpy.eye(3, dtype=int), numpy.full((3, 3), 0.25)),
    case("all is predicted", numpy.eye(3, dtype=int), numpy.full((3, 3), 0.5)),
    case("a single sample, right", [[1, 0, 1]], [[0.9, 0.2, 0.5]]),
    case("a rare label", *drawn(random, 40, [0.5, 0.05], 1.0), seed=11),
    case("worse than chance", *drawn(random, 100, [0.5, 0.2, 0.7, 0.5], -1.0)),
]

print(
    json.dumps(
        {
            "made_by": f"tests/reference/labels.py with scikit-learn {sklearn.__version__}",
            "resamples": RESAMPLES,
            "cases": CASES,
        }
    )
)
