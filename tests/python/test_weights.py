"""Weights as people have them: what `firn models --inspect` says, the command that converts a pickle, and the notes in a job's log."""

import json
import re
import subprocess
import sys

import torch
import torchvision
from conftest import FIRN, environment, job, run_job, shared
from safetensors.torch import load_file, save_file
from test_export import subset


def firn(*arguments, check=True):
    finished = subprocess.run([FIRN, *arguments], env=environment(), capture_output=True, text=True, timeout=300)
    assert not check or finished.returncode == 0, finished.stderr
    return finished


def inspected(path):
    return json.loads(firn("models", "--inspect", path, "-o", "json").stdout)


def network():
    torch.manual_seed(3)
    return torchvision.models.resnet18(weights=None, num_classes=7)


def test_the_command_that_is_printed_converts_a_pickle(tmp_path):
    state = network().state_dict()
    # A Lightning checkpoint: names with a prefix, tensors beside other things.
    wrapped = {f"model.{name}": tensor for name, tensor in state.items()}
    pickle = tmp_path / "it's a checkpoint.pt"
    torch.save({"state_dict": wrapped, "epoch": 3}, pickle)
    refused = firn("models", "--inspect", pickle, check=False)
    assert refused.returncode == 1
    assert "is a pickle file, and opening a pickle runs whatever code it holds" in refused.stderr
    command = re.search(r"convert it where you trust it: (python3 -c .*)", refused.stderr).group(1)
    # The Python that has PyTorch.
    subprocess.run(command.replace("python3", sys.executable, 1), shell=True, check=True)

    converted = tmp_path / "it's a checkpoint.safetensors"
    found = load_file(converted)
    assert set(found) == set(wrapped)
    assert all(torch.equal(found[name], wrapped[name]) for name in found)
    said = inspected(converted)
    assert said["architecture"] == "resnet18" and said["fits"]
    assert said["output"] == {"name": "model.fc", "outputs": 7}
    assert any("begin with `model.`" in note for note in said["notes"])


def test_a_file_is_told_apart_from_its_relatives(tmp_path):
    for architecture in ("resnet18", "resnet34", "wide_resnet50_2", "mobilenet_v3_small", "efficientnet_b0"):
        path = tmp_path / f"{architecture}.safetensors"
        state = torchvision.models.get_model(architecture, weights=None).state_dict()
        save_file(state, path)
        said = inspected(path)
        assert (said["architecture"], said["library"], said["fits"]) == (architecture, "torchvision", True)
        assert said["parameters"] == sum(tensor.numel() for tensor in state.values())
        path.unlink()


def test_what_was_taken_as_it_is_stands_in_the_log(tmp_path):
    images = shared("data/hymenoptera")
    state = network().state_dict()
    kept = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    weights = tmp_path / "half.safetensors"
    save_file({f"module._orig_mod.{name}": tensor.half() for name, tensor in kept.items()}, weights)
    train = subset(images / "train", 4, tmp_path / "train")
    spec = job(
        "half",
        {"architecture": "resnet18", "weights": str(weights)},
        {
            "format": "imagefolder",
            "train": {"uri": str(train)},
            "preprocessing": {"resize": 32, "crop": 32},
        },
        {"epochs": 1, "batchSize": 4},
    )
    kept_data = tmp_path / "data"
    finished = run_job(spec, tmp_path / "run", workers=1, options=["--keep-data", str(kept_data)])
    files = [path for path in kept_data.rglob("*") if path.is_file()]
    log = "".join(path.read_bytes().decode(errors="replace") for path in files)
    for note in (
        "the names begin with `module._orig_mod.`",
        "100 tensors are F16: they are computed in fp32",
        "`num_batches_tracked` is missing in 20 BatchNorm layers",
        "the job has a head of its own, and no use for `module._orig_mod.fc.bias`",
    ):
        assert note in log, note
    exported = load_file(finished.folder / "model.safetensors")
    plain = torchvision.models.resnet18(weights=None, num_classes=2)
    plain.load_state_dict(exported, strict=True)
