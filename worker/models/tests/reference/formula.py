"""What every script here shares with the tests of firn-models: the formula that fills tensors, inputs, and the form of what is compared.

Every tensor is filled from a fixed formula of its name and the index of each value (`fill`), which the tests compute again in
Rust, so that no weights have to be committed.
"""

import pathlib

import numpy as np
import torch

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"


def uniform(name, count):
    """Values in [-1, 1): a 32-bit integer hash ("lowbias32") of FNV-1a(name) + index * 2654435769."""
    seed = 2166136261
    for byte in name.encode():
        seed = ((seed ^ byte) * 16777619) % 2**32
    with np.errstate(over="ignore"):
        x = np.arange(count, dtype=np.uint32) * np.uint32(2654435769) + np.uint32(seed)
        x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
        x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
        x = x ^ (x >> np.uint32(16))
    return x.astype(np.float64) / 2**31 - 1.0


def fill(name, shape):
    """A tensor at a scale that keeps activations near 1. The rules look at the end of the name and the number of dimensions."""
    count = int(np.prod(shape, dtype=np.int64))
    u = uniform(name, count)
    if name.endswith("running_var"):
        values = 1.0 + 0.3 * u
    elif name.endswith(("bias", "running_mean", "beta")):
        values = 0.1 * u
    elif "layer_scale" in name or name.endswith("gamma"):
        values = 0.4 + 0.1 * u
    elif "embeddings" in name and len(shape) == 2:
        values = 0.5 * u
    elif len(shape) >= 2:
        values = u * (3.0 * (2.0 if len(shape) == 4 else 1.0) * shape[0] / count) ** 0.5
    elif name.endswith(("bn2.weight", "bn3.weight")):  # ends a residual branch: deep networks must not explode
        values = 0.4 + 0.1 * u
    else:
        values = 0.9 + 0.2 * u
    return torch.from_numpy(values.astype(np.float32)).reshape(tuple(shape))


def filled(model):
    state = model.state_dict()
    for name, tensor in state.items():
        # One that follows from the sizes stays.
        if tensor.is_floating_point() and not name.endswith("relative_coords_table"):
            tensor.copy_(fill(name, tensor.shape))
    return model.eval()


def names_and_shapes(model):
    return {name: list(tensor.shape) for name, tensor in model.state_dict().items()}


def numbers(tensor):
    return [float(f"{value:.8g}") for value in tensor.detach().double().flatten().tolist()]


def pixels(height, width):
    return torch.from_numpy(uniform("pixels", 2 * height * width * 3).astype(np.float32)).reshape(2, height, width, 3).permute(0, 3, 1, 2) * 2.0


def tokens(vocabulary, lengths):
    """Ids of rows with these numbers of tokens, padded with 0 to the longest, and the mask."""
    longest = max(lengths)
    u = uniform("tokens", len(lengths) * longest).reshape(len(lengths), longest)
    mask = torch.tensor([[1] * n + [0] * (longest - n) for n in lengths])
    return torch.from_numpy(((u + 1.0) / 2.0 * vocabulary).astype(np.int64)) * mask, mask


def mean(states, mask):
    weight = mask.unsqueeze(-1).float()
    return (states * weight).sum(1) / weight.sum(1)


def summary(named):
    """Of each tensor: sum of squares, a weighted sum that every value enters, and five of its values."""
    out = {}
    for name, tensor in named:
        flat = tensor.detach().double().flatten()
        weights = torch.from_numpy(uniform("summary", flat.numel()))
        at = [int(i) for i in np.linspace(0, flat.numel() - 1, 5)]
        out[name] = {
            "squares": float((flat * flat).sum()),
            "weighted": float((flat * weights).sum()),
            "at": at,
            "values": [float(flat[i]) for i in at],
        }
    return out


def objective(logits):
    weight = torch.tensor([1.0, 0.5, 2.0, 1.5, 0.25])
    loss = torch.nn.CrossEntropyLoss(weight=weight, label_smoothing=0.1, reduction="sum")
    return loss(logits, torch.arange(logits.shape[0]) % 5)
