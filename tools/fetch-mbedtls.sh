#!/bin/bash
# Puts the release of Mbed TLS into .deps/mbedtls-VERSION, from the pool of the Debian mirror that apt uses: its .orig tarball is
# upstream's release byte for byte, and the pool holds the files of every Debian, whatever release this machine has. Where no mirror
# has that version, CMake downloads the release from upstream itself (cmake/mbedtls.cmake). Both are compared with the same SHA-256.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
deps=$here/../.deps
pinned() { sed -nE "s/^set\(MBEDTLS_$1 ([^)]+)\)$/\1/p" "$here/../cmake/mbedtls.cmake"; }

version=$(pinned VERSION)
sha256=$(pinned SHA256)
target=$deps/mbedtls-$version
# It is moved there when it is complete.
[[ ! -e $target ]] || exit 0
mkdir -p "$deps"
folder=$(mktemp -d "$deps/mbedtls-download.XXXXXX")
trap 'rm -rf "$folder"' EXIT

# apt's own downloader, so that proxies and certificates stay those of the machine.
download() {
    /usr/lib/apt/apt-helper -o APT::Sandbox::User=root download-file "$1" "$2" "SHA256:$sha256" >"$folder/log" 2>&1 </dev/null
}
# The mirrors of Debian's archive among apt's sources, in both of their formats: their addresses end in `debian` everywhere. apt itself
# tells them only when it has lists of packages.
mirrors() {
    local sources=(/etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources)
    { cat "${sources[@]}" 2>/dev/null || true; } |
        sed -nE 's/^URIs:[ \t]*//p; s/^deb(-src)?[ \t]+(\[[^]]*\][ \t]+)?([^ \t]+).*/\3/p' |
        tr ' ' '\n' | sed 's,/$,,' | grep '/debian$' | sort -u || true
}

name=mbedtls_$version.orig.tar.bz2
while read -r mirror; do
    download "$mirror/pool/main/m/mbedtls/$name" "$folder/$name" || continue
    echo "$sha256  $folder/$name" | sha256sum --check --quiet
    tar xf "$folder/$name" -C "$folder" "mbedtls-$version"/{include,library,LICENSE,README.md}
    mv "$folder/mbedtls-$version" "$target"
    exit 0
done < <(mirrors)
echo "fetch-mbedtls: apt has no mirror of Debian with Mbed TLS $version; CMake will download it from upstream"
