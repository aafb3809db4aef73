"""kill -9 of the coordinator at random moments: seconds until it serves again, steps that the ranks applied meanwhile, and what was lost.

One job on two ranks; before each kill another job is submitted and acknowledged, which never gets a slot. The coordinator stays away for a random time, up to
two seconds. Serving again: from the start of the new process to the answer to a call. Steps meanwhile: those that come together in one of the first two commits
after it is back. Lost: acknowledged steps and jobs that are not there afterwards.

FIRN_BENCH_DATA: an image folder with `train`. FIRN_BENCH_KILLS: default 20.
"""

import collections
import json
import os
import pathlib
import sys
import tempfile
import time

import fleet
import measure
import recovery

KILLS = int(os.environ.get("FIRN_BENCH_KILLS", "20"))


def kill_once(cluster, job, number, chance):
    """Kills and starts the coordinator once; the figures of that, None if the job ends before."""
    waiting = recovery.document(f"waits-{number}", cluster.folder)
    (cluster.folder / "waits.yaml").write_text(json.dumps(waiting))
    cluster.firn("submit", cluster.folder / "waits.yaml")
    # A random moment, not the one just after a commit.
    if job.until(lambda status: fleet.joined(status) == 2) is None:
        return None
    time.sleep(chance.random())
    before = fleet.step(job.status)
    cluster.kill_coordinator()
    away_from = time.time()
    time.sleep(2 * chance.random())
    restart = time.time()
    cluster.serve()
    cluster.firn("get", job.id)
    serving = time.time() - restart
    after = fleet.step(json.loads(cluster.firn("get", job.id, "-o", "json"))["status"])
    # Training goes on before the next kill.
    if job.until(lambda status: fleet.step(status) > after + 2) is None:
        return None
    return {"serving_s": serving, "before": before, "after": after, "away": (away_from, restart), "back": restart + serving}


def main():
    measure.need(recovery.DATA / "train", "the image folder")
    print(f"kill -9 of the coordinator, ResNet-18 fp32 224 on 2 ranks; {measure.machine()}")
    chance = fleet.seed("coordinator_kill")
    kills = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        recovery.few_images(folder)
        with fleet.Fleet(folder / "fleet", 2) as cluster:
            (cluster.folder / "few").symlink_to(folder / "few")
            submitted = recovery.document("trains", folder)
            submitted["spec"]["training"]["epochs"] = 30
            job = fleet.Job(cluster, submitted)
            while len(kills) < KILLS:
                kill = kill_once(cluster, job, len(kills), chance)
                if kill is None:
                    break
                kills.append(kill)
            names = {listed["metadata"]["name"] for listed in json.loads(cluster.firn("list", "-o", "json"))["jobs"]}
            for number in range(len(kills)):
                cluster.firn("cancel", f"waits-{number}")
            receipt, artifacts = job.finish()
            history = fleet.history(artifacts)
    lost_jobs = sum(f"waits-{number}" not in names for number in range(len(kills)))
    lost_steps = sum(max(0, kill["before"] - kill["after"]) for kill in kills)
    meanwhile = []
    for kill in kills:
        later = collections.Counter(step["committedAtMs"] for step in history if step["committedAtMs"] / 1e3 > kill["away"][1])
        # The first commit is the one that was on its way when the coordinator was killed; the second has all that was computed since.
        meanwhile.append(max([later[at] for at in sorted(later)][:2], default=0))
    print(f"  {len(kills)} kills; the coordinator was away for {min(k['away'][1] - k['away'][0] for k in kills):.1f} to {max(k['away'][1] - k['away'][0] for k in kills):.1f} s")
    print(f"  steps in the larger of the first two commits after it was back: {meanwhile}")
    print(f"  formations of the gang: {len(receipt['generations'])}; proven by firn verify: {receipt['proven']}")
    reached = [
        measure.judge("longest until it serves again, seconds", max(kill["serving_s"] for kill in kills), most=2.0),
        measure.judge("kills", len(kills), least=KILLS),
        measure.judge("kills after which more than one step came at once", sum(steps > 1 for steps in meanwhile), least=1),
        measure.judge("acknowledged steps lost", lost_steps, most=0),
        measure.judge("acknowledged jobs lost", lost_jobs, most=0),
        measure.judge("formations after the first", len(receipt["generations"]) - 1, most=0),
    ]
    return all(reached) and receipt["proven"]


if __name__ == "__main__":
    sys.exit(not main())
