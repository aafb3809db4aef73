"""Regression is scikit-learn's, SciPy's and PyTorch's: the metrics from the predictions, an epoch of training, and a real text regression."""

import csv
import json

import numpy as np
import pytest
import torch
from conftest import job, run_job, shared
from one_epoch import drawn_head, sample_order
from PIL import Image
from procedure import mean_pooled, rows_of
from safetensors.torch import load_file
from scipy import stats
from sklearn import metrics as sk
from torch import nn
from torchvision import transforms
from torchvision.models import mobilenet_v2

COLUMNS = ["median_house_value", "housing_median_age"]


def sentence(row):
    """A district of the 1990 census in words. The same text goes to Firn and to PyTorch."""
    rooms = float(row["total_rooms"]) / float(row["households"])
    people = float(row["population"]) / float(row["households"])
    place = row["ocean_proximity"].lower().replace("<1h ocean", "less than an hour from the ocean")
    return (
        f"median income {float(row['median_income']):.2f}, {place}, latitude {float(row['latitude']):.1f}, "
        f"longitude {float(row['longitude']):.1f}, {rooms:.1f} rooms and {people:.1f} people in a household"
    )


def write_housing(folder, splits):
    """Districts in an order drawn from a fixed seed, as CSV files of a sentence and two numbers."""
    with open(shared("data/california_housing/housing.csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    order = np.random.default_rng(20240302).permutation(len(rows))
    begin = 0
    for name, count in splits.items():
        with open(folder / f"{name}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", *COLUMNS])
            for place in order[begin : begin + count]:
                writer.writerow([sentence(rows[place]), *(rows[place][column] for column in COLUMNS)])
        begin += count


def data(folder, targets):
    return {
        "format": "csv",
        **{split: {"uri": str(folder / f"{split}.csv")} for split in ("train", "validation", "test")},
        "columns": {"targets": targets},
        "preprocessing": {"maxLength": 128},
    }


def regression(name, minilm, folder, targets, training):
    model = {"architecture": "bert", "weights": str(minilm / "model.safetensors"), "pooling": "mean"}
    spec = job(name, model, data(folder, targets), training)
    spec["spec"]["task"]["type"] = "regression"
    return spec


def features(minilm, path, targets):
    """Mean-pooled MiniLM states, and the targets in their units."""
    rows = rows_of(path)
    return mean_pooled(minilm, [row["text"] for row in rows], 128), np.array([[float(row[target]) for target in targets] for row in rows])


@pytest.fixture(scope="module")
def housing(tmp_path_factory):
    folder = tmp_path_factory.mktemp("housing")
    write_housing(folder, {"train": 300, "validation": 120, "test": 90})
    return folder


EPOCH = {"epochs": 1, "batchSize": 32, "seed": 5, "loss": {"type": "huber", "delta": 0.75}}


@pytest.fixture(scope="module")
def two_targets(minilm, housing, tmp_path_factory):
    training = {**EPOCH, "optimizer": {"type": "sgd", "learningRate": 0.05, "momentum": 0.9}}
    spec = regression("two-targets", minilm, housing, COLUMNS, training)
    return {ranks: run_job(spec, tmp_path_factory.mktemp(f"ranks-{ranks}"), workers=ranks) for ranks in (1, 2)}


@pytest.mark.parametrize("split", ["validation", "test"])
def test_every_metric_is_that_of_scikit_learn_or_scipy_on_the_predictions(two_targets, split):
    finished = two_targets[2]
    rows = finished.predictions(split)
    reported = finished.metrics[split]
    assert len(rows) == reported["samples"]
    of_targets = []
    for column, target in zip(COLUMNS, reported["targets"], strict=True):
        assert target["target"] == column
        values = np.array([float(row[f"value_{column}"]) for row in rows])
        predictions = np.array([float(row[f"prediction_{column}"]) for row in rows])
        expected = {
            "mae": sk.mean_absolute_error(values, predictions),
            "mse": sk.mean_squared_error(values, predictions),
            "mape": sk.mean_absolute_percentage_error(values, predictions),
            "explained_variance": sk.explained_variance_score(values, predictions),
            "rmse": sk.root_mean_squared_error(values, predictions),
            "r2": sk.r2_score(values, predictions),
            "pearson": stats.pearsonr(values, predictions)[0],
            "spearman": stats.spearmanr(values, predictions)[0],
        }
        of_targets.append(expected)
        for name, value in target["metrics"].items():
            assert value == pytest.approx(expected[name], rel=1e-9, abs=1e-9), (column, name)
    for name in of_targets[0]:
        mean = np.mean([target[name] for target in of_targets])
        assert reported["metrics"][name] == pytest.approx(mean, rel=1e-9, abs=1e-9), name


def test_the_scale_is_that_of_a_standard_scaler_and_the_values_are_those_of_the_file(two_targets, housing):
    finished = two_targets[1]
    config = json.loads((finished.folder / "config.json").read_text())
    with open(housing / "train.csv", newline="") as file:
        train = [[float(row[column]) for column in COLUMNS] for row in csv.DictReader(file)]
    for place, target in enumerate(config["targets"]):
        values = np.array(train)[:, place]
        assert target["name"] == COLUMNS[place]
        assert [target["mean"], target["std"]] == pytest.approx([values.mean(), values.std()], rel=1e-12)
    with open(housing / "test.csv", newline="") as file:
        for found, written in zip(finished.predictions("test"), csv.DictReader(file), strict=True):
            assert [float(found[f"value_{column}"]) for column in COLUMNS] == [float(written[column]) for column in COLUMNS]


def is_the_epoch_of_pytorch(finished, head, prefix, x, y):
    """Compares the losses of the steps and the weights at the end with those of a head that PyTorch trains on features `x` and values `y`."""
    y = torch.from_numpy((y - y.mean(0)) / y.std(0)).float()
    optimizer = torch.optim.SGD(head.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for batch in torch.tensor(sample_order(EPOCH["seed"], 0, len(x))).split(EPOCH["batchSize"]):
        optimizer.zero_grad()
        loss = nn.HuberLoss(delta=0.75)(head(x[batch]), y[batch])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    for ranks, job in finished.items():
        assert [step["loss"] for step in job.history] == pytest.approx(losses, rel=1e-5), ranks
        trained = load_file(job.folder / "head.safetensors")
        for key, expected in head.state_dict().items():
            assert (trained[f"{prefix}{key}"] - expected).abs().max() <= 1e-5, (ranks, key)


def test_an_epoch_is_pytorchs_on_one_and_on_two_ranks(two_targets, minilm, housing, tmp_path):
    head, prefix = drawn_head(regression("still", minilm, housing, COLUMNS, EPOCH), tmp_path)
    is_the_epoch_of_pytorch(two_targets, head, prefix, *features(minilm, housing / "train.csv", COLUMNS))


def test_an_epoch_on_images_is_pytorchs_on_one_and_on_two_ranks(tmp_path):
    """Two numbers of each photograph, its mean red and its mean blue, from a table of paths."""
    source = shared("data/hymenoptera")
    weights = shared("weights/mobilenet_v2_imagenet/mobilenet_v2_imagenet_dequant.safetensors")
    pictures = {}
    for split, folder, count in (("train", "train", 60), ("validation", "val", 20)):
        # Every third, so that both classes are there.
        paths = sorted((source / folder).rglob("*.jpg"))[::3][:count]
        pictures[split] = [(path, *np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3).mean(0)[[0, 2]]) for path in paths]
        with open(tmp_path / f"{split}.csv", "w", newline="") as file:
            csv.writer(file).writerows([["path", "red", "blue"], *pictures[split]])
    spec = job(
        "colours",
        {"architecture": "mobilenet_v2", "weights": str(weights), "head": {"type": "linear"}},
        {
            "format": "csv",
            **{split: {"uri": str(tmp_path / f"{split}.csv")} for split in pictures},
            "columns": {"image": "path", "targets": ["red", "blue"]},
            "preprocessing": {"resize": 128, "crop": 112, "mean": [0.5] * 3, "std": [0.5] * 3},
        },
        {**EPOCH, "optimizer": {"type": "sgd", "learningRate": 0.05, "momentum": 0.9}},
    )
    spec["spec"]["task"]["type"] = "regression"
    head, prefix = drawn_head(spec, tmp_path / "still")
    finished = {ranks: run_job(spec, tmp_path / f"ranks-{ranks}", workers=ranks) for ranks in (1, 2)}
    transform = transforms.Compose(
        [transforms.Resize(128), transforms.CenterCrop(112), transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
    )
    model = mobilenet_v2()
    model.load_state_dict(load_file(weights), strict=False)
    model.classifier = nn.Identity()
    with torch.no_grad():
        x = model.eval()(torch.stack([transform(Image.open(path).convert("RGB")) for path, *_ in pictures["train"]]))
    is_the_epoch_of_pytorch(finished, head, prefix, x, np.array([numbers for _, *numbers in pictures["train"]]))


TARGET = COLUMNS[:1]
BATCH, LEARNING_RATE = 64, 1e-2


@pytest.mark.parametrize(
    "splits, epochs, least",
    [
        pytest.param({"train": 500, "validation": 150, "test": 250}, 8, 0.25, id="a part of the districts"),
        pytest.param({"train": 3000, "validation": 1000, "test": 1000}, 20, 0.4, id="5,000 districts", marks=pytest.mark.long),
    ],
)
def test_california_housing_in_sentences_reaches_the_r2_of_a_pytorch_probe(minilm, tmp_path, splits, epochs, least):
    write_housing(tmp_path, splits)
    training = {
        "epochs": epochs,
        "batchSize": BATCH,
        "seed": 7,
        "optimizer": {"type": "adamw", "learningRate": LEARNING_RATE, "weightDecay": 0.01},
        "bestMetric": "validation/r2",
    }
    spec = regression("housing", minilm, tmp_path, TARGET, training)
    found = run_job(spec, tmp_path / "job").metrics["test"]["metrics"]["r2"]
    few = tmp_path / "few"
    few.mkdir()
    write_housing(few, {"train": 8, "validation": 8, "test": 8})
    head, _ = drawn_head(regression("still", minilm, few, TARGET, training), few / "job")
    expected = probe(head, epochs, *(features(minilm, tmp_path / f"{split}.csv", TARGET) for split in splits))
    print(f"R2 of the test split {found:.4f}, PyTorch's probe {expected:.4f}")
    assert found == pytest.approx(expected, abs=0.01)
    assert found > least, "the sentences say something about the price"


def probe(head, epochs, train, validation, test):
    """R2 on test of the epoch that is best on validation: the same head, order, loss, optimizer and batch in plain PyTorch."""
    (x, y), (mean, std) = train, (train[1].mean(0), train[1].std(0))
    standardised = torch.from_numpy((y - mean) / std).float()
    optimizer = torch.optim.AdamW(head.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    score = lambda split: sk.r2_score(split[1], head(split[0]).detach().double().numpy() * std + mean)
    best = (-np.inf, None)
    for epoch in range(epochs):
        for batch in torch.tensor(sample_order(7, epoch, len(x))).split(BATCH):
            optimizer.zero_grad()
            nn.functional.mse_loss(head(x[batch]), standardised[batch]).backward()
            optimizer.step()
        best = max(best, (score(validation), score(test)))
    return best[1]
