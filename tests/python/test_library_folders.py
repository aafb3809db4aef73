"""What a job leaves of a network of transformers is a folder that transformers opens, and the folder predicts what the job predicted.

Every family runs as a tiny network of random weights, as its folder says (`model.uri`). The network, its tokenizer and its image processor all
come from the folder that the job left, and from nowhere else.
"""

import csv
import json

import pytest
import torch
from conftest import ROOT, job, run_job, shared
from PIL import Image
from test_export import tiny
from test_folders import filled, text
from test_weights import inspected
from safetensors.torch import load_file

REVIEWS = ROOT / "tests" / "fixtures" / "reviews"
# Of a probability or a standardised number, computed by both from the same weights in single precision.
LARGEST = 1e-5
# So little that probabilities stay away from 0 and 1, where all networks are alike.
TRAINING = {"epochs": 1, "batchSize": 32, "optimizer": {"type": "sgd", "learningRate": 1e-4}}


def lines(name):
    return [line.rsplit("\t", 1) for line in (REVIEWS / f"{name}.tsv").read_text().splitlines()[1:]]


def encoder(kind, folder):
    from tokenizers import BertWordPieceTokenizer
    from tokenizers.processors import BertProcessing
    from transformers import PreTrainedTokenizerFast

    trained = BertWordPieceTokenizer()
    trained.train_from_iterator([line for line, _ in lines("test")], vocab_size=300, show_progress=False)
    trained._tokenizer.post_processor = BertProcessing(*((token, trained.token_to_id(token)) for token in ("[SEP]", "[CLS]")))
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=trained._tokenizer, **special).save_pretrained(folder)
    filled(text(kind)).save_pretrained(folder)


def network_of_images(kind, folder):
    import transformers as t

    mean = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}
    cropped = {"size": {"shortest_edge": 48}, "crop_size": {"height": 40, "width": 40}, **mean}
    vit = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 80, "image_size": 32, "patch_size": 8}
    network, processor = {
        "vit": lambda: (t.ViTForImageClassification(t.ViTConfig(**vit)), t.ViTImageProcessor(size={"height": 32, "width": 32}, **mean)),
        # The bare network, as it is published for feature extraction; DeiT without a distillation token is the same network.
        "vit-bare": lambda: (
            t.ViTModel(t.ViTConfig(**vit), add_pooling_layer=False),
            t.DeiTImageProcessor(size={"height": 40, "width": 40}, crop_size={"height": 32, "width": 32}, **mean),
        ),
        "convnext": lambda: (
            t.ConvNextForImageClassification(t.ConvNextConfig(hidden_sizes=[16, 24, 32, 48], depths=[1, 1, 2, 1], layer_scale_init_value=0.1)),
            t.ConvNextImageProcessor(size={"shortest_edge": 64}, crop_pct=0.8, **mean),
        ),
        "resnet": lambda: (
            t.ResNetForImageClassification(t.ResNetConfig(layer_type="basic", hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2])),
            t.BitImageProcessor(**cropped),
        ),
        "resnet-bare": lambda: (
            t.ResNetModel(t.ResNetConfig(layer_type="basic", hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2])),
            t.BitImageProcessor(**cropped),
        ),
        "swin": lambda: (
            t.SwinForImageClassification(t.SwinConfig(depths=[2, 2, 6, 2])),
            t.ViTImageProcessor(size={"height": 224, "width": 224}, **mean),
        ),
        "dinov2": lambda: (
            t.Dinov2ForImageClassification(
                t.Dinov2Config(hidden_size=384, num_hidden_layers=12, num_attention_heads=6, image_size=518, patch_size=14)
            ),
            t.BitImageProcessor(size={"shortest_edge": 84}, crop_size={"height": 70, "width": 70}, **mean),
        ),
    }[kind]()
    filled(network)
    if kind.startswith("resnet"):
        # Statistics of what it sees, so that activations have a sane scale.
        with torch.no_grad():
            for _ in range(40):
                network.train()(torch.rand(8, 3, 40, 40) * 4 - 2)
    network.eval().save_pretrained(folder)
    processor.save_pretrained(folder)


def opened(auto, folder):
    """The network as `from_pretrained` makes it, with nothing missing, left over or of another size."""
    model, info = auto.from_pretrained(folder, output_loading_info=True)
    assert {name: list(found) for name, found in info.items() if found} == {}
    assert model.config.architectures == [type(model).__name__]
    return model.eval()


def scores(model, batch):
    """What the columns of the predictions hold, by the problem type of the folder's own configuration."""
    with torch.no_grad():
        outputs = model(**batch).logits.double()[0]
    match model.config.problem_type:
        case "single_label_classification":
            return outputs.softmax(0).tolist()
        case "multi_label_classification":
            return outputs.sigmoid().tolist()
        case "regression":
            scales = model.config.targets
            return [float(output) * scale["std"] + scale["mean"] for output, scale in zip(outputs, scales, strict=True)]


def largest_difference(finished, model, batch_of):
    """Between the predictions of the job and those of the network, of all test samples; numbers in units of their standard deviation."""
    names = [model.config.id2label[place] for place in range(model.config.num_labels)]
    assert model.config.label2id == {name: place for place, name in enumerate(names)}
    is_regression = model.config.problem_type == "regression"
    scales = [target["std"] for target in model.config.targets] if is_regression else [1.0] * len(names)
    column = "prediction_" if is_regression else "probability_"
    rows = finished.predictions("test")
    assert rows
    largest, told = 0.0, set()
    for row in rows:
        expected = scores(model, batch_of(row["sample"]))
        found = [float(row[f"{column}{name}"]) for name in names]
        told.update(value for value in found if is_regression or 0.001 < value < 0.999)
        largest = max(largest, *(abs(a - b) / scale for a, b, scale in zip(found, expected, scales, strict=True)))
    assert len(told) > len(rows) / 2, "few samples tell one network from another"
    return largest


def texts(task="classification", pairs=False):
    """A spec's data for a task: the class, the class among other labels, or the number of characters. Of `pairs` a second text stands beside each."""

    def write(folder):
        for name, part in (("train", "validation"), ("validation", "test"), ("test", "test")):
            with open(folder / f"{name}.csv", "w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["text", "second", "class", "labels", "length"])
                for (line, label), (second, _) in zip(lines(part), reversed(lines(part))):
                    writer.writerow([line, second, label, f"{label}|long" if len(line) > 60 else label, len(line)])
        columns = {
            "classification": {"label": "class"},
            "multi_label_classification": {"label": "labels"},
            "regression": {"targets": ["length"]},
        }[task] | ({"textPair": "second"} if pairs else {})
        splits = {split: {"uri": str(folder / f"{split}.csv")} for split in ("train", "validation", "test")}
        return {"format": "csv", **splits, "columns": columns, "preprocessing": {"maxLength": 16}}

    return write


def text_of(folder, sample, columns=("text",)):
    with open(folder / "test.csv", newline="") as file:
        row = list(csv.DictReader(file))[int(sample.rsplit(":", 1)[1]) - 2]
    return [row[column] for column in columns]


TEXTS = ["modernbert", "gpt2", "llama", "qwen2", "qwen3"]


@pytest.mark.parametrize(
    ("kind", "task", "through"),
    [
        *((kind, "classification", "layer.0") for kind in TEXTS),
        ("modernbert", "multi_label_classification", "all"),
        ("qwen2", "regression", "all"),
    ],
)
def test_a_folder_of_texts_opens_in_transformers(tmp_path, kind, task, through):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    source = tmp_path / "published"
    tiny(kind, source, [line for line, _ in lines("test")])
    spec = job("texts", {"uri": str(source), "freeze": {"through": through}}, texts(task)(tmp_path), TRAINING)
    spec["spec"]["task"]["type"] = task
    finished = run_job(spec, tmp_path / "run")

    model = opened(AutoModelForSequenceClassification, finished.folder)
    tokenizer = AutoTokenizer.from_pretrained(finished.folder)
    batch_of = lambda sample: tokenizer(*text_of(tmp_path, sample), truncation=True, return_tensors="pt")
    largest = largest_difference(finished, model, batch_of)
    print(f"{kind}, {task}: largest difference {largest:.2e}")
    assert largest < LARGEST


def published(kind, folder):
    """An encoder as people find it: BERT as it was pretrained, with a pooler and the outputs of its pretraining; the others bare."""
    import transformers

    encoder(kind, folder)
    if kind == "bert":
        filled(transformers.BertForPreTraining(text(kind).config)).save_pretrained(folder)


@pytest.mark.parametrize(
    ("kind", "activation", "task", "pairs"),
    [
        ("bert", "tanh", "classification", True),
        ("roberta", "tanh", "multi_label_classification", False),
        ("distilbert", "relu", "regression", False),
    ],
)
def test_an_encoder_with_a_dense_layer_opens_as_transformers_classifier_and_in_peft(tmp_path, kind, activation, task, pairs):
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    source = tmp_path / "published"
    published(kind, source)
    head = {"type": "mlp", "hiddenSizes": [32], "activation": activation, "dropout": 0.25}
    spec = job("texts", {"uri": str(source), "pooling": "cls", "head": head, "lora": {"rank": 2}}, texts(task, pairs)(tmp_path), TRAINING)
    spec["spec"]["task"]["type"] = task
    spec["spec"]["training"] = {**TRAINING, "optimizer": {"type": "sgd", "learningRate": 1e-2}}
    finished = run_job(spec, tmp_path / "run")

    model = opened(AutoModelForSequenceClassification, finished.folder)
    dropped = model.config.seq_classif_dropout if kind == "distilbert" else model.config.classifier_dropout
    assert dropped == 0.25
    tokenizer = AutoTokenizer.from_pretrained(finished.folder)
    columns = ("text", "second") if pairs else ("text",)
    batch_of = lambda sample: tokenizer(*text_of(tmp_path, sample, columns), truncation="longest_first", return_tensors="pt")
    if pairs:
        assert batch_of(finished.predictions("test")[0]["sample"])["token_type_ids"].max() == 1
    merged = largest_difference(finished, model, batch_of)
    base = AutoModelForSequenceClassification.from_pretrained(source, config=model.config)
    adapted = PeftModel.from_pretrained(base, finished.folder / "adapter").eval()
    assert max(float(tensor.abs().max()) for name, tensor in adapted.named_parameters() if "lora_B" in name) > 0
    beside = largest_difference(finished, adapted, batch_of)
    print(f"{kind}, {task}: largest difference {merged:.2e}, in PEFT {beside:.2e}")
    assert max(merged, beside) < LARGEST

    said = inspected(finished.folder / "model.safetensors")
    assert said["fits"] and any("has a head of its own, and no use for" in note for note in said["notes"]), said
    if kind == "bert":
        again = run_job(job("again", {"uri": str(finished.folder)}, texts()(tmp_path), TRAINING), tmp_path / "again")
        stored = json.loads((again.folder / "spec.json").read_text())["spec"]["model"]
        assert stored["architecture"] == "bert" and stored["weights"] == f"file://{finished.folder}/"


@pytest.mark.parametrize("kind", ["vit", "vit-bare", "convnext", "resnet", "resnet-bare", "swin", "dinov2"])
def test_a_folder_of_images_opens_in_transformers(tmp_path, kind):
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    source = tmp_path / "published"
    network_of_images(kind, source)
    images = shared("data/hymenoptera")
    for split, part, count in (("train", "train", 6), ("validation", "val", 3), ("test", "val", 5)):
        for label in ("ants", "bees"):
            (tmp_path / split / label).mkdir(parents=True)
            for path in sorted((images / part / label).glob("*.jpg"))[:count]:
                # Sides whose rest beside the crop is even: of an odd one transformers and torchvision cut out the middle differently.
                Image.open(path).convert("RGB").resize((64, 48)).save(tmp_path / split / label / f"{path.stem}.png")
    data = {"format": "imagefolder", **{split: {"uri": str(tmp_path / split)} for split in ("train", "validation", "test")}}
    finished = run_job(job("images", {"uri": str(source)}, data, TRAINING), tmp_path / "run")

    model = opened(AutoModelForImageClassification, finished.folder)
    processor = AutoImageProcessor.from_pretrained(finished.folder, backend="pil")
    batch_of = lambda sample: processor(Image.open(tmp_path / "test" / sample), return_tensors="pt")
    largest = largest_difference(finished, model, batch_of)
    print(f"{kind}: largest difference {largest:.2e}")
    assert largest < LARGEST


@pytest.mark.parametrize(
    ("kind", "pooling", "reason"),
    [
        ("bert", "mean", "reads the class token through `bert.pooler.dense`, a layer with tanh"),
        ("bert", "cls", "with `pooling: cls` and `head: {type: mlp, hiddenSizes: [32], activation: tanh}`"),
        ("roberta", "cls", "reads the class token through `classifier.dense`, a layer with tanh"),
        ("distilbert", "cls", "reads the class token through `pre_classifier`, a layer with relu"),
        ("gpt2", "mean", "reads the state of the last token"),
    ],
)
def test_what_transformers_would_compute_otherwise_is_said_and_never_loaded_in_silence(tmp_path, kind, pooling, reason):
    from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

    source = tmp_path / "published"
    if kind == "gpt2":
        tiny(kind, source, [line for line, _ in lines("test")])
    else:
        encoder(kind, source)
    spec = job("texts", {"uri": str(source), "pooling": pooling}, texts()(tmp_path), TRAINING)
    finished = run_job(spec, tmp_path / "run")

    config = json.loads((finished.folder / "config.json").read_text())
    assert "architectures" not in config
    assert reason in config["firn_note"] and reason in (finished.folder / "README.md").read_text()
    _, info = AutoModelForSequenceClassification.from_pretrained(finished.folder, output_loading_info=True)
    assert info["missing_keys"] and "head.weight" in info["unexpected_keys"], "transformers warns of both"

    model, info = AutoModel.from_pretrained(finished.folder, output_loading_info=True)
    assert {name for name in info["missing_keys"] if "pooler" not in name} == set()
    head = load_file(finished.folder / "model.safetensors")
    tokenizer = AutoTokenizer.from_pretrained(finished.folder)
    largest = 0.0
    for row in finished.predictions("test"):
        batch = tokenizer(*text_of(tmp_path, row["sample"]), truncation=True, return_tensors="pt")
        batch.pop("token_type_ids", None)
        with torch.no_grad():
            states = model.eval()(**batch).last_hidden_state
            pooled = states.mean(1) if pooling == "mean" else states[:, 0]
            outputs = torch.nn.functional.linear(pooled, head["head.weight"], head.get("head.bias")).double()[0]
        found = [float(row[f"probability_{config['id2label'][str(place)]}"]) for place in range(config["num_labels"])]
        largest = max(largest, float((outputs.softmax(0) - torch.tensor(found, dtype=torch.float64)).abs().max()))
    print(f"{kind}, {pooling}: largest difference {largest:.2e}")
    assert largest < LARGEST


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_adapters_are_merged_in_the_folder_and_open_in_peft_beside_it(tmp_path, kind):
    """transformers adds adapters that it finds beside the weights: these are merged already, so they must not lie there."""
    from peft import PeftModel
    from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

    source = tmp_path / "published"
    if kind == "gpt2":
        tiny(kind, source, [line for line, _ in lines("test")])
    else:
        encoder(kind, source)
    # Adapters that change much: the second factor begins at zero.
    training = TRAINING | {"optimizer": {"type": "adamw", "learningRate": 0.02}}
    model = {"uri": str(source), "freeze": {"through": "layer.0"}, "lora": {"rank": 4, "alpha": 16.0}, "dropout": "none"}
    pooling = {} if kind == "gpt2" else {"pooling": "mean"}
    finished = run_job(job("adapters", model | pooling, texts()(tmp_path), training), tmp_path / "run")
    tokenizer = AutoTokenizer.from_pretrained(finished.folder)
    batch_of = lambda sample: tokenizer(*text_of(tmp_path, sample), truncation=True, return_tensors="pt")
    adapter = finished.folder / "adapter"

    if kind == "gpt2":
        merged = opened(AutoModelForSequenceClassification, finished.folder)
        largest = largest_difference(finished, merged, batch_of)
        base = AutoModelForSequenceClassification.from_pretrained(source, config=merged.config)
        largest = max(largest, largest_difference(finished, PeftModel.from_pretrained(base, adapter).eval(), batch_of))
        plain = AutoModelForSequenceClassification.from_pretrained(source, config=merged.config)
        plain.score.load_state_dict(merged.score.state_dict())
        assert largest_difference(finished, plain.eval(), batch_of) > 100 * LARGEST, "the adapters change nothing"
    else:
        # No class of transformers has this head, so PEFT gets none: what it does not know it cannot put in a wrong place.
        assert all(".lora_" in name for name in load_file(adapter / "adapter_model.safetensors"))
        assert json.loads((adapter / "adapter_config.json").read_text())["modules_to_save"] is None
        networks = [AutoModel.from_pretrained(finished.folder), PeftModel.from_pretrained(AutoModel.from_pretrained(source), adapter)]
        head = load_file(finished.folder / "model.safetensors")
        names = json.loads((finished.folder / "config.json").read_text())["id2label"]
        largest = 0.0
        for row in finished.predictions("test"):
            found = torch.tensor([float(row[f"probability_{names[str(place)]}"]) for place in range(len(names))], dtype=torch.float64)
            for network in networks:
                with torch.no_grad():
                    pooled = network.eval()(**batch_of(row["sample"])).last_hidden_state.mean(1)
                outputs = torch.nn.functional.linear(pooled, head["head.weight"], head.get("head.bias")).double()[0]
                largest = max(largest, float((outputs.softmax(0) - found).abs().max()))
    print(f"{kind}: largest difference {largest:.2e}")
    assert largest < LARGEST
