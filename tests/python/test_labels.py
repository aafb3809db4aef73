"""Labels that do not exclude each other: the metrics are scikit-learn's, an epoch is PyTorch's, and transformers reads what is left."""

import csv
import json

import numpy as np
import pytest
import torch
from conftest import job, run_job, shared
from one_epoch import drawn_head, sample_order
from procedure import mean_pooled, rows_of
from safetensors.torch import load_file
from sklearn import metrics as sk
from torch import nn

# 100 samples in batches of 16: the last one holds four.
SAMPLES, BATCH, SEED = 100, 16, 9
LABELS = ["good", "long", "second half"]
# Of jobs that tune: from which probability on labels are predicted until they have.
THRESHOLD = 0.55
POSITIVE_WEIGHTS = {"good": 2.0, "second half": 0.5}
TRAINING = {
    "epochs": 1,
    "batchSize": BATCH,
    "microBatchSize": 5,
    "seed": SEED,
    "optimizer": {"type": "sgd", "learningRate": 0.2, "momentum": 0.9},
    "loss": {"classWeights": POSITIVE_WEIGHTS},
    "weightDecayOf": "all",
}


def labels_of(row):
    """Of a review of SST-2: its sentiment, and two things that are seen from the text. Some samples have none of them."""
    text = row["sentence"].strip()
    found = {"good": row["label"] == "1", "long": len(text) > 50, "second half": text[:1] > "l"}
    return [label for label in LABELS if found[label]]


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    """The same samples as lists in a column of a table, as columns of flags, and as arrays in JSON lines."""
    folder = tmp_path_factory.mktemp("labels")
    with open(shared("data/sst2/train.tsv"), newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if len(row["sentence"]) < 80]
    parts = {"train": rows[:SAMPLES], "validation": rows[SAMPLES : SAMPLES + 40], "test": rows[SAMPLES + 40 : SAMPLES + 90]}
    for name, part in parts.items():
        samples = [(row["sentence"], labels_of(row)) for row in part]
        with open(folder / f"{name}.csv", "w", newline="") as file:
            csv.writer(file).writerows([["text", "labels"], *([text, "|".join(labels)] for text, labels in samples)])
        with open(folder / f"{name}-flags.csv", "w", newline="") as file:
            flags = lambda labels: [int(label in labels) for label in LABELS]
            csv.writer(file).writerows([["text", *LABELS], *([text, *flags(labels)] for text, labels in samples)])
        lines = [json.dumps({"text": text, "labels": labels}) for text, labels in samples]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def spec_of(name, minilm, reviews, training, columns, ending=".csv"):
    data = {
        "format": ending.split(".")[-1],
        **{split: {"uri": str(reviews / f"{split}{ending}")} for split in ("train", "validation", "test")},
        "columns": columns,
    }
    model = {"architecture": "bert", "weights": str(minilm / "model.safetensors"), "pooling": "mean"}
    spec = job(name, model, data, training)
    spec["spec"]["task"] = {"type": "multi_label_classification"}
    return spec


@pytest.fixture(scope="module")
def finished(minilm, reviews, tmp_path_factory):
    """Each way to write the labels, on one, two and three ranks; on two and three the thresholds are tuned."""
    ways = {1: ({"label": "labels"}, ".csv"), 2: ({"labels": LABELS}, "-flags.csv"), 3: ({"label": "labels"}, ".jsonl")}

    def run(ranks, way):
        spec = spec_of("epoch", minilm, reviews, TRAINING, *way)
        spec["spec"]["task"] |= {"threshold": THRESHOLD, "tuneThresholds": True} if ranks > 1 else {}
        return run_job(spec, tmp_path_factory.mktemp(f"ranks-{ranks}"), workers=ranks)

    return {ranks: run(ranks, way) for ranks, way in ways.items()}


def truth_and_scores(job, split):
    rows = job.predictions(split)
    column = lambda kind: np.array([[float(row[f"{kind}_{label}"]) for label in LABELS] for row in rows])
    return column("label").astype(int), column("probability"), column("predicted").astype(int)


def best_thresholds(truth, scores):
    """Of each label the lowest of the thresholds with the highest F1."""
    found = []
    for own, column in zip(truth.T, scores.T):
        precision, recall, thresholds = sk.precision_recall_curve(own, column)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
        found.append(thresholds[np.flatnonzero(f1[:-1] >= f1[:-1].max() - 1e-12)[0]])
    return np.array(found)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_every_metric_is_that_of_scikit_learn_on_the_predictions(finished, split):
    truth, scores, predicted = truth_and_scores(finished[2], split)
    tuned = best_thresholds(*truth_and_scores(finished[2], "validation")[:2])
    assert (predicted == (scores >= (tuned if split == "test" else THRESHOLD))).all()
    reported = finished[2].metrics[split]
    expected = {
        "loss": np.mean([sk.log_loss(truth[:, k], scores[:, k], labels=[0, 1]) for k in range(len(LABELS))]),
        "exact_match": sk.accuracy_score(truth, predicted),
        "hamming_loss": sk.hamming_loss(truth, predicted),
        "roc_auc": sk.roc_auc_score(truth, scores, average="macro"),
        "roc_auc_ovr_weighted": sk.roc_auc_score(truth, scores, average="weighted"),
        "average_precision": sk.average_precision_score(truth, scores, average="macro"),
        "average_precision_weighted": sk.average_precision_score(truth, scores, average="weighted"),
    }
    for average in ("macro", "micro", "weighted", "samples"):
        values = sk.precision_recall_fscore_support(truth, predicted, average=average, zero_division=0)
        expected.update(zip((f"precision_{average}", f"recall_{average}", f"f1_{average}"), values))
    assert reported["metrics"].keys() == expected.keys()
    for name, value in reported["metrics"].items():
        assert value == pytest.approx(expected[name], rel=1e-9, abs=1e-9), name
    per_label = sk.precision_recall_fscore_support(truth, predicted, average=None, zero_division=0)
    for place, label in enumerate(reported["perClass"]):
        assert label["class"] == LABELS[place]
        found = [label["precision"], label["recall"], label["f1"], label["support"]]
        assert found == pytest.approx([column[place] for column in per_label], rel=1e-9)
    if split == "test":
        lies = reported["intervals"]["metrics"]
        own = {f"{kind}/{label['class']}": label[kind] for label in reported["perClass"] for kind in ("precision", "recall", "f1")}
        assert set(lies) == set(expected) | set(own)
        values = own | {name: reported["metrics"][name] for name in ("loss", "f1_micro", "roc_auc")}
        assert all(lies[name][0] <= value <= lies[name][1] for name, value in values.items())


def test_the_labels_are_those_of_the_file_however_they_are_written(finished, reviews):
    with open(reviews / "test-flags.csv", newline="") as file:
        written = np.array([[int(row[label]) for label in LABELS] for row in csv.DictReader(file)])
    assert (written.sum(axis=1) == 0).any() and (written.sum(axis=1) > 1).any(), "some have none, some several"
    for ranks, job in finished.items():
        assert (truth_and_scores(job, "test")[0] == written).all(), ranks


def test_an_epoch_is_pytorchs_on_one_two_and_three_ranks(finished, minilm, reviews, tmp_path):
    head, prefix = drawn_head(spec_of("still", minilm, reviews, TRAINING, {"label": "labels"}), tmp_path)
    rows = rows_of(reviews / "train-flags.csv")
    x = mean_pooled(minilm, [row["text"] for row in rows], 128)
    y = torch.tensor([[float(row[label]) for label in LABELS] for row in rows])
    criterion = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([POSITIVE_WEIGHTS.get(label, 1.0) for label in LABELS]))
    optimizer = torch.optim.SGD(head.parameters(), lr=0.2, momentum=0.9)
    losses = []
    for places in torch.tensor(sample_order(SEED, 0, SAMPLES)).split(BATCH):
        optimizer.zero_grad()
        loss = criterion(head(x[places]), y[places])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    for ranks, job in finished.items():
        assert [step["loss"] for step in job.history] == pytest.approx(losses, rel=1e-5), ranks
        trained = load_file(job.folder / "head.safetensors")
        for key, expected in head.state_dict().items():
            np.testing.assert_allclose(trained[f"{prefix}{key}"], expected.detach(), rtol=1e-5, atol=1e-5, err_msg=f"{key} on {ranks} ranks")


def test_the_artifact_says_what_its_outputs_are(finished):
    config = json.loads((finished[1].folder / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"
    assert (config["id2label"], config["threshold"]) == ({str(place): label for place, label in enumerate(LABELS)}, 0.5)


@pytest.mark.parametrize("ranks", [2, 3])
def test_thresholds_that_were_tuned_are_the_best_on_validation_and_the_artifact_says_them(finished, ranks):
    folder, metrics = finished[ranks].folder, finished[ranks].metrics
    config = json.loads((folder / "config.json").read_text())
    truth, scores, predicted = truth_and_scores(finished[ranks], "validation")
    assert config["thresholds"] == pytest.approx(best_thresholds(truth, scores), abs=1e-9)
    assert metrics["thresholds"] == dict(zip(LABELS, config["thresholds"])) and "threshold" not in config
    f1 = lambda predicted: sk.f1_score(truth, predicted, average=None, zero_division=0)
    better = f1(scores >= config["thresholds"]) - f1(predicted)
    assert (better >= 0).all() and better.max() > 0.01, better
    card = (folder / "README.md").read_text()
    assert all(f"{label}, from {threshold} on" in card for label, threshold in zip(LABELS, config["thresholds"]))
