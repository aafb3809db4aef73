"""Reference values of what training computes beside the network: losses, optimizers and the rates of layers."""

import numpy as np
import timm
import timm.optim
import torch
import torchvision
from formula import fill, numbers, uniform


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
