"""Images a second in a cold, uncached epoch: Firn beside torchrun, in turns, on the same two cores.

Both train a linear head on a frozen ResNet-18 (fp32, 224 pixels, global batch 32, the same random weights) for one epoch on two ranks of one thread,
and then score the validation images. Counted are training and validation images over the time of the epoch, as the other side counts them: without
starting up. The whole command's time is shown beside it.

FIRN_BENCH_DATA: an image folder with `train` and `val`. FIRN_BENCH_PEER: the script for torchrun. FIRN_BENCH_ROUNDS: default 3.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import measure

DATA = os.environ.get("FIRN_BENCH_DATA", measure.SHARED / "data" / "hymenoptera")
PEER = os.environ.get("FIRN_BENCH_PEER", measure.SHARED / "peers" / "ddp_frozen.py")
ROUNDS = int(os.environ.get("FIRN_BENCH_ROUNDS", "3"))
WEIGHTS = """
import sys, torch, torchvision
from safetensors.torch import save_file
torch.manual_seed(0)
save_file(torchvision.models.resnet18(weights=None).state_dict(), sys.argv[1])
"""


def torchrun(weights):
    command = [measure.PYTHON, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", PEER]
    command += ["--data", DATA, "--arch", "resnet18", "--epochs", "1", "--batch", "32", "--weights", weights]
    began = time.time()
    finished = subprocess.run(
        command, env=measure.environment(), preexec_fn=measure.on_two_cores, text=True, capture_output=True
    )
    # Its exit status is not asked: gloo's threads sometimes abort the process while it exits, after the figures are out.
    figures = [line for line in finished.stdout.splitlines() if line.startswith("{")]
    if not figures:
        sys.exit("error: torchrun failed\n" + finished.stderr[-4000:])
    report = json.loads(figures[0])
    return report["img_per_s"], time.time() - began, report["train"] + report["val"]


def firn(weights, folder, images):
    data = {"format": "imagefolder", "train": {"uri": f"{DATA}/train"}, "validation": {"uri": f"{DATA}/val"}}
    model = {"architecture": "resnet18", "weights": str(weights)}
    training = {"epochs": 1, "batchSize": 32, "optimizer": {"type": "adamw", "learningRate": 1e-3}}
    run = measure.FirnRun(measure.spec("bench-epoch", model, data, training), folder)
    return images / run.epoch_seconds(0, 1), run.total_seconds


def main():
    measure.need(DATA, "the image folder")
    measure.need(PEER, "the script for torchrun")
    measure.need(measure.PYTHON, "Python with PyTorch (make python)")
    print(f"cold epoch, ResNet-18 fp32 224, 2 ranks of 1 thread; {measure.machine()}")
    speeds = {"torchrun": [], "firn": []}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        weights = folder / "resnet18.safetensors"
        subprocess.run([measure.PYTHON, "-c", WEIGHTS, weights], check=True)
        # Unmeasured: it brings the files into memory and tells how many there are.
        images = torchrun(weights)[2]
        for number in range(ROUNDS):
            words = {}
            for side in ("torchrun", "firn") if number % 2 == 0 else ("firn", "torchrun"):
                bystanders = measure.Bystanders()
                if side == "torchrun":
                    speed, total, _ = torchrun(weights)
                else:
                    speed, total = firn(weights, folder / f"round-{number}", images)
                speeds[side].append(speed)
                words[side] = f"{side} {speed:.1f} images/s (command {total:.1f} s, others busy on {bystanders.cores():.1f} cores)"
            ratio = speeds["firn"][-1] / speeds["torchrun"][-1]
            print(f"  round {number + 1}: {words['torchrun']}, {words['firn']}, ratio {ratio:.2f}", flush=True)
    ratios = [firn / peer for firn, peer in zip(speeds["firn"], speeds["torchrun"])]
    print(f"  median: torchrun {measure.median(speeds['torchrun']):.1f}, firn {measure.median(speeds['firn']):.1f} images/s of {images} images")
    return measure.judge("firn / torchrun, median of the rounds' ratios", measure.median(ratios), least=1.0)


if __name__ == "__main__":
    sys.exit(not main())
