#!/usr/bin/env bash
# Builds a Kubernetes control plane for tests, once a machine: etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kubectl, of
# the versions that control-plane/go.mod names. Prints the folder that holds them.
#
#   control_plane.sh [NAME…]           builds what is missing of these programs, or of all
#   control_plane.sh --check [NAME…]   prints the folder if they are there, else ends with 1
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
modules=$here/control-plane
version=$(awk '$1 == "require" && $2 == "k8s.io/kubernetes" { print $3 }' "$modules/go.mod")
key=$(cat "$modules/go.mod" "$modules/go.sum" | sha256sum | cut -c 1-12)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/firn/kubernetes
folder=$cache/$version-$key

# The cheapest first, so that whoever watches sees early that it works.
programs=(
	k8s.io/kubernetes/cmd/kubectl
	go.etcd.io/etcd/server/v3
	k8s.io/kubernetes/cmd/kube-apiserver
	k8s.io/kubernetes/cmd/kube-controller-manager
	k8s.io/kubernetes/cmd/kube-scheduler
)

# The last element of a package's path that is no version.
name() {
	case $1 in
	go.etcd.io/*) echo etcd ;;
	*) basename "$1" ;;
	esac
}

check=
if [ "${1:-}" = --check ]; then
	check=1
	shift
fi
missing=()
for program in "${programs[@]}"; do
	name=$(name "$program")
	[ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || continue
	[ -x "$folder/$name" ] || missing+=("$program")
done
if [ ${#missing[@]} -eq 0 ]; then
	echo "$folder"
	exit
fi
if [ -n "$check" ]; then
	echo "the control plane is not in $folder: build it with tests/kubernetes/control_plane.sh" >&2
	exit 1
fi
command -v go >/dev/null || {
	echo "error: go was not found: install Go, version $(awk '$1 == "go" { print $2 }' "$modules/go.mod") or newer" >&2
	exit 1
}

mkdir -p "$folder"
exec 9>"$cache/lock"
flock 9
label="-s -w -X k8s.io/component-base/version.gitVersion=$version -X k8s.io/component-base/version.gitMajor=1"
label="$label -X k8s.io/component-base/version.gitMinor=$(cut -d . -f 2 <<<"$version") -X k8s.io/component-base/version.gitTreeState=clean"
began=$SECONDS
for program in "${missing[@]}"; do
	name=$(name "$program")
	[ -x "$folder/$name" ] && continue
	echo "control plane $version: building $name (all of it takes about 25 minutes of processor time, once)" >&2
	since=$SECONDS
	# To a name of its own first: what is there is whole.
	(cd "$modules" && CGO_ENABLED=0 GOFLAGS=-mod=readonly nice go build -trimpath -ldflags "$label" -o "$folder/.$name" "$program") >&2
	mv "$folder/.$name" "$folder/$name"
	echo "control plane $version: $name is built, $((SECONDS - since)) s" >&2
done
echo "control plane $version: built in $((SECONDS - began)) s" >&2
echo "$folder"
