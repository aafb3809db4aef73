"""Runs all tests and ends with one line, `N passed, N failed, N skipped`, over all runners.

Usage: python3 tests/everything.py (through `make test`, which builds what is needed first).
"""

import glob
import os
import re
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

CARGO_SUMMARY = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored;")
PYTEST_SUMMARY = re.compile(r"^=*\s?((?:\d+ [a-z]+(?:, )?)+) in [\d.]+s")
PYTEST_WORDS = {"passed": 0, "xpassed": 0, "failed": 1, "error": 1, "errors": 1, "skipped": 2, "xfailed": 2}
SKIPPED = re.compile(r"(^|\.\.\. )skipped: ")
# Programs of the tests on a cluster, see tests/kubernetes/programs.sh.
CONTROL_PLANE = ["control-plane", "helm"]
# Makes a network like those of the pods, which is gone with the command.
MAKE_NETWORK = ["unshare", "--net", "ip", "link", "add", "firn-k", "type", "bridge"]
# What the tests themselves take on a slow machine of two cores.
TESTS_MINUTES = 36
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def count(line):
    """Passed, failed and skipped tests that a line of a runner's output announces, or None."""
    cargo = CARGO_SUMMARY.match(line)
    if cargo:
        return [int(number) for number in cargo.groups()]
    pytest = PYTEST_SUMMARY.match(line)
    if pytest:
        counts = [0, 0, 0]
        for number, word in re.findall(r"(\d+) ([a-z]+)", pytest.group(1)):
            if word in PYTEST_WORDS:
                counts[PYTEST_WORDS[word]] += int(number)
        return counts
    return None


def run(name, command):
    """Runs one runner, shows its output as it comes, and returns its counts; a runner that breaks counts as one failed test."""
    print(f"\n── {name}: {' '.join(command)}", flush=True)
    totals = [0, 0, 0]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as process:
        for line in process.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            for index, number in enumerate(count(COLOUR.sub("", line)) or []):
                totals[index] += number
            # A Rust test that finds on its way that it cannot run says so past the harness, which then counts it as passed.
            if name == "Rust" and SKIPPED.search(line):
                totals[0] -= 1
                totals[2] += 1
    if process.returncode != 0 and totals[1] == 0:
        print(f"{name} ended with status {process.returncode}")
        totals[1] = 1
    return totals


def build_core_for_wasm():
    """Builds firn-core where there are no clocks, files, sockets or threads: the proof that it needs none."""
    target = "wasm32-unknown-unknown"
    print(f"\n── firn-core for {target}", flush=True)

    def succeeds(*command):
        return subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT).returncode == 0

    folder = subprocess.run(["rustc", "--print", "target-libdir", "--target", target], capture_output=True, text=True)
    if not os.path.isdir(folder.stdout.strip()) and not succeeds("rustup", "target", "add", target):
        print(f"skipped: the target {target} is not installed, and rustup could not add it")
        return [0, 0, 1]
    built = subprocess.run(["cargo", "check", "--release", "--package", "firn-core", "--target", target], cwd=ROOT)
    return [1, 0, 0] if built.returncode == 0 else [0, 1, 0]


def build_control_plane():
    """Builds the Kubernetes control plane that a part of the tests runs on, once a machine, unless that would take `make test` beyond its time."""
    print("\n── a Kubernetes control plane", flush=True)
    script = [os.path.join(ROOT, "tests/kubernetes/programs.sh")]
    if subprocess.run(script + ["--check", *CONTROL_PLANE], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
        print("built before")
        return
    if os.geteuid() != 0:
        print("not built, and only root can run the pods of a cluster (make kubernetes builds it)")
        return
    if shutil.which("go") is None or subprocess.run(MAKE_NETWORK, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode != 0:
        print("not built: this machine has no Go, or no networks for the pods of a cluster")
        return
    budget = 60 * float(os.environ.get("FIRN_TEST_MINUTES", "60"))
    elapsed = time.time() - float(os.environ.get("FIRN_TESTS_BEGAN", time.time()))
    left = budget - elapsed - 60 * TESTS_MINUTES
    print(f"it takes five to twenty minutes, once a machine; {max(left, 0) / 60:.0f} minutes are left for it (FIRN_TEST_MINUTES=0 leaves it out)", flush=True)
    if left <= 0:
        return
    # It ends the whole group of processes, and what is built so far is kept.
    built = subprocess.run(["timeout", f"{left:.0f}", *script, *CONTROL_PLANE], stdout=subprocess.DEVNULL)
    if built.returncode != 0:
        print("the time is over" if built.returncode == 124 else "not built", "-- the tests that need it are skipped", flush=True)


def main():
    has_gpu = bool(glob.glob("/proc/driver/nvidia/gpus/*"))
    if not has_gpu:
        print("no GPU on this machine: tests that need one are ignored, and counted as skipped")
    # Tests that need a GPU are marked `#[ignore = "needs a GPU"]`.
    rust = ["cargo", "test", "--release", "--workspace", "--no-fail-fast"] + (["--", "--include-ignored"] if has_gpu else [])
    runners = [("Rust", rust)]
    if glob.glob(os.path.join(ROOT, "tests/python/test_*.py")):
        runners.append(("Python", [".python/bin/python", "-m", "pytest", "-ra", "-p", "no:cacheprovider", "tests/python"]))
    build_control_plane()
    totals = build_core_for_wasm()
    for name, command in runners:
        totals = [sum(pair) for pair in zip(totals, run(name, command))]
    print("\n{} passed, {} failed, {} skipped".format(*totals), flush=True)
    return 1 if totals[1] or not totals[0] else 0


if __name__ == "__main__":
    sys.exit(main())
