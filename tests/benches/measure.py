"""What the benchmarks share: where things are, one way to run Firn and time it, and how figures are judged.

Only the standard library, so that any python3 runs them.
"""

import json
import os
import pathlib
import platform
import re
import resource
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
FIRN = ROOT / "target" / "release" / "firn"
PYTHON = os.environ.get("FIRN_PYTHON") or str(ROOT / ".python" / "bin" / "python")
# Two ranks of one thread get two cores, whatever the machine has, and so does what they are compared with.
CORES = sorted(os.sched_getaffinity(0))[:2]


def need(path, what):
    """The path, or a visible skip of the whole benchmark."""
    if not pathlib.Path(path).exists():
        print(f"skipped: {what} is absent ({path})")
        sys.exit(0)
    return pathlib.Path(path)


def on_two_cores():
    os.sched_setaffinity(0, CORES)


def environment():
    """One thread for each process, whoever asks."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "FIRN_WORKER": str(FIRN.with_name("firn-worker"))}


def spec(name, model, data, training):
    return {
        "apiVersion": "firn.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {"name": name},
        "spec": {
            "task": {"type": "classification"},
            "model": model,
            "data": data,
            "training": training,
            "artifacts": {"mergedModel": False},
        },
    }


class FirnRun:
    """A job that was run with `firn run` on two workers: its history, and when its lines appeared."""

    def __init__(self, document, folder):
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True)
        # JSON is YAML.
        (folder / "job.yaml").write_text(json.dumps(document, indent=2))
        command = [FIRN, "run", folder / "job.yaml", "--workers", "2", "--artifacts", folder / "artifacts"]
        began = time.time()
        process = subprocess.Popen(
            command, env=environment(), preexec_fn=on_two_cores, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        self.lines = [(time.time(), line.rstrip()) for line in process.stderr]
        if process.wait() != 0:
            sys.exit("error: firn run failed\n" + "\n".join(line for _, line in self.lines))
        self.total_seconds = time.time() - began
        self.history = [json.loads(line) for line in (folder / "artifacts" / "history.jsonl").read_text().splitlines()]

    def epoch_seconds(self, epoch, epochs):
        """From the beginning of the epoch's first step to the moment at which its validation is known."""
        first = next(step for step in self.history if step["epoch"] == epoch)
        begin = first["committedAtMs"] / 1e3 - sum(parts(first).values())
        shown = re.compile(rf"epoch {epoch + 1}/{epochs}: validation ")
        return next(at for at, line in self.lines if shown.match(line)) - begin


def parts(step):
    return {part: step[f"{part}Seconds"] for part in ("data", "compute", "reduce", "other")}


def machine():
    names = re.findall(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return f"{names[0] if names else platform.machine()}, {len(CORES)} of {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start"


class Bystanders:
    """Cores that processes other than our own kept busy meanwhile: what makes a figure worth less."""

    def __init__(self):
        self.began = self._now()

    def cores(self):
        whole, busy, own = (now - then for now, then in zip(self._now(), self.began))
        return max(0.0, busy - own) / whole

    @staticmethod
    def _now():
        ticks = [int(word) for word in pathlib.Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
        ours = resource.getrusage(resource.RUSAGE_CHILDREN)
        busy = (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
        return time.time(), busy, ours.ru_utime + ours.ru_stime


def median(values):
    return statistics.median(values)


def judge(what, value, least=None, most=None):
    """Prints a figure beside its target; False if it misses it."""
    reached = value >= least if least is not None else value <= most
    target = f"at least {least:g}" if least is not None else f"at most {most:g}"
    print(f"{what}: {value:.3f} ({target}: {'reached' if reached else 'MISSED'})")
    return reached
