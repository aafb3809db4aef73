"""Loads exported models as their libraries do, and computes the logits that they give: `models.py check`."""

import json
import pathlib
import sys
import traceback

import timm
import torch
import torchvision
import transformers
from formula import mean, numbers, pixels, tokens


def exported_pixels(architecture):
    """The images that an exported network is tried with; some take no others."""
    sizes = {"deit": (224, 224), "dinov2": (112, 112), "swin": (256, 256) if "_v2_" in architecture else (224, 224), "vit": (224, 224)}
    return pixels(*sizes.get(architecture.split("_")[0], (96, 80)))


@torch.no_grad()
def check(folder):
    """Loads an exported model with `strict=True`; gives the logits that it computes for the reference input."""
    from safetensors.torch import load_file

    folder = pathlib.Path(folder)
    config = json.loads((folder / "config.json").read_text())
    state = load_file(folder / "model.safetensors")
    architecture, classes = config["architecture"], config["num_labels"]
    if architecture in ("bert", "roberta", "distilbert") and "architectures" in config:
        model = transformers.AutoModelForSequenceClassification.from_config(transformers.AutoConfig.from_pretrained(folder)).eval()
        model.load_state_dict(state, strict=True)
        ids, mask = tokens(config["vocab_size"], [17, 5, 1, 11])
        places = {"position_ids": mask.cumsum(1) * mask + 1} if architecture == "roberta" else {}
        logits = model(ids, attention_mask=mask, **places).logits
    elif architecture in ("bert", "roberta", "distilbert"):
        keys = {k.removeprefix(f"{architecture}."): v for k, v in state.items()}
        head = {k: keys.pop(f"head.{k}") for k in ("weight", "bias")}
        options = {"add_pooling_layer": False} if architecture == "roberta" else {}
        model = transformers.AutoModel.from_config(transformers.AutoConfig.from_pretrained(folder), **options).eval()
        model.load_state_dict(keys, strict=True)
        ids, mask = tokens(config["vocab_size"], [17, 5, 1, 11])
        places = {"position_ids": mask.cumsum(1) * mask + 1} if architecture == "roberta" else {}
        states = model(ids, attention_mask=mask, **places).last_hidden_state
        pooled = mean(states, mask) if config["pooling"] == "mean" else states[:, 0]
        logits = torch.nn.functional.linear(pooled, head["weight"], head["bias"])
    elif architecture in ("gpt2", "llama", "modernbert", "qwen2", "qwen3"):
        model = transformers.AutoModelForSequenceClassification.from_config(transformers.AutoConfig.from_pretrained(folder)).eval()
        model.load_state_dict(state, strict=True)
        ids, mask = tokens(config["vocab_size"], [17, 5, 1, 11])
        ids = torch.where(mask.bool(), ids, config["pad_token_id"])
        logits = model(ids, attention_mask=mask).logits
    elif "model_type" in config:
        model = transformers.AutoModelForImageClassification.from_config(transformers.AutoConfig.from_pretrained(folder)).eval()
        model.load_state_dict(state, strict=True)
        is_resnet = any("embedder" in key for key in state)
        logits = model(pixels(64, 96) if is_resnet else exported_pixels(architecture)).logits.double()
    elif architecture.endswith("_cifar"):
        from cifar_resnet import cifar_resnet

        model = cifar_resnet(architecture, num_classes=classes).eval()
        model.load_state_dict(state, strict=True)
        logits = model(exported_pixels(architecture)).double()
    elif architecture.startswith("mobilenet_") and "conv_stem.weight" in state:
        from networks import timm_mobilenet

        model = timm_mobilenet(architecture, num_classes=classes).eval()
        model.load_state_dict(state, strict=True)
        logits = model(exported_pixels(architecture)).double()
    elif architecture.startswith("vgg") and "head.fc.weight" in state:
        model = timm.create_model(architecture, num_classes=classes).eval()
        model.load_state_dict(state, strict=True)
        logits = model(exported_pixels(architecture)).double()
    elif architecture.startswith("dinov2_"):
        from networks import TIMM_DINOV2S

        model = timm.create_model(TIMM_DINOV2S[architecture], num_classes=classes, dynamic_img_size=True).eval()
        model.load_state_dict(state, strict=True)
        logits = model(exported_pixels(architecture)).double()
    elif architecture.startswith("deit_"):
        from networks import torchvision_vit

        model = torchvision_vit(architecture, num_classes=classes).eval()
        model.load_state_dict(state, strict=True)
        logits = model(exported_pixels(architecture)).double()
    else:
        options = {"aux_logits": any(key.startswith("AuxLogits") for key in state), "init_weights": False} if architecture == "inception_v3" else {}
        model = getattr(torchvision.models, architecture)(num_classes=classes, **options).eval()
        model.load_state_dict(state, strict=True)
        logits = model(exported_pixels(architecture)).double()
    return numbers(logits)


def check_each():
    """Says `ready`, and answers each folder with a line of JSON: its `logits`, or the `error`. What libraries print goes elsewhere."""
    answers, sys.stdout = sys.stdout, sys.stderr
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        try:
            answer = {"logits": check(line.rstrip("\n"))}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)
