"""Classes that are ranks: an epoch of the cumulative link model is PyTorch's, its metrics are scikit-learn's, and its probabilities add up."""

import csv
import json

import numpy as np
import pytest
import torch
from conftest import job, run_job, shared
from one_epoch import sample_order
from procedure import mean_pooled, rows_of
from safetensors.torch import load_file
from sklearn import metrics as sk
from test_predict import firn
from torch import nn
from torch.nn import functional

RANKS = ["short", "medium", "long", "longer"]
BATCH, SEED = 16, 5


class Ordinal(nn.Module):
    """As the README has it: log-probabilities of ranks."""

    def __init__(self, width, ranks):
        super().__init__()
        self.weight, self.cutpoints = nn.Parameter(torch.empty(1, width)), nn.Parameter(torch.empty(ranks - 1))

    def forward(self, features):
        thresholds = torch.cat([self.cutpoints[:1], self.cutpoints[0] + functional.softplus(self.cutpoints[1:]).cumsum(0)])
        below = torch.sigmoid(thresholds - features @ self.weight.T)
        return functional.pad(functional.pad(below, (0, 1), value=1.0), (1, 0)).diff().log()


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    """Reviews of SST-2 by their length. In alphabetical order the ranks would be others."""
    folder = tmp_path_factory.mktemp("ranks")
    with open(shared("data/sst2/train.tsv"), newline="") as file:
        texts = [row["sentence"].strip() for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    texts = [text for text in texts if len(text) < 80][:140]
    for name, part in (("train", texts[:100]), ("test", texts[100:])):
        with open(folder / f"{name}.csv", "w", newline="") as file:
            csv.writer(file).writerows([["text", "label"], *([text, RANKS[min(len(text) // 20, 3)]] for text in part)])
    return folder


def spec_of(minilm, reviews, training):
    data = {"format": "csv", "classes": RANKS, **{split: {"uri": str(reviews / f"{split}.csv")} for split in ("train", "test")}}
    model = {"architecture": "bert", "weights": str(minilm / "model.safetensors"), "head": {"type": "ordinal"}}
    training = {"epochs": 1, "batchSize": BATCH, "microBatchSize": 5, "seed": SEED, "loss": {"labelSmoothing": 0.1}, **training}
    return job("ranks", model, data, training)


def trained_by_pytorch(head, minilm, reviews):
    rows = rows_of(reviews / "train.csv")
    classes = torch.tensor([RANKS.index(row["label"]) for row in rows])
    features = mean_pooled(minilm, [row["text"] for row in rows], 128)
    optimizer = torch.optim.AdamW([{"params": [head.weight]}, {"params": [head.cutpoints], "weight_decay": 0.0}], 0.01, weight_decay=0.1)
    criterion, losses = nn.CrossEntropyLoss(label_smoothing=0.1), []
    for rows in torch.tensor(sample_order(SEED, 0, len(classes))).split(BATCH):
        optimizer.zero_grad()
        loss = criterion(head(features[rows]), classes[rows])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_an_epoch_of_ranks_is_pytorchs_and_their_metrics_are_scikit_learns(minilm, reviews, tmp_path):
    still = {"optimizer": {"type": "sgd", "learningRate": 1e-300, "momentum": 0.0}}
    began = load_file(run_job(spec_of(minilm, reviews, still), tmp_path / "still").folder / "head.safetensors")
    head = Ordinal(384, len(RANKS))
    head.load_state_dict({name.removeprefix("classifier."): value for name, value in began.items()}, strict=True)
    losses = trained_by_pytorch(head, minilm, reviews)
    assert (head.cutpoints - began["classifier.cutpoints"]).abs().min() > 1e-4, "a threshold has not moved, so nothing is compared"
    rule = {"optimizer": {"type": "adamw", "learningRate": 0.01, "weightDecay": 0.1}}
    for ranks in (2, 1):
        finished = run_job(spec_of(minilm, reviews, rule), tmp_path / str(ranks), workers=ranks)
        assert [step["loss"] for step in finished.history] == pytest.approx(losses, rel=1e-5), ranks
        trained = load_file(finished.folder / "head.safetensors")
        for name, value in head.state_dict().items():
            np.testing.assert_allclose(trained[f"classifier.{name}"], value, rtol=1e-5, atol=1e-5, err_msg=f"{name} on {ranks} ranks")
    rows = finished.predictions("test")
    probabilities = np.array([[float(row[f"probability_{rank}"]) for rank in RANKS] for row in rows])
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-12)
    truth, predicted = ([RANKS.index(row[column]) for row in rows] for column in ("label", "predicted"))
    assert predicted == probabilities.argmax(1).tolist()
    found = finished.metrics["test"]["metrics"]
    assert found["quadratic_weighted_kappa"] == pytest.approx(sk.cohen_kappa_score(truth, predicted, weights="quadratic", labels=range(4)), abs=1e-9)
    assert found["ordinal_mae"] == pytest.approx(sk.mean_absolute_error(truth, predicted), abs=1e-9)
    assert found["loss"] == pytest.approx(sk.log_loss(truth, probabilities, labels=range(4)), abs=1e-9)
    config = json.loads((finished.folder / "config.json").read_text())
    assert [config["id2label"][str(rank)] for rank in range(4)] == RANKS and config["head"] == {"type": "ordinal", "dropout": 0.0}
    assert firn("predict", finished.folder, reviews / "test.csv") == (finished.folder / "predictions_test.csv").read_text()
