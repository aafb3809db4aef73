"""Reference values of networks of images: logits, features, values after every stage, and gradients above a cut."""

import torch
import torchvision
import transformers
from formula import GOLDEN, filled, names_and_shapes, numbers, objective, pixels, summary


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
