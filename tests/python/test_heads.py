"""Each head and each pooling of texts: an epoch is PyTorch's on one and on two ranks, and what a job leaves predicts the same in Firn and in PyTorch."""

import json

import numpy as np
import pytest
import torch
import torchvision
from conftest import job, run_job, shared
from one_epoch import sample_order
from safetensors.torch import load_file
from test_export import published_preprocessing, subset
from test_predict import firn, rows_of
from test_training import BATCH, CLASS_WEIGHTS, SAMPLES, SEED, sentences, spec_of, tokens_of  # noqa: F401 (`sentences` is a fixture)
from torch import nn
from torch.nn import functional

WIDTH = 384
# At this rate nothing moves, and what a job leaves is what it began with.
STILL = {"type": "sgd", "learningRate": 1e-300, "momentum": 0.0}
SGD = {"type": "sgd", "learningRate": 0.1, "momentum": 0.9}


class CosineLinear(nn.Module):
    """As the README has it for those who load an export."""

    def __init__(self, width, outputs):
        super().__init__()
        self.weight, self.scale = nn.Parameter(torch.empty(outputs, width)), nn.Parameter(torch.empty(()))

    def forward(self, features):
        return self.scale * functional.linear(functional.normalize(features), functional.normalize(self.weight))


class Pooled(nn.Module):
    """A pooling and the head, by the names of an export."""

    def __init__(self, head, pooling="mean"):
        super().__init__()
        self.head, self.kind = head, pooling
        if pooling == "attention":
            self.pooling = nn.ModuleDict({"projection": nn.Linear(WIDTH, WIDTH), "context": nn.Linear(WIDTH, 1, bias=False)})

    def forward(self, states, mask):
        return self.head(self.pool(states, mask.unsqueeze(-1)))

    def pool(self, states, mask):
        if self.kind == "mean":
            return (states * mask).sum(1) / mask.sum(1)
        if self.kind == "max":
            # As sentence-transformers' `Pooling` has it.
            return torch.where(mask == 0, torch.tensor(-1e9), states).max(1).values
        scores = self.pooling["context"](torch.tanh(self.pooling["projection"](states)))
        return (states * scores.masked_fill(mask == 0, -torch.inf).softmax(1)).sum(1)


def mlp():
    hidden = [nn.Dropout(0), nn.Linear(WIDTH, 32), nn.GELU(), nn.Dropout(0), nn.Linear(32, 16), nn.GELU()]
    return nn.Sequential(*hidden, nn.Dropout(0), nn.Linear(16, 2))


# What the model of the spec has besides its weights, the same in PyTorch, and the learning rule.
MADE = {
    "mlp": ({"head": {"type": "mlp", "hiddenSizes": [32, 16], "activation": "gelu"}}, lambda: Pooled(mlp()), SGD),
    "cosine": ({"head": {"type": "cosine", "scale": 4}}, lambda: Pooled(CosineLinear(WIDTH, 2)), SGD),
    "cosine-fixed": ({"head": {"type": "cosine", "scale": 4, "learnScale": False}}, lambda: Pooled(CosineLinear(WIDTH, 2)), SGD),
    "max": ({"pooling": "max"}, lambda: Pooled(nn.Linear(WIDTH, 2), "max"), SGD),
    "attention": ({"pooling": "attention"}, lambda: Pooled(nn.Linear(WIDTH, 2), "attention"), SGD),
}


def spec_with(name, more, minilm, sentences, training):
    spec = spec_of(name, minilm, sentences, training)
    spec["spec"]["model"] |= more
    return spec


def trained_by_pytorch(network, minilm, sentences):
    """The losses of the steps; the network is changed."""
    from transformers import AutoModel

    encoder = AutoModel.from_pretrained(minilm).eval()
    batch, classes = tokens_of(minilm, sentences)
    with torch.no_grad():
        states = encoder(**batch).last_hidden_state
    trains = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trains, 0.1, momentum=0.9)
    criterion = nn.CrossEntropyLoss(weight=torch.tensor([CLASS_WEIGHTS["bad"], CLASS_WEIGHTS["good"]]), label_smoothing=0.1)
    losses = []
    for rows in torch.tensor(sample_order(SEED, 0, SAMPLES)).split(BATCH):
        optimizer.zero_grad()
        loss = criterion(network(states[rows], batch["attention_mask"][rows]), classes[rows])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("made", MADE)
def test_an_epoch_is_pytorchs_on_one_and_two_ranks(made, minilm, sentences, tmp_path):  # noqa: F811
    more, build, rule = MADE[made]
    began = run_job(spec_with("still", more, minilm, sentences, {"optimizer": STILL}), tmp_path / "still").folder
    own = ("head.", "pooling.")
    network = build()
    whole = load_file(began / "model.safetensors")
    network.load_state_dict({name: value for name, value in whole.items() if name.startswith(own)}, strict=True)
    if made == "cosine-fixed":
        network.head.scale.requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    losses = trained_by_pytorch(network, minilm, sentences)
    moved = {name: (value - before[name]).abs().max().item() for name, value in network.state_dict().items()}
    assert min(value for name, value in moved.items() if (made, name) != ("cosine-fixed", "head.scale")) > 1e-4, moved
    for ranks in (1, 2):
        finished = run_job(spec_with("epoch", more, minilm, sentences, {"optimizer": rule}), tmp_path / str(ranks), workers=ranks)
        assert [step["loss"] for step in finished.history] == pytest.approx(losses, rel=1e-5), ranks
        whole = load_file(finished.folder / "model.safetensors")
        largest = 0.0
        for name, value in network.state_dict().items():
            np.testing.assert_allclose(whole[name], value, rtol=1e-5, atol=1e-5, err_msg=f"{name} on {ranks} ranks")
            largest = max(largest, (whole[name] - value).abs().max().item())
        print(f"{made}, {ranks} ranks: largest difference {largest:.1e}")


def test_dropout_in_hidden_layers_is_the_same_on_two_ranks(minilm, sentences, tmp_path):  # noqa: F811
    more = {"head": {"type": "mlp", "hiddenSizes": [64], "dropout": 0.5}}
    jobs = [
        run_job(spec_with("dropped", more, minilm, sentences, {"epochs": 2, "optimizer": SGD, **other}), tmp_path / str(place), workers=ranks)
        for place, (ranks, other) in enumerate([(1, {}), (2, {"microBatchSize": 3})])
    ]
    one, two = ([step["loss"] for step in finished.history] for finished in jobs)
    assert two == pytest.approx(one, rel=1e-5)
    heads = [load_file(finished.folder / "head.safetensors") for finished in jobs]
    for name, value in heads[0].items():
        np.testing.assert_allclose(heads[1][name], value, rtol=1e-5, atol=1e-5, err_msg=name)


LEFT = {
    "mlp-with-adapters": {"head": {"type": "mlp", "hiddenSizes": [32]}, "freeze": {"through": "layer.3"}, "lora": {"rank": 2}},
    "cosine-unfrozen": {"head": {"type": "cosine"}, "freeze": {"through": "all", "unfreeze": {"layer.5": 1}}},
    "attention-unfrozen": {"pooling": "attention", "freeze": {"through": "layer.4"}},
    "max": {"pooling": "max"},
}


@pytest.mark.parametrize("kind", LEFT)
def test_what_a_job_leaves_predicts_what_it_predicted(kind, minilm, sentences, tmp_path):  # noqa: F811
    spec = spec_with(kind, LEFT[kind], minilm, sentences, {"epochs": 2, "optimizer": SGD})
    spec["spec"]["data"]["test"] = spec["spec"]["data"]["validation"]
    finished = run_job(spec, tmp_path, workers=1)
    expected = (finished.folder / "predictions_test.csv").read_text()
    assert firn("predict", finished.folder, sentences / "validation.csv") == expected
    config = json.loads((finished.folder / "config.json").read_text())
    head = spec["spec"]["model"].get("head", {})
    assert config.get("head", {}).get("type") == head.get("type")
    assert config["pooling"] == spec["spec"]["model"].get("pooling", "mean")
    alone = tmp_path / "head-alone"
    alone.mkdir()
    for name in ("head.safetensors", "spec.json", "config.json"):
        (alone / name).write_bytes((finished.folder / name).read_bytes())
    predicted = firn("predict", alone, sentences / "validation.csv")
    if "lora" in LEFT[kind]:
        # Without the whole model adapters stand beside the weights, and round otherwise.
        numbers = lambda text: np.array([list(row.values())[4:] for row in rows_of(text)], float)
        np.testing.assert_allclose(numbers(predicted), numbers(expected), atol=1e-5)
    else:
        assert predicted == expected


@pytest.mark.parametrize(
    ("head", "build"),
    [
        ({"type": "mlp", "hiddenSizes": [32], "dropout": 0.2}, lambda: nn.Sequential(nn.Dropout(0.2), nn.Linear(512, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 2))),
        ({"type": "cosine", "learnScale": False}, lambda: CosineLinear(512, 2)),
    ],
)
def test_the_whole_network_loads_strictly_in_torchvision(tmp_path, head, build):
    images = shared("data/hymenoptera")
    torch.manual_seed(7)
    preprocess = published_preprocessing("resnet18")
    source = torchvision.models.resnet18(weights=None)
    with torch.no_grad():
        source.train()(torch.stack([preprocess(path) for path in sorted((images / "train/ants").glob("*.jpg"))[:16]]))
    from safetensors.torch import save_file

    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    splits = {name: {"uri": str(subset(images / folder, 6, tmp_path / name))} for name, folder in (("train", "train"), ("validation", "val"))}
    model = {"architecture": "resnet18", "weights": str(tmp_path / "weights.safetensors"), "head": head}
    finished = run_job(job("export", model, {"format": "imagefolder", **splits}, {"epochs": 1, "batchSize": 8}), tmp_path / "run")
    merged = torchvision.models.resnet18(weights=None)
    merged.fc = build()
    merged.load_state_dict(load_file(finished.folder / "model.safetensors"), strict=True)
    merged.eval()
    for row in finished.predictions("validation"):
        with torch.no_grad():
            expected = merged(preprocess(tmp_path / "validation" / row["sample"])[None]).double().softmax(1)[0]
        found = [float(row[name]) for name in list(row)[4:]]
        # Pixels may differ by 1/255 between the decoders.
        assert found == pytest.approx(expected.tolist(), abs=5e-3), row["sample"]
