#!/usr/bin/env python3
"""Golden tokens of lists of words from transformers, and where the recipe for token classification puts the label of each word.

    python tests/reference/words.py    # rewrites worker/data/tests/fixtures/tokens/words_*.json

Needs transformers. `words_bytes.json` is a small tokenizer of bytes that is made here, of the kind that GPT-2 and RoBERTa use; `tiny.json` is that of
tokens.py. `words` holds for each token the number of the word whose label stands there, from 1, and 0 where the recipe has -100.
"""

import json
import pathlib

from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "worker/data/tests/fixtures/tokens"

TEXTS = [
    ["The", "film", "is", "unbelievably", "good", "."],
    ["x"],
    ["don't", "(", "e-mail@example.com", ")", "电影", "Café"],
    ["film", "\u200d", "good"],
    ["New York", "is", "long"] * 9,
    ["unbelievably"] * 4,
]


def bytes_tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=sorted(alphabet), special_tokens=["<s>", "<pad>", "</s>"], show_progress=False)
    tokenizer.train_from_iterator([" ".join(text) for text in TEXTS], trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return tokenizer


def labels(encoding):
    """The loop of transformers' guide, with numbers of words in place of labels."""
    found, previous = [], None
    for word in encoding.word_ids:
        found.append(word + 1 if word is not None and word != previous else 0)
        previous = word
    return found


def case(name, length, pad):
    fast = PreTrainedTokenizerFast(tokenizer_file=str(FOLDER / name), pad_token=pad, padding_side="right", truncation_side="right", add_prefix_space=True)
    if "bytes" in name:
        # What `RobertaTokenizerFast(add_prefix_space=True)` does to its backend.
        fast.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    found = fast(TEXTS, is_split_into_words=True, truncation=True, max_length=length, padding="longest")
    words = [labels(found[row]) for row in range(len(TEXTS))]
    return {"tokenizer": name, "max_length": length, "ids": found["input_ids"], "mask": found["attention_mask"], "words": words}


def main():
    bytes_tokenizer().save(str(FOLDER / "words_bytes.json"), pretty=False)
    cases = [case(name, length, pad) for name, pad in (("tiny.json", "[PAD]"), ("words_bytes.json", "<pad>")) for length in (256, 12, 5)]
    text = json.dumps({"texts": TEXTS, "cases": cases}, ensure_ascii=False)
    (FOLDER / "words_expected.json").write_text(text.replace('{"tokenizer"', '\n{"tokenizer"') + "\n")


if __name__ == "__main__":
    main()
