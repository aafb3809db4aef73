#!/usr/bin/env python3
"""Golden metrics of words that have tags, from seqeval's default mode, and their intervals.

    python3 tests/reference/entities.py > coordinator/core/tests/golden/entities.json

Needs numpy, scikit-learn and seqeval. The sequences are made from a fixed seed and stand in the file, so that the test needs none of them. `null` stands
for what seqeval leaves undefined: averages over types of which none is true or predicted. Which sentences are drawn again follows from the seed by the
generator of order.py.
"""

import contextlib
import importlib.util
import io
import json
import pathlib
import warnings

import numpy
from seqeval.metrics import accuracy_score
from seqeval.metrics.sequence_labeling import get_entities, precision_recall_fscore_support

warnings.filterwarnings("ignore")

BOOTSTRAP = 3
RESAMPLES = 200

place = importlib.util.spec_from_file_location("order", pathlib.Path(__file__).with_name("order.py"))
order = importlib.util.module_from_spec(place)
with contextlib.redirect_stdout(io.StringIO()):
    place.loader.exec_module(order)


def types_of(true, predicted):
    return sorted({kind for kind, *_ in get_entities(true)} | {kind for kind, *_ in get_entities(predicted)})


def expected(true, predicted, losses):
    found = {"loss": sum(losses) / sum(map(len, true)), "accuracy": accuracy_score(true, predicted)}
    for average in ("macro", "micro", "weighted"):
        names = [f"precision_{average}", f"recall_{average}", f"f1_{average}"]
        if average == "macro" and not types_of(true, predicted):
            found |= dict.fromkeys(names)
            continue
        values = precision_recall_fscore_support(true, predicted, average=average)[:3]
        found |= {name: float(value) for name, value in zip(names, values)}
    return found


def per_type(true, predicted):
    columns = precision_recall_fscore_support(true, predicted, average=None)
    return {kind: [float(value) for value in row[:3]] + [int(row[3])] for kind, row in zip(types_of(true, predicted), zip(*columns))}


def interval(values):
    values = numpy.array([numpy.nan if value is None else value for value in values], dtype=numpy.float64)
    if 2 * numpy.isnan(values).sum() > len(values):
        return None
    return numpy.nanpercentile(values, [2.5, 97.5]).tolist()


def of_each_type(tags, true, predicted):
    """Precision, recall and F1 of each type that the tags name by itself, as `f1/PER`; 0 of one that does not occur."""
    found = per_type(true, predicted) if types_of(true, predicted) else {}
    kinds = sorted({kind for tag in tags for kind, *_ in get_entities([tag])})
    values = {kind: found.get(kind, [0.0] * 3) for kind in kinds}
    return {f"{name}/{kind}": row[place] for kind, row in values.items() for place, name in enumerate(("precision", "recall", "f1"))}


def intervals(seed, tags, *columns):
    def resample(number):
        stream = order.words(seed, BOOTSTRAP, number)
        places = [order.below(stream, len(columns[0])) for _ in columns[0]]
        true, predicted, losses = ([column[place] for place in places] for column in columns)
        return expected(true, predicted, losses) | of_each_type(tags, true, predicted)

    found = [resample(number) for number in range(RESAMPLES)]
    return {name: interval([values[name] for values in found]) for name in found[0]}


random = numpy.random.default_rng(20240511)


def case(name, tags, true, predicted, seed=None):
    losses = [float(random.random() * len(sentence)) for sentence in true]
    named = [[[tags[tag] for tag in sentence] for sentence in sentences] for sentences in (true, predicted)]
    return {
        "name": name,
        "tags": tags,
        "true": true,
        "predicted": predicted,
        "losses": losses,
        "expected": expected(*named, losses),
        "per_type": per_type(*named),
        "seed": seed,
        "intervals": None if seed is None else intervals(seed, tags, *named, losses),
    }


def any_tags(tags, sentences, right=0.7):
    """Tags that follow no scheme: each word's is drawn by itself."""
    true = [random.integers(0, len(tags), size=random.integers(1, 12)).tolist() for _ in range(sentences)]
    other = lambda tag: tag if random.random() < right else int(random.integers(0, len(tags)))
    return true, [[other(tag) for tag in sentence] for sentence in true]


def entities(tags, sentences, outside=0.6, right=0.8):
    """Well-formed sequences of IOB2, of which some entities are predicted otherwise."""
    kinds = sorted({tag[2:] for tag in tags if tag != "O"})
    true, predicted = [], []
    for _ in range(sentences):
        sentence, guess = [], []
        for _ in range(random.integers(1, 8)):
            if random.random() < outside:
                sentence.append("O")
                guess.append("O" if random.random() < 0.95 else f"B-{random.choice(kinds)}")
                continue
            length, kind = random.integers(1, 4), random.choice(kinds)
            entity = [f"B-{kind}"] + [f"I-{kind}"] * (length - 1)
            sentence += entity
            found = random.choice(["kind", "start", "end"])
            wrong = {"kind": [tag[:2] + random.choice(kinds) for tag in entity], "start": ["O", *entity[1:]], "end": [*entity[:-1], "O"]}
            guess += entity if random.random() < right else wrong[found]
        true.append([tags.index(tag) for tag in sentence])
        predicted.append([tags.index(tag) for tag in guess])
    return true, predicted


def scheme(letters, kinds):
    return ["O", *(f"{letter}-{kind}" for kind in kinds for letter in letters)]


IOB2 = scheme("BI", ["LOC", "MISC", "ORG", "PER"])
IOBES = scheme("BIES", ["LOC", "PER"])
CASES = [
    case("IOB2", IOB2, *entities(IOB2, 200), seed=0),
    case("few entities", IOB2, *entities(IOB2, 60, outside=0.97), seed=2**64 - 1),
    case("sequences of no scheme", IOB2, *any_tags(IOB2, 120), seed=7),
    case("IOBES, each word by itself", IOBES, *any_tags(IOBES, 150)),
    case("IOE, each word by itself", scheme("IE", ["A", "B"]), *any_tags(scheme("IE", ["A", "B"]), 80)),
    case("tags without types", ["B", "E", "I", "O", "S"], *any_tags(["B", "E", "I", "O", "S"], 100)),
    case("types with dashes", ["B-a-b", "I-a-b", "I-a", "O", "B-"], *any_tags(["B-a-b", "I-a-b", "I-a", "O", "B-"], 80)),
    case("parts of speech", ["ADJ", "NN", "NNS", "VB", "O"], *any_tags(["ADJ", "NN", "NNS", "VB", "O"], 80)),
    case("letters that are not ASCII", ["B-Ort", "I-Ort", "Ö-x", "Ω-x", "O"], *any_tags(["B-Ort", "I-Ort", "Ö-x", "Ω-x", "O"], 60)),
    case("no entity anywhere", IOB2, [[0, 0], [0]], [[0, 0], [0]]),
    case("nothing is predicted", IOB2, [[1, 2, 0], [3]], [[0, 0, 0], [0]]),
    case("nothing is true", IOB2, [[0, 0, 0], [0]], [[1, 2, 0], [3]]),
    case("one sentence, right", IOB2, [[1, 2, 0, 3]], [[1, 2, 0, 3]]),
    case("a type that is only predicted", IOB2, [[1, 2, 0, 0]], [[1, 2, 0, 5]]),
]

print(json.dumps({"made_by": "tests/reference/entities.py with seqeval 1.2.2", "resamples": RESAMPLES, "cases": CASES}, ensure_ascii=False))
