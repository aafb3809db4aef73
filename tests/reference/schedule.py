#!/usr/bin/env python3
"""Golden learning rates, from the schedules of Hugging Face transformers.

    python3 tests/reference/schedule.py > coordinator/core/tests/golden/schedule.json

Needs torch and transformers. `rates[s]` is what the optimizer uses in step s, read from its parameter group.
"""

import json
import types

import torch
import transformers

SHAPES = {
    "constant": lambda optimizer, warmup, total: transformers.get_constant_schedule_with_warmup(optimizer, warmup),
    "linear": transformers.get_linear_schedule_with_warmup,
    "cosine": transformers.get_cosine_schedule_with_warmup,
}
# (peak, warm-up steps or ratio, total steps)
SETTINGS = [(1e-3, 0, 10), (1e-3, 5, 37), (0.3, 0.05, 90), (2e-5, 0.1, 33), (0.1, 1, 1), (0.1, 12, 8)]


def rates(shape, peak, warmup, total):
    if isinstance(warmup, float):
        settings = types.SimpleNamespace(warmup_steps=warmup)
        warmup = transformers.TrainingArguments.get_warmup_steps(settings, total)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    schedule = SHAPES[shape](optimizer, warmup, total)
    found = []
    for _ in range(total):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


cases = [
    {"shape": shape, "peak": peak, "warmup": warmup, "total": total, "rates": rates(shape, peak, warmup, total)}
    for shape in SHAPES
    for peak, warmup, total in SETTINGS
]
print(
    json.dumps(
        {"made_by": f"tests/reference/schedule.py with transformers {transformers.__version__}", "cases": cases}
    )
)
