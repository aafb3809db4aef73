#!/usr/bin/env bash
# Builds the programs that the tests on a cluster need, once a machine: a Kubernetes control plane, the tools that check the chart, Kueue,
# cert-manager, and the definitions of others' resources. The versions are those of the go.mod folders in modules/; programs that cannot share one have folders of
# their own.
#
#   programs.sh [NAME…]           builds what is missing of these programs, or of all, and prints where each is
#   programs.sh --check [NAME…]   prints where they are if all are there, else ends with 1
#
# A NAME is that of a program or of a folder in modules/, which means all programs of it.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/firn/kubernetes

# The name of each program, the folder of its go.mod, the module whose version counts, and its package; in place of a package, a file or
# a chart of the module that is taken as it is. The cheapest first, so that whoever watches sees early that it works.
programs='
certificates.yaml        cert-manager   github.com/cert-manager/cert-manager                deploy/crds/cert-manager.io_certificates.yaml
issuers.yaml             cert-manager   github.com/cert-manager/cert-manager                deploy/crds/cert-manager.io_issuers.yaml
servicemonitors.yaml     definitions    github.com/prometheus-operator/prometheus-operator  example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml
cert-manager-chart       cert-manager   github.com/cert-manager/cert-manager  deploy/charts/cert-manager
kueue-chart              kueue          sigs.k8s.io/kueue             charts/kueue
kubeconform              kubeconform    github.com/yannh/kubeconform  github.com/yannh/kubeconform/cmd/kubeconform
kube-score               kube-score     github.com/zegl/kube-score    github.com/zegl/kube-score/cmd/kube-score
kubectl                  control-plane  k8s.io/kubernetes             k8s.io/kubernetes/cmd/kubectl
helm                     helm           helm.sh/helm/v4               helm.sh/helm/v4/cmd/helm
etcd                     control-plane  k8s.io/kubernetes             go.etcd.io/etcd/server/v3
kube-apiserver           control-plane  k8s.io/kubernetes             k8s.io/kubernetes/cmd/kube-apiserver
kube-controller-manager  control-plane  k8s.io/kubernetes             k8s.io/kubernetes/cmd/kube-controller-manager
kube-scheduler           control-plane  k8s.io/kubernetes             k8s.io/kubernetes/cmd/kube-scheduler
cert-manager             cert-manager   github.com/cert-manager/cert-manager  firn.dev/tests/kubernetes/cert-manager
kueue                    kueue          sigs.k8s.io/kueue             sigs.k8s.io/kueue/cmd/kueue
'

# The version of a module in a folder's go.mod.
version() {
	awk -v module="$2" '($1 == module || $1 == "require" && $2 == module) && !found { found = $1 == module ? $2 : $3 } END { print found }' \
		"$here/modules/$1/go.mod"
}

# Where a folder's programs of these versions are kept.
place() {
	local key
	key=$(find "$here/modules/$1" -name 'go.*' -o -name '*.go' | LC_ALL=C sort | xargs cat | sha256sum | cut -c 1-12)
	echo "$cache/$(version "$1" "$2")-$key"
}

# What a program says of its own version, where the linker has to tell it.
label() {
	[ "$1" = k8s.io/kubernetes ] || return 0
	local package=k8s.io/component-base/version
	echo "-X $package.gitVersion=$2 -X $package.gitMajor=1 -X $package.gitMinor=$(cut -d . -f 2 <<<"$2") -X $package.gitTreeState=clean"
}

# Where the files of a module are.
source_of() {
	go mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p'
}

# make_program NAME FOLDER MODULE PACKAGE PLACE VERSION, in the folder of its go.mod
make_program() {
	case $4 in
	*.yaml) install -m 644 "$(source_of "$3@$6")/$4" "$5/.$1" ;;
	*charts/*)
		rm -rf "$5/.$1" && cp -r --no-preserve=mode "$(source_of "$3@$6")/$4" "$5/.$1"
		# Some are given their version, and with it their name, at a release.
		[ -e "$5/.$1/Chart.yaml" ] || mv "$5/.$1/Chart.template.yaml" "$5/.$1/Chart.yaml"
		;;
	*) CGO_ENABLED=0 GOFLAGS=-mod=readonly nice go build -trimpath -ldflags "-s -w $(label "$3" "$6")" -o "$5/.$1" "$4" ;;
	esac
}

# build NAME FOLDER MODULE PACKAGE PLACE
build() {
	local version since=$SECONDS
	version=$(version "$2" "$3")
	mkdir -p "$5"
	echo "building $1 $version (a whole control plane takes about 25 minutes of processor time, the tools eight, Kueue and cert-manager 22, once a machine)" >&2
	# To a name of its own first: what is there is whole.
	(cd "$here/modules/$2" && make_program "$@" "$version") >&2
	mv "$5/.$1" "$5/$1"
	echo "$1 $version is built, $((SECONDS - since)) s" >&2
}

check=
if [ "${1:-}" = --check ]; then
	check=1
	shift
fi
for name in "$@"; do
	grep -qE "^($name |\S+ +$name )" <<<"$programs" || {
		echo "error: there is no program $name, and no folder of that name in $here/modules" >&2
		exit 1
	}
done
places=() missing=()
while read -r name folder module package; do
	[ -n "$name" ] || continue
	[ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || [[ " $* " == *" $folder "* ]] || continue
	place=$(place "$folder" "$module")
	places+=("$place/$name")
	[ -e "$place/$name" ] || missing+=("$name $folder $module $package $place")
done <<<"$programs"
if [ ${#missing[@]} -gt 0 ]; then
	if [ -n "$check" ]; then
		echo "not built: $(printf '%s\n' "${missing[@]}" | cut -d ' ' -f 1 | paste -sd ' '): build them with tests/kubernetes/programs.sh" >&2
		exit 1
	fi
	command -v go >/dev/null || {
		echo "error: go was not found: install Go, version $(awk '$1 == "go" { print $2 }' "$here/modules/control-plane/go.mod") or newer" >&2
		exit 1
	}
	mkdir -p "$cache"
	exec 9>"$cache/lock"
	flock 9
	for program in "${missing[@]}"; do
		read -r name folder module package place <<<"$program"
		[ -e "$place/$name" ] || build "$name" "$folder" "$module" "$package" "$place"
	done
fi
printf '%s\n' "${places[@]}"
