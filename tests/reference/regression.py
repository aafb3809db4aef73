#!/usr/bin/env python3
"""Golden metrics of numbers, from scikit-learn and SciPy.

    python3 tests/reference/regression.py > coordinator/core/tests/golden/regression.json

Needs numpy, scikit-learn and SciPy. The samples are made from a fixed seed and stand in the file, so that the test needs none of them.
`values` and `predictions` are samples x targets, row-major; of several targets a metric is the mean over them. `null` stands for what is
undefined.
"""

import json
import math
import warnings

import numpy
import scipy
import sklearn
from scipy import stats
from sklearn import metrics

warnings.filterwarnings("ignore")


def defined(value):
    return None if math.isnan(value) else float(value)


def of_target(values, predictions):
    several = len(values) > 1
    return {
        "mae": defined(metrics.mean_absolute_error(values, predictions)),
        "mse": defined(metrics.mean_squared_error(values, predictions)),
        "mape": defined(metrics.mean_absolute_percentage_error(values, predictions)),
        "explained_variance": defined(metrics.explained_variance_score(values, predictions)),
        "rmse": defined(metrics.root_mean_squared_error(values, predictions)),
        "r2": defined(metrics.r2_score(values, predictions)) if several else None,
        "pearson": defined(stats.pearsonr(values, predictions)[0]) if several else None,
        "spearman": defined(stats.spearmanr(values, predictions)[0]) if several else None,
    }


def case(name, values, predictions):
    values = numpy.asarray(values, dtype=numpy.float64).reshape(len(values), -1)
    predictions = numpy.asarray(predictions, dtype=numpy.float64).reshape(values.shape)
    targets = [of_target(values[:, place], predictions[:, place]) for place in range(values.shape[1])]
    mean = {
        key: None if any(target[key] is None for target in targets) else float(numpy.mean([target[key] for target in targets]))
        for key in targets[0]
    }
    return {
        "name": name,
        "targets": values.shape[1],
        "values": values.ravel().tolist(),
        "predictions": predictions.ravel().tolist(),
        "expected": mean,
        "per_target": targets,
    }


def drawn(random, samples, targets, noise, scale=1.0, shift=0.0, grid=None):
    values = random.normal(size=(samples, targets))
    predictions = values + noise * random.normal(size=values.shape)
    if grid:  # many ties
        values, predictions = (numpy.round(numbers * grid) / grid for numbers in (values, predictions))
    return values * scale + shift, predictions * scale + shift


random = numpy.random.default_rng(20240301)
CASES = [
    case("one target", *drawn(random, 200, 1, 0.5)),
    case("three targets of different scales", *drawn(random, 120, 3, 0.7, scale=numpy.array([1.0, 1e-3, 1e6]))),
    case("many ties", *drawn(random, 150, 1, 0.5, grid=2)),
    case("a mean that is a thousand spreads away", *drawn(random, 300, 2, 0.3, scale=10.0, shift=1e4)),
    case("a mean that is a million spreads away", *drawn(random, 100, 1, 0.3, shift=1e6)),
    case("perfect", *drawn(random, 40, 1, 0.0)),
    case("worse than the mean", *drawn(random, 60, 1, 3.0)),
    case("opposed", [1, 2, 3, 4], [8, 6, 4.5, 2]),
    case("two samples", [1, 2], [3, 3.5]),
    case("one sample", [1.5], [2.0]),
    case("one predicted value only", [1, 2, 3, 4], [2.5, 2.5, 2.5, 2.5]),
    case("one true value only", [2, 2, 2], [2, 3, 4]),
    case("one true value only, all right", [2, 2, 2], [2, 2, 2]),
    case("wrong by the same everywhere", [1, 2, 4], [3, 4, 6]),
    case("one true value only, wrong by the same", [2, 2, 2], [3, 3, 3]),
    case("values of nothing", [0, 1, 0, 2], [0, 1.5, 0.25, 2]),
    case("scikit-learn's own example", [3, -0.5, 2, 7], [2.5, 0.0, 2, 8]),
]

print(
    json.dumps(
        {
            "made_by": f"tests/reference/regression.py with scikit-learn {sklearn.__version__} and SciPy {scipy.__version__}",
            "cases": CASES,
        }
    )
)
