"""The recipe of augmented images reaches what the same procedure in PyTorch and torchvision does: the same parameters are drawn, by a second implementation."""

import math
import pathlib

import pytest
import torch
import torchvision
import yaml
from conftest import ROOT, run_job, shared
from one_epoch import drawn_head, sample_order
from PIL import Image
from safetensors.torch import load_file
from test_images import drawn
from torch import nn
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

RECIPE = ROOT / "deploy/recipes/augmented-images.yaml"


def recipe():
    """The spec, on ants and bees."""
    spec = yaml.safe_load(RECIPE.read_text())
    spec["spec"]["model"]["weights"] = str(shared("weights/mobilenet_v2_imagenet/mobilenet_v2_imagenet_dequant.safetensors"))
    for split, folder in (("train", "train"), ("validation", "val")):
        spec["spec"]["data"][split] = {"uri": str(shared(f"data/hymenoptera/{folder}"))}
    return spec


def files(folder):
    """Paths and classes in the order of Firn's manifest, which is that of the paths."""
    classes = sorted(path.name for path in pathlib.Path(folder).iterdir() if path.is_dir())
    found = sorted(path for name in classes for path in (pathlib.Path(folder) / name).iterdir())
    return found, torch.tensor([classes.index(path.parent.name) for path in found])


def normalised(image, settings):
    return F.normalize(F.to_dtype(F.to_image(image), torch.float32, scale=True), settings["mean"], settings["std"])


class Procedure:
    """The recipe in PyTorch."""

    def __init__(self, spec, beginning):
        self.spec, self.training, self.data = spec["spec"], spec["spec"]["training"], spec["spec"]["data"]
        self.settings, self.changes, self.seed = self.data["preprocessing"], self.data["augmentation"], self.training["seed"]
        self.network = torchvision.models.mobilenet_v2(weights=None)
        weights = load_file(self.spec["model"]["weights"])
        self.network.load_state_dict({key: value for key, value in weights.items() if not key.startswith("classifier.")}, strict=False)
        self.network.classifier = beginning
        self.network.eval().requires_grad_(False)
        for part in (self.network.features[18], self.network.classifier):
            part.requires_grad_(True)

    def changed(self, path, epoch, sample):
        side, changes = self.settings["crop"], self.changes
        image = Image.open(path).convert("RGB")
        part = drawn.crop(self.seed, epoch, sample, image.size, changes["randomResizedCrop"]["scale"], (3 / 4, 4 / 3))
        image = F.resized_crop(image, *part, [side, side])
        if drawn.is_flipped(self.seed, epoch, sample, changes["horizontalFlip"]):
            image = F.horizontal_flip(image)
        policy = v2.TrivialAugmentWide()
        entry, step, sign = drawn.trivial_augment(self.seed, epoch, sample, policy._AUGMENTATION_SPACE, side)
        strengths = policy._AUGMENTATION_SPACE[entry][0](31, side, side)
        strength = 0.0 if strengths is None else sign * float(strengths[step])
        image = policy._apply_image_or_video_transform(image, entry, strength, InterpolationMode.NEAREST, {Image.Image: None})
        image = normalised(image, self.settings)
        rectangle = drawn.erased(self.seed, epoch, sample, (side, side), changes["randomErasing"]["probability"], (0.02, 0.33), (0.3, 3.3))
        return image if rectangle is None else F.erase(image, *rectangle, torch.zeros(3, 1, 1))

    def mixed(self, images, classes, epoch, step):
        mixing = self.training["mixing"]
        targets = nn.functional.one_hot(classes, 2).float()
        how, parameters = drawn.blend(self.seed, epoch, step, self.settings["crop"], mixing["mixupAlpha"], mixing["cutmixAlpha"])
        transform = {"mixup": v2.MixUp, "cutmix": v2.CutMix}[how](num_classes=2)
        share = parameters.get("lam", parameters.get("lam_adjusted"))
        images = transform.transform(images, {**parameters, "labels": None, "batch_size": len(images)})
        return images, targets.roll(1, 0).mul(1 - share).add(targets.mul(share))

    def run(self):
        """The losses of the steps, and the best accuracy."""
        paths, classes = files(self.data["train"]["uri"])
        parameters = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        rule = self.training["optimizer"]
        optimizer = torch.optim.SGD(parameters, rule["learningRate"], momentum=rule["momentum"], weight_decay=rule["weightDecay"])
        criterion = nn.CrossEntropyLoss(label_smoothing=self.training["loss"]["labelSmoothing"])
        size, epochs = self.training["batchSize"], self.training["epochs"]
        steps = epochs * -(-len(paths) // size)
        warm_up = math.ceil(self.training["schedule"]["warmupRatio"] * steps)
        from transformers import get_cosine_schedule_with_warmup

        schedule = get_cosine_schedule_with_warmup(optimizer, warm_up, steps)
        losses, best = [], 0.0
        for epoch in range(epochs):
            for batch in torch.tensor(sample_order(self.seed, epoch, len(paths))).split(size):
                images = torch.stack([self.changed(paths[sample], epoch, sample) for sample in batch.tolist()])
                images, targets = self.mixed(images, classes[batch], epoch, len(losses))
                optimizer.zero_grad()
                loss = criterion(self.network(images), targets)
                loss.backward()
                optimizer.step()
                schedule.step()
                losses.append(loss.item())
            best = max(best, self.accuracy())
        return losses, best

    def accuracy(self):
        paths, classes = files(self.data["validation"]["uri"])
        side = self.settings["crop"]
        right = 0
        for first in range(0, len(paths), 32):
            images = [F.center_crop(F.resize(Image.open(path).convert("RGB"), self.settings["resize"]), side) for path in paths[first : first + 32]]
            with torch.no_grad():
                outputs = self.network(torch.stack([normalised(image, self.settings) for image in images]))
            right += (outputs.argmax(1) == classes[first : first + 32]).sum().item()
        return right / len(paths)


@pytest.mark.long
def test_the_recipe_of_augmented_images_is_as_good_as_the_same_procedure_in_pytorch(tmp_path):
    spec = recipe()
    head, _ = drawn_head({**spec, "spec": {**spec["spec"], "data": {key: value for key, value in spec["spec"]["data"].items() if key != "augmentation"}}}, tmp_path / "still")
    losses, expected = Procedure(spec, head).run()
    finished = run_job(spec, tmp_path)
    accuracy = finished.metrics["validation"]["metrics"]["accuracy"]
    found = [step["loss"] for step in finished.history]
    print(f"validation accuracy {accuracy:.4f}, in PyTorch {expected:.4f}; losses within {max(abs(a / b - 1) for a, b in zip(found, losses, strict=True)):.1e}")
    assert accuracy == pytest.approx(expected, abs=0.01)
    assert found == pytest.approx(losses, rel=0.01)
