"""Pairs of texts: a network sees of them what transformers shows it, learns classes and numbers of them, and predicts new ones."""

import csv
import json

import numpy as np
import pytest
import torch
from conftest import job, run_job, shared
from safetensors.torch import load_file
from test_predict import TRAINING, firn, refusal, rows_of


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Reviews of SST-2, two by two: whether both are of one opinion, and how near their lengths are."""
    folder = tmp_path_factory.mktemp("pairs")
    with open(shared("data/sst2/train.tsv"), newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if len(row["sentence"]) < 80][:320]
    joined = list(zip(rows[0::2], rows[1::2]))
    for name, part in (("train", joined[:100]), ("test", joined[100:])):
        with open(folder / f"{name}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["first", "second", "relation", "similarity"])
            for first, second in part:
                a, b = first["sentence"].strip(), second["sentence"].strip()
                writer.writerow([a, b, ["other", "same"][first["label"] == second["label"]], 1 - abs(len(a) - len(b)) / 80])
    return folder


TASKS = {"classification": {"label": "relation"}, "regression": {"targets": ["similarity"]}}


@pytest.fixture(scope="module", params=TASKS)
def finished(request, minilm, pairs, tmp_path_factory):
    columns = {"text": "first", "textPair": "second", **TASKS[request.param]}
    splits = {"train": {"uri": str(pairs / "train.csv")}, "validation": {"split": 0.2}, "test": {"uri": str(pairs / "test.csv")}}
    data = {"format": "csv", **splits, "columns": columns, "preprocessing": {"maxLength": 24}}
    model = {"architecture": "bert", "weights": str(minilm / "model.safetensors"), "freeze": {"through": "layer.4"}, "dropout": "none"}
    spec = job("pairs", model, data, {**TRAINING, "optimizer": {"type": "sgd", "learningRate": 0.01}})
    spec["spec"]["task"]["type"] = request.param
    return [run_job(spec, tmp_path_factory.mktemp(f"{request.param}-{ranks}"), workers=ranks) for ranks in (1, 2)]


def outputs_of_transformers(minilm, folder, rows):
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(minilm)
    batch = tokenizer(
        [row["first"] for row in rows],
        [row["second"] for row in rows],
        truncation="longest_first",
        max_length=24,
        padding=True,
        return_tensors="pt",
    )
    assert batch["token_type_ids"].max() == 1 and batch["attention_mask"].sum(1).max() == 24
    whole = load_file(folder / "model.safetensors")
    encoder = AutoModel.from_pretrained(minilm).eval()
    assert not encoder.load_state_dict({name: value for name, value in whole.items() if not name.startswith("head.")}, strict=False).missing_keys
    with torch.no_grad():
        states, mask = encoder(**batch).last_hidden_state, batch["attention_mask"].unsqueeze(-1)
        return ((states * mask).sum(1) / mask.sum(1)) @ whole["head.weight"].T + whole["head.bias"]


def test_what_is_predicted_of_a_pair_is_what_transformers_predicts(finished, minilm, pairs):
    rows = rows_of((pairs / "test.csv").read_text())
    one, two = finished
    assert [step["loss"] for step in two.history] == pytest.approx([step["loss"] for step in one.history], rel=1e-5)
    outputs = outputs_of_transformers(minilm, one.folder, rows).double()
    predicted = one.predictions("test")
    if "probability_same" in predicted[0]:
        found = [[float(row["probability_other"]), float(row["probability_same"])] for row in predicted]
        np.testing.assert_allclose(found, outputs.softmax(1), atol=1e-5)
    else:
        scale = json.loads((one.folder / "config.json").read_text())["targets"][0]
        column = next(name for name in predicted[0] if name.startswith("prediction_"))
        expected = outputs[:, 0].numpy() * scale["std"] + scale["mean"]
        np.testing.assert_allclose([float(row[column]) for row in predicted], expected, atol=1e-5)


def test_new_pairs_are_predicted_from_tables_and_from_standard_input(finished, pairs, tmp_path):
    folder = finished[0].folder
    expected = (folder / "predictions_test.csv").read_text()
    assert firn("predict", folder, pairs / "test.csv") == expected
    rows = rows_of((pairs / "test.csv").read_text())
    lines = "".join(f"{row['first']}\t{row['second']}\n" for row in rows)
    kept = [name for name in rows_of(expected)[0] if not name.startswith(("label", "value_", "sample"))]
    found = rows_of(firn("predict", folder, "-", text=lines))
    assert [[row[name] for name in kept] for row in found] == [[row[name] for name in kept] for row in rows_of(expected)]
    assert "standard input, line 2: expected two texts with a tab between them, found 1 field(s)" in refusal("predict", folder, "-", text="a\tb\nalone\n")
    (tmp_path / "half.csv").write_text("first\nfine\n")
    assert "has no column `second` for the text" in refusal("predict", folder, tmp_path / "half.csv")
