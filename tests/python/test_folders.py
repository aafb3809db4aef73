"""A folder that transformers or timm has written is all that a job needs to know of its model, and the job predicts what the library does."""

import importlib.util
import json
import math
import shutil
import zlib

import pytest
import torch
from conftest import ROOT, job, run_job, shared
from PIL import Image
from safetensors.torch import load_file, save_file
from test_weights import firn

REVIEWS = ROOT / "tests" / "fixtures" / "reviews"


def filled(network):
    """Every parameter a function of its name: a wave, at a scale that keeps what is computed near 1."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            places = torch.arange(parameter.numel(), dtype=torch.float64) * 0.7 + zlib.crc32(name.encode()) % 1000
            scale = 0.1 if parameter.dim() < 2 else math.sqrt(2 / parameter[0].numel())
            around = 1.0 if name.endswith("weight") and parameter.dim() == 1 else 0.0
            parameter.copy_((around + scale * (places.sin() + (places * 1.37).cos())).reshape(parameter.shape))
        norms = [layer for layer in network.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
        if norms:
            # Statistics of something that looks like images, so that activations have a sane scale.
            for layer in norms:
                layer.momentum = 1.0
            network.train()(torch.randn(8, 3, 40, 40, generator=torch.Generator().manual_seed(3)))
    return network.eval()


def vit():
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 80}
    network = ViTForImageClassification(ViTConfig(image_size=32, patch_size=8, **sizes))
    mean = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}
    return network, ViTImageProcessor(size={"height": 32, "width": 32}, **mean)


def convnext():
    from transformers import ConvNextConfig, ConvNextForImageClassification, ConvNextImageProcessor

    sizes = {"hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 2, 1], "layer_scale_init_value": 0.1}
    network = ConvNextForImageClassification(ConvNextConfig(**sizes))
    return network, ConvNextImageProcessor(size={"shortest_edge": 64}, crop_pct=0.8)


def resnet():
    from transformers import BitImageProcessor, ResNetConfig, ResNetForImageClassification

    sizes = {"layer_type": "basic", "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2]}
    processor = BitImageProcessor(size={"shortest_edge": 48}, crop_size={"height": 40, "width": 40})
    return ResNetForImageClassification(ResNetConfig(**sizes)), processor


def pictures(source, count, target):
    """The first photographs of each class as PNG, since decoders of JPEG differ by a step of 255, and in a size whose margins are even: transformers cuts
    half a pixel elsewhere than torchvision does."""
    for folder in sorted(source.iterdir()):
        (target / folder.name).mkdir(parents=True)
        for path in sorted(folder.iterdir())[:count]:
            Image.open(path).convert("RGB").resize((168, 126)).save(target / folder.name / f"{path.stem}.png")
    return target


@pytest.mark.parametrize(
    ("make", "architecture", "shards"),
    [(vit, "vit", "100KB"), (convnext, "convnext", "5GB"), (resnet, "resnet18", "5GB")],
)
def test_a_folder_of_images_is_all_that_a_job_needs(tmp_path, make, architecture, shards):
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification

    images = shared("data/hymenoptera")
    network, processor = make()
    source = tmp_path / "published.model"
    filled(network).save_pretrained(source, max_shard_size=shards)
    processor.save_pretrained(source)
    train = pictures(images / "train", 6, tmp_path / "train")
    validation = pictures(images / "val", 5, tmp_path / "validation")
    spec = job(
        "folder",
        {"uri": f"file://{source}"},
        {"format": "imagefolder", "train": {"uri": str(train)}, "validation": {"uri": str(validation)}},
        {"epochs": 1, "batchSize": 4},
    )
    finished = run_job(spec, tmp_path / "run")

    stored = json.loads((finished.folder / "spec.json").read_text())["spec"]
    assert stored["model"]["architecture"] == architecture
    assert "uri" not in stored["model"]
    opened = tmp_path / "opened"
    AutoConfig.from_pretrained(source, num_labels=2).save_pretrained(opened)
    shutil.copy(finished.folder / "model.safetensors", opened)
    merged, told = AutoModelForImageClassification.from_pretrained(opened, output_loading_info=True)
    assert not any(told.values()), told
    merged.eval()
    processor = AutoImageProcessor.from_pretrained(source, backend="pil")
    largest = 0.0
    for row in finished.predictions("validation"):
        pixels = processor(Image.open(validation / row["sample"]).convert("RGB"), return_tensors="pt")
        with torch.no_grad():
            expected = merged(**pixels).logits.double().softmax(1)[0]
        found = torch.tensor([float(row[name]) for name in list(row)[4:]], dtype=torch.float64)
        largest = max(largest, float((found - expected).abs().max()))
    print(f"{architecture}: largest difference of a probability {largest:.2e}")
    assert largest < 1e-4


def text(kind):
    import transformers

    narrow = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    match kind:
        case "bert":
            return transformers.BertModel(transformers.BertConfig(**narrow), add_pooling_layer=False)
        case "roberta":
            config = transformers.RobertaConfig(**narrow, type_vocab_size=1, pad_token_id=0)
            return transformers.RobertaModel(config, add_pooling_layer=False)
        case "distilbert":
            config = transformers.DistilBertConfig(vocab_size=300, dim=32, n_layers=2, n_heads=2, hidden_dim=64)
            return transformers.DistilBertModel(config)


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert"])
def test_a_folder_of_texts_is_all_that_a_job_needs(tmp_path, kind):
    from tokenizers import BertWordPieceTokenizer
    from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerFast

    lines = (REVIEWS / "test.tsv").read_text().splitlines()
    texts = [line.rsplit("\t", 1)[0] for line in lines[1:]]
    trained = BertWordPieceTokenizer()
    trained.train_from_iterator(texts, vocab_size=300, show_progress=False)
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    source = tmp_path / "published"
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=trained._tokenizer, model_max_length=24, **special)
    tokenizer.save_pretrained(source)
    filled(text(kind)).save_pretrained(source)
    spec = job(
        "folder",
        {"uri": str(source)},
        {
            "format": "tsv",
            "train": {"uri": str(REVIEWS / "validation.tsv")},
            "validation": {"uri": str(REVIEWS / "test.tsv")},
        },
        {"epochs": 1, "batchSize": 32},
    )
    finished = run_job(spec, tmp_path / "run")

    stored = json.loads((finished.folder / "spec.json").read_text())["spec"]
    assert stored["model"]["architecture"] == kind
    assert stored["data"]["preprocessing"]["maxLength"] == 24
    tensors = load_file(finished.folder / "model.safetensors")
    head = {name: tensors[f"head.{name}"] for name in ("weight", "bias")}
    encoder = AutoModel.from_pretrained(source).eval()
    tokenizer = AutoTokenizer.from_pretrained(source)
    rows = finished.predictions("validation")
    assert len(rows) == len(texts)
    largest = 0.0
    for row in rows:
        line = int(row["sample"].rsplit(":", 1)[1])
        batch = tokenizer(texts[line - 2], truncation=True, return_tensors="pt")
        batch.pop("token_type_ids", None)
        with torch.no_grad():
            pooled = encoder(**batch).last_hidden_state.mean(1)
            expected = (pooled @ head["weight"].T + head["bias"]).double().softmax(1)[0]
        found = torch.tensor([float(row[name]) for name in list(row)[4:]], dtype=torch.float64)
        largest = max(largest, float((found - expected).abs().max()))
    print(f"{kind}: largest difference of a probability {largest:.2e}")
    assert largest < 1e-4


def test_a_folder_of_timm_is_known_under_each_of_its_words(tmp_path):
    """Those that the networks of the tests' references are made by."""
    import timm

    place = importlib.util.spec_from_file_location("networks", ROOT / "worker/models/tests/reference/networks.py")
    networks = importlib.util.module_from_spec(place)
    place.loader.exec_module(networks)
    words = networks.TIMM_VITS | networks.TIMM_DINOV2S | networks.TIMM_SWINS | {name: word for name, (word, _) in networks.TIMM_MOBILENETS.items()}
    for architecture, word in {**words, "vgg11": "vgg11", "vgg16_bn": "vgg16_bn", "efficientnet_b3": "efficientnet_b3"}.items():
        settings = timm.get_pretrained_cfg(word).to_dict()
        (tmp_path / "config.json").write_text(json.dumps({"architecture": word, "pretrained_cfg": settings}))
        (tmp_path / "model.safetensors").touch()
        file = tmp_path / "job.yaml"
        file.write_text(json.dumps(job("timm", {"uri": str(tmp_path)}, {"format": "imagefolder", "train": {"uri": "/data"}})))
        stored = json.loads(firn("validate", file, "-o", "json").stdout)["spec"]
        preprocessing = stored["data"]["preprocessing"]
        assert (stored["model"]["architecture"], preprocessing["crop"]) == (architecture, settings["input_size"][1]), word


def test_a_folder_of_timm_says_the_same_as_timms_own_transform(tmp_path):
    import timm

    network = timm.create_model("vit_base_patch32_224", pretrained=False, num_classes=10)
    source = tmp_path / "timm"
    source.mkdir()
    save_file(network.state_dict(), source / "model.safetensors")
    settings = network.pretrained_cfg
    names = ("input_size", "interpolation", "crop_pct", "mean", "std", "crop_mode")
    config = {"architecture": "vit_base_patch32_224", "pretrained_cfg": {name: settings[name] for name in names}}
    (source / "config.json").write_text(json.dumps(config))
    file = tmp_path / "job.yaml"
    file.write_text(json.dumps(job("timm", {"uri": str(source)}, {"format": "imagefolder", "train": {"uri": "/data"}})))
    stored = json.loads(firn("validate", file, "-o", "json").stdout)["spec"]
    assert stored["model"]["architecture"] == "vit_b_32"

    transform = timm.data.create_transform(**timm.data.resolve_data_config(settings), is_training=False)
    resize, crop, _, normalize = transform.transforms
    preprocessing = stored["data"]["preprocessing"]
    assert (preprocessing["resize"], preprocessing["crop"]) == (resize.size, crop.size[0])
    assert preprocessing["interpolation"] == resize.interpolation.value
    assert preprocessing["mean"] == pytest.approx(normalize.mean.tolist())
    assert preprocessing["std"] == pytest.approx(normalize.std.tolist())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"hidden_act": "relu"},
            'spec.model.uri: FOLDER: `config.json`: `hidden_act`: expected "gelu", found "relu"',
        ),
        (
            {"model_type": "beit"},
            "spec.model.uri: FOLDER: `config.json`: `model_type`: expected one of `convnext`, `dinov2`, `dinov2_with_registers`, `resnet`, `swin`, `swinv2`, `vit`, ",
        ),
    ],
)
def test_what_of_a_folder_cannot_be_honoured_is_refused_by_name(tmp_path, change, message):
    network, processor = vit()
    source = tmp_path / "published"
    network.save_pretrained(source)
    processor.save_pretrained(source)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | change))
    file = tmp_path / "job.yaml"
    file.write_text(json.dumps(job("odd", {"uri": str(source)}, {"format": "imagefolder", "train": {"uri": "/data"}})))
    refused = firn("validate", file, check=False)
    assert refused.returncode == 2
    assert message.replace("FOLDER", str(source)) in refused.stderr
