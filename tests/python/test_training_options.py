"""Averaged weights are those of PyTorch and timm after the same epochs, and are what is scored and exported; epochs of focal losses and of samples that are
drawn with replacement are PyTorch's and torchvision's."""

import csv
from collections import Counter

import numpy as np
import pytest
import torch
from conftest import run_job
from one_epoch import balanced_order, drawn_head, sample_order
from procedure import mean_pooled, rows_of
from safetensors.torch import load_file
from test_training import BATCH, SAMPLES, SEED, beginning, features, sentences, spec_of, tokens_of  # noqa: F401
from timm.utils import ModelEmaV3
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision.ops import sigmoid_focal_loss

RATE, MOMENTUM, EPOCHS = 0.1, 0.9, 2
OPTIMIZER = {"type": "sgd", "learningRate": RATE, "momentum": MOMENTUM}


class OfTorch:
    """torch's average of a module, which has no warm-up."""

    def __init__(self, module, decay):
        self.average = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(decay))

    def update(self, module, step):
        self.average.update_parameters(module)

    def state_dict(self):
        return self.average.module.state_dict()


class OfTimm:
    """timm's, with the warm-up of its training script."""

    def __init__(self, module, decay):
        self.average = ModelEmaV3(module, decay=decay, use_warmup=True)

    def update(self, module, step):
        self.average.update(module, step=step)

    def state_dict(self):
        return self.average.module.state_dict()


AVERAGES = {"torch": ({"decay": 0.9}, OfTorch), "timm": ({"decay": 0.75, "warmup": True}, OfTimm)}


def averaged_by_pytorch(beginning, features, decay, average):  # noqa: F811
    """The losses of the steps, the head after them, and its average after each epoch."""
    states, classes = features
    head = nn.Linear(*beginning["weight"].shape[::-1])
    head.load_state_dict(beginning)
    optimizer = torch.optim.SGD(head.parameters(), RATE, momentum=MOMENTUM)
    averaged, losses, after = average(head, decay), [], []
    for epoch in range(EPOCHS):
        for batch in torch.tensor(sample_order(SEED, epoch, SAMPLES)).split(BATCH):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(head(states[batch]), classes[batch])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            averaged.update(head, len(losses))
        after.append({key: value.clone() for key, value in averaged.state_dict().items()})
    return losses, head.state_dict(), after


def validation_states(minilm, sentences):  # noqa: F811
    """Mean-pooled MiniLM states of the validation samples."""
    return mean_pooled(minilm, [row["text"] for row in rows_of(sentences / "validation.csv")], 128)


@pytest.mark.parametrize("library", AVERAGES)
def test_an_average_is_that_of_the_library_and_is_what_is_scored_and_left(library, minilm, sentences, features, beginning, tmp_path):  # noqa: F811
    values, prefix = beginning
    ema, average = AVERAGES[library]
    losses, trained, after = averaged_by_pytorch(values, features, ema["decay"], average)
    apart = max((after[-1][key] - trained[key]).abs().max().item() for key in values)
    assert apart > 1e-3, "the average is hardly another one than what was trained, so nothing is compared"
    states = validation_states(minilm, sentences)
    training = {"epochs": EPOCHS, "optimizer": OPTIMIZER, "loss": {}, "ema": ema}
    for ranks in (1, 2, 3):
        spec = spec_of("averaged", minilm, sentences, training)
        finished = run_job(spec, tmp_path / str(ranks), workers=ranks)
        assert [step["loss"] for step in finished.history] == pytest.approx(losses, rel=1e-5), ranks
        left = load_file(finished.folder / "head.safetensors")
        rows = finished.predictions("validation")
        found = np.array([[float(row[name]) for name in list(row)[4:]] for row in rows])
        expected = after[finished.metrics["bestEpoch"]]
        scores = (states @ expected["weight"].T + expected["bias"]).double().softmax(1).numpy()
        np.testing.assert_allclose(found, scores, atol=1e-5, err_msg=f"{ranks} ranks")
        for key, value in expected.items():
            np.testing.assert_allclose(left[f"{prefix}{key}"], value, rtol=1e-5, atol=1e-5, err_msg=f"{key} on {ranks} ranks")


GAMMA, WEIGHTS = 1.5, {"bad": 0.4, "good": 2.0}


def focal_loss(logits, classes):
    """Lin et al. 2017, with weights of classes as cross-entropy has them."""
    own = torch.tensor([WEIGHTS["bad"], WEIGHTS["good"]])[classes]
    logs = logits.log_softmax(1)[torch.arange(len(classes)), classes]
    return (own * (1 - logs.exp()) ** GAMMA * -logs).sum() / own.sum()


def trained_by_pytorch(beginning, states, targets, criterion, order):  # noqa: F811
    """The losses of the steps, and the head after them."""
    head = nn.Linear(*beginning["weight"].shape[::-1])
    head.load_state_dict(beginning)
    optimizer = torch.optim.SGD(head.parameters(), RATE, momentum=MOMENTUM)
    losses = []
    for epoch in range(EPOCHS):
        for batch in torch.tensor(order(epoch)).split(BATCH):
            optimizer.zero_grad()
            loss = criterion(head(states[batch]), targets[batch])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses, head.state_dict()


def is_the_same(spec, folder, prefix, losses, expected):
    for ranks in (1, 2):
        finished = run_job(spec, folder / str(ranks), workers=ranks)
        assert [step["loss"] for step in finished.history] == pytest.approx(losses, rel=1e-5), ranks
        left = load_file(finished.folder / "head.safetensors")
        for key, value in expected.items():
            np.testing.assert_allclose(left[f"{prefix}{key}"], value, rtol=1e-5, atol=1e-5, err_msg=f"{key} on {ranks} ranks")


def test_epochs_with_a_focal_loss_of_samples_that_are_drawn_are_pytorchs(minilm, sentences, features, beginning, tmp_path):  # noqa: F811
    values, prefix = beginning
    states, classes = features
    # The classes are numbered by their names, in the data as in the reference.
    orders = [balanced_order(SEED, epoch, classes.tolist()) for epoch in range(EPOCHS)]
    assert max(Counter(orders[0]).values()) > 1, "nothing was drawn twice, so nothing is compared"
    losses, expected = trained_by_pytorch(values, states, classes, focal_loss, lambda epoch: orders[epoch])
    loss = {"type": "focal", "gamma": GAMMA, "classWeights": WEIGHTS}
    training = {"epochs": EPOCHS, "optimizer": OPTIMIZER, "loss": loss, "sampling": "balanced"}
    spec = spec_of("focal", minilm, sentences, training)
    spec["spec"]["data"].pop("validation")
    is_the_same(spec, tmp_path, prefix, losses, expected)


LABELS = ["bad", "good", "short"]


def test_epochs_with_a_focal_loss_of_labels_are_torchvisions(minilm, sentences, features, tmp_path):  # noqa: F811
    states, classes = features
    with open(sentences / "train.csv", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    sets = [[LABELS[own], *(["short"] if len(text) < 30 else [])] for text, own in zip(texts, classes.tolist())]
    with open(tmp_path / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows([["text", "labels"], *([text, "|".join(own)] for text, own in zip(texts, sets))])
    targets = torch.tensor([[float(label in own) for label in LABELS] for own in sets])
    loss = {"type": "sigmoid_focal", "gamma": GAMMA, "alpha": 0.7}
    spec = spec_of("labels", minilm, sentences, {"epochs": EPOCHS, "optimizer": OPTIMIZER, "loss": loss})
    spec["spec"]["task"] = {"type": "multi_label_classification"}
    spec["spec"]["data"] = {"format": "csv", "train": {"uri": str(tmp_path / "labels.csv")}, "columns": {"text": "text", "label": "labels"}}
    head, prefix = drawn_head(spec, tmp_path / "still")
    beginning_of_labels = {key: value.clone() for key, value in head.state_dict().items()}

    def criterion(logits, expected):
        return sigmoid_focal_loss(logits, expected, alpha=0.7, gamma=GAMMA, reduction="mean")

    losses, expected = trained_by_pytorch(beginning_of_labels, states, targets, criterion, lambda epoch: sample_order(SEED, epoch, SAMPLES))
    is_the_same(spec, tmp_path, prefix, losses, expected)
