#!/usr/bin/env python3
"""Golden values of the learning-rate range test: smoothing, end and suggestions as fastai's `LRFinder` has them.

    python3 tests/reference/range_test.py > coordinator/core/tests/golden/range_test.json

Needs numpy. fastai's formulas: `AvgSmoothLoss` (`lerp(loss, average, beta)`, divided by 1 - beta ** count), `LRFinder.after_batch` (stops where
the average is above four times its smallest value), `lr_find` (the curve is cut at [num_it // 10 : -5]), `steep` and `minimum`.
"""

import json

import numpy as np

BETA = 0.98


def rates(first, last, steps):
    """torch_lr_finder's `ExponentialLR`: base * (end / base) ** (step / (num_iter - 1))."""
    return [first * (last / first) ** (step / (steps - 1)) for step in range(steps)]


def find(lrs, losses, steps):
    average, best, smoothed, end = 0.0, np.inf, [], None
    for count, loss in enumerate(losses, 1):
        average = loss + BETA * (average - loss)
        smoothed.append(average / (1 - BETA**count))
        best = min(best, smoothed[-1])
        if smoothed[-1] > 4 * best:
            end = "Diverged"
            break
        if count == steps:
            end = "AllSteps"
            break
    cut = slice(steps // 10, len(smoothed) - 5)
    curve, own = np.array(smoothed)[cut], np.array(lrs[: len(smoothed)])[cut]
    slopes = (curve[1:] - curve[:-1]) / (np.log(own[1:]) - np.log(own[:-1]))
    return {"smoothed": smoothed, "end": end, "steepest": own[slopes.argmin()], "tenth_of_minimum": own[curve.argmin()] / 10}


def case(first, last, steps, noise, steepness):
    lrs = rates(first, last, steps)
    random = np.random.default_rng(steps)
    place = np.linspace(0, 1, steps)
    losses = 2 - 1.2 / (1 + np.exp(-(place - 0.55) * 20)) + np.exp((place - 0.8) * steepness) + noise * random.standard_normal(steps)
    losses = losses.tolist()
    return {"first": first, "last": last, "steps": steps, "losses": losses, "rates": lrs, **find(lrs, losses, steps)}


CASES = [case(1e-7, 1.0, 100, 0.0, 30), case(1e-8, 10.0, 120, 0.05, 60), case(1e-5, 0.1, 40, 0.02, 2)]
print(json.dumps({"made_by": "tests/reference/range_test.py", "cases": CASES}))
