"""An epoch of a classification is PyTorch's, with each optimizer and each limit of the gradient, on one and on two ranks; so are epochs in which more and
more of the encoder trains, and an epoch of low-rank adapters is PEFT's."""

import csv

import numpy as np
import pytest
import timm.optim
import torch
from conftest import job, run_job, shared
from one_epoch import drawn_head, sample_order
from procedure import mean_pooled, pooled, rows_of
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
    rows = rows_of(sentences / "train.csv")
    return mean_pooled(minilm, [row["text"] for row in rows], 128), torch.tensor([["bad", "good"].index(row["label"]) for row in rows])


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


UNFROZEN, LAYER_DECAY = {"layer.5": 1, "layer.4": 2}, 0.5
# AdamW divides a gradient by its own size: with the usual epsilon, the last bits of the smallest ones would be compared.
EPSILON = 1e-4


def tokens_of(minilm, sentences):
    """The training samples as an encoder takes them, and their classes."""
    from transformers import AutoTokenizer

    with open(sentences / "train.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    batch = AutoTokenizer.from_pretrained(minilm)([row["text"] for row in rows], padding=True, return_tensors="pt")
    return batch, torch.tensor([["bad", "good"].index(row["label"]) for row in rows])


def unfrozen_by_pytorch(minilm, sentences, beginning, epochs):
    """The losses of the steps, and the encoder and the head after them: what is not unfrozen yet has no gradient, so AdamW remembers nothing of it."""
    from transformers import AutoModel

    encoder, head = AutoModel.from_pretrained(minilm).eval(), nn.Linear(*beginning["weight"].shape[::-1])
    head.load_state_dict(beginning)
    encoder.requires_grad_(False)
    layers = [(encoder.encoder.layer[number], LAYER_DECAY ** (6 - number), UNFROZEN[f"layer.{number}"]) for number in (5, 4)]
    groups = [{"params": head.parameters(), "lr": 0.01}]
    groups += [{"params": layer.parameters(), "lr": 0.01 * scale} for layer, scale, _ in layers]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.1, eps=EPSILON)
    criterion = nn.CrossEntropyLoss(weight=torch.tensor([CLASS_WEIGHTS["bad"], CLASS_WEIGHTS["good"]]), label_smoothing=0.1)
    batch, classes = tokens_of(minilm, sentences)
    losses = []
    for epoch in range(epochs):
        for layer, _, begins in layers:
            layer.requires_grad_(epoch >= begins)
        for rows in torch.tensor(sample_order(SEED, epoch, SAMPLES)).split(BATCH):
            loss = criterion(logits_of(encoder, head, batch, rows), classes[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses, encoder.state_dict(), head.state_dict()


def test_epochs_in_which_more_and_more_layers_train_are_pytorchs(minilm, sentences, beginning, tmp_path):
    values, prefix = beginning
    losses, encoder, head = unfrozen_by_pytorch(minilm, sentences, values, 3)
    rule = {"type": "adamw", "learningRate": 0.01, "weightDecay": 0.1, "epsilon": EPSILON}
    training = {"epochs": 3, "optimizer": rule, "weightDecayOf": "all", "layerDecay": LAYER_DECAY}
    spec = spec_of("unfreezing", minilm, sentences, training)
    spec["spec"]["model"] |= {"freeze": {"through": "all", "unfreeze": UNFROZEN}, "dropout": "none"}
    spec["spec"]["data"].pop("validation")
    for ranks in (1, 2):
        finished = run_job(spec, tmp_path / str(ranks), workers=ranks)
        assert [step["loss"] for step in finished.history] == pytest.approx(losses, rel=1e-5), ranks
        trained = load_file(finished.folder / "head.safetensors")
        for key, value in head.items():
            np.testing.assert_allclose(trained.pop(f"{prefix}{key}"), value, rtol=1e-5, atol=1e-5, err_msg=f"{key} on {ranks} ranks")
        assert len(trained) == 2 * 16, "two layers of 16 tensors trained"
        for key, value in trained.items():
            np.testing.assert_allclose(value, encoder[key.removeprefix("bert.")], rtol=1e-5, atol=1e-5, err_msg=f"{key} on {ranks} ranks")


ADAPTERS = {"rank": 4, "alpha": 6.0, "targets": ["query", "value", "attention.output.dense"]}


def with_adapters(name, minilm, sentences, training):
    spec = spec_of(name, minilm, sentences, training)
    spec["spec"]["model"] |= {"freeze": {"through": "layer.2"}, "lora": ADAPTERS, "dropout": "none"}
    return spec


def in_peft(minilm, folder):
    """The encoder with the adapters that a job left, as PEFT loads them, and the head beside it."""
    from peft import PeftModel
    from transformers import AutoModel

    encoder = PeftModel.from_pretrained(AutoModel.from_pretrained(minilm), folder / "adapter", is_trainable=True).eval()
    tensors = load_file(folder / "head.safetensors")
    head = nn.Linear(*tensors["classifier.weight"].shape[::-1])
    head.load_state_dict({key: tensors[f"classifier.{key}"] for key in ("weight", "bias")})
    return encoder, head


def logits_of(encoder, head, batch, rows):
    return head(pooled(encoder, {key: value[rows] for key, value in batch.items()}))


def test_an_epoch_of_adapters_is_pefts_and_what_it_leaves_predicts_the_same_there(minilm, sentences, tmp_path):
    still = {"epochs": 1, "optimizer": {"type": "sgd", "learningRate": 1e-300, "momentum": 0.0}}
    beginning = run_job(with_adapters("still-adapters", minilm, sentences, still), tmp_path / "still").folder
    encoder, head = in_peft(minilm, beginning)
    adapters = {name: parameter for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert len(adapters) == 3 * 3 * 2 and all(".lora_" in name for name in adapters), "three layers, three targets, two factors"
    before = {name: parameter.detach().clone() for name, parameter in adapters.items()}
    weights = [*adapters.values(), head.weight]
    optimizer = torch.optim.AdamW([{"params": weights}, {"params": [head.bias], "weight_decay": 0.0}], lr=0.01, weight_decay=0.1, eps=EPSILON)
    criterion = nn.CrossEntropyLoss(weight=torch.tensor([CLASS_WEIGHTS["bad"], CLASS_WEIGHTS["good"]]), label_smoothing=0.1)
    batch, classes = tokens_of(minilm, sentences)
    losses = []
    for rows in torch.tensor(sample_order(SEED, 0, SAMPLES)).split(BATCH):
        optimizer.zero_grad()
        loss = criterion(logits_of(encoder, head, batch, rows), classes[rows])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert max((adapters[name] - before[name]).abs().max().item() for name in adapters) > 1e-2, "nothing was learned, so nothing is compared"
    training = {"optimizer": {"type": "adamw", "learningRate": 0.01, "weightDecay": 0.1, "epsilon": EPSILON}}
    for ranks in (1, 2):
        finished = run_job(with_adapters("adapters", minilm, sentences, training), tmp_path / str(ranks), workers=ranks)
        assert [step["loss"] for step in finished.history] == pytest.approx(losses, rel=1e-5), ranks
        ours, our_head = in_peft(minilm, finished.folder)
        for name, parameter in ours.named_parameters():
            if parameter.requires_grad:
                np.testing.assert_allclose(parameter.detach(), adapters[name].detach(), rtol=1e-5, atol=1e-5, err_msg=f"{name} on {ranks} ranks")
        predicts_what_the_job_predicted(minilm, sentences, finished, ours, our_head)


def predicts_what_the_job_predicted(minilm, sentences, finished, encoder, head):
    """In PEFT, and once the adapters are merged: by PEFT, and in the model that the job left."""
    from transformers import AutoModel, AutoTokenizer

    rows = finished.predictions("validation")
    with open(sentences / "validation.csv", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    batch = AutoTokenizer.from_pretrained(minilm)(texts, padding=True, return_tensors="pt")
    found = np.array([[float(row[name]) for name in list(row)[4:]] for row in rows])
    merged = AutoModel.from_pretrained(minilm).eval()
    state = load_file(finished.folder / "model.safetensors")
    missing = merged.load_state_dict(state, strict=False)
    assert not missing.missing_keys and set(missing.unexpected_keys) == {"head.weight", "head.bias", "embeddings.position_ids"}, missing
    networks = {"PEFT": lambda: encoder, "PEFT, merged": encoder.merge_and_unload, "merged by Firn": lambda: merged}
    for name, network in networks.items():
        with torch.no_grad():
            expected = logits_of(network(), head, batch, torch.arange(len(texts))).double().softmax(1).numpy()
        np.testing.assert_allclose(found, expected, atol=2e-6, err_msg=name)
