#!/usr/bin/env bash
# Gathers what an image holds in /image: the programs, and the libraries of the system that these are linked to, and those of /libtorch if there
# is one. It is large, so it is not gathered: the image takes it from where it is.
#
#   WHEELS="requirements files of /libtorch" gather.sh PROGRAM…
set -euo pipefail

image=/image
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p $image/usr/local/{bin,lib} $image/usr/share/firn $image/etc $image/var/lib/firn $image/tmp $image/etc/firn
chmod 1777 $image/tmp
# Whoever it is run as: Kubernetes gives it a volume there.
chmod 0777 $image/var/lib/firn

install -m 755 "$@" $image/usr/local/bin

# Libraries of the system. They are found with the program's own first: $ORIGIN/../lib is in its search path.
libtorch=$(ls -d /libtorch/lib 2>/dev/null || true)
libraries=()
while read -r library; do
	libraries+=("$library")
done < <(
	find $image/usr/local/bin ${libtorch:+"$libtorch"} -type f -print0 | xargs -0 env LD_LIBRARY_PATH=/libtorch/lib ldd 2>/dev/null |
		awk '$3 ~ /^\// { print $3 } $1 ~ /^\// && $1 !~ /:$/ { print $1 }' | grep -v "^/libtorch" | sort -u
)
packages=()
for library in "${libraries[@]}"; do
	mkdir -p "$image$(dirname "$library")"
	cp --dereference "$library" "$image$library"
	for path in "$library" "$(readlink -f "$library")" "/usr$library"; do
		package=$(dpkg --search "$path" 2>/dev/null | cut -d : -f 1 | head -n 1) || continue
		packages+=("$package")
	done
done
# Those of the driver are the node's.
missing=$(find $image/usr/local/bin -type f -print0 | xargs -0 env LD_LIBRARY_PATH=/libtorch/lib ldd | grep 'not found' | grep -vE 'libcuda\.so|libnvidia-' || true)
if [ -n "$missing" ]; then
	echo "error: libraries were not found:" "$missing" >&2
	exit 1
fi

echo 'firn:x:65532:65532:firn:/var/lib/firn:/sbin/nologin' >$image/etc/passwd
echo 'hosts: files dns' >$image/etc/nsswitch.conf
echo 'firn:x:65532:' >$image/etc/group
# Licences, and what scanners read.
mkdir -p $image/var/lib/dpkg/status.d
for package in $(printf '%s\n' "${packages[@]}" | grep . | sort -u); do
	dpkg-query --status "$package" >"$image/var/lib/dpkg/status.d/$package"
	mkdir -p "$image/usr/share/doc/$package"
	cp --dereference "/usr/share/doc/$package/copyright" "$image/usr/share/doc/$package/" 2>/dev/null || true
done
cp /etc/os-release $image/etc/os-release 2>/dev/null || cp /usr/lib/os-release $image/etc/os-release
# shellcheck disable=SC2086
"$BASH" "$here/sbom.sh" "$here/Cargo.lock" $image/var/lib/dpkg/status.d ${WHEELS:-} >$image/usr/share/firn/sbom.json

# The same content is the same image: times are those of the source.
find $image -exec touch --no-dereference --date "@${SOURCE_DATE_EPOCH:-0}" {} +
du -sk $image | awk '{ print "gathered " $1 " KiB" }' >&2
