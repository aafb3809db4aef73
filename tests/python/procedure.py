"""The procedure of a job in PyTorch: the same order of samples, the same beginning, the same optimizer, schedule and choice of the best epoch."""

import csv
import math

import torch
from one_epoch import sample_order
from torch import nn
from transformers import AutoModel, AutoTokenizer, get_scheduler


def rows_of(path):
    """The rows of a table, as dictionaries."""
    options = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if path.suffix == ".tsv" else {}
    with open(path, newline="") as file:
        return list(csv.DictReader(file, **options))


def mean_pooled(encoder, texts, longest):
    """Features `(texts, width)` of a frozen encoder, by the folder of its weights."""
    tokenizer, network = AutoTokenizer.from_pretrained(encoder), AutoModel.from_pretrained(encoder).eval()
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    states = torch.empty(len(texts), network.config.hidden_size)
    with torch.no_grad():
        for begin in range(0, len(texts), 64):
            places = order[begin : begin + 64]
            batch = tokenizer([texts[place] for place in places], padding=True, truncation=True, max_length=longest, return_tensors="pt")
            states[places] = pooled(network, batch)
    return states


def pooled(network, batch):
    """The mean of the states of each text, padding left out."""
    mask = batch["attention_mask"].unsqueeze(-1).float()
    return (network(**batch).last_hidden_state * mask).sum(1) / mask.sum(1)


def optimizer_of(training, parameters):
    """The optimizer of a job, in PyTorch."""
    rule = training["optimizer"]
    decays = training.get("weightDecayOf", "weights") == "all"
    groups = [
        {"params": [tensor for tensor in parameters if decays or tensor.dim() > 1], "weight_decay": rule["weightDecay"]},
        {"params": [tensor for tensor in parameters if not decays and tensor.dim() <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if rule["type"] == "sgd":
        return torch.optim.SGD(groups, rule["learningRate"], momentum=rule["momentum"], nesterov=rule.get("nesterov", False))
    assert rule["type"] == "adamw"
    return torch.optim.AdamW(groups, rule["learningRate"])


def trained(spec, samples, parameters, loss, score):
    """Trains `parameters` on `samples` samples as the job of `spec` does, where `loss` gives the mean loss of some of them in an epoch and a step of it. After
    each epoch `score` gives the value by which epochs are chosen, higher being better, and the value of the test split; that of the best epoch is returned."""
    training = spec["spec"]["training"]
    schedule = training.get("schedule", {"type": "constant"})
    optimizer = optimizer_of(training, parameters)
    epochs, size = training["epochs"], training["batchSize"]
    steps = epochs * math.ceil(samples / size)
    warm = math.ceil(schedule.get("warmupRatio", 0.0) * steps)
    rate = get_scheduler(schedule["type"], optimizer, warm, steps)
    best, step = None, 0
    for epoch in range(epochs):
        for places in torch.tensor(sample_order(training.get("seed", 0), epoch, samples)).split(size):
            optimizer.zero_grad()
            loss(places, epoch, step).backward()
            step += 1
            if limit := training.get("maxGradientNorm"):
                nn.utils.clip_grad_norm_(parameters, limit)
            optimizer.step()
            rate.step()
        with torch.no_grad():
            found = score()
        if best is None or found[0] > best[0]:
            best = found
    return best[1]


def probe(spec, head, splits, criterion, score):
    """A head on features that stay as they are: `splits` are `(features, targets)` of train, validation and test; `score` rates outputs against targets."""
    (x, y), *scored = splits
    of = lambda split: score(head(split[0]), split[1])
    return trained(
        spec,
        len(x),
        list(head.parameters()),
        lambda places, *_: criterion(head(x[places]), y[places]),
        lambda: [of(split) for split in scored],
    )
