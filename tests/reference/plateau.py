#!/usr/bin/env python3
"""Golden learning rates of PyTorch's ReduceLROnPlateau, on sequences of a metric as runs give them.

    python3 tests/reference/plateau.py > coordinator/core/tests/golden/plateau.json

Needs torch. `rates[e]` is what the optimizer uses in epoch e; `values[e]` is the metric after it, null where it is undefined (PyTorch is given
NaN).
"""

import json
import math
import random

import torch

# Validation losses and accuracies of real runs (hymenoptera, sst2), falling, stalling and noisy ones.
LOSSES = [0.6931, 0.5217, 0.4302, 0.4299, 0.4305, 0.3973, 0.3974, 0.3973, 0.398, 0.4011, 0.3969, 0.397, 0.397, 0.3971]
ACCURACIES = [0.5, 0.71, 0.8431, 0.8431, 0.8562, 0.8497, 0.8562, 0.8562, 0.8627, 0.8627, 0.8627, 0.8627, 0.8627]
UNDEFINED = [None, None, 0.5, None, 0.6, None, None, None]


def noisy(seed, epochs, start, fall):
    draw = random.Random(seed)
    return [start * math.exp(-fall * epoch) + draw.gauss(0.0, 0.02) for epoch in range(epochs)]


SEQUENCES = [
    ("loss", LOSSES),
    ("accuracy", ACCURACIES),
    ("roc_auc", UNDEFINED),
    ("loss", noisy(1, 60, 1.0, 0.05)),
    ("loss", noisy(2, 60, 0.3, 0.5)),
    ("f1_macro", [1.0 - value for value in noisy(3, 60, 0.8, 0.1)]),
    # A metric below 0: what counts as better is what PyTorch says, however it may surprise.
    ("f1_macro", [-0.5, -0.49, -0.5, -0.48, -0.48, -0.6, -0.47]),
]
SETTINGS = [
    {},
    {"patience": 0, "factor": 0.5},
    {"patience": 2, "factor": 0.3, "threshold": 0.01},
    {"patience": 1, "factor": 0.5, "threshold": 0.005, "threshold_mode": "abs", "cooldown": 2},
    {"patience": 1, "factor": 0.1, "threshold": 0.0, "min_lr": 2e-5},
    {"patience": 0, "factor": 0.1, "cooldown": 1, "min_lr": 3e-9},
]


def rates(metric, values, settings):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    mode = "min" if metric == "loss" else "max"
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode=mode, **settings)
    found = [optimizer.param_groups[0]["lr"]]
    for value in values:
        schedule.step(math.nan if value is None else value)
        found.append(optimizer.param_groups[0]["lr"])
    return found


cases = [
    {"metric": metric, "settings": settings, "peak": 1e-3, "values": values, "rates": rates(metric, values, settings)}
    for metric, values in SEQUENCES
    for settings in SETTINGS
]
print(json.dumps({"made_by": f"tests/reference/plateau.py with torch {torch.__version__}", "cases": cases}))
