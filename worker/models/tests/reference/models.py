"""Reference values of PyTorch, torchvision and transformers for the tests of firn-models.

Every tensor is filled from a fixed formula of its name and the index of each value (`fill`), which the tests compute again in
Rust, so that no weights have to be committed. Run with any Python that has torch, torchvision and transformers:

    python worker/models/tests/reference/models.py .cache/minilm  # writes worker/models/tests/golden/*.json; without the folder
                                                                  # of a real MiniLM all but sentences.json
    python worker/models/tests/reference/models.py check FOLDER   # loads what Firn exported, see `check`
    python worker/models/tests/reference/models.py check          # the same of each folder that a line of standard input names
"""

import json
import pathlib
import sys
import traceback

import numpy as np
import timm
import timm.optim
import torch
import torchvision
import transformers

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"


def uniform(name, count):
    """Values in [-1, 1): a 32-bit integer hash ("lowbias32") of FNV-1a(name) + index * 2654435769."""
    seed = 2166136261
    for byte in name.encode():
        seed = ((seed ^ byte) * 16777619) % 2**32
    with np.errstate(over="ignore"):
        x = np.arange(count, dtype=np.uint32) * np.uint32(2654435769) + np.uint32(seed)
        x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
        x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
        x = x ^ (x >> np.uint32(16))
    return x.astype(np.float64) / 2**31 - 1.0


def fill(name, shape):
    """A tensor at a scale that keeps activations near 1. The rules look at the end of the name and the number of dimensions."""
    count = int(np.prod(shape, dtype=np.int64))
    u = uniform(name, count)
    if name.endswith("running_var"):
        values = 1.0 + 0.3 * u
    elif name.endswith(("bias", "running_mean", "beta")):
        values = 0.1 * u
    elif "layer_scale" in name or name.endswith("gamma"):
        values = 0.4 + 0.1 * u
    elif "embeddings" in name and len(shape) == 2:
        values = 0.5 * u
    elif len(shape) >= 2:
        values = u * (3.0 * (2.0 if len(shape) == 4 else 1.0) * shape[0] / count) ** 0.5
    elif name.endswith(("bn2.weight", "bn3.weight")):  # ends a residual branch: deep networks must not explode
        values = 0.4 + 0.1 * u
    else:
        values = 0.9 + 0.2 * u
    return torch.from_numpy(values.astype(np.float32)).reshape(tuple(shape))


def filled(model):
    state = model.state_dict()
    for name, tensor in state.items():
        # One that follows from the sizes stays.
        if tensor.is_floating_point() and not name.endswith("relative_coords_table"):
            tensor.copy_(fill(name, tensor.shape))
    return model.eval()


def names_and_shapes(model):
    return {name: list(tensor.shape) for name, tensor in model.state_dict().items()}


def numbers(tensor):
    return [float(f"{value:.8g}") for value in tensor.detach().double().flatten().tolist()]


def pixels(height, width):
    return torch.from_numpy(uniform("pixels", 2 * height * width * 3).astype(np.float32)).reshape(2, height, width, 3).permute(0, 3, 1, 2) * 2.0


def summary(named):
    """Of each tensor: sum of squares, a weighted sum that every value enters, and five of its values."""
    out = {}
    for name, tensor in named:
        flat = tensor.detach().double().flatten()
        weights = torch.from_numpy(uniform("summary", flat.numel()))
        at = [int(i) for i in np.linspace(0, flat.numel() - 1, 5)]
        out[name] = {
            "squares": float((flat * flat).sum()),
            "weighted": float((flat * weights).sum()),
            "at": at,
            "values": [float(flat[i]) for i in at],
        }
    return out


def objective(logits):
    weight = torch.tensor([1.0, 0.5, 2.0, 1.5, 0.25])
    loss = torch.nn.CrossEntropyLoss(weight=weight, label_smoothing=0.1, reduction="sum")
    return loss(logits, torch.arange(logits.shape[0]) % 5)


@torch.no_grad()
def images():
    sizes = {"resnet18": (96, 80), "resnet34": (64, 64), "resnet50": (80, 96), "resnet101": (64, 64), "resnet152": (64, 64), "mobilenet_v2": (96, 64)}
    out = {}
    for name, (height, width) in sizes.items():
        model = filled(getattr(torchvision.models, name)(num_classes=5))
        case = {"height": height, "width": width, "tensors": names_and_shapes(model)}
        seen = {}
        last = model.fc if hasattr(model, "fc") else model.classifier[1]
        last.register_forward_hook(lambda _, inputs, __: seen.update(features=inputs[0]))
        case["logits"] = numbers(model(pixels(height, width)))
        case["features"] = numbers(seen["features"][:, :256])
        out[name] = case
    config = transformers.ResNetConfig(depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], layer_type="basic", embedding_size=64, num_labels=5)
    model = filled(transformers.ResNetForImageClassification(config))
    out["resnet18_hugging_face"] = {"height": 64, "width": 96, "tensors": names_and_shapes(model), "logits": numbers(model(pixels(64, 96)).logits)}
    return out


@torch.no_grad()
def reduced():
    """The pooled features of a network under autocast to bfloat16, and how far they are from those in single precision."""
    model = filled(torchvision.models.resnet18(num_classes=5))
    body = torch.nn.Sequential(*list(model.children())[:-1], torch.nn.Flatten())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = body(pixels(96, 80)).float()
    single = body(pixels(96, 80))
    return {"features": numbers(features[:, :256]), "deviation": ((features - single).norm() / single.norm()).item()}


@torch.no_grad()
def vggs():
    """Logits, and the first values of each sample after every stage."""
    out = {}
    for name in ("vgg11", "vgg16_bn"):
        model = filled(getattr(torchvision.models, name)(num_classes=5))
        after = [module for module in model.features if isinstance(module, torch.nn.MaxPool2d)]
        after += [model.avgpool, model.classifier[1], model.classifier[4]]
        stages = {}
        for stage, module in zip(["block1", "block2", "block3", "block4", "block5", "pool", "classifier.0", "classifier.3"], after, strict=True):
            module.register_forward_hook(lambda _, __, output, stage=stage: stages.update({stage: numbers(output.flatten(1)[:, :64])}))
        logits = numbers(model(pixels(64, 64)))
        out[name] = {"height": 64, "width": 64, "tensors": names_and_shapes(model), "logits": logits, "stages": stages}
    return out


def cut_vggs():
    """Loss and gradients above a cut, without dropout. That of the first wide layer's 102 million weights is left out.

    With 64 rows a unit of vgg16_bn gives 3e-8 before its ReLU, so that its gradient is there or not by chance.
    """
    out = {}
    for name, frozen, trained in [("vgg11", "block4", ("features.16.", "features.18.", "classifier.")), ("vgg16_bn", "classifier.0", ("classifier.3.", "classifier.6."))]:
        model = filled(getattr(torchvision.models, name)(num_classes=5))
        for parameter_name, parameter in model.named_parameters():
            parameter.requires_grad_(parameter_name.startswith(trained))
        loss = objective(model(pixels(96, 80)))
        loss.backward()
        gradients = ((n, p.grad) for n, p in model.named_parameters() if p.requires_grad and n != "classifier.0.weight")
        out[name] = {"frozen": frozen, "loss": loss.item(), "gradients": summary(gradients)}
    return out


INCEPTION_STAGES = {"Conv2d_2b_3x3": "maxpool1", "Conv2d_4a_3x3": "maxpool2", "pool": "avgpool"}
INCEPTION_STAGES |= {n: n for n in ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_3b_1x1", *(f"Mixed_{n}" for n in "5b 5c 5d 6a 6b 6c 6d 6e 7a 7b 7c".split()))}


def spread(tensor):
    """64 values of each sample, from all its channels."""
    flat = tensor.flatten(1)
    return flat[:, torch.arange(64) * flat.shape[1] // 64]


def inception():
    """Values after every stage; logits of an image as the published weights want it; both heads' loss and gradients in training."""
    make = lambda **options: filled(torchvision.models.inception_v3(num_classes=5, init_weights=False, dropout=0.0, **options))
    model, stages = make(), {}
    for stage, module in INCEPTION_STAGES.items():
        model.get_submodule(module).register_forward_hook(lambda _, __, output, stage=stage: stages.update({stage: numbers(spread(output))}))
    with torch.no_grad():
        logits = numbers(model(pixels(96, 80)))
        # Pixels in [0, 1], normalised as torchvision does for all its weights; the network undoes it.
        normalise = torchvision.models.Inception_V3_Weights.IMAGENET1K_V1.transforms()
        normalised = torchvision.transforms.functional.normalize(pixels(96, 80) / 4 + 0.5, normalise.mean, normalise.std)
        transformed = numbers(make(transform_input=True)(normalised))
    out = {"height": 96, "width": 80, "tensors": names_and_shapes(model), "stages": stages, "logits": logits, "transformed": transformed, "training": {}}
    for frozen, trained in {"Mixed_6d": ("Mixed_6e", "AuxLogits", "Mixed_7", "fc"), "Mixed_7b": ("Mixed_7c", "fc")}.items():
        model = make()
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith(trained))
        model.train()
        for module in model.modules():
            module.train(not isinstance(module, torch.nn.BatchNorm2d))
        logits, auxiliary = model(pixels(299, 299))
        loss = objective(logits) + 0.4 * objective(auxiliary)
        loss = loss if "AuxLogits" in trained else objective(logits)
        loss.backward()
        gradients = summary((n, p.grad) for n, p in model.named_parameters() if p.requires_grad)
        out["training"][frozen] = {"loss": loss.item(), "logits": numbers(logits), "auxiliary": numbers(auxiliary), "gradients": gradients}
    return out


def cut_resnet():
    """ResNet-18 frozen through layer3, trained above: gradients, with BatchNorm in eval mode and by the batch."""
    out = {}
    for mode in ("eval", "train"):
        model = filled(torchvision.models.resnet18(num_classes=5))
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith(("layer4", "fc")))
        model.layer4.train(mode == "train")
        logits = model(pixels(96, 80))
        objective(logits).backward()
        out[mode] = {
            "logits": numbers(logits),
            "gradients": summary((n, p.grad) for n, p in model.named_parameters() if p.requires_grad),
            "statistics": summary((n, b) for n, b in model.named_buffers() if n.startswith("layer4") and "running" in n),
        }
    return out


BERTS = {
    "small": dict(vocab_size=200, hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=160, max_position_embeddings=40, type_vocab_size=2, layer_norm_eps=1e-5),
    "minilm": dict(vocab_size=30522, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536, max_position_embeddings=512, type_vocab_size=2, layer_norm_eps=1e-12),
}


def tokens(vocabulary, lengths):
    """Ids of rows with these numbers of tokens, padded with 0 to the longest, and the mask."""
    longest = max(lengths)
    u = uniform("tokens", len(lengths) * longest).reshape(len(lengths), longest)
    mask = torch.tensor([[1] * n + [0] * (longest - n) for n in lengths])
    return torch.from_numpy(((u + 1.0) / 2.0 * vocabulary).astype(np.int64)) * mask, mask


def mean(states, mask):
    weight = mask.unsqueeze(-1).float()
    return (states * weight).sum(1) / weight.sum(1)


def berts():
    out = {}
    for name, sizes in BERTS.items():
        model = filled(transformers.BertForSequenceClassification(transformers.BertConfig(num_labels=5, **sizes)))
        lengths = [17, 5, 1, 11]
        ids, mask = tokens(sizes["vocab_size"], lengths)
        with torch.no_grad():
            states = model.bert(ids, attention_mask=mask).last_hidden_state
            case = {
                "config": dict(model_type="bert", hidden_act="gelu", **sizes),
                "lengths": lengths,
                "tensors": names_and_shapes(model),
                "mean": numbers(mean(states, mask)),
                "cls": numbers(states[:, 0]),
                "logits": numbers(model.classifier(mean(states, mask))),
            }
        if name == "small":
            for parameter_name, parameter in model.named_parameters():
                trained = ("bert.encoder.layer.2.", "classifier.")
                parameter.requires_grad_(parameter_name.startswith(trained))
            states = model.bert(ids, attention_mask=mask).last_hidden_state
            objective(model.classifier(mean(states, mask))).backward()
            case["gradients"] = summary((n, p.grad) for n, p in model.named_parameters() if p.requires_grad)
        out[name] = case
    return out


GPT2 = dict(vocab_size=200, n_positions=40, n_embd=64, n_layer=3, n_head=4, n_inner=160, layer_norm_epsilon=1e-5)


def gpt2():
    """Logits, and the first values of every stage: right padding, as `tokens` makes it, is seen by nobody before it."""
    config = transformers.GPT2Config(num_labels=5, pad_token_id=None, **GPT2)
    model = filled(transformers.GPT2ForSequenceClassification(config))
    lengths = [17, 5, 1, 11]
    ids, mask = tokens(GPT2["vocab_size"], lengths)
    stages = {}
    modules = {"embeddings": model.transformer.drop, "norm": model.transformer.ln_f}
    modules |= {f"layer.{n}": layer for n, layer in enumerate(model.transformer.h)}
    first = lambda output: (output[0] if isinstance(output, tuple) else output)[:, 0, :]
    for stage, module in modules.items():
        module.register_forward_hook(lambda _, __, output, stage=stage: stages.update({stage: numbers(first(output))}))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(("transformer.h.2.", "transformer.ln_f.", "score.")))
    states = model.transformer(ids, attention_mask=mask).last_hidden_state
    last = states[torch.arange(len(lengths)), torch.tensor(lengths) - 1]
    loss = objective(model.score(last))
    loss.backward()
    return {
        "config": dict(model_type="gpt2", activation_function="gelu_new", **GPT2),
        "lengths": lengths,
        "tensors": names_and_shapes(model),
        "stages": stages,
        "last": numbers(last),
        "mean": numbers(mean(states, mask)),
        "logits": numbers(model.score(last)),
        "loss": loss.item(),
        "gradients": summary((n, p.grad) for n, p in model.named_parameters() if p.requires_grad),
    }


DECODER = dict(hidden_size=64, intermediate_size=160, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, vocab_size=200, max_position_embeddings=40, rms_norm_eps=1e-5)
# The three say their positions in the words of Llama 3, of transformers 4.42 and before, and of transformers 5.
DECODERS = {
    "llama": dict(model_type="llama", rope_theta=500.0, rope_scaling=dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16), **DECODER),
    "llama_with_biases": dict(model_type="llama", attention_bias=True, mlp_bias=True, rope_theta=10000.0, rope_scaling=dict(type="linear", factor=2.0), **DECODER),
    "qwen2": dict(model_type="qwen2", use_sliding_window=False, sliding_window=40, **DECODER),
    "qwen3": dict(model_type="qwen3", head_dim=32, rope_parameters=dict(rope_theta=1000000.0, rope_type="default"), **DECODER),
}


def decoder(name):
    return transformers.AutoModelForSequenceClassification.from_config(transformers.AutoConfig.for_model(num_labels=5, pad_token_id=None, **DECODERS[name]))


def decoders():
    """Logits, and the gradients above the second layer."""
    out = {}
    for name, config in DECODERS.items():
        model = filled(decoder(name))
        lengths = [17, 5, 1, 11]
        ids, mask = tokens(config["vocab_size"], lengths)
        for parameter_name, parameter in model.named_parameters():
            parameter.requires_grad_(parameter_name.startswith(("model.layers.2.", "model.norm.", "score.")))
        states = model.model(ids, attention_mask=mask).last_hidden_state
        logits = model.score(states[torch.arange(len(lengths)), torch.tensor(lengths) - 1])
        loss = objective(logits)
        loss.backward()
        gradients = summary((n, p.grad) for n, p in model.named_parameters() if p.requires_grad)
        out[name] = {"config": config, "lengths": lengths, "logits": numbers(logits), "loss": loss.item(), "gradients": gradients}
    return out


# Windows of five tokens, in the layers 1 and 2.
MODERNBERT = dict(model_type="modernbert", vocab_size=200, hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4, max_position_embeddings=40, norm_eps=1e-5, classifier_pooling="mean", global_attn_every_n_layers=3, local_attention=4, global_rope_theta=160000.0, local_rope_theta=10000.0, pad_token_id=199)


def modernbert():
    return transformers.ModernBertForSequenceClassification(transformers.ModernBertConfig(num_labels=5, **MODERNBERT))


class Network(torch.nn.Module):
    """Of no library: BatchNorm, a buffer of its own, and a vector of six numbers of each image."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.fc = torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.BatchNorm2d(8), torch.nn.Linear(8, 6)
        self.register_buffer("shift", torch.ones(6))

    def forward(self, pixels):
        return self.fc(torch.relu(self.bn(self.conv(pixels))).mean([2, 3])) + self.shift


@torch.no_grad()
def script():
    """Writes `script.pt` beside the values of its vectors."""
    model = filled(Network())
    torch.jit.save(torch.jit.script(model), GOLDEN / "script.pt")
    return {"features": numbers(model(pixels(32, 24))), "parameters": sum(p.numel() for p in model.parameters())}


def losses():
    logits = torch.from_numpy(uniform("logits", 7 * 4).astype(np.float32)).reshape(7, 4) * 3.0
    labels = torch.tensor([0, 1, 2, 3, 1, 1, 0])
    out = []
    for weight in (None, [1.0, 0.2, 3.5, 0.0]):
        for smoothing in (0.0, 0.1, 0.9):
            values = logits.clone().requires_grad_()
            tensor = None if weight is None else torch.tensor(weight)
            make = lambda reduction: torch.nn.CrossEntropyLoss(weight=tensor, label_smoothing=smoothing, reduction=reduction)
            mean_loss = make("mean")(values, labels)
            mean_loss.backward()
            out.append({"weights": weight, "smoothing": smoothing, "sum": make("sum")(logits, labels).item(), "mean": mean_loss.item(), "mean_gradient": numbers(values.grad)})
    return out


def distances():
    """Losses of two standardised targets, whose scales are far from 1."""
    outputs = torch.from_numpy(uniform("outputs", 7 * 2).astype(np.float32)).reshape(7, 2) * 2.0
    mean, std = np.array([200000.0, -0.03]), np.array([90000.0, 0.002])
    values = uniform("values", 7 * 2).reshape(7, 2) * 3.0 * std + mean
    expected = torch.from_numpy((values - mean) / std).float()
    rules = {"mse": torch.nn.MSELoss(), "l1": torch.nn.L1Loss(), "huber": torch.nn.HuberLoss(), "huber_0.25": torch.nn.HuberLoss(delta=0.25)}
    out = {"mean": mean.tolist(), "std": std.tolist(), "values": values.ravel().tolist(), "cases": {}}
    for name, rule in rules.items():
        leaf = outputs.clone().requires_grad_()
        loss = rule(leaf, expected)
        loss.backward()
        out["cases"][name] = {"mean": loss.item(), "mean_gradient": numbers(leaf.grad)}
    return out


def label_losses():
    """Of samples that may have several labels, or none."""
    logits = torch.from_numpy(uniform("logits", 7 * 4).astype(np.float32)).reshape(7, 4) * 3.0
    labels = [[0], [1, 2], [], [0, 1, 2, 3], [3], [1], [0, 3]]
    expected = torch.zeros(7, 4)
    for row, own in zip(expected, labels):
        row[own] = 1.0
    out = {"labels": labels, "cases": []}
    for weight in (None, [1.0, 0.2, 3.5, 0.5]):
        leaf = logits.clone().requires_grad_()
        loss = torch.nn.BCEWithLogitsLoss(pos_weight=None if weight is None else torch.tensor(weight))(leaf, expected)
        loss.backward()
        out["cases"].append({"weights": weight, "mean": loss.item(), "mean_gradient": numbers(leaf.grad)})
    return out


def focal_losses():
    """Of classes by the formula of Lin et al. 2017 with weights of classes, of labels by torchvision. The first logit of each is one of which all is sure."""
    logits = torch.from_numpy(uniform("logits", 7 * 4).astype(np.float32)).reshape(7, 4) * 3.0
    logits[0, 0] = 60.0
    labels = torch.tensor([0, 1, 2, 3, 1, 1, 0])
    sets = [[0], [1, 2], [], [0, 1, 2, 3], [3], [1], [0, 3]]
    expected = torch.zeros(7, 4)
    for row, own in zip(expected, sets):
        row[own] = 1.0
    out = {"sets": sets, "classes": [], "labels": []}
    for gamma in (0.0, 2.0, 3.5):
        for weight in (None, [1.0, 0.2, 3.5, 0.5]):
            leaf = logits.clone().requires_grad_()
            own = torch.ones(4) if weight is None else torch.tensor(weight)
            logs = leaf.log_softmax(1)[torch.arange(7), labels]
            loss = (own[labels] * (1 - logs.exp()) ** gamma * -logs).sum() / own[labels].sum()
            loss.backward()
            out["classes"].append({"gamma": gamma, "weights": weight, "mean": loss.item(), "mean_gradient": numbers(leaf.grad)})
        for alpha in (0.25, 0.9):
            leaf = logits.clone().requires_grad_()
            loss = torchvision.ops.sigmoid_focal_loss(leaf, expected, alpha=alpha, gamma=gamma, reduction="mean")
            loss.backward()
            out["labels"].append({"gamma": gamma, "alpha": alpha, "mean": loss.item(), "mean_gradient": numbers(leaf.grad)})
    return out


def optimizers():
    """Parameters after each of 20 steps whose gradients and rates are fixed formulas."""
    rules = {
        "adamw": (torch.optim.AdamW, dict(lr=0.01, weight_decay=0.05, betas=(0.9, 0.98), eps=1e-8)),
        "adamw_large_epsilon": (torch.optim.AdamW, dict(lr=0.1, weight_decay=0.0, betas=(0.5, 0.9), eps=1e-2)),
        "sgd": (torch.optim.SGD, dict(lr=0.1)),
        "sgd_decay": (torch.optim.SGD, dict(lr=0.1, weight_decay=0.03)),
        "sgd_momentum": (torch.optim.SGD, dict(lr=0.1, momentum=0.9, weight_decay=0.03)),
        "sgd_nesterov": (torch.optim.SGD, dict(lr=0.1, momentum=0.8, weight_decay=0.01, nesterov=True)),
        "adam": (torch.optim.Adam, dict(lr=0.01, weight_decay=0.05, betas=(0.9, 0.98), eps=1e-8)),
        "rmsprop": (torch.optim.RMSprop, dict(lr=0.01, alpha=0.9, eps=1e-6)),
        "rmsprop_momentum": (torch.optim.RMSprop, dict(lr=0.01, alpha=0.9, eps=1e-6, weight_decay=0.03, momentum=0.9)),
        "rmsprop_centered": (torch.optim.RMSprop, dict(lr=0.01, alpha=0.9, eps=1e-6, centered=True)),
        "rmsprop_centered_momentum": (torch.optim.RMSprop, dict(lr=0.01, alpha=0.9, eps=1e-6, weight_decay=0.03, momentum=0.9, centered=True)),
        "lamb": (timm.optim.Lamb, dict(lr=0.05, weight_decay=0.02, betas=(0.9, 0.98), eps=1e-6, max_grad_norm=None)),
        "lamb_without_decay": (timm.optim.Lamb, dict(lr=0.05, weight_decay=0.0, betas=(0.9, 0.98), eps=1e-6, max_grad_norm=None)),
        "adamw_weights": (torch.optim.AdamW, dict(lr=0.01, weight_decay=0.05, betas=(0.9, 0.98), eps=1e-8)),
        "sgd_weights": (torch.optim.SGD, dict(lr=0.1, weight_decay=0.03, momentum=0.9)),
        "lamb_weights": (timm.optim.Lamb, dict(lr=0.05, weight_decay=0.02, betas=(0.9, 0.98), eps=1e-6, max_grad_norm=None)),
        "adamw_late": (torch.optim.AdamW, dict(lr=0.01, weight_decay=0.05, betas=(0.9, 0.98), eps=1e-8)),
        "sgd_momentum_late": (torch.optim.SGD, dict(lr=0.1, momentum=0.9, weight_decay=0.03)),
        "rmsprop_centered_momentum_late": (torch.optim.RMSprop, dict(lr=0.01, alpha=0.9, eps=1e-6, weight_decay=0.03, momentum=0.9, centered=True)),
    }
    out = {}
    for name, (rule, options) in rules.items():
        parameters = [torch.nn.Parameter(fill(f"parameter.{i}", shape)) for i, shape in enumerate([(3, 4), (5,)])]
        groups = parameters
        if name.endswith("_weights"):  # as `timm.optim.param_groups_weight_decay`: what has one dimension does not decay
            groups = [{"params": parameters[:1]}, {"params": parameters[1:], "weight_decay": 0.0}]
        is_late = name.endswith("_late")  # the second one is unfrozen before the eighth step, and learns at half the rate
        if is_late:
            groups = [{"params": parameters[:1], "lr_scale": 1.0}, {"params": parameters[1:], "lr_scale": 0.5}]
        optimizer = rule(groups, **options)
        trajectory = []
        for step in range(20):
            for group in optimizer.param_groups:
                group["lr"] = options["lr"] * (1.0 - step / 25.0) * group.get("lr_scale", 1.0)
            for i, parameter in enumerate(parameters[:1] if is_late and step < 7 else parameters):
                parameter.grad = torch.from_numpy(uniform(f"gradient.{step}.{i}", parameter.numel()).astype(np.float32)).reshape(parameter.shape)
            optimizer.step()
            trajectory.append([numbers(p) for p in parameters])
        out[name] = trajectory
    return out


def layer_decay():
    """What timm multiplies the rate of each parameter with, by its name: of a network whose stages are timm's layers."""
    model = timm.create_model("deit_tiny_patch16_224")
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = timm.optim.param_groups_layer_decay(model, layer_decay=0.75)
    return {names[id(parameter)]: group["lr_scale"] for group in groups for parameter in group["params"]}


SENTENCES = [
    "The glacier has been losing its snow for years.",
    "Snow has vanished from the glacier over the last decade.",
    "This restaurant serves the best noodles in town.",
]


@torch.no_grad()
def sentences(folder):
    """Mean-pooled states of a real sentence encoder; tokens are committed beside them."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.BertModel.from_pretrained(folder).eval()
    batch = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    states = model(**batch).last_hidden_state
    return {"ids": batch["input_ids"].tolist(), "mask": batch["attention_mask"].tolist(), "mean": numbers(mean(states, batch["attention_mask"]))}


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
        from parity import timm_mobilenet

        model = timm_mobilenet(architecture, num_classes=classes).eval()
        model.load_state_dict(state, strict=True)
        logits = model(exported_pixels(architecture)).double()
    elif architecture.startswith("vgg") and "head.fc.weight" in state:
        model = timm.create_model(architecture, num_classes=classes).eval()
        model.load_state_dict(state, strict=True)
        logits = model(exported_pixels(architecture)).double()
    elif architecture.startswith("dinov2_"):
        from parity import TIMM_DINOV2S

        model = timm.create_model(TIMM_DINOV2S[architecture], num_classes=classes, dynamic_img_size=True).eval()
        model.load_state_dict(state, strict=True)
        logits = model(exported_pixels(architecture)).double()
    elif architecture.startswith("deit_"):
        from parity import torchvision_vit

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


def main():
    torch.set_num_threads(1)
    match sys.argv[1:]:
        case ["check"]:
            return check_each()
        case ["check", folder]:
            return print(json.dumps(check(folder)))
    GOLDEN.mkdir(exist_ok=True)
    parts = [
        images,
        reduced,
        vggs,
        cut_vggs,
        inception,
        cut_resnet,
        berts,
        gpt2,
        decoders,
        script,
        losses,
        label_losses,
        focal_losses,
        distances,
        optimizers,
        layer_decay,
    ]
    parts = {part.__name__: part() for part in parts}
    if len(sys.argv) > 1:  # the folder of a real MiniLM
        parts["sentences"] = sentences(sys.argv[1])
    for name, value in parts.items():
        (GOLDEN / f"{name}.json").write_text(json.dumps(value, separators=(",", ":")) + "\n")
        print(name, "written")
    for name, case in parts["images"].items():
        print(name, "logits", np.round(case["logits"], 4).tolist())
    for name, case in parts["berts"].items():
        print(name, "logits", np.round(case["logits"], 4).tolist())


if __name__ == "__main__":
    main()
