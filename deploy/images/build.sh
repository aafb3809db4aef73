#!/usr/bin/env bash
# Builds the images of Firn, with buildah, podman or docker, whichever is there.
#
#   deploy/images/build.sh [--tag TAG] [--prefix PREFIX] [TARGET…] [-- MORE…]
#
#   TARGET   coordinator, worker-cpu, worker-cuda [default: the first two]
#   TAG      [default: the version of Firn]; that of worker-cuda gets `-cuda` behind it
#   PREFIX   of the images' names, such as registry.example.org/team/ [default: none]
#   MORE     arguments for the builder, such as --build-arg BASE=… or --build-context programs-cpu=target/release
#
# What two images have in common is built once: stages are kept, as the builder keeps layers (`buildah rmi --prune`, `podman image prune` free them).
# Times in the images are those of the newest commit (or SOURCE_DATE_EPOCH), so the same source and the same base give the same layers.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
tag=$(awk -F '"' '/^version = /{ print $2; exit }' "$root/Cargo.toml")
prefix='' targets=()
while [ $# -gt 0 ]; do
	case $1 in
	--tag) tag=$2 && shift ;;
	--prefix) prefix=$2 && shift ;;
	--) shift && break ;;
	coordinator | worker-cpu | worker-cuda) targets+=("$1") ;;
	*)
		echo "error: expected coordinator, worker-cpu or worker-cuda, found $1" >&2
		exit 2
		;;
	esac
	shift
done
[ ${#targets[@]} -gt 0 ] || targets=(coordinator worker-cpu)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH

name() {
	case $1 in
	coordinator) echo "${prefix}firn:$tag" ;;
	worker-cpu) echo "${prefix}firn-worker:$tag" ;;
	worker-cuda) echo "${prefix}firn-worker:$tag-cuda" ;;
	esac
}

for builder in buildah podman docker; do
	command -v $builder >/dev/null && break
	builder=
done
case ${builder:-} in
buildah | podman) options=(--layers --timestamp "$SOURCE_DATE_EPOCH" --ignorefile "$here/Containerfile.dockerignore") ;;
docker) options=() ;;
*)
	echo "error: no builder was found: install buildah, podman or docker" >&2
	exit 1
	;;
esac

for target in "${targets[@]}"; do
	"$builder" build --file "$here/Containerfile" --target "$target" --tag "$(name "$target")" --build-arg "SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH" \
		"${options[@]}" "$@" "$root"
	echo "built $(name "$target")" >&2
done
