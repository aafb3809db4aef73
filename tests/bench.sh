#!/usr/bin/env bash
# The benchmarks, one after the other. Each runs what it compares side by side and prints ratios; the exit status says whether all targets were reached.
# Figures that were measured: tests/benches/RESULTS.md.
set -uo pipefail
cd "$(dirname "$0")/.."

missed=0
echo "── 1 of 3: ring all-reduce beside plain TCP"
cargo bench --quiet -p firn-collective --bench ring || missed=1
echo
echo "── 2 of 3: cold epoch beside torchrun"
python3 tests/benches/epoch.py || missed=1
echo
echo "── 3 of 3: step overhead"
deploy/minilm.sh && python3 tests/benches/overhead.py || missed=1
exit "$missed"
