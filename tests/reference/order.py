#!/usr/bin/env python3
"""Golden values of the sample order, from a second implementation that shares no code with firn-core.

    python3 tests/reference/order.py > coordinator/core/tests/golden/order.json

Needs nothing but Python. The formulas are those in coordinator/core/src/random.rs.
"""

import json
import math

WORD = (1 << 64) - 1
SAMPLE_ORDER = 1
AUGMENTATION = 4
BALANCED_SAMPLING = 6


def mix(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & WORD
    return z ^ (z >> 31)


def rotate_left(word, bits):
    return ((word << bits) | (word >> (64 - bits))) & WORD


def words(seed, domain, index, places=()):
    start = mix(seed) ^ (domain << 32 | index)
    for place in places:
        start = mix(start) ^ place
    s = [mix((start + k * 0x9E3779B97F4A7C15) & WORD) for k in (1, 2, 3, 4)]
    while True:
        yield (rotate_left((s[1] * 5) & WORD, 7) * 9) & WORD
        shifted = (s[1] << 17) & WORD
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= shifted
        s[3] = rotate_left(s[3], 45)


def below(stream, bound):
    while True:
        product = next(stream) * bound
        if product & WORD >= (1 << 64) % bound:
            return product >> 64


def unit(stream):
    return (next(stream) >> 11) / (1 << 53)


def uniform(stream, low, high):
    return low + (high - low) * unit(stream)


def normals(stream):
    while True:
        point = uniform(stream, -1.0, 1.0), uniform(stream, -1.0, 1.0)
        square = point[0] * point[0] + point[1] * point[1]
        if 0.0 < square < 1.0:
            factor = math.sqrt(-2.0 * math.log(square) / square)
            return [coordinate * factor for coordinate in point]


def sample_order(seed, epoch, samples):
    stream = words(seed, SAMPLE_ORDER, epoch)
    order = list(range(samples))
    for i in range(samples - 1, 0, -1):
        j = below(stream, i + 1)
        order[i], order[j] = order[j], order[i]
    return order


def balanced_order(seed, epoch, classes):
    """With replacement: a class, then one of its samples, for each place."""
    stream = words(seed, BALANCED_SAMPLING, epoch)
    members = [[sample for sample, own in enumerate(classes) if own == one] for one in sorted(set(classes))]
    order = []
    for _ in classes:
        own = members[below(stream, len(members))]
        order.append(own[below(stream, len(own))])
    return order


CASES = [(0, 0, 10), (0, 1, 10), (1, 0, 10), (42, 3, 1), (2**64 - 1, 2**32 - 1, 25), (7, 0, 1000)]
BALANCED = [(0, 0, [0, 0, 0, 0, 1, 1, 2]), (11, 3, [5, 2, 2, 5, 2, 2, 2, 2, 9]), (2**64 - 1, 2**32 - 1, [1] * 12), (7, 1, [k * k % 7 for k in range(100)])]
PLACES = [(), (0,), (3, 1), (2**64 - 1, 7)]


def within(seed, epoch, places):
    stream = words(seed, AUGMENTATION, epoch, places)
    return {"unit": unit(stream), "uniform": uniform(stream, -2.5, 4.0), "normals": normals(stream) + normals(stream), "below": below(stream, 10)}


print(
    json.dumps(
        {
            "made_by": "tests/reference/order.py",
            "cases": [
                {"seed": seed, "epoch": epoch, "samples": samples, "order": sample_order(seed, epoch, samples)}
                for seed, epoch, samples in CASES
            ],
            "balanced": [
                {"seed": seed, "epoch": epoch, "classes": classes, "order": balanced_order(seed, epoch, classes)}
                for seed, epoch, classes in BALANCED
            ],
            "within": [{"seed": 11, "epoch": 2, "places": places, **within(11, 2, places)} for places in PLACES],
        }
    )
)
