"""A model on the Hugging Face Hub is all that a job needs: `hf://org/name@revision`, with the Hub played by a server on this machine."""

import contextlib
import hashlib
import http.server
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading

import pytest
import yaml
from conftest import FIRN, Finished, environment, job
from test_folders import REVIEWS
from test_library_folders import encoder

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LATER = "f" * 40
TOKEN = "hf_of_the_tests"
RESOLVE = f"/org/tiny/resolve/{COMMIT}/"


class Hub(http.server.ThreadingHTTPServer):
    """One private model of two commits, of which `main` is one at a time; it notes what it was asked."""

    daemon_threads = True

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Answers)
        self.files, self.main = files, COMMIT
        self.asked, self.sent = [], []
        # While a name stands here, half of the file comes, and then nothing until the client is gone.
        self.halted, self.is_half_way = None, threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        if self.command == "GET":
            self.server.asked.append(self.path)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, {"X-Error-Code": "RepoNotFound"})
        parts = self.path.strip("/").split("/")
        if parts[:4] == ["api", "models", "org", "tiny"]:
            if parts[4] != "revision":
                return self.answer(404, {"X-Error-Code": "EntryNotFound"})
            if commit := self.commit(parts[5]):
                siblings = [{"rfilename": name} for name in self.server.files]
                return self.answer(200, body=json.dumps({"sha": commit, "siblings": siblings}).encode())
            return self.answer(404, {"X-Error-Code": "RevisionNotFound"})
        if parts[:3] == ["org", "tiny", "resolve"] and (commit := self.commit(parts[3])):
            if content := self.server.files.get("/".join(parts[4:])):
                return self.file(parts[-1], content, commit)
            return self.answer(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        self.answer(404, {"X-Error-Code": "RepoNotFound"})

    def commit(self, revision):
        known = {"main": self.server.main, "v1": COMMIT, COMMIT: COMMIT, LATER: LATER}
        return known.get(revision)

    def file(self, name, content, commit):
        digest = hashlib.sha256(content) if name.endswith(".safetensors") else hashlib.sha1(b"blob %d\0" % len(content) + content)
        headers = {"X-Repo-Commit": commit, "ETag": f'"{digest.hexdigest()}"', "Accept-Ranges": "bytes"}
        start = 0
        if asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start = int(asked[1])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if self.command == "GET":
            self.server.sent.append((name, start))
        if self.command == "GET" and name == self.server.halted:
            self.begin(206, headers, len(content) - start)
            self.wfile.write(content[start : start + (len(content) - start) // 2])
            self.server.is_half_way.set()
            with contextlib.suppress(ConnectionError):
                self.rfile.read(1)
            self.close_connection = True
            return
        self.answer(206 if asked else 200, headers, content[start:])

    def answer(self, status, headers=(), body=b""):
        self.begin(status, headers, len(body))
        if self.command == "GET":
            self.wfile.write(body)

    def begin(self, status, headers, length):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A small encoder as transformers publishes it, with a pickle that nobody opens."""
    folder = tmp_path_factory.mktemp("published")
    encoder("distilbert", folder)
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    return folder


@pytest.fixture
def hub(published):
    hub = Hub({path.name: path.read_bytes() for path in published.iterdir()})
    yield hub
    hub.shutdown()
    hub.server_close()


def settings(hub, home, **changed):
    """An environment with these settings of the Hub, and none of this machine's."""
    own = {name: value for name, value in environment().items() if not name.startswith(("HF_", "TRANSFORMERS_")) and not name.lower().endswith("_proxy")}
    own |= {"HF_HOME": str(home), "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN}
    return {name: str(value) for name, value in (own | changed).items() if value is not None}


def firn(hub, home, *arguments, **changed):
    command = [FIRN, *map(str, arguments)]
    return subprocess.run(command, env=settings(hub, home, **changed), capture_output=True, text=True, timeout=600)


def spec_of(folder, uri, **training):
    folder.mkdir(exist_ok=True)
    texts = {"format": "tsv", "train": {"uri": str(REVIEWS / "validation.tsv")}, "validation": {"uri": str(REVIEWS / "test.tsv")}}
    file = folder / "job.yaml"
    file.write_text(yaml.safe_dump(job("hub", {"uri": uri}, texts, {"epochs": 1, "batchSize": 32, **training})))
    return file


def ran(outcome, artifacts):
    assert outcome.returncode == 0, outcome.stdout[-2000:] + outcome.stderr[-4000:]
    return Finished(artifacts)


def stored_model(artifacts):
    return json.loads((artifacts / "spec.json").read_text())["spec"]["model"]


def predicted(finished):
    return [row["predicted"] for row in finished.predictions("validation")]


def sharded(hub, folder):
    """In place of the one file, what transformers writes of a network that is too large for one."""
    from transformers import AutoModel

    whole = folder / "whole"
    whole.mkdir()
    for name, content in hub.files.items():
        (whole / name).write_bytes(content)
    AutoModel.from_pretrained(whole).save_pretrained(folder / "sharded", max_shard_size="40KB")
    del hub.files["model.safetensors"]
    hub.files |= {path.name: path.read_bytes() for path in (folder / "sharded").iterdir()}
    return sorted(name for name in hub.files if name.endswith(".safetensors"))


def test_a_job_fetches_its_model_once_and_keeps_the_commit(hub, published, tmp_path):
    home, artifacts = tmp_path / "home", tmp_path / "artifacts"
    outcome = firn(hub, home, "run", spec_of(tmp_path, "hf://org/tiny"), "--workers", "2", "--artifacts", artifacts)
    first = ran(outcome, artifacts)
    model = stored_model(artifacts)
    assert (model["architecture"], model["weights"]) == ("distilbert", f"hf://org/tiny@{COMMIT}/")
    assert model["tokenizer"] == f"hf://org/tiny@{COMMIT}/tokenizer.json"
    # Two ranks, and each file once, of the commit; the pickle never.
    fetched = [name for name, _ in hub.sent]
    assert sorted(fetched) == ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert all("/revision/" in path or path.startswith(RESOLVE) for path in hub.asked)
    left = b"".join(path.read_bytes() for path in artifacts.rglob("*") if path.is_file())
    assert TOKEN.encode() not in left and TOKEN not in outcome.stdout + outcome.stderr

    # The same as of a folder.
    folder = ran(firn(hub, home, "run", spec_of(tmp_path / "folder", str(published)), "--workers", "1", "--artifacts", tmp_path / "of-folder"), tmp_path / "of-folder")
    assert predicted(first) == predicted(folder)

    # The stored job again, with the Hub gone.
    hub.asked.clear()
    again = firn(hub, home, "run", artifacts / "spec.json", "--workers", "1", "--artifacts", tmp_path / "again", HF_ENDPOINT="http://127.0.0.1:9")
    assert predicted(ran(again, tmp_path / "again")) == predicted(first)
    # The spec again, offline: the branch is what it was.
    offline = firn(hub, home, "validate", spec_of(tmp_path, "hf://org/tiny"), "-o", "json", HF_HUB_OFFLINE="1")
    assert json.loads(offline.stdout)["spec"]["model"]["weights"] == f"hf://org/tiny@{COMMIT}/"
    assert hub.asked == []

    # What the job left has all in it: no Hub, no cache.
    scored = firn(hub, tmp_path / "nothing", "predict", artifacts, REVIEWS / "test.tsv", HF_HUB_OFFLINE="1")
    assert scored.returncode == 0, scored.stderr
    assert not (tmp_path / "nothing").exists()

    # The Hub's own tools read the cache, and know what the model has not.
    read = "import huggingface_hub as h; print(h.snapshot_download('org/tiny')); print(h.try_to_load_from_cache('org/tiny', 'special_tokens_map.json'))"
    library = subprocess.run([sys.executable, "-c", read], env=settings(hub, home, HF_HUB_OFFLINE="1"), capture_output=True, text=True)
    folder, absent = library.stdout.splitlines() or pytest.fail(library.stderr)
    assert sorted(path.name for path in pathlib.Path(folder).iterdir()) == sorted(fetched) and "object" in absent


def test_a_run_that_is_killed_half_way_goes_on_with_the_bytes_and_the_commit_that_it_had(hub, tmp_path):
    home, artifacts = tmp_path / "home", tmp_path / "artifacts"
    shards = sharded(hub, tmp_path)
    assert len(shards) > 2
    file = spec_of(tmp_path, "hf://org/tiny@main")
    hub.halted = shards[1]
    snapshot, blobs = (home / "hub" / "models--org--tiny" / part for part in (f"snapshots/{COMMIT}", "blobs"))
    command = [FIRN, "run", file, "--workers", "2", "--artifacts", artifacts]
    # It waits for more than this test does, so it is killed in the middle.
    patient = settings(hub, home, HF_HUB_DOWNLOAD_TIMEOUT="600")
    running = subprocess.Popen([str(part) for part in command], env=patient, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert hub.is_half_way.wait(timeout=300), "no rank came to the second shard"
        while not any(path.stat().st_size for path in blobs.glob("*.firn.incomplete")):
            assert running.poll() is None, "the run ended by itself"
            threading.Event().wait(0.05)
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    assert (snapshot / shards[0]).exists() and not (snapshot / shards[1]).exists()

    hub.halted, hub.main = None, LATER
    hub.asked.clear(), hub.sent.clear()
    resumed = ran(firn(hub, home, "run", "--resume", file, "--artifacts", artifacts), artifacts)
    assert stored_model(artifacts)["weights"] == f"hf://org/tiny@{COMMIT}/"
    assert all(path.startswith(RESOLVE) for path in hub.asked), "nobody asks again what the branch is"
    begun = dict(hub.sent)
    assert shards[0] not in begun and begun[shards[1]] > 0, begun
    for name in shards:
        assert (snapshot / name).read_bytes() == hub.files[name]
    assert len(predicted(resumed)) == len((REVIEWS / "test.tsv").read_text().splitlines()) - 1


def test_a_cache_that_the_hubs_own_tools_have_filled_is_enough(hub, tmp_path):
    home = tmp_path / "home"
    fetch = "import sys, huggingface_hub as h; [h.hf_hub_download('org/tiny', name) for name in sys.argv[1:]]"
    names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    library = subprocess.run([sys.executable, "-c", fetch, *names], env=settings(hub, home), capture_output=True, text=True)
    assert library.returncode == 0, library.stderr
    hub.asked.clear()
    outcome = firn(hub, home, "run", spec_of(tmp_path, "hf://org/tiny"), "--workers", "1", "--artifacts", tmp_path / "artifacts", HF_HUB_OFFLINE="1")
    ran(outcome, tmp_path / "artifacts")
    assert stored_model(tmp_path / "artifacts")["weights"] == f"hf://org/tiny@{COMMIT}/" and hub.asked == []


def test_a_branch_is_looked_up_each_time_and_a_commit_is_what_is_stored(hub, tmp_path):
    def stored(uri):
        outcome = firn(hub, tmp_path / "home", "validate", spec_of(tmp_path, uri), "-o", "json")
        assert outcome.returncode == 0, outcome.stderr
        return json.loads(outcome.stdout)["spec"]["model"]["weights"]

    assert stored("hf://org/tiny@main") == f"hf://org/tiny@{COMMIT}/"
    hub.main = LATER
    assert stored("hf://org/tiny@main") == f"hf://org/tiny@{LATER}/"
    assert stored("hf://org/tiny@v1") == f"hf://org/tiny@{COMMIT}/"
    assert stored(f"hf://org/tiny@{COMMIT}") == f"hf://org/tiny@{COMMIT}/"
    assert "model.safetensors" not in dict(hub.sent), "whoever submits fetches no weights"


@pytest.mark.parametrize(
    ("uri", "changed", "message"),
    [
        ("hf://org/tiny", {"HF_TOKEN": None}, "does not show it without a token (HTTP 401): check the name, and set HF_TOKEN"),
        ("hf://org/tiny", {"HF_TOKEN": "hf_wrong"}, "does not show it to the owner of the token in use (HTTP 401)"),
        ("hf://org/tiny@nowhere", {}, "has the model org/tiny, but no branch, tag or commit `nowhere` of it"),
        ("hf://org/other", {}, "has no model org/other, or does not show it"),
        ("hf://org/tiny", {"HF_HUB_OFFLINE": "1"}, "hf://org/tiny@main is not in the cache"),
        ("hf://org/tiny/model", {}, "must be `hf://org/name` or `hf://org/name@revision`, found `hf://org/tiny/model`"),
        ("hf://org/tiny", {"HF_ENDPOINT": "http://127.0.0.1:9"}, "fetching hf://org/tiny@main from http://127.0.0.1:9: "),
    ],
)
def test_what_the_hub_does_not_give_is_refused_by_name(hub, tmp_path, uri, changed, message):
    refused = firn(hub, tmp_path / "home", "validate", spec_of(tmp_path, uri), **changed)
    assert refused.returncode == 2
    assert "spec.model.uri: " in refused.stderr and message in refused.stderr, refused.stderr
    assert "hf_wrong" not in refused.stderr


def test_a_model_of_pickles_alone_is_refused_with_the_command_that_converts_it(hub, tmp_path):
    del hub.files["model.safetensors"]
    refused = firn(hub, tmp_path / "home", "validate", spec_of(tmp_path, "hf://org/tiny"))
    assert refused.returncode == 2
    assert f"hf://org/tiny@{COMMIT} holds neither `model.safetensors` nor `model.safetensors.index.json`, but `pytorch_model.bin`, a pickle" in refused.stderr
    assert re.search(r"`(python3 -c .*) FOLDER`", refused.stderr), refused.stderr


@pytest.mark.long
def test_the_command_that_converts_a_pickle_does_that(hub, tmp_path):
    safe = hub.files.pop("model.safetensors")
    refused = firn(hub, tmp_path / "home", "validate", spec_of(tmp_path, "hf://org/tiny"))
    command = re.search(r"`(python3 -c .*) FOLDER`", refused.stderr)[1]
    # It does what is said of it; of what it reads nothing is a pickle here.
    hub.files["model.safetensors"] = safe
    del hub.files["pytorch_model.bin"]
    command = command.replace("python3", sys.executable, 1) + f" {tmp_path}/converted"
    converted = subprocess.run(command, shell=True, env=settings(hub, tmp_path / "library"), capture_output=True, text=True)
    assert converted.returncode == 0, converted.stderr
    valid = firn(hub, tmp_path / "home", "validate", spec_of(tmp_path, str(tmp_path / "converted")))
    assert valid.returncode == 0, valid.stderr


def test_the_coordinator_looks_up_what_its_client_cannot(hub, tmp_path):
    ready = tmp_path / "address"
    command = [FIRN, "serve", "--listen", "127.0.0.1:0", "--data-dir", tmp_path / "data", "--ready-file", ready]
    log = (tmp_path / "serve.log").open("w")
    serving = subprocess.Popen([str(part) for part in command], env=settings(hub, tmp_path / "home"), stdout=log, stderr=subprocess.STDOUT)
    try:
        while not ready.exists():
            assert serving.poll() is None, (tmp_path / "serve.log").read_text()
            threading.Event().wait(0.05)
        named = {"HF_TOKEN": None, "FIRN_COORDINATOR": f"http://{ready.read_text().strip()}"}
        elsewhere = tmp_path / "elsewhere"
        submitted = firn(hub, elsewhere, "submit", spec_of(tmp_path, "hf://org/tiny"), "-o", "json", **named)
        assert submitted.returncode == 0, submitted.stderr
        assert json.loads(submitted.stdout)["spec"]["model"]["weights"] == f"hf://org/tiny@{COMMIT}/"
        assert "does not show it without a token (HTTP 401)" in submitted.stderr and "the coordinator is asked to look it up" in submitted.stderr
        refused = firn(hub, elsewhere, "submit", spec_of(tmp_path, "hf://org/tiny@nowhere"), **named)
        assert refused.returncode == 2 and "no branch, tag or commit `nowhere`" in refused.stderr, refused.stderr
    finally:
        serving.send_signal(signal.SIGTERM)
        serving.wait(timeout=60)
    assert TOKEN not in (tmp_path / "serve.log").read_text()
    stored = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    assert b"hf://org/tiny@" in stored and TOKEN.encode() not in stored
