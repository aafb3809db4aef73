"""The residual networks for CIFAR-10 of He et al. 2016, section 4.2, which no installed library has, under the names of pytorch_resnet_cifar10.

A shortcut has no parameters ("option A"): where a block halves the image, every second row and column of its input is taken, and channels of zeros are put
around its own.

    python worker/models/tests/reference/cifar_resnet.py WEIGHTS FOLDER    # prints the accuracy of resnet20 with real weights on a folder of images a class
"""

import pathlib
import sys

import torch
from torch import nn
from torch.nn import functional

# Blocks of each of the three layers: a sixth of the depth but for the first convolution and the output layer.
CIFAR_RESNETS = {f"resnet{depth}_cifar": (depth - 2) // 6 for depth in (20, 32, 44, 56, 110)}
# Of the training that the published weights come from.
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.added = stride, outputs - inputs

    def forward(self, images):
        changed = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(images)))))
        seen = images[:, :, :: self.stride, :: self.stride]
        before = self.added // 2
        return functional.relu(changed + functional.pad(seen, (0, 0, 0, 0, before, self.added - before)))


class CifarResnet(nn.Module):
    def __init__(self, blocks, num_classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = nn.Sequential(*(Block(16, 16, 1) for _ in range(blocks)))
        self.layer2 = nn.Sequential(*(Block(32 if n else 16, 32, 1 if n else 2) for n in range(blocks)))
        self.layer3 = nn.Sequential(*(Block(64 if n else 32, 64, 1 if n else 2) for n in range(blocks)))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(64, num_classes)

    def forward(self, images):
        images = self.relu(self.bn1(self.conv1(images)))
        images = self.layer3(self.layer2(self.layer1(images)))
        return self.linear(self.pool(images).flatten(1))


def cifar_resnet(architecture, **options):
    return CifarResnet(CIFAR_RESNETS[architecture], **options)


@torch.no_grad()
def accuracy(weights, folder):
    """Of images in a folder for each class."""
    from safetensors.torch import load_file
    from torchvision import datasets, transforms

    network = cifar_resnet("resnet20_cifar").eval()
    network.load_state_dict(load_file(weights), strict=True)
    prepared = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    images = torch.utils.data.DataLoader(datasets.ImageFolder(folder, prepared), batch_size=200)
    right = sum((network(pixels).argmax(1) == classes).sum().item() for pixels, classes in images)
    return right / len(images.dataset)


if __name__ == "__main__":
    weights, folder = map(pathlib.Path, sys.argv[1:])
    print(f"resnet20_cifar on {folder}: accuracy {accuracy(weights, folder):.4f}")
