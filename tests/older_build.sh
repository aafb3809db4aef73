#!/usr/bin/env bash
# Builds an older commit's two programs into .cache/builds/COMMIT, where the upgrade tests look for them. Where FIRN_OLDER_BUILD names a folder
# that holds them, the tests take those, and nothing is built.
set -euo pipefail
commit=$1
if [ -n "${FIRN_OLDER_BUILD:-}" ]; then
  for program in firn firn-worker; do
    [ -x "$FIRN_OLDER_BUILD/$program" ] || { echo "FIRN_OLDER_BUILD: expected the program $program in $FIRN_OLDER_BUILD" >&2; exit 2; }
  done
  echo "the older build is that in $FIRN_OLDER_BUILD"
  exit 0
fi
root=$(git rev-parse --show-toplevel)
target="$root/.cache/builds/$commit"
if [ ! -x "$target/firn" ] || [ ! -x "$target/firn-worker" ]; then
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
fi
# The programs look for libtorch where they were built, which is gone, and beside themselves.
ln -sfn "$root/deploy/.libtorch/current/lib" "$target/lib"
"$target/firn-worker" --version
