"""Strict mode: SHA-256 of the trained tensors of runs in which ranks are killed at random, beside those of undisturbed runs, on 1, 2 and 4 ranks.

A linear head with dropout and the last stage of a ResNet-18 train on small images. Each disturbed run loses one to three times a rank, or all of them, at random
moments.

FIRN_BENCH_DATA: an image folder with `train`. FIRN_BENCH_RUNS: disturbed runs, default 20.
"""

import hashlib
import os
import pathlib
import sys
import tempfile
import time

import fleet
import measure
import recovery

RUNS = int(os.environ.get("FIRN_BENCH_RUNS", "20"))
RANKS = (1, 2, 4)


def document(name, folder, ranks):
    made = recovery.document(name, folder)
    made["spec"]["model"] |= {"freeze": {"through": "layer3"}, "head": {"type": "linear", "dropout": 0.2}}
    made["spec"]["data"]["preprocessing"] = {"resize": 40, "crop": 32}
    made["spec"]["training"] |= {"epochs": 3, "batchSize": 16, "seed": 5, "determinism": "strict"}
    made["spec"]["artifacts"]["uri"] = str(folder / "artifacts" / name)
    made["spec"]["resources"]["slotsPerWorker"] = ranks
    return made


def run(folder, name, ranks, chance=None):
    """SHA-256 of what was trained, the receipt, and how often ranks were killed."""
    kills = 0
    with fleet.Fleet(folder / name, ranks) as cluster:
        job = fleet.Job(cluster, document(name, folder, ranks))
        for _ in range(chance.randint(1, 3) if chance else 0):
            status = job.until(lambda status: status["summary"] == "Running" and fleet.joined(status) == ranks)
            if status is None:
                break
            time.sleep(chance.random())
            victims = job.ranks()
            for victim in victims if chance.random() < 0.25 else victims[:1] and [chance.choice(victims)]:
                try:
                    fleet.kill(victim)
                    kills += 1
                except ProcessLookupError:
                    pass  # The job has just ended.
            generation = status["generation"]
            if job.until(lambda status: status["generation"] > generation) is None:
                break
        receipt, artifacts = job.finish()
    if not receipt["proven"]:
        sys.exit(f"error: not proven: {receipt}")
    return hashlib.sha256((artifacts / "head.safetensors").read_bytes()).hexdigest(), receipt, kills


def main():
    measure.need(recovery.DATA / "train", "the image folder")
    print(f"strict mode under random kills; {measure.machine()}")
    chance = fleet.seed("strict_kills")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        recovery.few_images(folder)
        found = {f"undisturbed, {ranks} ranks": run(folder, f"undisturbed-{ranks}", ranks)[0] for ranks in RANKS}
        killed = 0
        for number in range(RUNS):
            ranks = RANKS[number % len(RANKS)]
            digest, receipt, kills = run(folder, f"disturbed-{number}", ranks, chance)
            found[f"run {number + 1}, {ranks} ranks, {kills} killed, {len(receipt['generations'])} formations"] = digest
            killed += kills
    for what, digest in found.items():
        print(f"  {digest[:16]} {what}")
    print(f"  {killed} ranks were killed")
    return measure.judge("different SHA-256 of the trained tensors", len(set(found.values())), most=1)


if __name__ == "__main__":
    sys.exit(not main())
