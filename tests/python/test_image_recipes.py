"""The recipes whose images are other ones in each epoch, on real data: what a job reaches is what the same procedure reaches in PyTorch and torchvision. What a
job draws is drawn a second time, by `tests/reference/mixing.py`, and given to torchvision's own transforms."""

import sys

import pytest
import torch
import torchvision
from conftest import ROOT, run_job, shared
from one_epoch import drawn_head
from PIL import Image
from procedure import trained
from safetensors.torch import load_file
from test_images import drawn
from test_recipes import LONG, accuracy, is_reached, recipe
from torch import nn
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

sys.path.append(str(ROOT / "worker/models/tests/reference"))
from cifar_resnet import MEAN, STD, cifar_resnet

# Of a class: images of train, validation and test that a split of the data has.
SMALL, WHOLE = {"train": (0, 40), "validation": (900, 930), "test": (0, 50)}, {"train": (0, 900), "validation": (900, 1000), "test": (0, 200)}


def lay(source, parts, folder):
    """Folders of images by split: `parts` names the folder of each in `source`, and which of a class they are."""
    for split, (origin, (begin, end)) in parts.items():
        for label in sorted((source / origin).iterdir()):
            (folder / split / label.name).mkdir(parents=True)
            for path in sorted(label.iterdir())[begin:end]:
                (folder / split / label.name / path.name).symlink_to(path)


def beginning(spec, folder):
    """The head with which a job of few images begins: it depends on the seed and its shape alone, so all else may be frozen and nothing is changed."""
    del spec["spec"]["model"]["freeze"], spec["spec"]["data"]["augmentation"]
    return drawn_head(spec, folder)[0]


class Procedure:
    """A recipe in PyTorch: `frozen` gives what `learned` makes outputs of."""

    def __init__(self, spec, data, preprocessing, frozen, learned):
        self.spec, self.preprocessing, self.frozen, self.learned = spec, preprocessing, frozen, learned
        self.training, self.changes = spec["spec"]["training"], spec["spec"]["data"]["augmentation"]
        self.seed, self.side = self.training["seed"], preprocessing["crop"]
        # In the order of Firn's manifest, which is that of the paths.
        self.paths = {split.name: sorted(path for path in split.rglob("*") if path.is_file()) for split in data.iterdir()}
        labels = sorted({path.parent.name for path in self.paths["train"]})
        self.classes = {split: torch.tensor([labels.index(path.parent.name) for path in paths]) for split, paths in self.paths.items()}

    def normalised(self, image):
        return F.normalize(F.to_dtype(F.to_image(image), torch.float32, scale=True), self.preprocessing["mean"], self.preprocessing["std"])

    def resized(self, path):
        return F.resize(Image.open(path).convert("RGB"), self.preprocessing["resize"])

    def changed(self, sample, epoch):
        """An image of train as it is seen in an epoch."""
        path, which = self.paths["train"][sample], (self.seed, epoch, sample)
        if "randomResizedCrop" in self.changes:
            image = Image.open(path).convert("RGB")
            image = F.resized_crop(image, *drawn.crop(*which, image.size, self.changes["randomResizedCrop"]["scale"], (3 / 4, 4 / 3)), [self.side] * 2)
        else:
            image, padding = self.resized(path), self.changes["randomCrop"]["padding"]
            start = drawn.padded_crop(*which, image.size, self.side, padding)
            image = F.crop(F.pad(image, [padding]), *start, self.side, self.side)
        if drawn.is_flipped(*which, self.changes["horizontalFlip"]):
            image = F.horizontal_flip(image)
        if "trivialAugmentWide" in self.changes:
            policy = v2.TrivialAugmentWide()
            entry, step, sign = drawn.trivial_augment(*which, policy._AUGMENTATION_SPACE, self.side)
            strengths = policy._AUGMENTATION_SPACE[entry][0](31, self.side, self.side)
            strength = 0.0 if strengths is None else sign * float(strengths[step])
            image = policy._apply_image_or_video_transform(image, entry, strength, InterpolationMode.NEAREST, {Image.Image: None})
        image = self.normalised(image)
        if erasing := self.changes.get("randomErasing"):
            if rectangle := drawn.erased(*which, (self.side, self.side), erasing["probability"], (0.02, 0.33), (0.3, 3.3)):
                image = F.erase(image, *rectangle, torch.zeros(3, 1, 1))
        return image

    def mixed(self, images, targets, epoch, step):
        """Images and soft targets as torchvision mixes them."""
        mixing = self.training["mixing"]
        how, parameters = drawn.blend(self.seed, epoch, step, self.side, mixing["mixupAlpha"], mixing["cutmixAlpha"])
        transform = {"mixup": v2.MixUp, "cutmix": v2.CutMix}[how](num_classes=targets.shape[1])
        share = parameters.get("lam", parameters.get("lam_adjusted"))
        images = transform.transform(images, {**parameters, "labels": None, "batch_size": len(images)})
        return images, targets.roll(1, 0).mul(1 - share).add(targets.mul(share))

    def loss(self, places, epoch, step):
        images = torch.stack([self.changed(sample, epoch) for sample in places.tolist()])
        targets = self.classes["train"][places]
        if "mixing" in self.training:
            images, targets = self.mixed(images, nn.functional.one_hot(targets).float(), epoch, step)
        with torch.no_grad():
            features = self.frozen(images)
        smoothing = self.training.get("loss", {}).get("labelSmoothing", 0.0)
        return nn.functional.cross_entropy(self.learned(features), targets, label_smoothing=smoothing)

    def features(self, split):
        """Of images that are never changed."""
        found = []
        with torch.no_grad():
            for begin in range(0, len(self.paths[split]), 64):
                images = [F.center_crop(self.resized(path), self.side) for path in self.paths[split][begin : begin + 64]]
                found.append(self.frozen(torch.stack([self.normalised(image) for image in images])))
        return torch.cat(found)

    def reached(self, scored):
        """The accuracy on the second split of `scored` after the epoch that is best on the first."""
        held = {split: self.features(split) for split in dict.fromkeys(scored)}
        parameters = [parameter for parameter in self.learned.parameters() if parameter.requires_grad]
        score = lambda: [accuracy(self.learned(held[split]), self.classes[split]) for split in scored]
        return trained(self.spec, len(self.paths["train"]), parameters, self.loss, score)


@pytest.mark.parametrize("parts, training", [(SMALL, {"epochs": 3, "batchSize": 20}), pytest.param(WHOLE, {}, marks=LONG)])
def test_cifar10(tmp_path, parts, training):
    images, weights = shared("data/cifar10_subset"), shared("weights/resnet20_cifar10/resnet20-12fca82f.safetensors")
    origins = {"train": "train", "validation": "train", "test": "test"}

    def made(folder, parts):
        spec = recipe("cifar10", folder, weights)
        lay(images, {split: (origins[split], part) for split, part in parts.items()}, folder / "data")
        return spec

    spec = made(tmp_path / "job", parts)
    spec["spec"]["training"] |= {**training, "weightDecayOf": "all"}
    finished = run_job(spec, tmp_path / "job")
    network = cifar_resnet("resnet20_cifar").eval()
    network.load_state_dict(load_file(weights))
    network.linear = beginning(made(tmp_path / "still", dict.fromkeys(parts, (0, 2))), tmp_path / "still")
    frozen = nn.Sequential(network.conv1, network.bn1, network.relu, network.layer1, network.layer2)
    learned = nn.Sequential(network.layer3, network.pool, nn.Flatten(), network.linear)
    preprocessing = {"resize": 32, "crop": 32, "mean": MEAN, "std": STD}
    is_reached("cifar10", finished, "accuracy", Procedure(spec, tmp_path / "job/data", preprocessing, frozen, learned).reached(["validation", "test"]))


@pytest.mark.parametrize(
    "images, epochs, sides",
    [({"train": (0, 24), "validation": (0, 20)}, 2, {"resize": 128, "crop": 112}), pytest.param({"train": (0, None), "validation": (0, None)}, 6, {}, marks=LONG)],
)
def test_augmented_images(tmp_path, images, epochs, sides):
    source = shared("data/hymenoptera")
    weights = shared("weights/mobilenet_v2_imagenet/mobilenet_v2_imagenet_dequant.safetensors")

    def made(folder, images):
        spec = recipe("augmented-images", folder, weights)
        lay(source, {"train": ("train", images["train"]), "validation": ("val", images["validation"])}, folder / "data")
        spec["spec"]["data"]["preprocessing"] |= sides
        return spec

    spec = made(tmp_path / "job", images)
    spec["spec"]["training"] |= {"epochs": epochs, "weightDecayOf": "all"}
    finished = run_job(spec, tmp_path / "job")
    network = torchvision.models.mobilenet_v2(weights=None).eval()
    network.load_state_dict({key: value for key, value in load_file(weights).items() if not key.startswith("classifier.")}, strict=False)
    head = beginning(made(tmp_path / "still", dict.fromkeys(images, (0, 2))), tmp_path / "still")
    learned = nn.Sequential(network.features[18], nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    procedure = Procedure(spec, tmp_path / "job/data", spec["spec"]["data"]["preprocessing"], network.features[:18], learned)
    is_reached("augmented-images", finished, "accuracy", procedure.reached(["validation", "validation"]), split="validation")
