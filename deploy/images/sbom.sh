#!/usr/bin/env bash
# Prints what an image is made of, in the format of CycloneDX 1.5: crates (all that the lock file pins, of whichever program), packages of the
# system, wheels.
#
#   sbom.sh CARGO_LOCK STATUS_FOLDER [REQUIREMENTS…]
set -euo pipefail

lock=$1 status=$2
shift 2
version=$(awk '/^name = "firn"$/ { getline; gsub(/version = |"/, ""); print; exit }' "$lock")

# Lines "TYPE NAME VERSION", each once.
components() {
	awk '/^name = /{ gsub(/name = |"/, ""); name = $0 } /^version = /{ gsub(/version = |"/, ""); version = $0 } /^source = "registry/{ print "cargo", name, version }' "$lock"
	awk '/^Package: /{ name = $2 } /^Version: /{ print "deb/debian", name, $2 }' "$status"/*
	[ $# -eq 0 ] || awk -F '[= ]+' '/^[a-z]/{ print "pypi", $1, $2 }' "$@"
}

printf '{"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,\n'
printf ' "metadata": {"component": {"type": "application", "name": "firn", "version": "%s"}},\n "components": [\n' "$version"
components "$@" | sort -u | awk '
	NR > 1 { print "," }
	{ purl = "pkg:" $1 "/" $2 "@" $3; gsub(/\+/, "%2B", purl)
	  printf "  {\"type\": \"library\", \"name\": \"%s\", \"version\": \"%s\", \"purl\": \"%s\"}", $2, $3, purl }'
printf '\n ]}\n'
