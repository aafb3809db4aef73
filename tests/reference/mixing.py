"""What Firn draws for the images of an epoch, from a second implementation that shares no code with it: random crops, flips, erased rectangles, mixup and CutMix.

The formulas are those in coordinator/core/src/random.rs and mixing.rs, and in worker/data/src/modality/image/augmentation/{crop,flip}.rs.
"""

import contextlib
import importlib.util
import io
import math
import pathlib

place = importlib.util.spec_from_file_location("order", pathlib.Path(__file__).with_name("order.py"))
order = importlib.util.module_from_spec(place)
with contextlib.redirect_stdout(io.StringIO()):
    place.loader.exec_module(order)

AUGMENTATION, MIXING = 4, 5
RESIZED_CROP, HORIZONTAL_FLIP, TRIVIAL_AUGMENT_WIDE, ERASING, CROP = 0, 1, 5, 7, 9


def crop(seed, epoch, sample, size, scale, ratio):
    """Top, left, height and width, as torchvision orders them."""
    stream = order.words(seed, AUGMENTATION, epoch, (sample, RESIZED_CROP))
    width, height = size
    for _ in range(10):
        area = width * height * order.uniform(stream, *scale)
        aspect = math.exp(order.uniform(stream, math.log(ratio[0]), math.log(ratio[1])))
        across, down = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < across <= width and 0 < down <= height:
            top = order.below(stream, height - down + 1)
            return top, order.below(stream, width - across + 1), down, across
    # The largest part in the middle whose ratio is allowed.
    down, across = height, width
    if width / height < ratio[0]:
        down = round(width / ratio[0])
    elif width / height > ratio[1]:
        across = round(height * ratio[1])
    return (height - down) // 2, (width - across) // 2, down, across


def padded_crop(seed, epoch, sample, size, side, padding):
    """Top and left of what is cut of an image of this size when it has its padding."""
    stream = order.words(seed, AUGMENTATION, epoch, (sample, CROP))
    width, height = size
    top = order.below(stream, height + 2 * padding - side + 1)
    return top, order.below(stream, width + 2 * padding - side + 1)


def is_flipped(seed, epoch, sample, probability):
    return order.unit(order.words(seed, AUGMENTATION, epoch, (sample, HORIZONTAL_FLIP))) < probability


def gamma(stream, alpha):
    d = alpha - 1 / 3
    c = 1 / math.sqrt(9 * d)
    while True:
        x, _ = order.normals(stream)
        v = (1 + c * x) ** 3
        u = 1 - order.unit(stream)
        if v > 0 and math.log(u) < 0.5 * x * x + d - d * v + d * math.log(v):
            return d * v


def beta(stream, alpha):
    if alpha > 1:
        one, other = gamma(stream, alpha), gamma(stream, alpha)
        return one / (one + other)
    while True:
        one, other = (math.log(1 - order.unit(stream)) / alpha for _ in range(2))
        if math.exp(one) + math.exp(other) <= 1:
            return 1 / (1 + math.exp(other - one))


def blend(seed, epoch, step, side, mixup_alpha=None, cutmix_alpha=None, probability=1.0, switch_probability=0.5):
    """`("none", {})`, or the word and the parameters of torchvision's `MixUp` or `CutMix`."""
    stream = order.words(seed, MIXING, epoch, (step,))
    if order.unit(stream) >= probability:
        return "none", {}
    takes_rectangle = order.unit(stream) < switch_probability
    if cutmix_alpha is not None and (mixup_alpha is None or takes_rectangle):
        lam = beta(stream, cutmix_alpha)
        half = int(0.5 * math.sqrt(1 - lam) * side)
        (x1, x2), (y1, y2) = [(max(at - half, 0), min(at + half, side)) for at in (order.below(stream, side), order.below(stream, side))]
        return "cutmix", {"box": (x1, y1, x2, y2), "lam_adjusted": 1 - (x2 - x1) * (y2 - y1) / side**2}
    return "mixup", {"lam": beta(stream, mixup_alpha)}


def trivial_augment(seed, epoch, sample, space, side):
    """The name of the operation, its step of 31, and its sign."""
    stream = order.words(seed, AUGMENTATION, epoch, (sample, TRIVIAL_AUGMENT_WIDE))
    names = list(space)
    name = names[order.below(stream, len(names))]
    step = order.below(stream, 31)
    return name, step, -1 if space[name][1] and order.unit(stream) < 0.5 else 1


def erased(seed, epoch, sample, size, probability, scale, ratio):
    """Top, left, height and width, if a rectangle is erased."""
    stream = order.words(seed, AUGMENTATION, epoch, (sample, ERASING))
    if order.unit(stream) >= probability:
        return None
    width, height = size
    for _ in range(10):
        area = width * height * order.uniform(stream, *scale)
        aspect = math.exp(order.uniform(stream, math.log(ratio[0]), math.log(ratio[1])))
        down, across = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if down < height and across < width:
            top = order.below(stream, height - down + 1)
            return top, order.below(stream, width - across + 1), down, across
    return None
