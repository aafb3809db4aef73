#!/usr/bin/env bash
# Makes `.python`, the Python that the tests compare Firn with: PyTorch, torchvision, transformers, timm, PEFT, scikit-learn, grpcio, pytest, in the versions of
# tests/python/requirements.txt. Only tests use it. A download of about 3 GB (PyTorch's wheel wants its CUDA libraries even on a CPU);
# unpacked 5.2 GB. A second run does nothing. `.python/bin/python` runs it.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/wheels.sh
. "$here/wheels.sh"

root=$(dirname "$here")
target=$root/.python
wanted=$(dirname "$here")/tests/python

need_python
stamp=$(cat "$wanted/requirements.txt" "$wanted/constraints.txt" | sha256sum)"$("$PYTHON" -c 'import sys; print(sys.version)')"
if [ "$(cat "$target/stamp" 2>/dev/null)" = "$stamp" ] && "$target/bin/python" -c '' 2>/dev/null; then
    say "Python for the tests: ready in .python"
    exit
fi
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || fail "$PYTHON is too old: PyTorch 2.11 needs Python 3.10" "set PYTHON to a newer one"
mkdir -p "$root/.cache"
alone "$root/.cache/python-setup"
need_space "$root" 9000 "Python for the tests"

rm -rf "$target"
say "making .python …"
# A virtual environment cannot be moved, so it is made in place; it counts as made only when the stamp is written.
if "$PYTHON" -m venv "$target" >/dev/null 2>&1; then
    install=("$target/bin/python" -m pip install)
else # Debian's python3 without python3-venv
    rm -rf "$target"
    mkdir -p "$target/bin" "$target/site"
    printf '#!/bin/sh\nPYTHONPATH=%q${PYTHONPATH:+:$PYTHONPATH} exec %q "$@"\n' "$target/site" "$(command -v "$PYTHON")" >"$target/bin/python"
    chmod +x "$target/bin/python"
    install=("$PYTHON" -m pip install --target "$target/site")
fi
log=$target/pip.log
"${install[@]}" --disable-pip-version-check --only-binary=:all: --requirement "$wanted/requirements.txt" --constraint "$wanted/constraints.txt" \
    --log "$log" >&2 || explain_pip_failure "$log"
"$target/bin/python" -c 'import torch, torchvision, transformers, timm, peft, sklearn, grpc, grpc_reflection, grpc_health, safetensors, PIL, yaml, pytest' ||
    fail "the packages in .python do not load"
printf '%s\n' "$stamp" >"$target/stamp"
say "Python for the tests: ready in .python"
