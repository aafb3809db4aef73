#!/usr/bin/env bash
# Gets libtorch, the C++ part of PyTorch, for building and running Firn.
#
#   deploy/libtorch.sh                        what is there already, else for CPUs
#   deploy/libtorch.sh --cpu                  for CPUs, from the PyTorch wheel (a download of about 0.5 GB)
#   deploy/libtorch.sh --cuda                 with all that an NVIDIA GPU needs (about 2.5 GB)
#   deploy/libtorch.sh --from-python PYTHON   from the PyTorch that this Python has installed; nothing is downloaded
#   LIBTORCH=/path deploy/libtorch.sh         only checks that folder; cargo uses it because the variable is set
#
# The result is `deploy/.libtorch/current`, where `.cargo/config.toml` looks for it: no variable has to be set by hand. Runs twice
# quickly, can be interrupted (folders are complete or absent), and may run beside cargo (`current` is replaced in one move).
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/wheels.sh
. "$here/wheels.sh"

version=2.11.0 # what `tch` 0.24 is made for
store=$here/.libtorch

usage() {
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
}

# version_of FOLDER: the version of a libtorch, from the file that its archives have or else from its headers.
version_of() {
    local header=$1/include/torch/headeronly/version.h
    [ -f "$header" ] || header=$1/include/torch/csrc/api/include/torch/version.h
    if [ -f "$1/build-version" ]; then
        cut -d+ -f1 "$1/build-version"
    elif [ -f "$header" ]; then
        awk '/^#define TORCH_VERSION_(MAJOR|MINOR|PATCH) /{ printf "%s%s", dot, $3; dot = "." }' "$header"
    fi
}

# check FOLDER: fails with a sentence unless the folder holds the right libtorch.
check() {
    local folder=$1 found file
    found=$(version_of "$folder")
    [ -n "$found" ] || fail "$folder is not a libtorch: it has no include/torch/headeronly/version.h"
    [ "$found" = "$version" ] || fail "$folder is libtorch $found, but Firn needs $version"
    for file in libc10.so libtorch_cpu.so libtorch.so; do
        [ -e "$folder/lib/$file" ] || fail "$folder/lib has no $file"
    done
}

# pins_of KIND PYTHON FOLDER: what the folder has to be made from.
pins_of() {
    case $1 in
        cpu) sha256sum <"$here/libtorch-cpu.txt" ;;
        cuda) cat "$here/libtorch-cpu.txt" "$here/libtorch-cuda.txt" | sha256sum ;;
        python) if [ -n "$2" ]; then command -v "$2" || true; else cat "$3/pins" 2>/dev/null || true; fi ;;
    esac
}

# complete FOLDER: true if every file noted when it was made is there with its size, from the pins of today.
complete() {
    local size file
    [ -f "$1/contents" ] && [ "$(cat "$1/pins" 2>/dev/null)" = "$pins" ] || return 1
    while read -r size file; do
        [ "$(stat -Lc %s "$1/$file" 2>/dev/null)" = "$size" ] || return 1
    done <"$1/contents"
}

# note FOLDER: writes down what `complete` looks at.
note() {
    (cd "$1" && find -L lib build-version include/torch/headeronly/version.h -type f -printf '%s %p\n' | sort -k 2 >contents)
    printf '%s\n' "$pins" >"$1/pins"
}

# put_in_place PARTIAL FOLDER: replaces the folder in one move.
put_in_place() {
    if [ -e "$2" ]; then
        mv -T "$2" "$1.old"
    fi
    mv -T "$1" "$2"
    rm -rf "$1.old"
}

# use FOLDER: makes it the one that cargo sees.
use() {
    local link=$store/.current.$$
    ln -sfn "$(basename "$1")" "$link"
    mv -T "$link" "$store/current"
}

link_farm() { # link_farm PARTIAL PYTHON: a libtorch made of links into an installed PyTorch
    local partial=$1 python=$2 torch found nvidia file
    torch=$("$python" -c 'import os, torch; print(os.path.dirname(torch.__file__))' 2>/dev/null) ||
        fail "$python cannot import torch" "install it there (pip install torch==$version), or run this script without --from-python"
    found=$("$python" -c 'import torch; print(torch.__version__)')
    [ "${found%%+*}" = "$version" ] || fail "$python has torch $found, but Firn needs $version"
    mkdir -p "$partial/lib"
    ln -s "$torch/include" "$partial/include"
    printf '%s\n' "$found" >"$partial/build-version"
    nvidia=$(dirname "$torch")/nvidia
    for file in "$torch"/lib/*.so* "$torch".libs/*.so* "$nvidia"/*/lib/*.so*; do
        if [ -e "$file" ]; then ln -sfn "$file" "$partial/lib/$(basename "$file")"; fi
    done
    name_nccl "$partial"
}

# cudarc looks for `libnccl.so`; the wheel ships only `libnccl.so.2`.
name_nccl() {
    if [ -e "$1/lib/libnccl.so.2" ]; then ln -sfn libnccl.so.2 "$1/lib/libnccl.so"; fi
}

from_wheels() { # from_wheels PARTIAL KIND
    local partial=$1 kind=$2 only=()
    need_python
    if [ "$kind" = cpu ]; then
        need_space "$store" 2500 "libtorch $version"
        only=('!*/libtorch_cuda*' '!*/libc10_cuda*' '!*/libcaffe2_nvrtc*' '!*/libtorch_nvshmem*' '!*/libtorch.so'
            '!*/libnvperf*' '!*/libpcsamplingutil*' '!*/libcheckpoint*')
    else
        need_space "$store" 9000 "libtorch $version with CUDA"
    fi
    say "downloading libtorch $version ($kind) …"
    fetch_wheels "$here/libtorch-$kind.txt" "$partial.wheels"
    "$PYTHON" "$here/unpack.py" "$partial" 'torch/lib/=lib' 'torch/include/=include' 'nvidia/cu13/lib/=lib/*' 'nvidia/cudnn/lib/=lib/*' \
        'nvidia/cusparselt/lib/=lib/*' 'nvidia/nccl/lib/=lib/*' 'nvidia/nvshmem/lib/=lib/*' "torch-$version.dist-info/licenses/=licenses" \
        '!torch/lib/libtorch_python*' '!torch/lib/libshm*' '!nvidia/*.a' '!nvidia/*.py' '!nvidia/*.h' "${only[@]}" -- "$partial.wheels"/*.whl
}

main() {
    local kind='' python='' folder partial
    while [ $# -gt 0 ]; do
        case $1 in
            --cpu) kind=cpu ;;
            --cuda) kind=cuda ;;
            --from-python)
                [ $# -ge 2 ] || fail "--from-python needs the path of a Python"
                kind=python python=$2
                shift
                ;;
            -h | --help)
                usage
                return
                ;;
            *) fail "unknown argument $1" "see $0 --help" ;;
        esac
        shift
    done

    if [ -n "${LIBTORCH:-}" ] && [ "$(readlink -m "$LIBTORCH")" != "$(readlink -m "$store/current")" ]; then
        check "$LIBTORCH"
        say "libtorch $version: $LIBTORCH (LIBTORCH is set, so cargo uses it)"
        return
    fi

    alone "$store"
    if [ -z "$kind" ]; then
        kind=$(readlink "$store/current" || true)
        kind=${kind#"$version-"}
        case $kind in cpu | cuda | python) ;; *) kind=cpu ;; esac
    fi
    folder=$store/$version-$kind
    pins=$(pins_of "$kind" "$python" "$folder")
    if complete "$folder"; then
        use "$folder"
        say "libtorch $version ($kind): ready in deploy/.libtorch/current"
        return
    fi

    partial=$store/.partial.$$
    rm -rf "$store"/.partial.*
    trap 'rm -rf "$store"/.partial.*' EXIT
    mkdir -p "$partial"
    case $kind in
        python)
            python=${python:-$pins}
            [ -n "$python" ] || fail "the PyTorch behind deploy/.libtorch/current is gone" "run $0 --cpu, or name a Python: --from-python PYTHON"
            link_farm "$partial" "$python"
            ;;
        *)
            from_wheels "$partial" "$kind"
            printf '%s+%s\n' "$version" "$kind" >"$partial/build-version"
            # The wheel's own libtorch.so wants the CUDA libraries; without them it only stands for libtorch_cpu.so.
            if [ "$kind" = cpu ]; then ln -s libtorch_cpu.so "$partial/lib/libtorch.so"; fi
            name_nccl "$partial"
            ;;
    esac
    check "$partial"
    note "$partial"
    put_in_place "$partial" "$folder"
    use "$folder"
    say "libtorch $version ($kind): ready in deploy/.libtorch/current"
}

main "$@"
