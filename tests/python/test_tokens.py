"""Tags of words: an epoch is PyTorch's with transformers' recipe, and what a job leaves predicts the same in Firn and in transformers."""

import json
import random

import numpy as np
import pytest
import torch
from conftest import job, run_job
from one_epoch import sample_order
from safetensors.torch import load_file
from test_export import tiny
from test_folders import filled, text
from test_predict import firn, outcome, refusal, rows_of

TAGS = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
SAMPLES, BATCH, SEED, LONGEST = 45, 8, 5, 16
SMOOTHING, WEIGHTS = 0.1, {"O": 0.3, "I-PER": 2.0}
SYLLABLES = "an be dor el fin gra hu is jo ka lum mi no or pe qui ra su ta un vo wex yl zo".split()


def word(draw, syllables=(1, 3)):
    return "".join(draw.choice(SYLLABLES) for _ in range(draw.randint(*syllables)))


def sentences(count, seed):
    """Sentences of 1 to 14 words, whose names have capital letters and whose places end in `-burg`; some words give no token."""
    draw, found = random.Random(seed), []
    for _ in range(count):
        words, tags = [], []
        while not words or draw.random() < 0.8:
            kind = draw.choice(["O", "O", "LOC", "PER"])
            if kind == "O":
                words.append(draw.choice([word(draw), ".", "\u200d"]) if words else word(draw))
                tags.append("O")
                continue
            for place in range(draw.randint(1, 3)):
                words.append(word(draw).capitalize() if kind == "PER" else f"{word(draw)}-burg")
                tags.append(f"{'I' if place else 'B'}-{kind}")
        found.append((words[:14], tags[:14]))
    return found


@pytest.fixture(scope="module")
def tagged(tmp_path_factory):
    """JSON lines, and the same test split in the form of CoNLL and without tags."""
    folder = tmp_path_factory.mktemp("tagged")
    for number, (name, count) in enumerate((("train", SAMPLES), ("validation", 20), ("test", 40))):
        lines = [json.dumps({"id": place, "words": words, "ner_tags": tags}) for place, (words, tags) in enumerate(sentences(count, number))]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    test = sentences(40, 2)
    (folder / "words.jsonl").write_text("".join(json.dumps({"words": words}) + "\n" for words, _ in test))
    (folder / "lines.txt").write_text("".join(" ".join(words) + "\n" for words, _ in test))
    for number, name in enumerate(("train", "validation", "test")):
        blocks = ["\n".join(f"{word} X {tag}" for word, tag in zip(*sentence)) for sentence in sentences((SAMPLES, 20, 40)[number], number)]
        (folder / f"{name}.conll").write_text("-DOCSTART- -X- O\n\n" + "\n\n".join(blocks) + "\n")
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return network("bert", tmp_path_factory.mktemp("bert"))


def network(kind, folder):
    """A folder with a network of two layers and its tokenizer."""
    texts = [" ".join(words) for words, _ in sentences(60, 9)]
    if kind not in ("bert", "roberta", "distilbert"):
        tiny(kind, folder, texts)
        return folder
    from tokenizers import BertWordPieceTokenizer
    from transformers import PreTrainedTokenizerFast

    trained = BertWordPieceTokenizer(lowercase=False)
    trained.train_from_iterator(texts, vocab_size=300, show_progress=False)
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=trained._tokenizer, **special).save_pretrained(folder)
    filled(text(kind)).save_pretrained(folder)
    return folder


def spec_of(source, tagged, training, model=None, kind="bert", form="jsonl"):
    splits = {split: {"uri": str(tagged / f"{split}.{form}")} for split in ("train", "validation", "test")}
    data = {"format": form, **splits, "classes": TAGS, "preprocessing": {"maxLength": LONGEST}}
    if form == "jsonl":
        data["columns"] = {"tokens": "words", "tags": "ner_tags"}
    model = {"architecture": kind, "weights": str(source), "freeze": {"through": "layer.0"}, "dropout": "none", **(model or {})}
    training = {"epochs": 1, "batchSize": BATCH, "microBatchSize": 3, "seed": SEED, **training}
    spec = job("tagged", model, data, training)
    spec["spec"]["task"]["type"] = "token_classification"
    return spec


def opened(folder):
    """The network as `from_pretrained` makes it, with nothing missing, and its tokenizer."""
    from transformers import AutoModelForTokenClassification, AutoTokenizer, PreTrainedTokenizerFast

    model, info = AutoModelForTokenClassification.from_pretrained(folder, output_loading_info=True)
    assert {name: list(found) for name, found in info.items() if found} == {}
    assert [model.config.id2label[place] for place in range(len(TAGS))] == TAGS
    assert model.config.architectures == [type(model).__name__]
    # For Qwen2 the automatic one has steps of its own, which are not those of this small file.
    tokenizer = PreTrainedTokenizerFast if model.config.model_type == "qwen2" else AutoTokenizer
    return model.eval(), tokenizer.from_pretrained(folder)


def encoded(tokenizer, part):
    """transformers' recipe: the label of a word stands at its first token, and -100 elsewhere. With the number of the word that stands there."""
    options = {"is_split_into_words": True, "truncation": True, "max_length": LONGEST, "padding": True, "return_tensors": "pt"}
    batch = tokenizer([words for words, _ in part], **options)
    labels, places = torch.full(batch["input_ids"].shape, -100), torch.full(batch["input_ids"].shape, -1)
    for row, (_, tags) in enumerate(part):
        before = None
        for token, place in enumerate(batch.word_ids(row)):
            if place is not None and place != before:
                labels[row, token], places[row, token] = TAGS.index(tags[place]), place
            before = place
    return {name: batch[name] for name in ("input_ids", "attention_mask")}, labels, places


RULE = {"type": "sgd", "learningRate": 0.2, "momentum": 0.9}
STILL = {"type": "sgd", "learningRate": 1e-300, "momentum": 0.0}
LOSS = {"labelSmoothing": SMOOTHING, "classWeights": WEIGHTS}


def trained_by_pytorch(model, tokenizer):
    """The losses of the steps; the network is changed."""
    train = sentences(SAMPLES, 0)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".layer.1." in name or name.startswith("classifier"))
    trains = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trains, 0.2, momentum=0.9)
    criterion = torch.nn.CrossEntropyLoss(weight=torch.tensor([WEIGHTS.get(tag, 1.0) for tag in TAGS]), label_smoothing=SMOOTHING)
    losses = []
    for rows in torch.tensor(sample_order(SEED, 0, SAMPLES)).split(BATCH):
        batch, labels, _ = encoded(tokenizer, [train[row] for row in rows])
        optimizer.zero_grad()
        loss = criterion(model(**batch).logits.flatten(0, 1), labels.flatten())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.fixture(scope="module")
def by_pytorch(bert, tagged, tmp_path_factory):
    began = run_job(spec_of(bert, tagged, {"optimizer": STILL}), tmp_path_factory.mktemp("still"), workers=1)
    model, tokenizer = opened(began.folder)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    losses = trained_by_pytorch(model, tokenizer)
    after = model.state_dict()
    moved = [name for name in after if (after[name] - before[name]).abs().max() > 1e-4]
    assert {"classifier.weight", "classifier.bias"} < set(moved) and not any(".layer.0." in name for name in moved)
    return losses, after


@pytest.fixture(scope="module")
def epochs(bert, tagged, tmp_path_factory):
    """The same epoch on so many ranks."""
    made = {}

    def epoch(ranks):
        if ranks not in made:
            spec = spec_of(bert, tagged, {"optimizer": RULE, "loss": LOSS})
            made[ranks] = run_job(spec, tmp_path_factory.mktemp(f"epoch-{ranks}"), workers=ranks)
        return made[ranks]

    return epoch


@pytest.mark.parametrize("ranks", [1, 2, pytest.param(3, marks=pytest.mark.long)])
def test_an_epoch_is_pytorchs(by_pytorch, epochs, ranks):
    losses, expected = by_pytorch
    finished = epochs(ranks)
    assert [step["loss"] for step in finished.history] == pytest.approx(losses, rel=1e-5)
    whole, largest = load_file(finished.folder / "model.safetensors"), 0.0
    # The weights are those of a bare encoder, whose names have no prefix.
    expected = {name.removeprefix("bert."): value for name, value in expected.items()}
    assert whole.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(whole[name], value, rtol=1e-5, atol=1e-5, err_msg=name)
        largest = max(largest, (whole[name] - value).abs().max().item())
    print(f"{ranks} ranks: largest difference of a number {largest:.1e}")


def predicted_by_transformers(folder, test):
    """Of each sentence: of each of its words the tag, its probability and that of the true tag; `None` of a word that was left out."""
    model, tokenizer = opened(folder)
    batch, labels, places = encoded(tokenizer, test)
    with torch.no_grad():
        probabilities = model(**batch).logits.double().softmax(-1)
    found = []
    for row, (words, _) in enumerate(test):
        of_words = [None] * len(words)
        for token in (places[row] >= 0).nonzero().flatten().tolist():
            best = probabilities[row, token].argmax().item()
            own = probabilities[row, token, labels[row, token]].item()
            of_words[places[row, token]] = (TAGS[best], probabilities[row, token, best].item(), own)
        found.append(of_words)
    return found


def compare(finished, test):
    """The predictions of a job with those of the folder that it left; the largest difference of a probability, and the words that were left out."""
    rows, expected = finished.predictions("test"), predicted_by_transformers(finished.folder, test)
    assert [row["word"] for row in rows] == [word for words, _ in test for word in words]
    assert [row["label"] for row in rows] == [tag for _, tags in test for tag in tags]
    assert [int(row["index"]) for row in rows] == [place for place, (words, _) in enumerate(test) for _ in words]
    largest, left_out = 0.0, 0
    for row, word in zip(rows, [word for sentence in expected for word in sentence], strict=True):
        found = [row[name] for name in ("predicted", "probability", "probability_label")]
        if word is None:
            assert found == [""] * 3, row
            left_out += 1
            continue
        assert found[0] == word[0], row
        largest = max(largest, abs(float(found[1]) - word[1]), abs(float(found[2]) - word[2]))
    assert largest < 1e-5
    return largest, left_out


def test_what_a_job_leaves_predicts_the_same_in_transformers(epochs):
    finished, test = epochs(1), sentences(40, 2)
    largest, left_out = compare(finished, test)
    print(f"largest difference of a probability {largest:.1e}")
    found = finished.metrics["test"]
    words = [row for row in finished.predictions("test") if row["predicted"]]
    assert left_out > 10 and found["words"]["leftOut"] == left_out
    assert found["samples"] == len(test) and found["words"]["scored"] == len(words)
    assert found["metrics"]["accuracy"] == pytest.approx(np.mean([row["label"] == row["predicted"] for row in words]), abs=1e-12)
    assert found["metrics"]["loss"] == pytest.approx(-np.mean([np.log(float(row["probability_label"])) for row in words]), abs=1e-9)
    low, high = found["intervals"]["metrics"]["f1_micro"]
    assert low <= found["metrics"]["f1_micro"] <= high
    assert [entity["class"] for entity in found["perClass"]] == ["LOC", "PER"]


def test_words_without_tags_get_the_same_ones_from_every_form_of_input(epochs, tagged, tmp_path):
    folder, expected = epochs(1).folder, epochs(1).predictions("test")
    assert "left out of every metric" in firn("evaluate", folder, tagged / "test.jsonl")
    kept = ["index", "position", "word", "predicted", "probability"]
    unlabelled = rows_of(firn("predict", folder, tagged / "words.jsonl"))
    assert list(unlabelled[0]) == ["index", "sample", *kept[1:]]
    assert [[row[name] for name in kept] for row in unlabelled] == [[row[name] for name in kept] for row in expected]
    lines = rows_of(firn("predict", folder, "-", text=(tagged / "lines.txt").read_text()))
    assert [[row[name] for name in kept] for row in lines] == [[row[name] for name in kept] for row in expected]
    texts = [json.loads(line) for line in firn("predict", folder, tagged / "test.jsonl", "-o", "jsonl").splitlines()]
    assert [tag or "" for text in texts for tag in text["predicted"]] == [row["predicted"] for row in expected]
    assert [text["labels"] for text in texts] == [tags for _, tags in sentences(40, 2)]
    (tmp_path / "other.jsonl").write_text(json.dumps({"words": ["Ada"], "ner_tags": ["B-ORG"]}) + "\n")
    assert "tag `B-ORG` (`ner_tags`) is not among the 5 tags" in outcome("predict", folder, tmp_path / "other.jsonl").stderr
    assert "no field `ner_tags` for the label" in refusal("evaluate", folder, tagged / "words.jsonl")


def test_conll_gives_the_same_job(bert, tagged, epochs, tmp_path):
    finished = run_job(spec_of(bert, tagged, {"optimizer": RULE, "loss": LOSS}, form="conll"), tmp_path, workers=1)
    other = epochs(1)
    assert [step["loss"] for step in finished.history] == [step["loss"] for step in other.history]
    of = lambda job: [[row[name] for name in row if name != "sample"] for row in job.predictions("test")]
    assert of(finished) == of(other)


@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.long)])
def test_strict_is_the_same_to_the_last_bit_with_all_that_trains(bert, tagged, tmp_path, ranks):
    model = {"freeze": {"through": "all", "unfreeze": {"layer.1": 1}}, "dropout": "configuration", "head": {"type": "mlp", "hiddenSizes": [16], "dropout": 0.2}}
    training = {"epochs": 2, "optimizer": RULE, "loss": {"type": "focal"}, "ema": {"decay": 0.8}, "determinism": "strict", "bestMetric": "validation/f1_micro"}
    jobs = [run_job(spec_of(bert, tagged, training, model), tmp_path / str(count), workers=count) for count in (1, ranks)]
    one, several = ({name: (each.folder / name).read_bytes() for name in ("head.safetensors", "predictions_test.csv")} for each in jobs)
    assert one == several


FAMILIES = ["roberta", "gpt2", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("distilbert", "modernbert", "llama", "qwen2"))]


@pytest.mark.parametrize("kind", FAMILIES)
def test_every_family_is_opened_by_transformers_and_predicts_the_same(kind, tagged, tmp_path):
    source = network(kind, tmp_path / "published")
    model = {"lora": {"rank": 2}, "freeze": {"through": "none"}} if kind == "roberta" else {}
    spec = spec_of(source, tagged, {"optimizer": {"type": "sgd", "learningRate": 0.01}}, model, kind)
    finished = run_job(spec, tmp_path / "run")
    config = json.loads((finished.folder / "config.json").read_text())
    if kind == "modernbert" and "architectures" not in config:
        assert "has a layer before its output" in config["firn_note"]
        return
    largest, left_out = compare(finished, sentences(40, 2))
    assert left_out > 0
    print(f"{kind}: largest difference of a probability {largest:.1e}")
