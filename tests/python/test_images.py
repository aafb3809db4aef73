"""An epoch of images that are augmented and mixed is PyTorch's, on one and on two ranks: the same parameters, given to torchvision's own transforms."""

import csv
import importlib.util

import numpy as np
import pytest
import torch
import torchvision
from conftest import ROOT, job, run_job
from one_epoch import drawn_head, sample_order
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

place = importlib.util.spec_from_file_location("mixing", ROOT / "tests/reference/mixing.py")
drawn = importlib.util.module_from_spec(place)
place.loader.exec_module(drawn)

# 43 samples in batches of 16: the last one holds eleven.
SAMPLES, BATCH, SEED, SIDE = 43, 16, 9, 32
CLASSES = ["ash", "beech", "elm"]
CLASS_WEIGHTS = {"ash": 1.5, "elm": 0.5}
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
SCALE, RATIO, FLIP = (0.3, 0.9), (0.75, 1.4), 0.4


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Noise with a tint, 48 pixels wide and 40 high, and two tables of them: with a class, and with flags."""
    folder = tmp_path_factory.mktemp("pictures")
    chance = np.random.default_rng(3)
    rows = []
    for number in range(SAMPLES):
        pixels = chance.integers(0, 180, (40, 48, 3), dtype=np.uint8)
        pixels[..., number % 3] += np.uint8(chance.integers(10, 70))
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
        rows.append((f"{number:03}.png", CLASSES[number % 3], *(int(number % (place + 2) == 0) for place in range(3))))
    for name, header, columns in (("classes", ["path", "label"], slice(0, 2)), ("flags", ["path", *CLASSES], None)):
        with open(folder / f"{name}.csv", "w", newline="") as file:
            csv.writer(file).writerows([header, *([*row[columns]] if columns else [row[0], *row[2:]] for row in rows)])
    return folder, rows


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """A ResNet-18 with random weights, its file, and what it gives below its last layer."""
    torch.manual_seed(1)
    network = torchvision.models.resnet18(weights=None).eval()
    file = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, file)
    network.fc = nn.Identity()
    return file, network


def spec_of(name, pictures, backbone, task, augmentation, mixing, training):
    folder, _ = pictures
    columns = {"image": "path", "label": "label"} if task == "classification" else {"image": "path", "labels": CLASSES}
    data = {
        "format": "csv",
        "train": {"uri": str(folder / ("classes.csv" if task == "classification" else "flags.csv"))},
        "columns": columns,
        "preprocessing": {"resize": 36, "crop": SIDE, "mean": MEAN, "std": STD},
        **({"augmentation": augmentation} if augmentation else {}),
    }
    loss = {"labelSmoothing": 0.1, "classWeights": CLASS_WEIGHTS} if task == "classification" else {"classWeights": CLASS_WEIGHTS}
    rule = {"type": "sgd", "learningRate": 0.1, "momentum": 0.9}
    training = {"epochs": 1, "batchSize": BATCH, "microBatchSize": 5, "seed": SEED, "loss": loss, "optimizer": rule, **training}
    spec = job(name, {"architecture": "resnet18", "weights": str(backbone[0])}, data, training | ({"mixing": mixing} if mixing else {}))
    spec["spec"]["task"]["type"] = task
    return spec


def seen(path, epoch, sample, augmentation):
    """A picture as the network takes it in."""
    image = Image.open(path).convert("RGB")
    if augmentation is None:
        image = F.center_crop(F.resize(image, 36), SIDE)
    elif "randomCrop" in augmentation:
        image, padding = F.resize(image, 36), augmentation["randomCrop"]["padding"]
        start = drawn.padded_crop(SEED, epoch, sample, image.size, SIDE, padding)
        image = F.crop(F.pad(image, [padding], padding_mode=augmentation["randomCrop"]["paddingMode"]), *start, SIDE, SIDE)
    else:
        top, left, height, width = drawn.crop(SEED, epoch, sample, image.size, SCALE, RATIO)
        image = F.resized_crop(image, top, left, height, width, [SIDE, SIDE])
    if augmentation and drawn.is_flipped(SEED, epoch, sample, FLIP):
        image = F.horizontal_flip(image)
    return F.normalize(F.to_dtype(F.to_image(image), torch.float32, scale=True), MEAN, STD)


def mixed(images, targets, epoch, step, mixing):
    """Images and soft targets as torchvision mixes them; how, in a word."""
    if not mixing:
        return images, targets, "none"
    settings = {"mixup_alpha": mixing.get("mixupAlpha"), "cutmix_alpha": mixing.get("cutmixAlpha")}
    settings |= {"probability": mixing.get("probability", 1.0), "switch_probability": mixing.get("switchProbability", 0.5)}
    how, parameters = drawn.blend(SEED, epoch, step, SIDE, **settings)
    if how == "none":
        return images, targets, how
    transform = v2.CutMix(num_classes=3) if how == "cutmix" else v2.MixUp(num_classes=3)
    share = parameters.get("lam", parameters.get("lam_adjusted"))
    images = transform.transform(images, {**parameters, "labels": None, "batch_size": len(images)})
    return images, targets.roll(1, 0).mul(1 - share).add(targets.mul(share)), how


def trained_by_pytorch(beginning, pictures, network, task, augmentation, mixing, epochs):
    folder, rows = pictures
    head = nn.Linear(*beginning["weight"].shape[::-1])
    head.load_state_dict(beginning)
    optimizer = torch.optim.SGD(head.parameters(), 0.1, momentum=0.9)
    weights = torch.tensor([CLASS_WEIGHTS.get(name, 1.0) for name in CLASSES])
    if task == "classification":
        criterion = nn.CrossEntropyLoss(weight=weights, label_smoothing=0.1)
        targets = nn.functional.one_hot(torch.tensor([CLASSES.index(row[1]) for row in rows])).float()
    else:
        criterion = nn.BCEWithLogitsLoss(pos_weight=weights)
        targets = torch.tensor([row[2:] for row in rows]).float()
    losses, ways, step = [], set(), 0
    for epoch in range(epochs):
        for batch in torch.tensor(sample_order(SEED, epoch, SAMPLES)).split(BATCH):
            images = torch.stack([seen(folder / rows[sample][0], epoch, sample, augmentation) for sample in batch.tolist()])
            images, expected, how = mixed(images, targets[batch], epoch, step, mixing)
            if task == "classification" and not mixing:
                expected = expected.argmax(1)
            with torch.no_grad():
                features = network(images)
            optimizer.zero_grad()
            loss = criterion(head(features), expected)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            ways.add(how)
            step += 1
    return losses, head.state_dict(), ways


AUGMENTED = {"randomResizedCrop": {"scale": list(SCALE), "ratio": list(RATIO)}, "horizontalFlip": FLIP}
CASES = {
    "augmented": ("classification", AUGMENTED, None, {"none"}),
    "padded": ("classification", {"randomCrop": {"padding": 6, "paddingMode": "reflect"}, "horizontalFlip": FLIP}, None, {"none"}),
    "mixup": ("classification", None, {"mixupAlpha": 0.4}, {"mixup"}),
    "cutmix": ("classification", None, {"cutmixAlpha": 1.0}, {"cutmix"}),
    "all": ("classification", AUGMENTED, {"mixupAlpha": 2.0, "cutmixAlpha": 1.0, "probability": 0.7}, {"none", "mixup", "cutmix"}),
    "labels": ("multi_label_classification", None, {"mixupAlpha": 0.8, "cutmixAlpha": 1.0}, {"mixup", "cutmix"}),
}


@pytest.mark.parametrize("case", CASES)
def test_epochs_of_changed_images_are_pytorchs(case, pictures, backbone, tmp_path):
    task, augmentation, mixing, expected_ways = CASES[case]
    epochs = 4 if case == "all" else 2
    head, prefix = drawn_head(spec_of("still", pictures, backbone, task, None, None, {}), tmp_path / "still")
    beginning = {key: value.clone() for key, value in head.state_dict().items()}
    losses, expected, ways = trained_by_pytorch(beginning, pictures, backbone[1], task, augmentation, mixing, epochs)
    assert ways == expected_ways, "another seed shows all of them"
    assert max((expected[key] - beginning[key]).abs().max().item() for key in expected) > 1e-3, "nothing was learned, so nothing is compared"
    for ranks in (1, 2):
        spec = spec_of(case, pictures, backbone, task, augmentation, mixing, {"epochs": epochs})
        finished = run_job(spec, tmp_path / str(ranks), workers=ranks)
        found = [step["loss"] for step in finished.history]
        print(f"{case} on {ranks} ranks: losses within {max(abs(a / b - 1) for a, b in zip(found, losses, strict=True)):.1e}")
        assert found == pytest.approx(losses, rel=1e-5), ranks
        trained = load_file(finished.folder / "head.safetensors")
        for key, value in expected.items():
            np.testing.assert_allclose(trained[f"{prefix}{key}"], value, rtol=1e-5, atol=1e-5, err_msg=f"{key} on {ranks} ranks")
