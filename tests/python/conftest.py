"""What the Python tests share: the built binaries, the data sets, and one way to run a job.

The tests run Firn as a user does and compare what it leaves with torchvision, transformers and scikit-learn.
"""

import csv
import json
import os
import pathlib
import subprocess

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
MINILM = ROOT / ".cache" / "minilm"
FIRN = ROOT / "target" / "release" / "firn"


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="also run the tests that take many minutes")


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes many minutes; its short form is another test")


def pytest_collection_modifyitems(config, items):
    for item in items:
        if item.get_closest_marker("long") and not config.getoption("--long"):
            item.add_marker(pytest.mark.skip(reason="takes many minutes: make test-long"))


def shared(path):
    """A data set or weights that stand beside the project; the test skips, visibly, where they are absent."""
    found = SHARED / path
    if not found.exists():
        pytest.skip(f"{found} is absent")
    return found


class Finished:
    """A job that has succeeded, by what it left."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.metrics = json.loads((self.folder / "metrics.json").read_text())
        self.history = [json.loads(line) for line in (self.folder / "history.jsonl").read_text().splitlines()]

    def predictions(self, split):
        with open(self.folder / f"predictions_{split}.csv", newline="") as file:
            return list(csv.DictReader(file))


def environment():
    return {**os.environ, "FIRN_WORKER": str(FIRN.with_name("firn-worker"))}


def run_job(spec, folder, workers=2, options=()):
    """Runs a job with `firn run` and further options; returns what it left."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "job.yaml"
    file.write_text(yaml.safe_dump(spec, sort_keys=False))
    artifacts = folder / "artifacts"
    command = [FIRN, "run", file, "--workers", str(workers), "--artifacts", artifacts, *options]
    finished = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=1500)
    assert finished.returncode == 0, finished.stdout[-4000:] + finished.stderr[-8000:]
    return Finished(artifacts)


def job(name, model, data, training=None):
    """A spec with the words that every job needs."""
    return {
        "apiVersion": "firn.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {"name": name},
        "spec": {"task": {"type": "classification"}, "model": model, "data": data, "training": training or {}},
    }


@pytest.fixture(scope="session")
def minilm():
    if not (MINILM / "model.safetensors").exists():
        pytest.fail(f"{MINILM} is absent: run deploy/minilm.sh")
    return MINILM
