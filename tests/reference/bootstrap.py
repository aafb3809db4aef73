#!/usr/bin/env python3
"""Golden intervals of metrics: scikit-learn's and SciPy's metrics on resamples, and NumPy's percentiles of them.

    python3 tests/reference/bootstrap.py > coordinator/core/tests/golden/bootstrap.json

Needs numpy, scikit-learn and SciPy. Which samples are drawn follows from the seed by the generator of order.py; the metrics are those of
metrics.py and regression.py. `null` stands for a metric that is undefined in more than half of the resamples.
"""

import contextlib
import importlib.util
import io
import json
import pathlib
import warnings

import numpy

warnings.filterwarnings("ignore")

BOOTSTRAP = 3
RESAMPLES = 200


def beside(name):
    place = importlib.util.spec_from_file_location(name, pathlib.Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(place)
    with contextlib.redirect_stdout(io.StringIO()):
        place.loader.exec_module(module)
    return module


order, metrics, regression = beside("order"), beside("metrics"), beside("regression")


def drawn(seed, resample, samples):
    stream = order.words(seed, BOOTSTRAP, resample)
    return [order.below(stream, samples) for _ in range(samples)]


def interval(values):
    values = numpy.array([numpy.nan if value is None else value for value in values], dtype=numpy.float64)
    if 2 * numpy.isnan(values).sum() > len(values):
        return None
    return numpy.nanpercentile(values, [2.5, 97.5]).tolist()


def intervals(seed, samples, metrics_of):
    found = [metrics_of(drawn(seed, resample, samples)) for resample in range(RESAMPLES)]
    return {name: interval([values[name] for values in found]) for name in found[0]}


def of_one_class(rows):
    """The values of each class by itself, as `f1/0`."""
    kinds = ("precision", "recall", "f1")
    return {f"{kind}/{place}": value for place, row in enumerate(rows) for kind, value in zip(kinds, row)}


def of_classes(name, seed, labels, scores):
    labels, scores = numpy.asarray(labels), numpy.asarray(scores, dtype=numpy.float64).round(8)

    def metrics_of(places):
        found = metrics.case("", labels[places], scores[places])
        return {**found["expected"], **of_one_class(found["per_class"])}

    return {
        "name": name,
        "seed": seed,
        "classes": scores.shape[1],
        "labels": labels.tolist(),
        "scores": scores.ravel().tolist(),
        "expected": intervals(seed, len(labels), metrics_of),
    }


def of_numbers(name, seed, values, predictions):
    """The loss is the squared error over standard deviations of 2."""

    def metrics_of(places):
        found = regression.case("", values[places], predictions[places])["expected"]
        return {**found, "loss": float(numpy.mean(((values[places] - predictions[places]) / 2) ** 2))}

    return {
        "name": name,
        "seed": seed,
        "targets": values.shape[1],
        "values": values.ravel().tolist(),
        "predictions": predictions.ravel().tolist(),
        "expected": intervals(seed, len(values), metrics_of),
    }


random = numpy.random.default_rng(20240303)
print(
    json.dumps(
        {
            "made_by": f"tests/reference/bootstrap.py with NumPy {numpy.__version__}, scikit-learn {metrics.sklearn.__version__}",
            "resamples": RESAMPLES,
            "classes": [
                of_classes("two classes", 0, *metrics.drawn(random, 60, 2, 1.0)),
                of_classes("four classes with ties", 7, *metrics.drawn(random, 80, 4, 1.0, grid=6)),
                of_classes("a class of one sample", 2**64 - 1, [0, 1, 2, 0, 1, 0, 1], metrics.drawn(random, 7, 3, 0.5)[1]),
                of_classes("one sample", 3, [1], [[0.2, 0.5, 0.3]]),
                of_classes("one class only", 5, *metrics.drawn(random, 12, 3, 0.5, true_classes=[1])),
            ],
            "numbers": [
                of_numbers("two targets", 0, *regression.drawn(random, 50, 2, 0.6, scale=3.0, shift=100.0)),
                of_numbers("ties", 11, *regression.drawn(random, 40, 1, 0.6, grid=1)),
                of_numbers("three samples", 4, *regression.drawn(random, 3, 1, 0.6)),
            ],
        }
    )
)
