"""A coordinator and agents for benchmarks that break something, and a job on them that is followed snapshot by snapshot.

Only the standard library, as in `measure`.
"""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time

import measure

# What takes longer has hung.
LIMIT = 60.0


def seed(name):
    """A random sequence whose seed is printed; FIRN_BENCH_SEED repeats it."""
    chosen = int(os.environ.get("FIRN_BENCH_SEED", time.time_ns() % 2**32))
    print(f"{name}: FIRN_BENCH_SEED={chosen}")
    return random.Random(chosen)


class Fleet:
    """One coordinator, and one agent with some slots of one thread each."""

    def __init__(self, folder, slots):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.address = "127.0.0.1:0"
        self.serve()
        worker = [measure.FIRN.with_name("firn-worker"), "agent", "--name", "worker", "--cpu-slots", str(slots), "--threads-per-slot", "1"]
        worker += ["--coordinator", f"http://{self.address}", "--state-dir", self.folder / "worker"]
        self.agent = self.spawn("worker.log", worker)

    def spawn(self, log, command):
        with open(self.folder / log, "a") as file:
            return subprocess.Popen(
                [str(word) for word in command], env=measure.environment(), preexec_fn=measure.on_two_cores, stdout=file, stderr=file
            )

    def serve(self):
        """Starts the coordinator, for the first time or again; returns when it serves."""
        ready = self.folder / "address"
        ready.unlink(missing_ok=True)
        command = [measure.FIRN, "serve", "--listen", self.address, "--data-dir", self.folder / "data", "--ready-file", ready]
        self.coordinator = self.spawn("serve.log", command)
        until(ready.exists, "the coordinator serves")
        self.address = ready.read_text().strip()

    def kill_coordinator(self):
        self.coordinator.kill()
        self.coordinator.wait()

    def command(self, *words):
        return [str(measure.FIRN), *map(str, words), "--coordinator", f"http://{self.address}"]

    def firn(self, *words):
        """What a verb of `firn` prints."""
        finished = subprocess.run(self.command(*words), env=measure.environment(), capture_output=True, text=True)
        if finished.returncode != 0:
            sys.exit(f"error: firn {' '.join(map(str, words))} failed\n{finished.stdout}{finished.stderr}")
        return finished.stdout

    def close(self):
        """Ends both in order, so that the time of all ranks is accounted to this process."""
        for process in (self.agent, self.coordinator):
            process.terminate()
            process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Job:
    """A submitted job, followed by `firn watch`."""

    def __init__(self, fleet, document):
        self.fleet = fleet
        path = fleet.folder / f"{document['metadata']['name']}.yaml"
        # JSON is YAML.
        path.write_text(json.dumps(document))
        self.name = json.loads(fleet.firn("submit", path, "-o", "json"))["metadata"]["resourceName"]
        self.id = self.name.removeprefix("jobs/")
        self.changed = threading.Condition()
        self.status = None
        self.ended = False
        self.watcher = subprocess.Popen(fleet.command("watch", self.id, "-o", "json"), env=measure.environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self):
        for line in self.watcher.stdout:
            with self.changed:
                self.status = json.loads(line)["status"]
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def until(self, reached, limit=LIMIT):
        """The first snapshot for which `reached` holds; None if the job ended before; a hang ends the benchmark."""
        deadline = time.time() + limit
        with self.changed:
            while not (self.status and reached(self.status)):
                if self.ended:
                    return None
                if not self.changed.wait(deadline - time.time()) and time.time() > deadline:
                    raise TimeoutError(f"nothing within {limit} s: {json.dumps(self.status)[:4000]}")
            return self.status

    def ranks(self):
        """Process ids of the ranks that live."""
        return processes_with(f"FIRN_JOB={self.name}")

    def finish(self):
        """Waits for success; returns the receipt of `firn verify` and the folder of the artifacts."""
        last = self.until(lambda status: status["summary"] in ("Succeeded", "Failed", "Cancelled"), limit=600)
        last = last or self.status
        if last["summary"] != "Succeeded":
            sys.exit(f"error: the job {last['summary']}: {last['failure']}\n{self.fleet.firn('logs', self.id)[-4000:]}")
        self.watcher.wait()
        folder = self.fleet.folder / "artifacts" / self.id
        self.fleet.firn("download", self.id, "--directory", folder)
        return json.loads(self.fleet.firn("verify", self.id, "-o", "json")), folder


def history(folder):
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def joined(status):
    return sum(rank["state"] == "Joined" for rank in status["ranks"])


def step(status):
    return (status["progress"] or {}).get("step", 0)


def processes_with(variable):
    """Process ids of those that have this in their environment."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
        try:
            if variable.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue  # It ended while it was looked at.
    return found


def kill(pid):
    """kill -9; the moment at which it was sent."""
    now = time.time()
    os.kill(pid, signal.SIGKILL)
    return now


def until(reached, what, limit=LIMIT):
    deadline = time.time() + limit
    while not reached():
        if time.time() > deadline:
            sys.exit(f"error: waited {limit} s in vain: {what}")
        time.sleep(0.002)
