#!/usr/bin/env python3
"""Golden learning rates, from the schedules of Hugging Face transformers and PyTorch.

    python3 tests/reference/schedule.py > coordinator/core/tests/golden/schedule.json

Needs torch and transformers. `rates[s]` is what the optimizer uses in step s, read from its parameter group; of `by_epoch` in epoch s.
"""

import json
import math
import types
import warnings

import torch
import transformers
from torch.optim import lr_scheduler
from transformers import optimization

warnings.filterwarnings("ignore")

# (peak, warm-up steps or ratio, total steps)
SETTINGS = [(1e-3, 0, 10), (1e-3, 5, 37), (0.3, 0.05, 90), (2e-5, 0.1, 33), (0.1, 1, 1), (0.1, 12, 8)]
LONG_ENOUGH = [(1e-3, 0, 10), (1e-3, 5, 37), (0.3, 0.05, 90), (2e-5, 0.1, 33)]


def optimizer_at(peak):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak, momentum=0.9)


def rates(schedule_of, peak, warmup, total):
    """`schedule_of` makes the schedule of an optimizer, warm-up steps, total steps and peak."""
    if isinstance(warmup, float):
        settings = types.SimpleNamespace(warmup_steps=warmup)
        warmup = transformers.TrainingArguments.get_warmup_steps(settings, total)
    optimizer = optimizer_at(peak)
    schedule = schedule_of(optimizer, warmup, total, peak)
    found = []
    for step in range(total):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step + 1 < total:
            schedule.step()
    return found


def cosine_with_floor(floor):
    return lambda optimizer, warmup, total, _: optimization.get_cosine_with_min_lr_schedule_with_warmup(
        optimizer, warmup, total, min_lr=floor
    )


def restarts_with_floor(cycles, floor):
    """PyTorch's, where the steps are a multiple of the cycles and there is no warm-up."""
    return lambda optimizer, warmup, total, _: lr_scheduler.CosineAnnealingWarmRestarts(
        optimizer, T_0=total // cycles, eta_min=floor
    )


def cases_of(shape, schedule_of, settings=SETTINGS):
    return [
        {"shape": shape, "peak": peak, "warmup": warmup, "total": total, "rates": rates(schedule_of, peak, warmup, total)}
        for peak, warmup, total in settings
    ]


def restarts(cycles, floor):
    return {"type": "cosine_restarts", "cycles": cycles, "minLearningRate": floor}


def polynomial(power, floor):
    return {"type": "polynomial", "power": power, "minLearningRate": floor}


def one_cycle(pct_start, div_factor, final_div_factor, anneal):
    shape = {
        "type": "one_cycle",
        "pctStart": pct_start,
        "divFactor": div_factor,
        "finalDivFactor": final_div_factor,
        "anneal": anneal,
    }
    return cases_of(
        shape,
        lambda optimizer, _, total, peak: lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=peak,
            total_steps=total,
            pct_start=pct_start,
            div_factor=div_factor,
            final_div_factor=final_div_factor,
            anneal_strategy=anneal,
        ),
        [(1e-3, 0, 10), (0.3, 0, 101), (2e-5, 0, 33), (0.1, 0, 2)],
    )


def inverse_sqrt(timescale, settings):
    return cases_of(
        {"type": "inverse_sqrt", **({"timescale": timescale} if timescale else {})},
        lambda optimizer, warmup, *_: optimization.get_inverse_sqrt_schedule(optimizer, warmup, timescale=timescale),
        settings,
    )


def by_epoch(shape, schedule_of, epochs=25):
    optimizer = optimizer_at(1e-3)
    schedule, found = schedule_of(optimizer), []
    for _ in range(epochs):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return {"shape": shape, "rates": found}


CASES = [
    *cases_of({"type": "constant"}, lambda o, w, *_: transformers.get_constant_schedule_with_warmup(o, w)),
    *cases_of({"type": "linear"}, lambda o, w, t, _: transformers.get_linear_schedule_with_warmup(o, w, t)),
    *cases_of({"type": "cosine"}, lambda o, w, t, _: transformers.get_cosine_schedule_with_warmup(o, w, t)),
    *(
        case
        for cycles in (1, 3)
        for case in cases_of(
            restarts(cycles, 0.0),
            lambda o, w, t, _, cycles=cycles: transformers.get_cosine_with_hard_restarts_schedule_with_warmup(o, w, t, cycles),
        )
    ),
    *cases_of(restarts(1, 1e-5), cosine_with_floor(1e-5)),
    *cases_of(restarts(4, 2e-5), restarts_with_floor(4, 2e-5), [(1e-3, 0, 40), (0.3, 0, 8)]),
    *(
        case
        for power, floor in ((1.0, 0.0), (2.5, 1e-7), (0.5, 1e-6))
        for case in cases_of(
            polynomial(power, floor),
            lambda o, w, t, _, power=power, floor=floor: transformers.get_polynomial_decay_schedule_with_warmup(
                o, w, t, lr_end=floor, power=power
            ),
            LONG_ENOUGH,
        )
    ),
    *one_cycle(0.3, 25.0, 1e4, "cos"),
    *one_cycle(0.25, 10.0, 100.0, "linear"),
    *one_cycle(1.0, 10.0, 100.0, "cos"),
    *inverse_sqrt(None, SETTINGS),
    *inverse_sqrt(20, LONG_ENOUGH),
]
BY_EPOCH = [
    by_epoch({"type": "step", "stepSize": 3, "gamma": 0.1}, lambda o: lr_scheduler.StepLR(o, 3, 0.1)),
    by_epoch({"type": "step", "stepSize": 1, "gamma": 0.7}, lambda o: lr_scheduler.StepLR(o, 1, 0.7)),
    by_epoch(
        {"type": "multi_step", "milestones": [4, 5, 20], "gamma": 0.3}, lambda o: lr_scheduler.MultiStepLR(o, [4, 5, 20], 0.3)
    ),
    by_epoch({"type": "exponential", "gamma": 0.95}, lambda o: lr_scheduler.ExponentialLR(o, 0.95)),
]
assert all(math.isfinite(rate) for case in CASES + BY_EPOCH for rate in case["rates"])
print(
    json.dumps(
        {
            "made_by": f"tests/reference/schedule.py with transformers {transformers.__version__} and PyTorch {torch.__version__}",
            "cases": CASES,
            "by_epoch": BY_EPOCH,
        }
    )
)
