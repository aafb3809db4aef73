"""kill -9 of one of two ranks, at random steps: seconds until the next step is committed, Firn beside torchrun in turns on the same two cores.

Both train a linear head on a frozen, random ResNet-18 (fp32), 4 images of 224 pixels a rank and step, two ranks of one thread. Firn decodes JPEG files;
the script for torchrun takes its images from memory. The time is that from the kill to the first optimizer step that was not computed before: of Firn
by the coordinator's clock at its commit, of torchrun by the script's own log. Steps lost are steps that had been finished and were computed again.

FIRN_BENCH_DATA: an image folder with `train`. FIRN_BENCH_PEER: the script for torchrun. FIRN_BENCH_KILLS: kills of Firn, default 20.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import uuid

import fleet
import measure

DATA = pathlib.Path(os.environ.get("FIRN_BENCH_DATA", measure.SHARED / "data" / "hymenoptera"))
PEER = os.environ.get("FIRN_BENCH_PEER", measure.SHARED / "peers" / "recovery_torchrun.py")
KILLS = int(os.environ.get("FIRN_BENCH_KILLS", "20"))
KILLS_A_ROUND = 5
# Three trials of at most 60 s, and as much again for starts and steps.
PEER_LIMIT = 360
EPOCHS = 12


def document(name, folder):
    data = {"format": "imagefolder", "train": {"uri": str(DATA / "train")}, "validation": {"uri": str(folder / "few")}}
    training = {"epochs": EPOCHS, "batchSize": 8, "optimizer": {"type": "adamw", "learningRate": 1e-3}}
    made = measure.spec(name, {"architecture": "resnet18"}, data, training)
    made["spec"]["resources"] = {"workers": {"min": 1, "max": 1}, "slotsPerWorker": 2}
    made["spec"]["restartPolicy"] = {"maxRestarts": 1000}
    return made


def few_images(folder):
    """Two images of each class: scoring is not what is measured."""
    for group in sorted((DATA / "train").iterdir()):
        (folder / "few" / group.name).mkdir(parents=True)
        for image in sorted(group.iterdir())[:2]:
            shutil.copy(image, folder / "few" / group.name)


def firn(cluster, folder, number, kills, chance):
    """One job in which ranks are killed; a dictionary for each kill."""
    job = fleet.Job(cluster, document(f"recovery-{number}", folder))
    done = []
    complete = lambda status: status["summary"] == "Running" and fleet.joined(status) == 2
    while len(done) < kills:
        status = job.until(complete)
        if status is None:
            break
        at = fleet.step(status) + chance.randint(2, 12)
        status = job.until(lambda status: complete(status) and fleet.step(status) >= at)
        if status is None or status["progress"]["totalSteps"] - fleet.step(status) < 20:
            break
        ranks = job.ranks()
        if len(ranks) != 2:
            sys.exit(f"error: two ranks have {len(ranks)} processes")
        generation = status["generation"]
        done.append({"generation": generation, "committed": fleet.step(status), "at": fleet.kill(chance.choice(ranks))})
        job.until(lambda status: status["generation"] > generation)
    receipt, artifacts = job.finish()
    committed = {step["step"]: step["committedAtMs"] / 1e3 for step in fleet.history(artifacts)}
    formed = {generation["generation"]: generation for generation in receipt["generations"]}
    for kill in done:
        after = formed[kill["generation"] + 1]
        kill["recovery_s"] = committed[after["stepsDone"]] - kill["at"]
        kill["steps_lost"] = sum(back["to"] - back["from"] for back in receipt["rollbacks"] if back["generation"] == after["generation"])
    samples = [epoch["samples"] for epoch in receipt["epochs"]]
    if samples != [receipt["trainSamples"]] * EPOCHS or not receipt["proven"]:
        sys.exit(f"error: not every sample was used once: {receipt}")
    return done


def torchrun():
    """Its own trials: three kills, fewer if it hangs. Between two kills it can hang as well, which the script would wait for without end."""
    mark = f"FIRN_BENCH_PEER_RUN={uuid.uuid4()}"
    environment = measure.environment() | dict([mark.split("=")])
    # Not a pipe: ranks that hang keep it open after their launcher has ended.
    with tempfile.TemporaryFile("w+") as told:
        try:
            subprocess.run(
                [measure.PYTHON, PEER],
                env=environment,
                preexec_fn=measure.on_two_cores,
                stdout=told,
                stderr=subprocess.DEVNULL,
                timeout=PEER_LIMIT,
            )
        except subprocess.TimeoutExpired:
            print(f"  torchrun: no step for minutes, given up after {PEER_LIMIT} s", flush=True)
            told.write(json.dumps({"trials": [{"recovery_s": None}]}) + "\n")
        told.seek(0)
        lines = [line for line in told.read().splitlines() if line.startswith("{")]
    # And they would take cores from what is measured next.
    for process in fleet.processes_with(mark):
        fleet.kill(process)
    if not lines:
        sys.exit("error: torchrun failed")
    return json.loads(lines[-1])["trials"]


def show(side, trials):
    hung = sum(trial["recovery_s"] is None for trial in trials)
    seconds = sorted(trial["recovery_s"] for trial in trials if trial["recovery_s"] is not None)
    lost = [trial["steps_lost"] for trial in trials if trial["recovery_s"] is not None]
    shown = ", ".join(f"{value:.2f}" for value in seconds)
    print(f"  {side}: {len(trials)} kills, {hung} hung for good; seconds to the next step: {shown}; steps lost: at most {max(lost, default=0)}", flush=True)
    return seconds, hung, max(lost, default=0)


def main():
    measure.need(DATA / "train", "the image folder")
    measure.need(PEER, "the script for torchrun")
    measure.need(measure.PYTHON, "Python with PyTorch (make python)")
    print(f"kill -9 of one of two ranks, ResNet-18 fp32 224, 4 images a rank and step; {measure.machine()}")
    chance = fleet.seed("recovery")
    trials = {"firn": [], "torchrun": []}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        few_images(folder)
        number = 0
        while len(trials["firn"]) < KILLS:
            bystanders = measure.Bystanders()
            with fleet.Fleet(folder / f"fleet-{number}", 2) as cluster:
                trials["firn"] += firn(cluster, folder, number, min(KILLS_A_ROUND, KILLS - len(trials["firn"])), chance)
            trials["torchrun"] += torchrun()
            number += 1
            print(f"  round {number}: others busy on {bystanders.cores():.1f} cores", flush=True)
    seconds, hung, lost = show("firn", trials["firn"])
    peer, peer_hung, _ = show("torchrun", trials["torchrun"])
    median = measure.median(seconds)
    if peer:
        print(f"  torchrun / firn, medians of those that recovered: {measure.median(peer) / median:.1f}")
    reached = [
        measure.judge("median seconds from the kill to the next step", median, most=1.0),
        measure.judge("longest", max(seconds), most=3.0),
        measure.judge("steps that were finished and computed again, at most in one kill", lost, most=1),
        measure.judge("hangs", hung, most=0),
    ]
    print("samples lost or repeated: 0 (every job proven by firn verify)")
    return all(reached)


if __name__ == "__main__":
    sys.exit(not main())
