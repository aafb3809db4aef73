#!/usr/bin/env python3
"""Golden token ids from transformers, for the tokenising of firn-data.

    python tests/reference/tokens.py [.cache/minilm/tokenizer.json]    # rewrites worker/data/tests/fixtures/tokens

Needs transformers. `tiny.json` is a WordPiece tokenizer that is made here, of the kind that BERT uses; with a path, the ids of that
tokenizer are written as well (and compared in the test where `make minilm` has put the file).
"""

import json
import pathlib
import shutil
import sys
import tempfile

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "worker/data/tests/fixtures/tokens"

TEXTS = [
    "The film is good.",
    "A slow, lovely film; not a bad one!",
    "naïve Café ＦＵＬＬ width — and a dash",
    "unbelievably   long\tspaces\nand lines",
    "电影 很好 film",
    "x",
    "[MASK] is a special token, [SEP] too",
    "🙂 emoji are unknown words",
    " ".join(["film good bad"] * 60),
    "don't can't 3.14 1,000 e-mail@example.com",
]


def tiny():
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += list("abcdefghijklmnopqrstuvwxyz0123456789.,;!?'-@[]") + [f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz0123456789"]
    words += ["film", "good", "bad", "the", "is", "not", "slow", "love", "##ly", "##able", "un", "##bel", "##ie", "long", "电", "影"]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    # Settings that must not matter: Firn sets its own.
    tokenizer.enable_padding(length=128, pad_id=0, pad_token="[PAD]")
    tokenizer.enable_truncation(128)
    return tokenizer


# Premise and hypothesis, or two sentences that are compared.
PAIRS = [
    ("the film is good", "it is not bad"),
    ("a slow film", "the film is long and slow and not good and not bad and the film is long"),
    ("good good good good good good good good good good good", "bad"),
    ("a b c d e f g h", "h g f e d c b a"),
    ("x", "x"),
]
WORDS = "a and b bad c d e f film g good h is it long not slow the x".split()
# What stands around the texts, as the published tokenizers of these families have it.
JOINED = {
    "bert": lambda ids: processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", ids["<s>"]), ("[SEP]", ids["</s>"])]
    ),
    "roberta": lambda ids: processors.RobertaProcessing(("</s>", ids["</s>"]), ("<s>", ids["<s>"])),
    "llama": lambda ids: processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", ids["<s>"])]),
    "gpt2": lambda ids: None,
}


def joining(family):
    ids = {word: i for i, word in enumerate(["<pad>", "<unk>", "<s>", "</s>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if (processor := JOINED[family](ids)) is not None:
        tokenizer.post_processor = processor
    tokenizer.save(str(FOLDER / f"pairs_{family}.json"))
    return tokenizer


def pairs():
    """Each family: its batches by the side and the length at which they are cut."""
    families = {}
    for family in JOINED:
        batches = []
        for side, length in (("right", 64), ("right", 12), ("right", 7), ("left", 9)):
            fast = PreTrainedTokenizerFast(tokenizer_object=joining(family), pad_token="<pad>", padding_side="right", truncation_side=side)
            first, second = zip(*PAIRS)
            found = fast(list(first), list(second), truncation="longest_first", max_length=length, padding="longest", return_token_type_ids=True)
            batches.append(
                {"side": side, "max_length": length, "ids": found["input_ids"], "mask": found["attention_mask"], "types": found["token_type_ids"]}
            )
        families[family] = batches
    text = json.dumps({"pairs": PAIRS, "families": families})
    (FOLDER / "pairs_expected.json").write_text(text.replace('{"side"', '\n{"side"') + "\n")


def golden(path, lengths):
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(path), pad_token="[PAD]")
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    return encode(tokenizer, lengths)


def cut_on_the_left(path, lengths):
    """As transformers reads it from a folder whose `tokenizer_config.json` says so."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(path, pathlib.Path(folder) / "tokenizer.json")
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "truncation_side": "left", "padding_side": "right"}
        (pathlib.Path(folder) / "tokenizer_config.json").write_text(json.dumps(config))
        return encode(AutoTokenizer.from_pretrained(folder), lengths)


def encode(tokenizer, lengths):
    batches = []
    for length in lengths:
        encoded = tokenizer(TEXTS, truncation=True, max_length=length, padding="longest")
        batches.append({"max_length": length, "ids": encoded["input_ids"], "mask": encoded["attention_mask"]})
    return batches


def write(name, batches):
    rows = []
    for batch in batches:
        ids = ",\n        ".join(json.dumps(row) for row in batch["ids"])
        mask = ",\n        ".join(json.dumps(row) for row in batch["mask"])
        rows.append(f'    {{"max_length": {batch["max_length"]},\n      "ids": [\n        {ids}],\n      "mask": [\n        {mask}]}}')
    texts = ",\n    ".join(json.dumps(text, ensure_ascii=False) for text in TEXTS)
    text = f'{{\n  "texts": [\n    {texts}\n  ],\n  "batches": [\n' + ",\n".join(rows) + "\n  ]\n}\n"
    json.loads(text)
    (FOLDER / name).write_text(text)


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    tiny().save(str(FOLDER / "tiny.json"))
    write("tiny_expected.json", golden(FOLDER / "tiny.json", [256, 12, 4]))
    write("tiny_left_expected.json", cut_on_the_left(FOLDER / "tiny.json", [12, 4]))
    pairs()
    for path in sys.argv[1:]:
        write("minilm_expected.json", golden(pathlib.Path(path), [64, 12]))
    print(f"{sum(path.stat().st_size for path in FOLDER.iterdir()) >> 10} KiB in {FOLDER}")


if __name__ == "__main__":
    main()
