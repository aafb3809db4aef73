#!/usr/bin/env bash
# Builds an older commit's two programs into .cache/builds/COMMIT, where the upgrade tests look for them.
set -euo pipefail
commit=$1
root=$(git rev-parse --show-toplevel)
target="$root/.cache/builds/$commit"
if [ -x "$target/firn" ] && [ -x "$target/firn-worker" ]; then exit 0; fi
if ! git -C "$root" cat-file -e "$commit^{commit}" 2>/dev/null; then
  echo "skipped: commit $commit is not in this clone (git fetch --unshallow)"
  exit 0
fi
source=$(mktemp -d)
trap 'git -C "$root" worktree remove --force "$source"' EXIT
git -C "$root" worktree add --quiet --detach "$source" "$commit"
mkdir -p "$source/deploy" "$target"
ln -sfn "$root/deploy/.libtorch" "$source/deploy/.libtorch"
(cd "$source" && "${CARGO:-cargo}" build --release --workspace --bins --target-dir "$target/target")
cp "$target/target/release/firn" "$target/target/release/firn-worker" "$target/"
rm -rf "$target/target"
