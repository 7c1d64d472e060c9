#!/bin/bash
# Puts curl's source into .deps/curl-VERSION by way of apt, whose .orig tarball is upstream's release, byte for byte.
# Where apt has no source of that version, CMake downloads the release from upstream itself (cmake/curl.cmake).
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
deps=$here/../.deps
pinned() { sed -nE "s/^set\(CURL_$1 ([^)]+)\)$/\1/p" "$here/../cmake/curl.cmake"; }
version=$(pinned VERSION)
sha256=$(pinned SHA256)

[[ -e $deps/curl-$version/CMakeLists.txt ]] && exit 0
mkdir -p "$deps/curl-download"
cd "$deps/curl-download"
trap 'rm -rf "$deps/curl-download"' EXIT

revision=$(apt-cache showsrc --only-source curl 2>/dev/null | sed -nE "s/^Version: (${version//./\\.}-.*)/\1/p" | tail -n1)
if [[ -z $revision ]]; then
    echo "fetch-curl: apt has no source of curl $version; CMake will download it from upstream"
    exit 0
fi
apt-get -qq source --download-only --tar-only "curl=$revision" </dev/null ||
    { echo "fetch-curl: apt can't download the source of curl $revision; apt-get update may help" >&2; exit 1; }
echo "$sha256  curl_$version.orig.tar.gz" | sha256sum --check --quiet ||
    { echo "fetch-curl: the curl $version that apt gave does not have the pinned SHA-256" >&2; exit 1; }
tar xf "curl_$version.orig.tar.gz"
mv "curl-$version" "$deps/"
