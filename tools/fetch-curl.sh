#!/bin/bash
# Puts curl's patched source into .deps/curl-VERSION-patched: upstream's release by way of apt, whose .orig tarball is that release
# byte for byte, with Debian's security patches of cmake/curl-patches. Where apt has no source of that version, CMake downloads the
# release from upstream itself (cmake/curl.cmake), and calls this to patch it, so that every machine compiles the same source.
#
#   tools/fetch-curl.sh                   gets and patches it
#   tools/fetch-curl.sh --patch FOLDER    patches the release in FOLDER, unless that is done
#   tools/fetch-curl.sh --check FOLDER    the exit code says whether the source in FOLDER is patched by the present patches
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
patches=$here/../cmake/curl-patches
deps=$here/../.deps

fail() { echo "fetch-curl: $*" >&2; exit 1; }
pinned() { sed -nE "s/^set\(CURL_$1 ([^)]+)\)$/\1/p" "$here/../cmake/curl.cmake"; }

# What `patched` says once all patches are in: which they are, in their order.
identity() { (cd "$patches" && xargs sha256sum <series); }
is_patched() { [[ -e $1/patched && $(<"$1/patched") == "$(identity)" ]]; }

apply_patches() {
    local folder=$1 name
    ! is_patched "$folder" || return 0
    [[ ! -e $folder/patched ]] || fail "$folder is patched by other patches than the present ones; remove it and run this again"
    command -v patch >/dev/null || fail "needs the program patch (tools/install-packages.sh build)"
    while read -r name; do
        # Without fuzz: a patch that is not made for exactly this source is refused.
        patch --directory "$folder" --strip 1 --fuzz 0 --force --silent <"$patches/$name" ||
            fail "$name does not apply to the curl in $folder"
    done <"$patches/series"
    identity >"$folder/patched"
}

case ${1:-} in
    --patch) apply_patches "$2"; exit ;;
    --check) is_patched "$2"; exit ;;
    '') ;;
    *) fail "unknown argument '$1'" ;;
esac

version=$(pinned VERSION)
sha256=$(pinned SHA256)
target=$deps/curl-$version-patched
! is_patched "$target" || exit 0
rm -rf "$target"
mkdir -p "$deps/curl-download"
cd "$deps/curl-download"
trap 'rm -rf "$deps/curl-download"' EXIT

revision=$(apt-cache showsrc --only-source curl 2>/dev/null | sed -nE "s/^Version: (${version//./\\.}-.*)/\1/p" | tail -n1)
if [[ -z $revision ]]; then
    echo "fetch-curl: apt has no source of curl $version; CMake will download it from upstream"
    exit 0
fi
apt-get -qq source --download-only --tar-only "curl=$revision" </dev/null ||
    fail "apt can't download the source of curl $revision; apt-get update may help"
echo "$sha256  curl_$version.orig.tar.gz" | sha256sum --check --quiet ||
    fail "the curl $version that apt gave does not have the pinned SHA-256"
tar xf "curl_$version.orig.tar.gz"
apply_patches "curl-$version"
mv "curl-$version" "$target"
