"""What a step costs beside its computation and its all-reduce, with a small head: milliseconds, on two ranks of one thread.

A frozen, untrained MiniLM encoder and a linear head on the reviews of the demo; batch 8, so that there are many steps. Two figures: the time that the
rank itself could not assign to data, compute or all-reduce (`otherSeconds` of the history), and, independent of its own clocks, the time from commit
to commit less compute and all-reduce, which holds everything between two steps: waiting for data, the loop, the hand-over to the ledger.
"""

import pathlib
import sys
import tempfile

import measure

REVIEWS = measure.ROOT / "tests" / "fixtures" / "reviews"
TOKENIZER = measure.ROOT / ".cache" / "minilm" / "tokenizer.json"
EPOCHS = 5


def between(steps):
    """Seconds of the steps of one epoch after its first, by the coordinator's clock, outside compute and all-reduce."""
    whole = (steps[-1]["committedAtMs"] - steps[0]["committedAtMs"]) / 1e3
    return whole - sum(step["computeSeconds"] + step["reduceSeconds"] for step in steps[1:])


def main():
    measure.need(TOKENIZER, "the tokenizer of MiniLM (make minilm)")
    print(f"step overhead, MiniLM and a linear head, 2 ranks of 1 thread; {measure.machine()}")
    model = {"architecture": "bert", "tokenizer": str(TOKENIZER), "pooling": "mean"}
    data = {"format": "tsv", "preprocessing": {"maxLength": 64}}
    data |= {"train": {"uri": str(REVIEWS / "train.tsv")}, "validation": {"uri": str(REVIEWS / "validation.tsv")}}
    with tempfile.TemporaryDirectory() as folder:
        document = measure.spec("bench-overhead", model, data, {"epochs": EPOCHS, "batchSize": 8})
        history = measure.FirnRun(document, pathlib.Path(folder) / "run").history
    means = {part: sum(step[f"{part}Seconds"] for step in history) / len(history) * 1e3 for part in ("data", "compute", "reduce", "other")}
    print(f"  {len(history)} steps, mean milliseconds: " + ", ".join(f"{part} {value:.3f}" for part, value in means.items()))
    epochs = [[step for step in history if step["epoch"] == epoch] for epoch in range(EPOCHS)]
    gaps = sum(between(steps) for steps in epochs) / sum(len(steps) - 1 for steps in epochs) * 1e3
    reached = measure.judge("other, milliseconds a step", means["other"], most=1.0)
    return measure.judge("from commit to commit outside compute and all-reduce, milliseconds a step", gaps, most=1.0) and reached


if __name__ == "__main__":
    sys.exit(not main())
