"""What PyTorch needs to train the same epoch as a job: the order of the samples, and the head that the job begins with."""

import contextlib
import importlib.util
import io

from conftest import ROOT, run_job
from safetensors.torch import load_file
from torch import nn


def reference_of_orders():
    """The second implementation of Firn's orders, which the golden values come from."""
    place = importlib.util.spec_from_file_location("order", ROOT / "tests/reference/order.py")
    module = importlib.util.module_from_spec(place)
    with contextlib.redirect_stdout(io.StringIO()):
        place.loader.exec_module(module)
    return module


def sample_order(seed, epoch, samples):
    """Firn's order of samples."""
    return reference_of_orders().sample_order(seed, epoch, samples)


def balanced_order(seed, epoch, classes):
    """Firn's draws with replacement."""
    return reference_of_orders().balanced_order(seed, epoch, classes)


def drawn_head(spec, folder):
    """The head as Firn draws it from the seed: what a rate at which nothing moves leaves, as a layer, and the prefix of its name."""
    still = {"epochs": 1, "seed": spec["spec"]["training"]["seed"], "optimizer": {"type": "sgd", "learningRate": 1e-300, "momentum": 0.0}}
    spec = {**spec, "spec": {**spec["spec"], "training": still}}
    tensors = load_file(run_job(spec, folder).folder / "head.safetensors")
    prefix = next(key for key in tensors if key.endswith(".weight")).removesuffix("weight")
    outputs, width = tensors[f"{prefix}weight"].shape
    head = nn.Linear(width, outputs, bias=f"{prefix}bias" in tensors)
    head.load_state_dict({key: tensors[f"{prefix}{key}"] for key in head.state_dict()})
    return head, prefix
