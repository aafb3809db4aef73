"""Writes the reference values of PyTorch, torchvision, transformers and timm for the tests of firn-models.

    python worker/models/tests/reference/models.py .cache/minilm  # writes worker/models/tests/golden/*.json; without the folder
                                                                  # of a real MiniLM all but sentences.json
    python worker/models/tests/reference/models.py check FOLDER   # loads what Firn exported, see `check`
    python worker/models/tests/reference/models.py check          # the same of each folder that a line of standard input names

Run with any Python that has them. Beside it: `formula.py`, which fills the tensors; `images.py`, `texts.py` and `training.py`, which compute the
values; `parity.py`, the networks
of `networks.py` after every stage; `trained_layers.py`, adapters and dropout; `exported.py`, which loads what Firn exported.
"""

import json
import sys

import numpy as np
import torch
from exported import check, check_each
from formula import GOLDEN
from images import cut_resnet, cut_vggs, images, inception, reduced, script, vggs
from texts import berts, decoders, gpt2, sentences
from training import distances, focal_losses, label_losses, layer_decay, losses, optimizers


def main():
    torch.set_num_threads(1)
    match sys.argv[1:]:
        case ["check"]:
            return check_each()
        case ["check", folder]:
            return print(json.dumps(check(folder)))
    GOLDEN.mkdir(exist_ok=True)
    parts = [
        images,
        reduced,
        vggs,
        cut_vggs,
        inception,
        cut_resnet,
        berts,
        gpt2,
        decoders,
        script,
        losses,
        label_losses,
        focal_losses,
        distances,
        optimizers,
        layer_decay,
    ]
    parts = {part.__name__: part() for part in parts}
    if len(sys.argv) > 1:  # the folder of a real MiniLM
        parts["sentences"] = sentences(sys.argv[1])
    for name, value in parts.items():
        (GOLDEN / f"{name}.json").write_text(json.dumps(value, separators=(",", ":")) + "\n")
        print(name, "written")
    for name, case in parts["images"].items():
        print(name, "logits", np.round(case["logits"], 4).tolist())
    for name, case in parts["berts"].items():
        print(name, "logits", np.round(case["logits"], 4).tolist())


if __name__ == "__main__":
    main()
