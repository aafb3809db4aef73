"""An epoch of a classification is PyTorch's, with each optimizer and each limit of the gradient, on one and on two ranks."""

import csv

import numpy as np
import pytest
import timm.optim
import torch
from conftest import job, run_job, shared
from one_epoch import drawn_head, sample_order
from safetensors.torch import load_file
from torch import nn

# 100 samples in batches of 16: the last one holds four.
SAMPLES, BATCH, SEED = 100, 16, 7
CLASS_WEIGHTS = {"bad": 1.5, "good": 0.5}

RULES = {
    "adamw": ({"type": "adamw", "learningRate": 0.01, "weightDecay": 0.1}, lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1)),
    "adam": ({"type": "adam", "learningRate": 0.01, "weightDecay": 0.1}, lambda p: torch.optim.Adam(p, 0.01, weight_decay=0.1)),
    "sgd": (
        {"type": "sgd", "learningRate": 0.1, "momentum": 0.9, "nesterov": True, "weightDecay": 0.01},
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    ),
    "rmsprop": (
        {"type": "rmsprop", "learningRate": 0.003, "alpha": 0.9, "momentum": 0.5, "centered": True, "epsilon": 1e-4, "weightDecay": 0.01},
        lambda p: torch.optim.RMSprop(p, 0.003, alpha=0.9, momentum=0.5, centered=True, eps=1e-4, weight_decay=0.01),
    ),
    "lamb": ({"type": "lamb", "learningRate": 0.05}, lambda p: timm.optim.Lamb(p, 0.05, weight_decay=0.01, max_grad_norm=None)),
}
# What is written in the spec, and what PyTorch does with the gradient.
LIMITS = {
    "norm": ({"maxGradientNorm": 0.05}, lambda p: nn.utils.clip_grad_norm_(p, 0.05)),
    "value": ({"maxGradientValue": 0.004}, lambda p: nn.utils.clip_grad_value_(p, 0.004)),
}


@pytest.fixture(scope="module")
def sentences(tmp_path_factory):
    """Reviews of SST-2, the first that are short."""
    folder = tmp_path_factory.mktemp("sentences")
    with open(shared("data/sst2/train.tsv"), newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if len(row["sentence"]) < 80][: SAMPLES + 20]
    for name, part in (("train", rows[:SAMPLES]), ("validation", rows[SAMPLES:])):
        with open(folder / f"{name}.csv", "w", newline="") as file:
            csv.writer(file).writerows([["text", "label"], *([row["sentence"], ["bad", "good"][int(row["label"])]] for row in part)])
    return folder


@pytest.fixture(scope="module")
def features(minilm, sentences):
    """Mean-pooled MiniLM states of the training samples, and their classes."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, encoder = AutoTokenizer.from_pretrained(minilm), AutoModel.from_pretrained(minilm).eval()
    with open(sentences / "train.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    batch = tokenizer([row["text"] for row in rows], padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = encoder(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1).float()
    return (hidden * mask).sum(1) / mask.sum(1), torch.tensor([["bad", "good"].index(row["label"]) for row in rows])


def spec_of(name, minilm, sentences, training):
    data = {"format": "csv", **{split: {"uri": str(sentences / f"{split}.csv")} for split in ("train", "validation")}}
    loss = {"labelSmoothing": 0.1, "classWeights": CLASS_WEIGHTS}
    training = {"epochs": 1, "batchSize": BATCH, "microBatchSize": 5, "seed": SEED, "loss": loss, **training}
    return job(name, {"architecture": "bert", "weights": str(minilm / "model.safetensors")}, data, training)


@pytest.fixture(scope="module")
def beginning(minilm, sentences, tmp_path_factory):
    """The head before the first step: its values, and the prefix of its name."""
    head, prefix = drawn_head(spec_of("still", minilm, sentences, {}), tmp_path_factory.mktemp("still"))
    return {key: value.clone() for key, value in head.state_dict().items()}, prefix


def trained_by_pytorch(beginning, features, rule, limit, biases_decay):
    """The losses of the steps, and the head after them."""
    states, classes = features
    head = nn.Linear(*beginning["weight"].shape[::-1])
    head.load_state_dict(beginning)
    groups = head.parameters() if biases_decay else [{"params": [head.weight]}, {"params": [head.bias], "weight_decay": 0.0}]
    optimizer = rule(groups)
    criterion = nn.CrossEntropyLoss(weight=torch.tensor([CLASS_WEIGHTS["bad"], CLASS_WEIGHTS["good"]]), label_smoothing=0.1)
    losses = []
    for batch in torch.tensor(sample_order(SEED, 0, SAMPLES)).split(BATCH):
        optimizer.zero_grad()
        loss = criterion(head(states[batch]), classes[batch])
        loss.backward()
        limit(head.parameters())
        optimizer.step()
        losses.append(loss.item())
    return losses, head.state_dict()


def is_the_same(minilm, sentences, features, beginning, folder, training, reference):
    """Trains on one and on two ranks, and compares losses and head with those of PyTorch."""
    values, prefix = beginning
    losses, expected = trained_by_pytorch(values, features, *reference)
    moved = max((expected[key] - values[key]).abs().max().item() for key in values)
    assert moved > 1e-3, "PyTorch has hardly learned anything, so nothing is compared"
    for ranks in (1, 2):
        finished = run_job(spec_of("epoch", minilm, sentences, training), folder / str(ranks), workers=ranks)
        assert [step["loss"] for step in finished.history] == pytest.approx(losses, rel=1e-5), ranks
        trained = load_file(finished.folder / "head.safetensors")
        for key, value in expected.items():
            np.testing.assert_allclose(trained[f"{prefix}{key}"], value, rtol=1e-5, atol=1e-5, err_msg=f"{key} on {ranks} ranks")


@pytest.mark.parametrize("rule", RULES)
def test_an_epoch_with_each_optimizer_is_pytorchs(rule, minilm, sentences, features, beginning, tmp_path):
    written, made = RULES[rule]
    reference = (made, lambda parameters: None, False)
    is_the_same(minilm, sentences, features, beginning, tmp_path, {"optimizer": written}, reference)


@pytest.mark.parametrize("limit", LIMITS)
def test_an_epoch_with_limited_gradients_where_all_decays_is_pytorchs(limit, minilm, sentences, features, beginning, tmp_path):
    rule, made = RULES["sgd"]
    written, applied = LIMITS[limit]
    training = {"optimizer": rule, "weightDecayOf": "all", **written}
    is_the_same(minilm, sentences, features, beginning, tmp_path, training, (made, applied, True))
