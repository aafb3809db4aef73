#!/usr/bin/env bash
# The demo: one head on a pretrained encoder, then the same head on an encoder that has learned nothing, and the difference on the test set.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=firn-artifacts
firn=target/release/firn

run() { # run SPEC NAME
    rm -rf "${folder:?}/$2"
    "$firn" run "tests/fixtures/reviews/$1.yaml" --workers 2 --artifacts "$folder/$2"
}

test_f1() {
    "${PYTHON:-python3}" - "$folder/$1/metrics.json" <<'PYTHON'
import json, sys
print("{:.4f}".format(json.load(open(sys.argv[1]))["test"]["metrics"]["f1_macro"]))
PYTHON
}

echo "── 1 of 2: reviews, on a pretrained MiniLM encoder (frozen)"
run job reviews
echo
echo "── 2 of 2: the same head on an untrained encoder"
run job-untrained reviews-untrained

pretrained=$(test_f1 reviews)
untrained=$(test_f1 reviews-untrained)
echo
echo "macro-F1 on the test set:"
awk -v a="$pretrained" -v b="$untrained" 'BEGIN {
    printf "  pretrained encoder  %.3f\n  untrained encoder   %.3f\n  difference          %+.3f\n", a, b, a - b
    exit !(a >= 0.75 && a - b >= 0.15)
}' || { echo "error: the pretrained encoder should reach 0.75, and 0.15 more than the untrained one" >&2; exit 1; }
echo "artifacts: $folder/reviews, $folder/reviews-untrained"
