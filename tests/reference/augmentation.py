#!/usr/bin/env python3
"""Golden values of the changes of training images: pixels that torchvision makes of PIL images, and parameters that it draws.

    python tests/reference/augmentation.py > worker/data/src/modality/image/augmentation/golden.json

Needs torchvision, Pillow and NumPy. A picture is a formula of place and channel, so that the other side can draw it, too. Pixels of operations with given
parameters are compared byte for byte, parameters by a test of Kolmogorov and Smirnov.
"""

import base64
import json

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

WORD = (1 << 64) - 1


def picture(width, height, seed):
    """Gradients in the upper two bits of each channel's noise: every hue, some greys, uneven histograms."""
    state, pixels = seed, np.zeros((height, width, 3), dtype=np.uint8)
    for y in range(height):
        for x in range(width):
            for channel in range(3):
                state = (state * 6364136223846793005 + 1442695040888963407) & WORD
                wave = (x * (channel + 3) * 5 + y * (7 - channel) * 4) % 256
                pixels[y, x, channel] = (wave * 3 + (state >> 56)) // 4 if (x // 4 + y // 4) % 5 else wave
    pixels[: height // 4, : width // 4] = pixels[: height // 4, : width // 4, :1]
    return Image.fromarray(pixels)


def encoded(image):
    return base64.b64encode(np.asarray(image, dtype=np.uint8).tobytes()).decode()


def policy(name, magnitude, how):
    """One operation of the policies as torchvision applies it."""
    fill = {type(None): None}
    return lambda image: v2.RandAugment(interpolation=how)._apply_image_or_video_transform(image, name, magnitude, how, {Image.Image: None} | fill)


NEAREST, BILINEAR = InterpolationMode.NEAREST, InterpolationMode.BILINEAR
WARPS = {"nearest": NEAREST, "bilinear": BILINEAR}


def pixel_cases():
    yield "left_to_right", "nearest", 0.0, F.horizontal_flip
    yield "top_to_bottom", "nearest", 0.0, F.vertical_flip
    for factor in (0.0, 0.37, 1.0, 1.9):
        yield "brightness", "nearest", factor, lambda image, factor=factor: F.adjust_brightness(image, factor)
        yield "contrast", "nearest", factor, lambda image, factor=factor: F.adjust_contrast(image, factor)
        yield "saturation", "nearest", factor, lambda image, factor=factor: F.adjust_saturation(image, factor)
        yield "sharpness", "nearest", factor, lambda image, factor=factor: F.adjust_sharpness(image, factor)
    for part in (-0.5, -0.171, 0.0, 0.24, 0.5):
        yield "hue", "nearest", part, lambda image, part=part: F.adjust_hue(image, part)
    yield "grayscale", "nearest", 0.0, lambda image: F.rgb_to_grayscale(image, num_output_channels=3)
    for bits in (1, 2, 4, 7, 8):
        yield "posterize", "nearest", bits, lambda image, bits=bits: F.posterize(image, bits)
    for threshold in (0.0, 76.5, 200.0, 255.0):
        yield "solarize", "nearest", threshold, lambda image, threshold=threshold: F.solarize(image, threshold)
    yield "autocontrast", "nearest", 0.0, F.autocontrast
    yield "equalize", "nearest", 0.0, F.equalize
    for how, mode in WARPS.items():
        for degrees in (-133.2, -90.0, 0.0, 11.7, 90.0, 180.0, 270.0, 31.5):
            yield "rotate", how, degrees, lambda image, degrees=degrees, mode=mode: F.rotate(image, degrees, interpolation=mode)
        for slope in (-0.99, -0.1, 0.0, 0.3, 0.627):
            yield "shear_x", how, slope, policy("ShearX", slope, mode)
            yield "shear_y", how, slope, policy("ShearY", slope, mode)
        for pixels in (-5.7, 0.0, 3.2, 11.0):
            yield "translate_x", how, pixels, policy("TranslateX", pixels, mode)
            yield "translate_y", how, pixels, policy("TranslateY", pixels, mode)


def pixels():
    for place, (operation, how, parameter, change) in enumerate(pixel_cases()):
        # Rotations by a right angle differ where the sides do.
        width, height = (22, 22) if place % 3 else (26, 19)
        expected = change(picture(width, height, place))
        yield {"operation": operation, "interpolation": how, "parameter": parameter, "size": [width, height], "seed": place, "pixels": encoded(expected)}


def crops():
    """Parts of a picture, resized."""
    image = picture(40, 31, 1)
    for top, left, height, width, size, how in [(0, 0, 31, 40, 24, BILINEAR), (5, 7, 13, 20, 24, BILINEAR), (3, 2, 24, 24, 24, BILINEAR), (9, 30, 2, 3, 24, BILINEAR), (0, 3, 31, 22, 24, BILINEAR), (1, 3, 29, 26, 24, BILINEAR), (1, 3, 28, 26, 24, BILINEAR), (0, 2, 31, 24, 24, BILINEAR), (4, 1, 27, 24, 24, InterpolationMode.BICUBIC), (1, 3, 24, 31, 24, InterpolationMode.BICUBIC)]:
        expected = F.resized_crop(image, top, left, height, width, [size, size], interpolation=how, antialias=True)
        yield {"part": [left, top, width, height], "size": size, "interpolation": how.value, "pixels": encoded(expected)}


def padded():
    """Parts of a picture that was resized, with something around it."""
    for size, resize, crop, padding, places in [
        ((16, 16), 16, 16, 4, [(0, 0), (8, 8), (3, 5), (4, 4)]),
        ((26, 19), 16, 14, 6, [(0, 14), (19, 0), (7, 5)]),
        ((18, 29), 16, 16, 11, [(0, 31), (22, 2)]),
    ]:
        for mode in ("constant", "edge", "reflect", "symmetric"):
            image = F.pad(F.resize(picture(*size, 2), resize, antialias=True), [padding], padding_mode=mode)
            for left, top in places:
                expected = F.crop(image, top, left, crop, crop)
                yield {"size": size, "resize": resize, "crop": crop, "start": [left - padding, top - padding], "mode": mode, "pixels": encoded(expected)}


DRAWS, PLACES = 6000, 80


def distribution(numbers):
    """Numbers, and the share of draws that are no greater than each."""
    numbers = np.sort(np.round(np.array(numbers, dtype=np.float64), 5))
    at = np.unique(numbers[:: max(len(numbers) // PLACES, 1)])
    return [[float(number), round(float(np.searchsorted(numbers, number, "right") / len(numbers)), 6)] for number in at]


def columns(rows):
    return [distribution(column) for column in zip(*rows, strict=True)]


def drawn():
    torch.manual_seed(5)
    image = Image.new("RGB", (60, 45))
    for scale, ratio in [((0.08, 1.0), (3 / 4, 4 / 3)), ((0.5, 0.9), (1.4, 3.0))]:
        crop = v2.RandomResizedCrop(24, scale=scale, ratio=ratio)
        rows = [crop.make_params([image]) for _ in range(DRAWS)]
        yield {"operation": "crop", "scale": scale, "ratio": ratio, "size": [60, 45], "columns": columns([(row["left"], row["top"], row["width"], row["height"]) for row in rows])}
    tensor = torch.zeros(3, 32, 40)
    for probability, scale, ratio in [(0.5, (0.02, 0.33), (0.3, 3.3)), (1.0, (0.4, 0.9), (0.5, 2.0))]:
        erasing = v2.RandomErasing(p=probability, scale=scale, ratio=ratio)
        rows = []
        for _ in range(DRAWS):
            # As `_RandomApplyTransform.forward` does.
            row = erasing.make_params([tensor]) if torch.rand(1) < probability else {"v": None}
            rows.append((1, row["j"], row["i"], row["w"], row["h"]) if row["v"] is not None else (0, -1, -1, -1, -1))
        yield {"operation": "erasing", "probability": probability, "scale": scale, "ratio": ratio, "size": [40, 32], "columns": columns(rows)}
    jitter = v2.ColorJitter(0.4, 1.3, 0.2, 0.1)
    rows = [jitter.make_params([image]) for _ in range(DRAWS)]
    names = ("brightness_factor", "contrast_factor", "saturation_factor", "hue_factor")
    place = [row["fn_idx"].tolist().index(0) for row in rows]
    yield {"operation": "jitter", "settings": [0.4, 1.3, 0.2, 0.1], "columns": columns([(*(row[name] for name in names), at) for row, at in zip(rows, place, strict=True)])}
    rotation = v2.RandomRotation(25)
    yield {"operation": "rotation", "degrees": 25, "columns": columns([(rotation.make_params([image])["angle"],) for _ in range(DRAWS)])}
    for side, padding in [(32, 4), (24, 7)]:
        crop = v2.RandomCrop(side, padding=padding)
        rows = [crop.make_params([Image.new("RGB", (32, 45))]) for _ in range(DRAWS)]
        yield {"operation": "padded_crop", "padding": padding, "crop": side, "size": [32, 45], "columns": columns([(row["left"], row["top"]) for row in rows])}


class Noted:
    """What a policy would apply, in place of applying it."""

    def _apply_image_or_video_transform(self, image, transform_id, magnitude, **_):
        self.noted.append((list(self._AUGMENTATION_SPACE).index(transform_id), magnitude))
        return image


class NotedRandAugment(Noted, v2.RandAugment):
    pass


class NotedTrivialAugmentWide(Noted, v2.TrivialAugmentWide):
    pass


def policies():
    torch.manual_seed(6)
    image = Image.new("RGB", (224, 224))
    for name, transform in {"rand_augment": NotedRandAugment(), "trivial_augment_wide": NotedTrivialAugmentWide()}.items():
        transform.noted = []
        for _ in range(DRAWS):
            transform(image)
        # Operations are counted: a test of numbers in order would make too little of them.
        counts = [sum(place == wanted for place, _ in transform.noted) for wanted in range(14)]
        yield {"operation": name, "side": 224, "counts": counts, "columns": [distribution([strength for _, strength in transform.noted])]}


def magnitudes():
    for name, transform in {"rand": v2.RandAugment, "wide": v2.TrivialAugmentWide}.items():
        for bins, side in ((31, 224), (10, 97)):
            for place, (steps, signed) in enumerate(transform._AUGMENTATION_SPACE.values()):
                values = steps(bins, side, side)
                yield {"policy": name, "bins": bins, "side": side, "entry": place, "signed": signed, "values": None if values is None else [float(value) for value in values]}


print(
    json.dumps(
        {
            "made_by": f"tests/reference/augmentation.py with torchvision {torchvision.__version__}, Pillow {PIL.__version__}",
            "draws": DRAWS,
            "pixels": list(pixels()),
            "crops": list(crops()),
            "padded": list(padded()),
            "drawn": [*drawn(), *policies()],
            "magnitudes": list(magnitudes()),
        }
    )
)
