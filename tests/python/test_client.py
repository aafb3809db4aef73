"""A client that nobody here wrote: grpcio and server reflection, no generated code."""

import hashlib
import signal
import subprocess

import grpc
import pytest
from conftest import FIRN, ROOT, environment
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

PACKAGE = "firn.v1alpha1"


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory):
    """A coordinator on a free port with two workers; gives its address."""
    folder = tmp_path_factory.mktemp("coordinator")
    ready = folder / "address"
    processes = [start(folder / "serve.log", FIRN, "serve", "--listen", "127.0.0.1:0", "--data-dir", folder / "data", "--ready-file", ready)]
    try:
        address = wait_for_file(ready, processes[0])
        for name in ("one", "two"):
            arguments = ["--coordinator", f"http://{address}", "--name", name, "--state-dir", folder / name, "--cpu-slots", "1"]
            processes.append(start(folder / f"{name}.log", FIRN.with_name("firn-worker"), "agent", *arguments))
        yield address
    finally:
        for process in reversed(processes):
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(timeout=60)


def start(log, *command):
    return subprocess.Popen([str(part) for part in command], stdout=log.open("w"), stderr=subprocess.STDOUT, env=environment())


def wait_for_file(path, process):
    while not path.exists():
        assert process.poll() is None, "the coordinator ended before it was ready"
        try:
            process.wait(timeout=0.05)
        except subprocess.TimeoutExpired:
            pass
    return path.read_text().strip()


class Reflected:
    """Calls methods of a service by name, with dictionaries for messages."""

    def __init__(self, channel):
        self.channel = channel
        self.pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))

    def message(self, name, **fields):
        kind = message_factory.GetMessageClass(self.pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        return json_format.ParseDict(fields, kind())

    def call(self, method, **fields):
        descriptor = self.pool.FindServiceByName(f"{PACKAGE}.JobService").FindMethodByName(method)
        kinds = [message_factory.GetMessageClass(kind) for kind in (descriptor.input_type, descriptor.output_type)]
        shape = self.channel.unary_stream if descriptor.server_streaming else self.channel.unary_unary
        stub = shape(
            f"/{PACKAGE}.JobService/{method}",
            request_serializer=kinds[0].SerializeToString,
            response_deserializer=kinds[1].FromString,
        )
        return stub(json_format.ParseDict(fields, kinds[0]()), timeout=600)


def specification(minilm, **training):
    reviews = ROOT / "tests" / "fixtures" / "reviews"
    return {
        "apiVersion": "firn.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {"name": "from-python"},
        "spec": {
            "task": {"type": "classification"},
            "model": {"architecture": "bert", "weights": f"file://{minilm}/model.safetensors"},
            "data": {
                "format": "tsv",
                "train": {"uri": f"file://{reviews}/train.tsv"},
                "validation": {"uri": f"file://{reviews}/validation.tsv"},
            },
            "training": {"epochs": 2, "batchSize": 32, **training},
            "resources": {"workers": {"min": 2, "max": 2}},
        },
    }


def test_the_health_check_answers(coordinator):
    with grpc.insecure_channel(coordinator) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_a_job_is_submitted_watched_and_downloaded_through_reflection(coordinator, minilm):
    with grpc.insecure_channel(coordinator) as channel:
        client = Reflected(channel)
        created = client.call("CreateJob", job=specification(minilm), requestId="python-1")
        name = created.metadata.resource_name
        assert name.startswith("jobs/from-python")
        assert created.spec.training.optimizer.learning_rate == 1e-3, "defaults are written out"
        repeated = client.call("CreateJob", job=specification(minilm), requestId="python-1")
        assert repeated.metadata.resource_name == name, "a repeated request acts once"

        seen = [snapshot.status.summary for snapshot in client.call("WatchJob", name=name)]
        assert seen[-1] == "Succeeded", seen

        steps = client.call("ListSteps", name=name).steps
        assert [step.step for step in steps] == list(range(len(steps)))
        artifacts = {artifact.name: artifact for artifact in client.call("ListArtifacts", name=name).artifacts}
        assert {"metrics.json", "head.safetensors", "predictions_validation.csv"} <= set(artifacts)
        for artifact in artifacts.values():
            if artifact.location == "coordinator":
                chunks = client.call("DownloadArtifact", name=name, artifact=artifact.name)
                content = b"".join(chunk.data for chunk in chunks)
                assert hashlib.sha256(content).hexdigest() == artifact.sha256, artifact.name


def test_a_bad_spec_is_refused_with_the_name_of_the_field(coordinator, minilm):
    with grpc.insecure_channel(coordinator) as channel:
        client = Reflected(channel)
        with pytest.raises(grpc.RpcError) as refused:
            client.call("CreateJob", job=specification(minilm, optimizer={"learningRate": -1}), requestId="python-2")
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "learningRate" in str(refused.value.trailing_metadata()) + refused.value.details()
