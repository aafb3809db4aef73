"""The merged model loads in torchvision, timm and transformers, strictly, and predicts what Firn predicted."""

import json

import numpy as np
import pytest
import torch
import torchvision
from conftest import ROOT, job, run_job, shared
from PIL import Image
from safetensors.torch import load_file, save_file


@pytest.fixture(scope="module")
def images():
    return shared("data/hymenoptera")


@pytest.mark.parametrize(
    ("architecture", "through"),
    [
        ("resnet18", "layer3"),
        ("resnet50", "all"),
        ("mobilenet_v2", "all"),
        ("vgg11", "classifier.0"),
        ("inception_v3", "Mixed_6d"),
    ],
)
def test_a_merged_vision_model_predicts_the_same_in_torchvision(tmp_path, images, architecture, through):
    torch.manual_seed(7)
    preprocess = published_preprocessing(architecture)
    source = build(architecture)
    with torch.no_grad():
        # Statistics of real images, so that activations have a sane scale.
        source.train()(torch.stack([preprocess(path) for path in sorted((images / "train/ants").glob("*.jpg"))[:16]]))
    weights = tmp_path / "weights.safetensors"
    save_file(source.state_dict(), weights)

    train = subset(images / "train", 12, tmp_path / "train")
    validation = subset(images / "val", 6, tmp_path / "validation")
    spec = job(
        "export",
        {"architecture": architecture, "weights": str(weights), "freeze": {"through": through}},
        {"format": "imagefolder", "train": {"uri": str(train)}, "validation": {"uri": str(validation)}},
        {"epochs": 1, "batchSize": 8},
    )
    finished = run_job(spec, tmp_path / "run")

    predicts_the_same(build(architecture, num_classes=2), preprocess, validation, finished)


def predicts_the_same(merged, preprocess, validation, finished):
    """The library's network with the tensors of the job's merged model, on the images of validation."""
    merged.load_state_dict(load_file(finished.folder / "model.safetensors"), strict=True)
    merged.eval()
    for row in finished.predictions("validation"):
        with torch.no_grad():
            expected = merged(preprocess(validation / row["sample"])[None]).double().softmax(1)[0]
        found = [float(row[name]) for name in list(row)[4:]]
        # Pixels may differ by 1/255 between the decoders.
        assert found == pytest.approx(expected.tolist(), abs=5e-3), row["sample"]
        assert ["ants", "bees"][int(expected.argmax())] == row["predicted"] or abs(expected[0] - 0.5) < 5e-3


@pytest.mark.parametrize(
    ("word", "through", "sizes"),
    [
        ("mobilenetv2_100", "features.16", {}),
        # Its first wide layer gives a map of such images.
        pytest.param("vgg11", "classifier.0", {"input_size": (3, 256, 256)}, marks=pytest.mark.long),
    ],
)
def test_a_merged_network_of_timm_predicts_the_same_in_timm(tmp_path, images, word, through, sizes):
    import timm

    torch.manual_seed(7)
    source = timm.create_model(word)
    settings = {**source.pretrained_cfg, **sizes}
    transform = timm.data.create_transform(**timm.data.resolve_data_config(settings), is_training=False)
    preprocess = lambda path: transform(Image.open(path).convert("RGB"))
    with torch.no_grad():
        source.train()(torch.stack([preprocess(path) for path in sorted((images / "train/ants").glob("*.jpg"))[:16]]))
    folder = tmp_path / "published"
    folder.mkdir()
    save_file(source.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"architecture": word, "pretrained_cfg": settings}))

    train = subset(images / "train", 12, tmp_path / "train")
    validation = subset(images / "val", 6, tmp_path / "validation")
    data = {"format": "imagefolder", "train": {"uri": str(train)}, "validation": {"uri": str(validation)}}
    spec = job("timm-export", {"uri": str(folder), "freeze": {"through": through}}, data, {"epochs": 1, "batchSize": 8})
    predicts_the_same(timm.create_model(word, num_classes=2), preprocess, validation, run_job(spec, tmp_path / "run"))


def test_a_torchscript_file_and_its_head_predict_the_same_in_pytorch(tmp_path, images):
    torch.manual_seed(7)
    network = torchvision.models.mobilenet_v2(weights=None)
    network.classifier = torch.nn.Flatten()
    preprocess = published_preprocessing("mobilenet_v2")
    with torch.no_grad():
        network.train()(torch.stack([preprocess(path) for path in sorted((images / "train/ants").glob("*.jpg"))[:16]]))
    file = tmp_path / "network.pt"
    torch.jit.script(network.eval()).save(file)

    train = subset(images / "train", 12, tmp_path / "train")
    validation = subset(images / "val", 6, tmp_path / "validation")
    spec = job(
        "torchscript-export",
        {"architecture": "torchscript", "weights": str(file)},
        {"format": "imagefolder", "train": {"uri": str(train)}, "validation": {"uri": str(validation)}},
        {"epochs": 2, "batchSize": 8},
    )
    finished = run_job(spec, tmp_path / "run")

    backbone, head = torch.jit.load(finished.folder / "backbone.pt"), load_file(finished.folder / "head.safetensors")
    assert not (finished.folder / "model.safetensors").exists()
    for row in finished.predictions("validation"):
        with torch.no_grad():
            features = backbone(preprocess(validation / row["sample"])[None])
        expected = torch.nn.functional.linear(features, head["head.weight"], head["head.bias"]).double().softmax(1)[0]
        found = [float(row[name]) for name in list(row)[4:]]
        # Pixels may differ by 1/255 between the decoders.
        assert found == pytest.approx(expected.tolist(), abs=5e-3), row["sample"]


def build(architecture, **options):
    if architecture == "inception_v3":
        # As torchvision builds it for its own weights: the network undoes the normalisation that all of them share.
        options |= {"transform_input": True, "init_weights": False}
    return getattr(torchvision.models, architecture)(weights=None, **options)


def published_preprocessing(architecture):
    """torchvision's, with the resize on the PIL image."""
    published = torchvision.models.get_model_weights(architecture)["IMAGENET1K_V1"].transforms()
    transforms = torchvision.transforms
    chain = transforms.Compose(
        [
            transforms.Resize(published.resize_size, published.interpolation),
            transforms.CenterCrop(published.crop_size),
            transforms.ToTensor(),
            transforms.Normalize(published.mean, published.std),
        ]
    )
    return lambda path: chain(Image.open(path).convert("RGB"))


def subset(source, count, target):
    for folder in sorted(source.iterdir()):
        (target / folder.name).mkdir(parents=True)
        for path in sorted(folder.iterdir())[:count]:
            (target / folder.name / path.name).symlink_to(path)
    return target


def test_a_merged_text_model_predicts_the_same_in_transformers(tmp_path, minilm):
    from transformers import AutoModel, AutoTokenizer

    reviews = ROOT / "tests" / "fixtures" / "reviews"
    spec = job(
        "reviews-export",
        {"architecture": "bert", "weights": str(minilm / "model.safetensors"), "pooling": "mean"},
        {
            "format": "tsv",
            "train": {"uri": str(reviews / "validation.tsv")},
            "validation": {"uri": str(reviews / "test.tsv")},
        },
        {"epochs": 2, "batchSize": 16, "optimizer": {"learningRate": 0.01}},
    )
    finished = run_job(spec, tmp_path)

    tensors = load_file(finished.folder / "model.safetensors")
    head = {name: tensors.pop(f"head.{name}") for name in ("weight", "bias")}
    encoder = AutoModel.from_pretrained(minilm, add_pooling_layer="pooler.dense.weight" in tensors)
    expected_names = set(encoder.state_dict())
    encoder.load_state_dict({name: tensor for name, tensor in tensors.items() if name in expected_names}, strict=True)
    assert set(tensors) - expected_names <= {"embeddings.position_ids"}
    encoder.eval()
    config = json.loads((finished.folder / "config.json").read_text())
    classes = [config["id2label"][str(index)] for index in range(len(config["id2label"]))]

    tokenizer = AutoTokenizer.from_pretrained(minilm)
    texts = [line.rsplit("\t", 1)[0] for line in (reviews / "test.tsv").read_text().splitlines()[1:]]
    rows = finished.predictions("validation")
    assert len(rows) == len(texts)
    for row in rows:
        line = int(row["sample"].rsplit(":", 1)[1])
        batch = tokenizer(texts[line - 2], return_tensors="pt")
        with torch.no_grad():
            pooled = encoder(**batch).last_hidden_state.mean(1)
            expected = (pooled @ head["weight"].T + head["bias"]).double().softmax(1)[0].numpy()
        found = np.array([float(row[name]) for name in list(row)[4:]])
        assert found == pytest.approx(expected, abs=1e-4), row["sample"]
        assert classes[int(found.argmax())] == row["predicted"]


def tiny(architecture, folder, texts):
    """A network of two layers with random weights, and a byte-level tokenizer that cuts long texts at their beginning."""
    import transformers
    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(texts, vocab_size=400, special_tokens=["<|endoftext|>"], show_progress=False)
    sides = {"truncation_side": "left", "padding_side": "right"}
    special = {name: "<|endoftext|>" for name in ("pad_token", "eos_token", "bos_token")}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer._tokenizer, **special, **sides).save_pretrained(folder)
    torch.manual_seed(11)
    options = {"vocab_size": 400, "initializer_range": 0.2, "eos_token_id": 0, "bos_token_id": 0, "pad_token_id": 0}
    if architecture == "gpt2":
        options |= {"n_positions": 64, "n_embd": 48, "n_layer": 2, "n_head": 4}
    else:
        options |= {"max_position_embeddings": 64, "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    if architecture == "modernbert":
        options |= {"global_attn_every_n_layers": 2, "local_attention": 6, "classifier_pooling": "mean", "cls_token_id": 0, "sep_token_id": 0}
        make = transformers.AutoModelForMaskedLM
    else:
        options |= {} if architecture == "gpt2" else {"num_key_value_heads": 2, "tie_word_embeddings": True}
        make = transformers.AutoModelForCausalLM
    make.from_config(transformers.AutoConfig.for_model(architecture, **options)).save_pretrained(folder)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen2", "modernbert"])
def test_a_merged_network_of_texts_predicts_the_same_in_transformers(tmp_path, architecture):
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    reviews = ROOT / "tests" / "fixtures" / "reviews"
    texts = [line.rsplit("\t", 1)[0] for line in (reviews / "test.tsv").read_text().splitlines()[1:]]
    source = tmp_path / architecture
    tiny(architecture, source, texts)
    spec = job(
        f"{architecture}-export",
        {"architecture": architecture, "weights": str(source), "freeze": {"through": "layer.0"}},
        {
            "format": "tsv",
            "train": {"uri": str(reviews / "validation.tsv")},
            "validation": {"uri": str(reviews / "test.tsv")},
            # Shorter than most of the texts, so that it matters where they are cut.
            "preprocessing": {"maxLength": 12},
        },
        {"epochs": 2, "batchSize": 16, "optimizer": {"learningRate": 0.01}},
    )
    finished = run_job(spec, tmp_path / "run")

    merged = AutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained(finished.folder))
    merged.load_state_dict(load_file(finished.folder / "model.safetensors"), strict=True)
    merged.eval()
    tokenizer = AutoTokenizer.from_pretrained(source)
    rows = finished.predictions("validation")
    assert len(rows) == len(texts)
    for row in rows:
        line = int(row["sample"].rsplit(":", 1)[1])
        batch = tokenizer(texts[line - 2], truncation=True, max_length=12, return_tensors="pt")
        with torch.no_grad():
            expected = merged(**batch).logits.double().softmax(1)[0].numpy()
        found = np.array([float(row[name]) for name in list(row)[4:]])
        assert found == pytest.approx(expected, abs=1e-4), row["sample"]
