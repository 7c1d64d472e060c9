#!/bin/bash
# Makes the packages of what was built in BUILD, as files of OUTPUT: the Debian package, the tarball, and the bill of materials.
#
#   tools/package.sh BUILD OUTPUT
#
# The same program gives the same bytes: all times are that of the commit, names are sorted, and no owner of this machine is in it.
set -euo pipefail
export LC_ALL=C
umask 022

cd "$(dirname "$0")/.."
build=$(realpath -e "$1")
mkdir -p "$2"
output=$(realpath -e "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() { echo "package: $*" >&2; exit 1; }
package_setting() { sed -nE "s/^set\($1 \"(.*)\"\)$/\1/p" "$build/CPackConfig.cmake"; }

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)} || fail "needs SOURCE_DATE_EPOCH where there is no repository"
export SOURCE_DATE_EPOCH
version=$(package_setting CPACK_PACKAGE_VERSION)
architecture=$(package_setting CPACK_DEBIAN_PACKAGE_ARCHITECTURE)
[[ $version && $architecture ]] || fail "$build/CPackConfig.cmake names no version or no architecture"

cpack --config "$build/CPackConfig.cmake" -B "$work" >"$work/log" 2>&1 ||
    fail "cpack failed: $(grep -i error "$work/log" | tail -n1)"
mv "$work/prefect-supervisor_${version}_$architecture.deb" "$output/"

name=prefect-supervisor-$version-linux-$architecture
cmake --install "$build" --prefix "$work/$name" >"$work/log" 2>&1 || fail "cmake --install failed: $(tail -n1 "$work/log")"
tar --create --directory "$work" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=root:0 --group=root:0 --numeric-owner \
    --format=gnu "$name" | gzip -9n >"$output/$name.tar.gz"
install -m 644 "$build/third-party/prefect-supervisor.spdx.json" "$output/$name.spdx.json"
