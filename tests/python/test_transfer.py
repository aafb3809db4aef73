"""Real weights on real data: the head that Firn trains is as good as PyTorch's."""

import pytest
import torch
from conftest import job, run_job, shared
from procedure import mean_pooled, rows_of
from torch import nn


def test_ants_and_bees_reach_the_reference_accuracy(tmp_path):
    data = shared("data/hymenoptera")
    weights = shared("weights/mobilenet_v2_imagenet/mobilenet_v2_imagenet_dequant.safetensors")
    spec = job(
        "ants-and-bees",
        {"architecture": "mobilenet_v2", "weights": str(weights), "head": {"type": "linear"}},
        {
            "format": "imagefolder",
            "train": {"uri": str(data / "train")},
            "validation": {"uri": str(data / "val")},
            "preprocessing": {"resize": 256, "crop": 224, "mean": [0.5] * 3, "std": [0.5] * 3},
        },
        {
            "epochs": 10,
            "batchSize": 32,
            "optimizer": {"type": "adamw", "learningRate": 1e-3},
            "bestMetric": "validation/accuracy",
        },
    )
    finished = run_job(spec, tmp_path)
    accuracy = finished.metrics["validation"]["metrics"]["accuracy"]
    print(f"validation accuracy {accuracy:.4f} (PyTorch's linear probe: 0.961)")
    assert accuracy >= 0.95


TRAIN_ROWS = 6000
EPOCHS = 3
BATCH = 64
LEARNING_RATE = 3e-3


def test_sst2_reaches_the_accuracy_of_a_pytorch_probe_on_the_same_features(tmp_path, minilm):
    source = shared("data/sst2")
    train = head_of(source / "train.tsv", TRAIN_ROWS, tmp_path / "train.tsv")
    test = source / "test.tsv"
    spec = job(
        "sst2",
        {"architecture": "bert", "weights": str(minilm / "model.safetensors"), "pooling": "mean"},
        {
            "format": "tsv",
            "train": {"uri": str(train)},
            "validation": {"uri": str(test)},
            "columns": {"text": "sentence", "label": "label"},
            "preprocessing": {"maxLength": 128},
        },
        {
            "epochs": EPOCHS,
            "batchSize": BATCH,
            "optimizer": {"type": "adamw", "learningRate": LEARNING_RATE, "weightDecay": 0.01},
            "bestMetric": "validation/accuracy",
        },
    )
    finished = run_job(spec, tmp_path)
    accuracy = finished.metrics["validation"]["metrics"]["accuracy"]
    reference = probe(features(minilm, train), features(minilm, test))
    print(f"SST-2 accuracy {accuracy:.4f}, PyTorch's probe {reference:.4f}")
    assert accuracy == pytest.approx(reference, abs=0.01)


def head_of(path, rows, target):
    lines = path.read_text().splitlines()
    target.write_text("\n".join(lines[: rows + 1]) + "\n")
    return target


def features(minilm, path):
    """Mean-pooled MiniLM states, and labels."""
    rows = rows_of(path)
    labels = torch.tensor([int(row["label"]) for row in rows])
    return mean_pooled(minilm, [row["sentence"] for row in rows], 128), labels


def probe(train, test):
    """The best accuracy over the epochs of the same head, optimizer and batch in plain PyTorch."""
    torch.manual_seed(0)
    (x, y), (x_test, y_test) = train, test
    head = nn.Linear(x.shape[1], 2)
    optimizer = torch.optim.AdamW(head.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    best = 0.0
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(head(x[batch]), y[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            best = max(best, (head(x_test).argmax(1) == y_test).float().mean().item())
    return best
