"""A model on the Hugging Face Hub is all that a job needs: `hf://org/name@revision`, with the Hub played by a server on this machine."""

import http.server
import json
import subprocess
import threading
import zlib

import pytest
import yaml
from conftest import FIRN, Finished, environment, job
from test_folders import REVIEWS
from test_library_folders import encoder

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LATER = "f" * 40
TOKEN = "hf_of_the_tests"


class Hub(http.server.ThreadingHTTPServer):
    """One private model of two commits, of which `main` is one at a time; it notes what it was asked."""

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Answers)
        self.files, self.main, self.asked = files, COMMIT, []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append(self.path)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, b"{}")
        parts = self.path.strip("/").split("/")
        if parts[:4] == ["api", "models", "org", "tiny"]:
            revision = parts[5] if len(parts) > 5 else "main"
            if commit := self.commit(revision):
                siblings = [{"rfilename": name} for name in self.server.files]
                return self.answer(200, json.dumps({"sha": commit, "siblings": siblings}).encode())
        elif parts[:3] == ["org", "tiny", "resolve"] and (commit := self.commit(parts[3])):
            if content := self.server.files.get("/".join(parts[4:])):
                return self.file(content, commit)
        self.answer(404, b"{}")

    def commit(self, revision):
        known = {"main": self.server.main, "v1": COMMIT, COMMIT: COMMIT, LATER: LATER}
        return known.get(revision)

    def file(self, content, commit):
        begin, end = 0, len(content) - 1
        if asked := self.headers.get("Range"):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            begin, end = int(first), min(int(last or end), end)
        headers = {"X-Repo-Commit": commit, "ETag": f'"{zlib.crc32(content):08x}"', "Content-Range": f"bytes {begin}-{end}/{len(content)}"}
        self.answer(206 if asked else 200, content[begin : end + 1], headers)

    def answer(self, status, body, headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub(tmp_path):
    published = tmp_path / "published"
    encoder("distilbert", published)
    hub = Hub({path.name: path.read_bytes() for path in published.iterdir()})
    yield hub
    hub.shutdown()


def texts():
    return {"format": "tsv", "train": {"uri": str(REVIEWS / "validation.tsv")}, "validation": {"uri": str(REVIEWS / "test.tsv")}}


def firn(hub, home, *arguments, **changed):
    """With its settings of the Hub, and none of this machine's."""
    own = {name: value for name, value in environment().items() if not name.startswith("HF_")}
    own |= {"HF_HOME": str(home), "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN}
    own = {name: value for name, value in (own | changed).items() if value is not None}
    return subprocess.run([FIRN, *map(str, arguments)], env=own, capture_output=True, text=True, timeout=600)


def spec_of(folder, uri, **more):
    file = folder / "job.yaml"
    file.write_text(yaml.safe_dump(job("hub", {"uri": uri} | more, texts(), {"epochs": 1, "batchSize": 32})))
    return file


def stored_weights(outcome):
    assert outcome.returncode == 0, outcome.stderr
    return json.loads(outcome.stdout)["spec"]["model"]["weights"]


def test_a_job_fetches_its_model_and_keeps_the_commit(hub, tmp_path):
    home = tmp_path / "home"
    artifacts = tmp_path / "artifacts"
    file = spec_of(tmp_path, "hf://org/tiny")
    ran = firn(hub, home, "run", file, "--workers", "2", "--artifacts", artifacts)
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-4000:]
    stored = json.loads((artifacts / "spec.json").read_text())["spec"]["model"]
    assert (stored["architecture"], stored["weights"]) == ("distilbert", f"hf://org/tiny@{COMMIT}/")
    assert stored["tokenizer"] == f"hf://org/tiny@{COMMIT}/tokenizer.json"
    weights = f"/org/tiny/resolve/{COMMIT}/model.safetensors"
    assert weights in hub.asked and TOKEN not in ran.stdout + ran.stderr
    assert (home / "hub" / "models--org--tiny" / "snapshots" / COMMIT / "model.safetensors").exists()

    # The same spec again, from the cache, with the Hub gone, and with no file fetched twice.
    hub.asked.clear()
    hub.main = LATER
    again = firn(hub, home, "run", artifacts / "spec.json", "--workers", "1", "--artifacts", tmp_path / "again", "--anew", HF_HUB_OFFLINE="1")
    assert again.returncode == 0, again.stdout[-2000:] + again.stderr[-4000:]
    assert hub.asked == []
    same = [Finished(folder).predictions("validation")[0] for folder in (artifacts, tmp_path / "again")]
    assert same[0]["predicted"] == same[1]["predicted"]


def test_a_branch_is_looked_up_each_time_and_a_commit_is_what_is_stored(hub, tmp_path):
    home = tmp_path / "home"
    branch, tag = spec_of(tmp_path, "hf://org/tiny@main"), tmp_path / "tag"
    tag.mkdir()
    shown = lambda file, **changed: firn(hub, home, "validate", file, "-o", "json", **changed)
    assert stored_weights(shown(branch)) == f"hf://org/tiny@{COMMIT}/"
    hub.main = LATER
    assert stored_weights(shown(branch)) == f"hf://org/tiny@{LATER}/", "what the cache says of a branch is old news"
    assert stored_weights(shown(spec_of(tag, "hf://org/tiny@v1"))) == f"hf://org/tiny@{COMMIT}/"
    assert not any(path.endswith("model.safetensors") for path in hub.asked), "whoever submits fetches no weights"


@pytest.mark.parametrize(
    ("uri", "changed", "message"),
    [
        ("hf://org/tiny", {"HF_TOKEN": None}, "or does not show it to this account (HTTP 401): check the name and the revision, and set HF_TOKEN"),
        ("hf://org/tiny@nowhere", {}, "has no hf://org/tiny@nowhere, or does not show it to this account (HTTP 404)"),
        ("hf://org/other", {}, "has no hf://org/other@main"),
        ("hf://org/tiny", {"HF_HUB_OFFLINE": "1"}, "hf://org/tiny@main is not in the cache"),
        ("hf://org/tiny/model", {}, "must be `hf://org/name` or `hf://org/name@revision`, found `hf://org/tiny/model`"),
        ("hf://org/tiny", {"HF_ENDPOINT": "http://127.0.0.1:1"}, "fetching hf://org/tiny@main from http://127.0.0.1:1: "),
    ],
)
def test_what_the_hub_does_not_give_is_refused_by_name(hub, tmp_path, uri, changed, message):
    refused = firn(hub, tmp_path / "home", "validate", spec_of(tmp_path, uri), **changed)
    assert refused.returncode == 2
    assert "spec.model.uri: " in refused.stderr and message in refused.stderr, refused.stderr


def test_a_model_without_safetensors_is_refused_by_what_it_holds(hub, tmp_path):
    hub.files["pytorch_model.bin"] = hub.files.pop("model.safetensors")
    refused = firn(hub, tmp_path / "home", "validate", spec_of(tmp_path, "hf://org/tiny"))
    assert f"hf://org/tiny@{COMMIT} holds neither `model.safetensors` nor `model.safetensors.index.json`, but `pytorch_model.bin`" in refused.stderr
