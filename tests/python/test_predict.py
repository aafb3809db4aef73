"""`firn predict` and `firn evaluate` give what the job gave, to the last bit, and score files that it has never seen."""

import csv
import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
from conftest import FIRN, ROOT, environment, job, run_job, shared
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn import metrics as sk

TRAINING = {"epochs": 2, "batchSize": 16, "seed": 3, "optimizer": {"type": "sgd", "learningRate": 0.1}}
WEIGHTS = "weights/mobilenet_v2_imagenet/mobilenet_v2_imagenet_dequant.safetensors"


def firn(*arguments, text=None):
    """What it writes to standard output; it has to succeed."""
    finished = outcome(*arguments, text=text)
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-4000:]
    return finished.stdout


def outcome(*arguments, text=None):
    command = [FIRN, *map(str, arguments)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, input=text, timeout=600)


def refusal(*arguments, text=None):
    """What it says where it does nothing."""
    finished = outcome(*arguments, text=text)
    assert (finished.returncode, finished.stdout) == (1, ""), finished.stdout[-2000:] + finished.stderr[-4000:]
    return finished.stderr


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    """Reviews of SST-2 with a class, with labels that do not exclude each other, and with a number."""
    folder = tmp_path_factory.mktemp("reviews")
    with open(shared("data/sst2/train.tsv"), newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if len(row["sentence"]) < 80][:170]
    for name, part in (("train", rows[:100]), ("validation", rows[100:130]), ("test", rows[130:])):
        with open(folder / f"{name}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "class", "labels", "length"])
            for row in part:
                text, is_good = row["sentence"].strip(), row["label"] == "1"
                labels = [label for label, has in (("good", is_good), ("long", len(text) > 50)) if has]
                writer.writerow([text, ["bad", "good"][is_good], "|".join(labels), len(text)])
    return folder


TASKS = {
    "classification": {"label": "class"},
    "multi_label_classification": {"label": "labels"},
    "regression": {"targets": ["length"]},
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """An encoder of two layers."""
    from test_library_folders import encoder

    folder = tmp_path_factory.mktemp("small")
    encoder("bert", folder)
    return folder


@pytest.fixture(scope="module", params=TASKS)
def finished(request, minilm, small, reviews, tmp_path_factory):
    """Of one task with a real encoder, whose products are large enough for several threads."""
    source = minilm if request.param == "classification" else small
    data = {
        "format": "csv",
        **{split: {"uri": str(reviews / f"{split}.csv")} for split in ("train", "validation", "test")},
        "columns": TASKS[request.param],
    }
    # A metric of one class, or label, chooses the best epoch, and is told of like any other.
    watched = {} if request.param == "regression" else {"bestMetric": "validation/f1", "bestMetricClass": "good"}
    spec = job("reviews", {"architecture": "bert", "weights": str(source / "model.safetensors")}, data, {**TRAINING, **watched})
    spec["spec"]["task"]["type"] = request.param
    return run_job(spec, tmp_path_factory.mktemp(request.param), workers=1)


def test_the_predictions_of_the_test_file_are_those_that_the_job_left(finished, reviews):
    predicted = firn("predict", finished.folder, reviews / "test.csv")
    assert predicted == (finished.folder / "predictions_test.csv").read_text()


def test_an_artifact_predicts_where_the_pretrained_folder_is_gone(small, reviews, tmp_path):
    pretrained = tmp_path / "pretrained"
    pretrained.symlink_to(small)
    data = {
        "format": "csv",
        **{split: {"uri": str(reviews / f"{split}.csv")} for split in ("train", "validation", "test")},
        "columns": TASKS["classification"],
    }
    spec = job("away", {"architecture": "bert", "weights": str(pretrained / "model.safetensors")}, data, TRAINING)
    finished = run_job(spec, tmp_path / "run", workers=1)
    pretrained.unlink()
    assert firn("predict", finished.folder, reviews / "test.csv") == (finished.folder / "predictions_test.csv").read_text()


def test_the_metrics_of_the_test_file_and_their_intervals_are_those_that_the_job_left(finished, reviews, tmp_path):
    written = tmp_path / "predictions.csv"
    found = json.loads(firn("evaluate", finished.folder, reviews / "test.csv", "-o", "json", "--predictions", written))
    assert found.pop("quarantined") == []
    expected = {name: value for name, value in finished.metrics["test"].items() if name != "epoch"}
    assert found == expected
    assert written.read_bytes() == (finished.folder / "predictions_test.csv").read_bytes()
    assert "loss" in firn("evaluate", finished.folder, reviews / "test.csv")


def test_samples_without_labels_get_the_same_scores(finished, reviews, tmp_path):
    """A table that lacks the label column, JSON lines in place of CSV being another format, and texts from standard input."""
    rows = rows_of((reviews / "test.csv").read_text())
    bare = tmp_path / "bare.csv"
    with open(bare, "w", newline="") as file:
        csv.writer(file).writerows([["text"], *([row["text"]] for row in rows)])
    weights = tmp_path / "other"
    shutil.copytree(finished.folder, weights)
    tensors = load_file(weights / "model.safetensors")
    frozen = next(name for name in tensors if "layer.0" in name and name.endswith("weight"))
    save_file({**tensors, frozen: tensors[frozen] + 1e-3}, weights / "model.safetensors", {"format": "pt"})
    assert "frozen part" in refusal("predict", weights, bare)
    expected = finished.predictions("test")
    kept = [name for name in expected[0] if not name.startswith(("label", "value_")) and name != "sample"]
    from_table = rows_of(firn("predict", finished.folder, bare))
    assert list(from_table[0]) == ["index", "sample", *kept[1:]]
    assert [[row[name] for name in kept] for row in from_table] == [[row[name] for name in kept] for row in expected]
    lines = firn("predict", finished.folder, "-", "-o", "jsonl", text="\n".join(row["text"] for row in rows) + "\n\n")
    for line, row in zip(lines.splitlines(), from_table, strict=True):
        found = json.loads(line)
        assert found["sample"] == f"stdin:{int(row['index']) + 1}"
        for name in kept[1:]:
            value = found[name]
            assert str(value) == row[name] if isinstance(value, str) else value == float(row[name]), name


def test_what_cannot_be_predicted_is_told(finished, reviews, tmp_path):
    assert f"cannot read {tmp_path}/nowhere/spec.json" in refusal("predict", tmp_path / "nowhere", reviews / "test.csv")
    bare = tmp_path / "bare.csv"
    bare.write_text("text\nfine\n")
    label = json.loads((finished.folder / "spec.json").read_text())["spec"]["data"]["columns"]
    assert f"`{(label.get('targets') or [label.get('label')])[0]}`" in refusal("evaluate", finished.folder, bare)
    other = tmp_path / "other.csv"
    other.write_text("sentence\nfine\n")
    assert "`text`" in refusal("predict", finished.folder, other)
    assert "standard input holds no text" in refusal("predict", finished.folder, "-", text="\n")


def test_images_are_found_in_folders_of_classes_in_any_folder_and_alone(tmp_path):
    source = shared("data/hymenoptera")
    folders = {}
    for split, folder, count in (("train", "train", 20), ("validation", "val", 6), ("test", "val", 8)):
        for kind in ("ants", "bees"):
            place = tmp_path / split / kind
            place.mkdir(parents=True)
            for path in sorted((source / folder / kind).glob("*.jpg"))[:count]:
                (place / path.name).symlink_to(path)
        folders[split] = {"uri": str(tmp_path / split)}
    preprocessing = {"resize": 128, "crop": 112}
    data = {"format": "imagefolder", **folders, "preprocessing": preprocessing}
    model = {"architecture": "mobilenet_v2", "weights": str(shared(WEIGHTS)), "freeze": {"through": "features.17"}}
    job_ = run_job(job("insects", model, data, {**TRAINING, "epochs": 1}), tmp_path / "job", workers=1)
    assert firn("predict", job_.folder, tmp_path / "test") == (job_.folder / "predictions_test.csv").read_text()

    expected = {row["sample"]: row for row in job_.predictions("test")}
    anywhere = rows_of(firn("predict", job_.folder, tmp_path / "test" / "bees"))
    assert [f"bees/{row['sample']}" for row in anywhere] == [name for name in expected if name.startswith("bees/")]
    probability = lambda row: float(row["probability_bees"])
    near = [probability(row) - probability(expected[f"bees/{row['sample']}"]) for row in anywhere]
    assert np.abs(near).max() < 1e-5, "other neighbours in a batch change the last bits at most"
    assert "label" not in anywhere[0]
    first = next(iter((tmp_path / "test" / "ants").iterdir()))
    (alone,) = rows_of(firn("predict", job_.folder, first))
    assert alone["sample"] == first.name
    assert abs(probability(alone) - probability(expected[f"ants/{first.name}"])) < 1e-5

    (tmp_path / "test" / "bees" / "broken.jpg").write_bytes(b"no image")
    broken = outcome("predict", job_.folder, tmp_path / "test" / "bees")
    assert broken.returncode == 1 and "set aside broken.jpg" in broken.stderr
    assert [row["sample"] for row in rows_of(broken.stdout)] == [row["sample"] for row in anywhere], "the others are predicted"
    assert "holds no class folders" in refusal("evaluate", job_.folder, tmp_path / "test" / "bees")
    (tmp_path / "test" / "NOTES.txt").write_text("what lies beside the classes is passed over, as in a job")
    scored = outcome("evaluate", job_.folder, tmp_path / "test", "-o", "json")
    shown = json.loads(scored.stdout)
    assert scored.returncode == 1 and [sample["sample"] for sample in shown["quarantined"]] == ["bees/broken.jpg"]
    labels = [row["label"] == "bees" for row in expected.values()]
    scores = [probability(row) for row in expected.values()]
    assert shown["metrics"]["roc_auc"] == pytest.approx(sk.roc_auc_score(labels, scores), abs=1e-9)


# Every form that a job can have, by the test split that it names, and what of the spec is special. The first ones run in `make test`, on two workers each, whose
# ranks have half of the machine's threads.
TEXT_CLASSES = ("texts", "csv", {"label": "class"})
IMAGE_CLASSES = ("images", "csv", {"image": "image", "label": "class"})
RESIDUAL = {"architecture": "resnet18"}
ENCODER = {"uri": "encoder"}
FORMS = {
    "image table, columns of labels with tuned thresholds": (
        ("images", "csv", {"image": "image", "labels": ["dark", "warm"]}),
        {"architecture": "mobilenet_v2"},
        {"task": {"tuneThresholds": True}},
    ),
    "image lines, numbers, network of a folder": (("images", "jsonl", {"image": "image", "targets": ["red", "blue"]}), {"uri": "vit"}, {}),
    "image folder, own classes, unfrozen after the best epoch": (
        ("images", "imagefolder", ["warm", "pale", "dark"]),
        {**RESIDUAL, "freeze": {"through": "all", "unfreeze": {"layer4": 1, "layer3": 2}}},
        # So slow that no image gets another class: the first epoch remains the best.
        {"epochs": 3, "bestMetric": "validation/accuracy", "optimizer": {"type": "sgd", "learningRate": 1e-6}},
    ),
    "words with tags": (("tags", "conll", {}), {**ENCODER, "freeze": {"through": "layer.0"}}, {}),
    "TorchScript": (IMAGE_CLASSES, {"architecture": "torchscript", "weights": "script.pt"}, {}),
    "adapters and their average": (TEXT_CLASSES, {**ENCODER, "freeze": {"through": "none"}, "lora": {"rank": 2}}, {"ema": {"decay": 0.5}}),
    "adapters that are not merged": (
        ("texts", "jsonl", {"label": "labels"}),
        {**ENCODER, "freeze": {"through": "layer.0"}, "lora": {"rank": 2}, "head": {"type": "mlp", "hiddenSizes": [16]}},
        {"mergedModel": False},
    ),
    "bfloat16": (IMAGE_CLASSES, {**RESIDUAL, "freeze": {"through": "layer3"}}, {"frozenPrecision": "bf16"}),
}
MORE_FORMS = {
    "pairs": (("texts", "csv", {"text": "text", "textPair": "class", "targets": ["length"]}), {**ENCODER, "pooling": "attention"}, {}),
    "text columns of labels, unfrozen": (
        ("texts", "csv", {"labels": ["good", "long"]}),
        {**ENCODER, "freeze": {"through": "all", "unfreeze": {"layer.1": 1}}},
        {"optimizer": {"type": "adamw", "learningRate": 1e-3}},
    ),
    "words of JSON lines with tags, adapters of a decoder": (
        ("tags", "jsonl", {"tokens": "words", "tags": "tags"}),
        {"uri": "gpt2", "freeze": {"through": "none"}, "lora": {"rank": 2}},
        {"ema": {"decay": 0.5}},
    ),
    "ordered classes": (TEXT_CLASSES, {**ENCODER, "head": {"type": "ordinal"}}, {"classes": ["good", "bad"]}),
    "adapters of a decoder": (TEXT_CLASSES, {"uri": "gpt2", "freeze": {"through": "none"}, "lora": {"rank": 4, "targets": ["c_attn", "c_proj"]}}, {}),
    "adapters of images": (IMAGE_CLASSES, {"uri": "vit", "freeze": {"through": "none"}, "lora": {"rank": 2}}, {"ema": {"decay": 0.5}}),
    "adapters in bfloat16": (TEXT_CLASSES, {**ENCODER, "freeze": {"through": "layer.0"}, "lora": {"rank": 2}}, {"frozenPrecision": "bf16"}),
    "adapters of a classifier behind convolutions": (
        IMAGE_CLASSES,
        {"architecture": "mobilenet_v3_small", "freeze": {"through": "features.8"}, "lora": {"rank": 2}},
        {},
    ),
    "BatchNorm that trains and its average": (
        IMAGE_CLASSES,
        {**RESIDUAL, "freeze": {"through": "layer3"}},
        {"batchNorm": "train", "ema": {"decay": 0.5}},
    ),
    "unfrozen before the best epoch": (
        IMAGE_CLASSES,
        {**RESIDUAL, "freeze": {"through": "all", "unfreeze": {"layer4": 1}}},
        {"epochs": 3, "optimizer": {"type": "adamw", "learningRate": 1e-3}},
    ),
    "one thread": (IMAGE_CLASSES, {**RESIDUAL, "freeze": {"through": "layer3"}}, {"determinism": "strict"}),
    "cosine, of parts of a micro-batch": (IMAGE_CLASSES, {"architecture": "efficientnet_b0", "head": {"type": "cosine"}}, {"microBatchSize": 7}),
}


@pytest.fixture(scope="module")
def forms(small, tmp_path_factory):
    """Small images and texts as every format has them, and small networks."""
    import torch
    from test_export import tiny
    from test_library_folders import lines, network_of_images

    folder = tmp_path_factory.mktemp("forms")
    chance = np.random.default_rng(5)
    for split, count in (("train", 40), ("validation", 24), ("test", 37)):
        images = []
        for number in range(count):
            label = ["dark", "warm", "pale"][number % 3]
            pixels = chance.integers(0, 160, (40, 36, 3), dtype=np.uint8)
            pixels[..., 0] += np.uint8(90 * (label == "warm"))
            place = folder / split / label / f"{number:02}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(place)
            red, blue = pixels[..., 0].mean().item(), pixels[..., 2].mean().item()
            flags = {"dark": int(red < 90), "warm": int(label == "warm")}
            images.append({"image": f"{split}/{label}/{number:02}.png", "class": label, "red": red, "blue": blue, **flags})
        texts = [
            {"text": text, "class": ["bad", "good"][len(text) % 2], "length": len(text), "good": len(text) % 2, "long": int(len(text) > 60)}
            for text, _ in lines("train")[: count + 3]
        ]
        for kind, rows in (("images", images), ("texts", texts)):
            with open(folder / f"{kind}-{split}.csv", "w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
            listed = lambda row: {**row, "labels": [label for label in ("good", "long") if row.get(label)]}
            (folder / f"{kind}-{split}.jsonl").write_text("".join(json.dumps(listed(row)) + "\n" for row in rows))
        tagged = [(words, tags_of(words)) for words in (row["text"].split() for row in texts)]
        (folder / f"tags-{split}.jsonl").write_text("".join(json.dumps({"words": words, "tags": tags}) + "\n" for words, tags in tagged))
        sentences = ("\n".join(f"{word} {tag}" for word, tag in zip(*sentence, strict=True)) for sentence in tagged)
        (folder / f"tags-{split}.conll").write_text("\n\n".join(sentences) + "\n")
    (folder / "encoder").symlink_to(small)
    tiny("gpt2", folder / "gpt2", [text for text, _ in lines("test")])
    network_of_images("vit", folder / "vit")
    torch.manual_seed(2)
    layers = [torch.nn.Conv2d(3, 16, 3, stride=2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten()]
    torch.jit.script(torch.nn.Sequential(*layers).eval()).save(folder / "script.pt")
    return folder


def tags_of(words):
    """Entities are words of more than six letters."""
    is_long = [len(word) > 6 for word in words]
    return [f"{'I' if place and is_long[place - 1] else 'B'}-LONG" if long else "O" for place, long in enumerate(is_long)]


def task_of(kind, columns):
    if kind == "tags":
        return "token_classification"
    if "targets" in columns:
        return "regression"
    return "multi_label_classification" if "labels" in columns or columns == {"label": "labels"} else "classification"


def form_of(forms, form):
    """Its spec, and where its test split lies."""
    (kind, format_, columns), model, training = (FORMS | MORE_FORMS)[form]
    is_folder = format_ == "imagefolder"
    place = lambda split: forms / (split if is_folder else f"{kind}-{split}.{format_}")
    data = {"format": format_, **{split: {"uri": str(place(split))} for split in ("train", "validation", "test")}}
    data |= {"classes" if is_folder else "columns": columns} if columns else {}
    if kind == "images" and "uri" not in model:
        data["preprocessing"] = {"resize": 36, "crop": 32}
    if kind in ("texts", "tags"):
        data["preprocessing"] = {"maxLength": 16}
    training = {"epochs": 2, "batchSize": 16, "seed": 3, "optimizer": {"type": "sgd", "learningRate": 0.05}, **training}
    if "classes" in training:
        data["classes"] = training.pop("classes")
    is_merged, task = training.pop("mergedModel", True), training.pop("task", {})
    model = {**model, **{name: str(forms / model[name]) for name in ("uri", "weights") if name in model}}
    spec = job("form", model, data, training)
    spec["spec"]["artifacts"] = {"mergedModel": is_merged}
    spec["spec"]["task"] = {"type": task_of(kind, columns), **task}
    return spec, place("test")


def check_form(forms, form, workers, folder):
    """That the files of a job predict what the job predicted, byte for byte, and that the job has found so itself."""
    spec, test = form_of(forms, form)
    if spec["spec"]["training"].get("frozenPrecision") == "bf16" and "avx512_bf16" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("the processor has no instructions for bfloat16")
    finished = run_job(spec, folder, workers=workers, options=("--keep-data", folder / "kept"))
    if "unfrozen after" in form:
        assert finished.metrics["bestEpoch"] == 0
    if "thresholds" in form:
        thresholds, rows = finished.metrics["thresholds"], finished.predictions("test")
        asked = lambda label, row: float(row[f"probability_{label}"]) >= 0.5
        assert any(asked(label, row) != (row[f"predicted_{label}"] == "1") for label in thresholds for row in rows), "they are those that count"
    if "tags" in form:
        assert finished.metrics["test"]["words"]["leftOut"] > 0, "some texts are cut"
    expected = (finished.folder / "predictions_test.csv").read_text()
    assert firn("predict", finished.folder, test) == expected
    written = folder / "predictions.csv"
    scored = json.loads(firn("evaluate", finished.folder, test, "-o", "json", "--predictions", written))
    assert scored.pop("quarantined") == []
    assert scored == {name: value for name, value in finished.metrics["test"].items() if name != "epoch"}
    assert written.read_text() == expected
    logs = "".join(path.read_text(errors="replace") for path in (folder / "kept").rglob("*") if path.is_file())
    assert "the artifacts were loaded again, and score as was recorded" in logs


@pytest.mark.parametrize("form", FORMS)
def test_two_workers_predict_what_their_artifacts_predict(form, forms, tmp_path):
    check_form(forms, form, 2, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("form", FORMS | MORE_FORMS)
def test_every_form_predicts_what_its_artifacts_predict(form, workers, forms, tmp_path):
    check_form(forms, form, workers, tmp_path)


@pytest.mark.parametrize("build", sorted(path.parent.name for path in (ROOT / "tests/fixtures/builds").glob("*/data.tar.gz")))
def test_what_a_build_before_left_predicts_what_its_job_predicted(build, tmp_path):
    for archive in ("data", "inputs"):
        with tarfile.open(ROOT / f"tests/fixtures/builds/{build}/{archive}.tar.gz") as packed:
            packed.extractall(tmp_path, filter="data")
    left = tmp_path / "left"
    left.mkdir()
    for path in (tmp_path / "data/jobs/images/artifacts").iterdir():
        path.rename(left / path.name.split("-", 1)[1])
    found = rows_of(firn("predict", left, tmp_path / "inputs/images/test"))
    expected = rows_of((left / "predictions_test.csv").read_text())
    assert found and [list(row)[:3] for row in found] == [list(row)[:3] for row in expected]
    for row, other in zip(found, expected, strict=True):
        assert [row["sample"], row["label"]] == [other["sample"], other["label"]]
        # On another machine.
        near = [abs(float(row[name]) - float(other[name])) for name in row if name.startswith("probability_")]
        assert near and max(near) < 1e-5, row
