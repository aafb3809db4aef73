#!/usr/bin/env python3
"""Which epoch is best, when training stops and how the rate falls by a metric of one class: values of scikit-learn, rates of PyTorch.

    python3 tests/reference/one_class.py > coordinator/core/tests/golden/one_class.json

Needs numpy, scikit-learn and torch. 20 samples, every second one a bee, and what was predicted of them after each epoch. `best` is the epoch of the
highest value, the first of equals; `stops_after` the number of epochs until two in a row did not improve; `rates` those of ReduceLROnPlateau with
the factor 0.5, without patience and threshold, from a rate of 0.1.
"""

import json

import numpy
import sklearn
import torch
from sklearn.metrics import f1_score, precision_score, recall_score

SEED, EPOCHS = 8, 8
CLASSES = ["ants", "bees"]
METRICS = {"precision": precision_score, "recall": recall_score, "f1": f1_score}


def stops_after(values, patience=2):
    best, stalled = None, 0
    for epoch, value in enumerate(values):
        best, stalled = (value, 0) if best is None or value > best else (best, stalled + 1)
        if stalled >= patience:
            return epoch + 1
    return len(values)


def rates(values):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=0.5, patience=0, threshold=0.0, threshold_mode="abs"
    )
    found = [optimizer.param_groups[0]["lr"]]
    for value in values:
        schedule.step(value)
        found.append(optimizer.param_groups[0]["lr"])
    return found


def case(metric, class_name, values):
    return {
        "metric": metric,
        "class": class_name,
        "values": values,
        "best": int(numpy.argmax(values)),
        "stops_after": stops_after(values),
        "rates": rates(values),
    }


draw = numpy.random.default_rng(SEED)
truth = numpy.arange(20) % 2
predicted = [numpy.where(draw.random(20) < 0.3 + 0.05 * (epoch % 3), 1 - truth, truth) for epoch in range(EPOCHS)]
cases = [
    case(name, class_name, [float(score(truth, found, pos_label=place, zero_division=0)) for found in predicted])
    for name, score in METRICS.items()
    for place, class_name in enumerate(CLASSES)
]
macro = [float(f1_score(truth, found, average="macro", zero_division=0)) for found in predicted]
cases.append(case("f1_macro", None, macro))
print(
    json.dumps(
        {
            "made_by": f"tests/reference/one_class.py with scikit-learn {sklearn.__version__} and torch {torch.__version__}",
            "predicted": [found.tolist() for found in predicted],
            "cases": cases,
        }
    )
)
