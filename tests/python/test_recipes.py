"""The recipes of `deploy/recipes` on real data: what a job reaches on its test split is what the same procedure reaches in PyTorch."""

import pathlib

import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT, run_job, shared
from one_epoch import drawn_head
from PIL import Image
from procedure import mean_pooled, pooled, probe, rows_of, trained
from safetensors.torch import load_file
from sklearn import metrics as sk
from test_export import subset
from test_regression import write_housing
from torch import nn

RECIPES = ROOT / "deploy" / "recipes"
LONG = pytest.mark.long


def recipe(name, folder, weights, few=False):
    """The recipe, beside whose copy the weights lie; its data are still to be laid there. `few`: for a job that says how a head begins."""
    (folder / "data").mkdir(parents=True)
    (folder / "weights").symlink_to(weights if weights.is_dir() else weights.parent)
    spec = yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
    spec["spec"]["training"].setdefault("seed", 0)
    if weights.is_file():
        spec["spec"]["model"]["weights"] = f"weights/{weights.name}"
    return spec


def is_reached(name, finished, metric, expected, split="test"):
    """Both numbers are printed, and lie within 0.01 of each other."""
    found = finished.metrics[split]["metrics"][metric]
    print(f"{name}: {metric} on {finished.metrics[split]['samples']} samples of {split}: Firn {found:.4f}, PyTorch {expected:.4f}")
    assert found == pytest.approx(expected, abs=0.01)


def accuracy(outputs, classes):
    return (outputs.argmax(1) == classes).double().mean().item()


def sst2(folder, train, test):
    """Sentences of SST-2 by split: the first of `train`, its last hundred for validation, and the first of `test`."""
    for split, source, part in (
        ("train", "train", slice(train)),
        ("validation", "train", slice(-800, None)),
        ("test", "test", slice(test)),
    ):
        lines = shared(f"data/sst2/{source}.tsv").read_text().splitlines()
        (folder / f"{split}.tsv").write_text("\n".join([lines[0], *lines[1:][part]]) + "\n")


def sentences(folder):
    """Texts and classes of each split."""
    for split in ("train", "validation", "test"):
        rows = rows_of(folder / f"{split}.tsv")
        yield [row["sentence"] for row in rows], torch.tensor([int(row["label"]) for row in rows])


def head_of(name, weights, lay, folder):
    """The head with which the recipe's job begins: it depends on the seed and its shape alone, so a few samples tell it."""
    spec = recipe(name, folder, weights)
    lay(folder / "data")
    return drawn_head(spec, folder)[0]


@pytest.mark.parametrize("train, test", [(2000, 400), pytest.param(20000, 872, marks=LONG)])
def test_sentiment(tmp_path, minilm, train, test):
    spec = recipe("sentiment", tmp_path / "job", minilm)
    sst2(tmp_path / "job/data", train, test)
    finished = run_job(spec, tmp_path / "job")
    splits = [(mean_pooled(minilm, texts, 128), classes) for texts, classes in sentences(tmp_path / "job/data")]
    head = head_of("sentiment", minilm, lambda folder: sst2(folder, 8, 8), tmp_path / "still")
    is_reached("sentiment", finished, "accuracy", probe(spec, head, splits, nn.functional.cross_entropy, accuracy))


# Of few sentences something is learned in more and larger steps.
@pytest.mark.parametrize("train, test, batch, rate", [(320, 200, 16, 0.005), pytest.param(6000, 872, 32, 0.001, marks=LONG)])
def test_lora(tmp_path, minilm, train, test, batch, rate):
    """Against PEFT, whose adapters begin as those of the job do."""
    from peft import PeftModel
    from transformers import AutoModel, AutoTokenizer

    still = recipe("lora", tmp_path / "still", minilm)
    sst2(tmp_path / "still/data", 8, 8)
    still["spec"]["training"] = {"epochs": 1, "seed": 0, "optimizer": {"type": "sgd", "learningRate": 1e-300, "momentum": 0.0}}
    beginning = run_job(still, tmp_path / "still").folder
    network = PeftModel.from_pretrained(AutoModel.from_pretrained(minilm), beginning / "adapter", is_trainable=True).eval()
    head = nn.Linear(network.config.hidden_size, 2)
    tensors = load_file(beginning / "head.safetensors")
    head.load_state_dict({key: tensors[f"classifier.{key}"] for key in ("weight", "bias")})

    spec = recipe("lora", tmp_path / "job", minilm)
    sst2(tmp_path / "job/data", train, test)
    spec["spec"]["training"]["batchSize"] = batch
    spec["spec"]["training"]["optimizer"]["learningRate"] = rate
    # The masks of dropout are numbers of Firn's own.
    spec["spec"]["model"]["dropout"] = "none"
    finished = run_job(spec, tmp_path / "job")
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    (texts, classes), *scored = sentences(tmp_path / "job/data")
    outputs = lambda texts: head(pooled(network, tokenizer(texts, padding=True, truncation=True, max_length=128, return_tensors="pt")))
    expected = trained(
        spec,
        len(texts),
        [parameter for part in (network, head) for parameter in part.parameters() if parameter.requires_grad],
        lambda places, *_: nn.functional.cross_entropy(outputs([texts[place] for place in places]), classes[places]),
        lambda: [accuracy(torch.cat([outputs(texts[begin : begin + 64]) for begin in range(0, len(texts), 64)]), classes) for texts, classes in scored],
    )
    is_reached("lora", finished, "accuracy", expected)
    assert expected > 0.6, "what guesses reaches as much"


@pytest.mark.parametrize("part", [40, pytest.param(2428, marks=LONG)])
def test_pneumonia(tmp_path, part):
    from torchvision import transforms
    from torchvision.models import mobilenet_v2

    images = shared("data/pneumoniamnist")
    weights = shared("weights/mobilenet_v2_imagenet/mobilenet_v2_imagenet_dequant.safetensors")

    def lay(folder, part):
        for split, source in (("train", "train"), ("validation", "val"), ("test", "test")):
            subset(images / source, part, folder / split)

    spec = recipe("pneumonia", tmp_path / "job", weights)
    lay(tmp_path / "job/data", part)
    spec["spec"]["training"]["weightDecayOf"] = "all"
    finished = run_job(spec, tmp_path / "job")
    prepared = transforms.Compose([transforms.Resize(96), transforms.CenterCrop(96), transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)])
    network = mobilenet_v2()
    network.load_state_dict(load_file(weights), strict=False)
    network.classifier = nn.Identity()
    network.eval()

    def features(split):
        paths = sorted((tmp_path / "job/data" / split).rglob("*.png"))
        found = []
        with torch.no_grad():
            for begin in range(0, len(paths), 64):
                pixels = [prepared(Image.open(path).convert("RGB")) for path in paths[begin : begin + 64]]
                found.append(network(torch.stack(pixels)))
        return torch.cat(found), torch.tensor([int(path.parent.name == "pneumonia") for path in paths])

    head = head_of("pneumonia", weights, lambda folder: lay(folder, 3), tmp_path / "still")
    area = lambda outputs, classes: sk.roc_auc_score(classes, outputs[:, 1] - outputs[:, 0])
    splits = [features(split) for split in ("train", "validation", "test")]
    is_reached("pneumonia", finished, "roc_auc", probe(spec, head, splits, nn.functional.cross_entropy, area))


@pytest.mark.parametrize("films", [1500, pytest.param(9742, marks=LONG)])
def test_genres(tmp_path, minilm, films):
    spec = recipe("genres", tmp_path / "job", minilm)
    lines = shared("data/ml-latest-small/movies.csv").read_text().rstrip("\n").split("\n")
    (tmp_path / "job/data/movies.csv").write_text("\n".join(lines[: films + 1]) + "\n")
    finished = run_job(spec, tmp_path / "job")
    rows = rows_of(tmp_path / "job/data/movies.csv")
    labels = sorted({label for row in rows for label in row["genres"].split("|")})
    # Firn has drawn the splits: the predictions say which row is in which.
    place = lambda row: int(row["sample"].rsplit(":", 1)[1]) - 2
    drawn = {split: [place(row) for row in finished.predictions(split)] for split in ("validation", "test")}
    taken = {number for numbers in drawn.values() for number in numbers}
    drawn = {"train": [number for number in range(len(rows)) if number not in taken], **drawn}
    states = mean_pooled(minilm, [row["title"] for row in rows], 64)
    targets = torch.tensor([[float(label in row["genres"].split("|")) for label in labels] for row in rows])
    splits = [(states[numbers], targets[numbers]) for numbers in drawn.values()]

    def lay(folder):
        # Each label belongs to half of the films.
        some = lambda number: "|".join(label for place, label in enumerate(labels) if (place + number) % 2)
        (folder / "movies.csv").write_text("movieId,title,genres\n" + "".join(f'{number},"film {number}",{some(number)}\n' for number in range(30)))

    head = head_of("genres", minilm, lay, tmp_path / "still")
    precision = lambda outputs, targets: sk.average_precision_score(targets.numpy(), outputs.numpy(), average="macro")
    is_reached("genres", finished, "average_precision", probe(spec, head, splits, nn.functional.binary_cross_entropy_with_logits, precision))


@pytest.mark.parametrize("splits", [(300, 120, 120), pytest.param((6000, 1000, 2000), marks=LONG)])
def test_house_prices(tmp_path, minilm, splits):
    target = "median_house_value"
    lay = lambda folder, counts: write_housing(folder, dict(zip(("train", "validation", "test"), counts)))
    spec = recipe("house-prices", tmp_path / "job", minilm)
    lay(tmp_path / "job/data", splits)
    finished = run_job(spec, tmp_path / "job")
    tables = [rows_of(tmp_path / "job/data" / f"{split}.csv") for split in ("train", "validation", "test")]
    values = [np.array([[float(row[target])] for row in rows]) for rows in tables]
    mean, spread = values[0].mean(0), values[0].std(0)
    parts = [
        (mean_pooled(minilm, [row["text"] for row in rows], 128), torch.from_numpy((found - mean) / spread).float())
        for rows, found in zip(tables, values)
    ]
    head = head_of("house-prices", minilm, lambda folder: lay(folder, (8, 8, 8)), tmp_path / "still")
    determination = lambda outputs, targets: sk.r2_score(targets.numpy(), outputs.numpy())
    is_reached("house-prices", finished, "r2", probe(spec, head, parts, nn.functional.mse_loss, determination))


def small_gpt2(folder, texts):
    """A GPT-2 of four blocks that has learned which words follow others in `texts`, and its tokenizer."""
    import transformers
    from tokenizers import ByteLevelBPETokenizer

    words = ByteLevelBPETokenizer()
    words.train_from_iterator(texts, vocab_size=4000, special_tokens=["<|endoftext|>"], show_progress=False)
    special = {name: "<|endoftext|>" for name in ("pad_token", "eos_token", "bos_token")}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words._tokenizer, **special)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(5)
    sizes = {"vocab_size": 4000, "n_positions": 64, "n_embd": 128, "n_layer": 4, "n_head": 4}
    tokens = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    network = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, **tokens)).train()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    for begin in range(0, len(texts), 64):
        batch = tokenizer([f"{text}<|endoftext|>" for text in texts[begin : begin + 64]], padding=True, truncation=True, max_length=64, return_tensors="pt")
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        optimizer.zero_grad()
        network(**batch, labels=labels).loss.backward()
        optimizer.step()
    network.save_pretrained(folder)


@pytest.mark.parametrize("pretrained, train, test", [(3000, 1000, 400), pytest.param(30000, 6000, 872, marks=LONG)])
def test_gpt2(tmp_path, pretrained, train, test):
    """The last block, the last norm and the output layer learn, as in transformers."""
    from transformers import AutoTokenizer, GPT2ForSequenceClassification

    source = tmp_path / "gpt2"
    small_gpt2(source, [row["sentence"] for row in rows_of(shared("data/sst2/train.tsv"))[6000 : 6000 + pretrained]])

    def made(folder, train, test):
        spec = recipe("gpt2", folder, source)
        sst2(folder / "data", train, test)
        spec["spec"]["model"] |= {"freeze": {"through": "layer.2"}, "dropout": "none"}
        return spec

    spec = made(tmp_path / "job", train, test)
    finished = run_job(spec, tmp_path / "job")
    head, _ = drawn_head(made(tmp_path / "still", 8, 8), tmp_path / "still")
    network = GPT2ForSequenceClassification.from_pretrained(source, num_labels=2).eval()
    network.score.weight.data.copy_(head.weight)
    network.requires_grad_(False)
    learning = [network.score.weight, *network.transformer.h[3].parameters(), *network.transformer.ln_f.parameters()]
    for parameter in learning:
        parameter.requires_grad_(True)
    tokenizer = AutoTokenizer.from_pretrained(source)
    outputs = lambda texts: network(**tokenizer(texts, padding=True, truncation=True, max_length=64, return_tensors="pt")).logits
    (texts, classes), *scored = sentences(tmp_path / "job/data")
    expected = trained(
        spec,
        len(texts),
        learning,
        lambda places, *_: nn.functional.cross_entropy(outputs([texts[place] for place in places]), classes[places]),
        lambda: [accuracy(torch.cat([outputs(texts[begin : begin + 64]) for begin in range(0, len(texts), 64)]), classes) for texts, classes in scored],
    )
    is_reached("gpt2", finished, "accuracy", expected)
