#!/usr/bin/env python3
"""Golden crops from Pillow and torchvision, for the decoder and the resize of firn-data.

    python tests/reference/preprocessing.py            # rewrites worker/data/tests/fixtures/images

Needs torchvision and Pillow with libjpeg-turbo. The pictures are drawn here, so nothing in them belongs to anyone else; their sharp
colour edges are where decoders differ most. What is expected of each is `exif_transpose`, `convert("RGB")`, `Resize`, `CenterCrop`.
"""

import io
import json
import math
import pathlib
import random
import shutil

import PIL
from PIL import Image, ImageDraw, ImageOps, features
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "worker/data/tests/fixtures/images"


def picture(width, height, seed):
    """Gradients under shapes with hard edges, and some noise."""
    chance = random.Random(seed)
    image = Image.new("RGB", (width, height))
    pixels = image.load()
    for y in range(height):
        for x in range(width):
            wave = math.sin(x / 7 + seed) * math.cos(y / 11)
            pixels[x, y] = (int(x * 255 / max(width - 1, 1)), int(y * 255 / max(height - 1, 1)), int(127 + 127 * wave))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y = chance.randrange(width), chance.randrange(height)
        w, h = chance.randrange(1, width // 2 + 2), chance.randrange(1, height // 2 + 2)
        colour = tuple(chance.choice((0, 40, 128, 255)) for _ in range(3))
        chance.choice((draw.rectangle, draw.ellipse))((x, y, x + w, y + h), fill=colour)
    for _ in range(width * height // 10):
        pixels[chance.randrange(width), chance.randrange(height)] = tuple(chance.randrange(256) for _ in range(3))
    return image


def jpeg(image, orientation=None, **options):
    if orientation:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    out = io.BytesIO()
    image.save(out, "JPEG", **options)
    return out.getvalue()


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def resampled(data, sampling):
    """The same blocks under another sampling of luma with as many blocks a unit: a picture that makes no sense, but a valid file."""
    start = data.index(b"\xff\xc0")
    assert data[start + 11] in (0x21, 0x22), "4:2:2 or 4:2:0"
    return data[: start + 11] + bytes([sampling]) + data[start + 12 :]


def with_exif_last(png):
    """The same file with its eXIf chunk after the pixels."""
    start = png.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(png[start : start + 4], "big")
    last = png.index(b"IEND") - 4
    return png[:start] + png[end:last] + png[start:end] + png[last:]


def cases():
    for name, width, height in [("wide", 173, 61), ("tall", 59, 190), ("square", 128, 128), ("odd", 101, 97)]:
        for subsampling, ratio in [(0, "444"), (1, "422"), (2, "420")]:
            for progressive in (False, True):
                kind = "progressive" if progressive else "baseline"
                image = picture(width, height, len(name) + subsampling)
                data = jpeg(image, quality=60 + 15 * subsampling, subsampling=subsampling, progressive=progressive)
                yield f"{name}_{ratio}_{kind}.jpg", data, 64, 56
    for orientation in range(1, 9):
        yield f"orientation_{orientation}.jpg", jpeg(picture(75, 50, 3), orientation, quality=85), 48, 40
    for width, height in [(1, 1), (2, 3), (3, 2), (4, 1), (5, 7), (9, 8), (17, 16)]:
        yield f"tiny_{width}x{height}.jpg", jpeg(picture(width, height, width), quality=90, subsampling=2), 24, 21
    square = picture(96, 96, 5)
    yield "restart.jpg", jpeg(square, quality=80, subsampling=2, restart_marker_blocks=5), 40, 40
    yield "restart_progressive.jpg", jpeg(square, quality=80, progressive=True, restart_marker_blocks=7), 40, 40
    yield "optimised.jpg", jpeg(square, quality=97, optimize=True), 40, 40
    yield "rough.jpg", jpeg(square, quality=4), 40, 40
    yield "exact_size.jpg", jpeg(picture(64, 80, 6), quality=90), 64, 64
    yield "crop_larger_than_resize.jpg", jpeg(picture(64, 50, 6), quality=90), 33, 60
    yield "crop_larger_on_one_side.jpg", jpeg(picture(90, 40, 6), quality=90), 31, 50
    yield "enlarged.jpg", jpeg(picture(20, 31, 6), quality=90), 77, 64
    yield "shrunk.jpg", jpeg(picture(400, 300, 6), quality=75), 24, 24
    yield "usual.jpg", jpeg(picture(333, 250, 8), quality=75), 256, 224
    yield "bicubic_usual.jpg", jpeg(picture(333, 250, 8), quality=75), 248, 224, "bicubic"
    yield "bicubic_shrunk.jpg", jpeg(picture(200, 150, 7), quality=75), 24, 24, "bicubic"
    yield "bicubic_enlarged.jpg", jpeg(picture(20, 31, 6), quality=90), 77, 64, "bicubic"
    yield "bicubic_edges.png", saved(picture(60, 45, 2).convert("1"), "PNG"), 33, 33, "bicubic"
    yield "grey.jpg", jpeg(square.convert("L"), quality=85), 40, 36
    yield "grey_progressive.jpg", jpeg(square.convert("L"), quality=85, progressive=True), 40, 36
    yield "rgb.jpg", jpeg(square, quality=85, keep_rgb=True), 40, 36
    yield "cmyk.jpg", jpeg(square.convert("CMYK"), quality=85), 40, 36
    yield "440.jpg", resampled(jpeg(square, quality=85, subsampling=1), 0x12), 40, 36
    yield "411.jpg", resampled(jpeg(square, quality=85, subsampling=2), 0x41), 40, 36
    yield "quarter_height.jpg", resampled(jpeg(square, quality=85, subsampling=2), 0x14), 40, 36
    small = picture(50, 34, 9)
    alpha = small.convert("L").transpose(Image.Transpose.ROTATE_180)
    rgba = small.copy()
    rgba.putalpha(alpha)
    exif = Image.Exif()
    exif[0x0112] = 6
    yield "rgb.png", saved(small, "PNG"), 30, 26
    yield "grey.png", saved(small.convert("L"), "PNG"), 30, 26
    yield "grey_alpha.png", saved(rgba.convert("LA"), "PNG"), 30, 26
    yield "alpha.png", saved(rgba, "PNG"), 30, 26
    yield "palette.png", saved(small.quantize(37), "PNG"), 30, 26
    yield "palette_transparent.png", saved(small.quantize(16), "PNG", transparency=3), 30, 26
    yield "palette_2_bits.png", saved(small.quantize(4), "PNG", bits=2), 30, 26
    yield "black_and_white.png", saved(small.convert("1"), "PNG"), 30, 26
    yield "orientation_6.png", saved(small, "PNG", exif=exif), 30, 26
    yield "orientation_6_last.png", with_exif_last(saved(small, "PNG", exif=exif)), 30, 26
    yield "rgb.bmp", saved(small, "BMP"), 30, 26
    yield "rgb.ppm", saved(small, "PPM"), 30, 26
    yield "grey.pgm", saved(small.convert("L"), "PPM"), 30, 26
    yield "lossless.webp", saved(small, "WEBP", lossless=True), 30, 26
    yield "lossy.webp", saved(picture(120, 90, 4), "WEBP", quality=80), 60, 56


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    listed = []
    for name, data, resize, crop, *rest in cases():
        (FOLDER / name).write_bytes(data)
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
        interpolation = rest[0] if rest else "bilinear"
        expected = Compose([Resize(resize, InterpolationMode(interpolation)), CenterCrop(crop)])(image)
        golden = name.replace(".", "_") + ".expected.png"
        expected.save(FOLDER / golden, optimize=True)
        listed.append({"file": name, "resize": resize, "interpolation": interpolation, "crop": crop, "expected": golden})
    made_by = f"Pillow {PIL.__version__}, libjpeg-turbo {features.version_feature('libjpeg_turbo')}"
    lines = ",\n".join("    " + json.dumps(case) for case in listed)
    (FOLDER / "cases.json").write_text(f'{{\n  "made_by": "{made_by}",\n  "cases": [\n{lines}\n  ]\n}}\n')
    print(f"{len(listed)} images, {sum(path.stat().st_size for path in FOLDER.iterdir()) >> 10} KiB in {FOLDER}")


if __name__ == "__main__":
    main()
