#!/bin/bash
# Writes to the folder $OUTPUT what is in the program besides our own code: THIRD_PARTY_NOTICES, prefect-supervisor.spdx.json, and
# licenses.cpp with the notices as a constant. Called by the build, with all that it needs in variables (cmake/third-party.cmake).
# Versions and texts are those of the files that the compiler and the linker take. The images are built where there is no Python.
set -euo pipefail
export LC_ALL=C

fail() { echo "third-party: $*" >&2; exit 1; }
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$OUTPUT"
common=/usr/share/common-licenses
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A file as the compiler finds it.
from_compiler() { realpath -e "$("$COMPILER" -print-file-name="$1")" || fail "the compiler $COMPILER has no $1"; }
from_headers() { realpath -e "${SYSROOT:-}/usr/include/$1" || fail "there is no ${SYSROOT:-}/usr/include/$1"; }

# describe FILE PACKAGE: sets package, package_version, source, source_version, architecture and documents (the folder of the
# package's copyright file). In the folder of another processor's libraries there is no database of packages, so PACKAGE names it there.
describe() {
    local file=$1 first
    if [[ ${SYSROOT:-} && $file == "$(realpath -e "$SYSROOT")"/* ]]; then
        package=$2
        documents=$SYSROOT/usr/share/doc/$package
        first=$(gzip -dc "$documents/changelog.Debian.gz" | sed -n 1p)
        source=${first%% *}
        package_version=$(sed -E 's/^[^(]*\(([^)]*)\).*/\1/' <<<"$first")
        source_version=$package_version architecture=arm64
    else
        # A package for several processors is named with its own: libc6-dev:amd64.
        package=$(dpkg-query -S "$file" 2>/dev/null | sed -n '1s/: .*//p')
        [[ $package ]] || fail "no package of the distribution has $file, so its version and licence are unknown"
        read -r package_version source source_version architecture < <(
            dpkg-query -W -f '${Version} ${source:Package} ${source:Version} ${Architecture}\n' "$package")
        package=${package%%:*}
        documents=/usr/share/doc/$package
    fi
    [[ -r $documents/copyright ]] || fail "$documents/copyright, with the licence of $file, is missing"
}

# Paragraph "License: $2" of the copyright file $1, whose form is Debian's DEP-5: the text, without its indent and dots.
paragraph() {
    awk -v wanted="License: $2" '
        !/^ / { if (found) exit; inside = $0 == wanted; next }
        inside { found = 1; sub(/^ /, ""); if ($0 == ".") $0 = ""; print }' "$1"
}
text_of() {
    local text
    text=$(paragraph "$1" "$2")
    [[ $text ]] || fail "$1 has no paragraph 'License: $2'"
    printf '%s\n' "$text"
}

title() { printf '\n%s\n%s\n%s\n\n' "$(printf '=%.0s' {1..100})" "$1" "$(printf '=%.0s' {1..100})"; }
escaped() { sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' <<<"$1"; }

rows=() packages=() relations=()
# add NAME VERSION SPDX-LICENCE COPYRIGHT RELATION DOWNLOAD SOURCE-INFO EXTRA-FIELDS: a row of the table, and a package of the SBOM.
add() {
    local id
    id=SPDXRef-$(tr -c 'A-Za-z0-9.\n' '-' <<<"$1")
    rows+=("$(printf '%-16s %-38s %s' "$1" "${row_version:-$2}" "$3")")
    packages+=("$(printf '    {"name": "%s", "SPDXID": "%s", "versionInfo": "%s", "downloadLocation": "%s", "filesAnalyzed": false, "licenseConcluded": "%s", "licenseDeclared": "%s", "copyrightText": "%s", "sourceInfo": "%s"%s}' \
        "$1" "$id" "$2" "$6" "$3" "$3" "$(escaped "$4")" "$(escaped "$7")" "${8:-}")")
    relations+=("$(printf '    {"spdxElementId": "SPDXRef-prefect-supervisor", "relationshipType": "%s", "relatedSpdxElement": "%s"}' "$5" "$id")")
}
# add_package NAME SPDX-LICENCE COPYRIGHT RELATION: the same for what `describe` found.
add_package() {
    local distribution purl_version
    # shellcheck disable=SC1091
    distribution=$(. /etc/os-release && echo "${ID:-linux}")
    purl_version=${package_version//+/%2B}
    add "$1" "$package_version" "$2" "$3" "$4" NOASSERTION \
        "package $package $package_version of ${distribution^}, built from its source $source $source_version" \
        ", \"externalRefs\": [{\"referenceCategory\": \"PACKAGE-MANAGER\", \"referenceType\": \"purl\", \"referenceLocator\": \"pkg:deb/$distribution/$package@${purl_version//:/%3A}?arch=$architecture\"}]"
}

{
    title "curl $CURL_VERSION, with the security patches of Debian's $CURL_PATCHES"
    cat "$CURL_SOURCE/COPYING"
    row_version="$CURL_VERSION, patched as $CURL_PATCHES" add curl "$CURL_VERSION" curl "$(grep '^Copyright (c)' "$CURL_SOURCE/COPYING")" STATIC_LINK \
        "https://curl.se/download/curl-$CURL_VERSION.tar.gz" \
        "upstream's release with the patches of Debian's $CURL_PATCHES in cmake/curl-patches: $(tr '\n' ' ' <"$here/curl-patches/series")" \
        ", \"checksums\": [{\"algorithm\": \"SHA256\", \"checksumValue\": \"$CURL_SHA256\"}], \"externalRefs\": [{\"referenceCategory\": \"SECURITY\", \"referenceType\": \"cpe23Type\", \"referenceLocator\": \"cpe:2.3:a:haxx:libcurl:$CURL_VERSION:*:*:*:*:*:*:*\"}]"

    title "Mbed TLS $MBEDTLS_VERSION"
    grep -qF 'dual [Apache-2.0]' "$MBEDTLS_SOURCE/LICENSE" || fail "the licence of Mbed TLS $MBEDTLS_VERSION is another one"
    printf 'Copyright The Mbed TLS Contributors\n\nUnder the Apache License 2.0, whose text follows.\n\n'
    cat $common/Apache-2.0
    add "Mbed TLS" "$MBEDTLS_VERSION" Apache-2.0 "Copyright The Mbed TLS Contributors" STATIC_LINK "$MBEDTLS_URL" \
        "upstream's release, compiled with cmake/mbedtls_config.h" \
        ", \"checksums\": [{\"algorithm\": \"SHA256\", \"checksumValue\": \"$MBEDTLS_SHA256\"}], \"externalRefs\": [{\"referenceCategory\": \"SECURITY\", \"referenceType\": \"cpe23Type\", \"referenceLocator\": \"cpe:2.3:a:arm:mbed_tls:$MBEDTLS_VERSION:*:*:*:*:*:*:*\"}]"

    describe "$(from_headers boost/version.hpp)" libboost1.83-dev
    add_package Boost BSL-1.0 "the authors of Boost" CONTAINS
    title "Boost $package_version"
    echo "Copyright: the authors of Boost, who are named in its headers"
    echo
    text_of "$documents/copyright" BSL-1.0

    describe "$(from_headers fmt/core.h)" libfmt-dev
    add_package fmt MIT "Copyright (c) 2012 - present, Victor Zverovich" CONTAINS
    title "fmt $package_version"
    printf 'Copyright (c) 2012 - present, Victor Zverovich\n\n'
    text_of "$documents/copyright" "Expat with embedded exception"

    describe "$(from_headers spdlog/version.h)" libspdlog-dev
    add_package spdlog MIT "Copyright (c) 2016 Gabi Melman" CONTAINS
    title "spdlog $package_version"
    printf 'Copyright (c) Gabi Melman\n\n'
    text_of "$documents/copyright" Expat

    describe "$(from_headers nlohmann/json.hpp)" nlohmann-json3-dev
    add_package nlohmann-json MIT "Copyright (c) 2013-2022 Niels Lohmann; 2009 Florian Loitsch; 2008-2009 Bjoern Hoehrmann" CONTAINS
    title "JSON for Modern C++ (nlohmann_json) $package_version"
    printf 'Copyright 2013-2022 Niels Lohmann\nCopyright 2009 Florian Loitsch (detail/conversions/to_chars.hpp)\n'
    printf 'Copyright 2008-2009 Bjoern Hoehrmann (detail/output/serializer.hpp)\n\n'
    text_of "$documents/copyright" Expat

    describe "$(from_compiler libstdc++.a)" ""
    gcc_license="GPL-3.0-or-later WITH GCC-exception-3.1"
    add_package libstdc++ "$gcc_license" "Copyright (C) Free Software Foundation, Inc." STATIC_LINK
    title "libstdc++ and libgcc $package_version"
    cat <<TEXT
Copyright (C) Free Software Foundation, Inc.

They are under the GNU General Public License, version 3 or later, with the GCC Runtime Library Exception 3.1, whose text
follows. The program is compiled by GCC alone, so that the exception permits its distribution under the terms of its own licence.

TEXT
    awk '/^GCC RUNTIME LIBRARY EXCEPTION/ { inside = 1 } inside { print } inside && /^requirements of the license of GCC/ { exit }' \
        "$documents/copyright" >"$work/exception"
    [[ -s $work/exception ]] || fail "$documents/copyright has no GCC Runtime Library Exception"
    cat "$work/exception"
    describe "$(from_compiler libgcc.a)" ""
    add_package libgcc "$gcc_license" "Copyright (C) Free Software Foundation, Inc." STATIC_LINK

    describe "$(from_compiler libc.a)" ""
    add_package glibc LGPL-2.1-or-later "Copyright (C) 1991-2022 Free Software Foundation, Inc." STATIC_LINK
    glibc="package $package $package_version"
    glibc_source="$source $source_version"
    title "The GNU C Library (glibc): $glibc"
    cat "$documents/copyright"
    title "GNU Lesser General Public License, version 2.1, of the GNU C Library"
    cat $common/LGPL-2.1
} >"$work/texts"

{
    cat <<TEXT
prefect-supervisor $VERSION is licensed under the Apache License 2.0 (the text is below, with that of
Mbed TLS, which has the same licence).
It is one static program, and these are in it besides its own code, in the versions that this build was made of:

TEXT
    printf '%-16s %-38s %s\n' component version licence
    printf '%s\n' "${rows[@]}"
    cat <<TEXT

The GNU C Library is in this program and is covered by the GNU Lesser General Public License 2.1 (LGPL), whose section 6 gives
you the right to change the library and to link the program with what you changed. What you need for it:
- The complete source of prefect-supervisor is published where the program is, with all files that control its build. One
  command, ./dev build, compiles it and links it with the libc.a of the machine. Install your own libc.a there in the place of
  the distribution's ($glibc) and run the command again. The object files stay in build/release.
- The source of the library is that of $glibc, unchanged:
  apt-get source $source=$source_version
- Nothing forbids to modify the program for your own use, or to reverse engineer it for debugging such modifications.
TEXT
    cat "$work/texts"
} >"$work/notices"

# The time of the commit, so that the same source gives the same file.
created=$(git -C "$here" log -1 --format=%ct 2>/dev/null || date +%s)
created=$(date -u -d "@${SOURCE_DATE_EPOCH:-$created}" +%Y-%m-%dT%H:%M:%SZ)
commit=${SUPERVISOR_COMMIT:-$(git -C "$here" rev-parse --short=12 HEAD 2>/dev/null || echo unknown)}
joined() { local IFS=$'\n'; sed '$!s/$/,/' <<<"$*"; }
{
    cat <<TEXT
{
  "spdxVersion": "SPDX-2.3",
  "dataLicense": "CC0-1.0",
  "SPDXID": "SPDXRef-DOCUMENT",
  "name": "prefect-supervisor-$VERSION-$PROCESSOR",
  "documentNamespace": "https://spdx.org/spdxdocs/prefect-supervisor-$VERSION-$commit-$PROCESSOR-$(sha256sum <"$work/notices" | cut -c1-16)",
  "creationInfo": {"created": "$created", "creators": ["Tool: prefect-supervisor's build (cmake/third-party.sh)"]},
  "documentDescribes": ["SPDXRef-prefect-supervisor"],
  "packages": [
    {"name": "prefect-supervisor", "SPDXID": "SPDXRef-prefect-supervisor", "versionInfo": "$VERSION", "downloadLocation": "NOASSERTION", "filesAnalyzed": false, "licenseConcluded": "Apache-2.0", "licenseDeclared": "Apache-2.0", "copyrightText": "NOASSERTION", "primaryPackagePurpose": "APPLICATION", "sourceInfo": "commit $commit"},
$(joined "${packages[@]}")
  ],
  "relationships": [
    {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": "SPDXRef-prefect-supervisor"},
$(joined "${relations[@]}")
  ]
}
TEXT
} >"$work/sbom"

# The text is cut, because compilers need not take a literal of more than 65536 characters.
{
    printf '#include "config/licenses.hpp"\n\nnamespace supervisor {\n\nconstinit const std::string_view licenses =\n'
    awk '
        BEGIN { printf "R\"NOTICES(" }
        { print; size += length($0) + 1 }
        size > 16000 { printf ")NOTICES\"\nR\"NOTICES("; size = 0 }
        END { printf ")NOTICES\";\n" }' "$work/notices"
    printf '\n} // namespace supervisor\n'
} >"$work/licenses.cpp"

# A file that stays the same need not be compiled again.
put() { cmp -s "$1" "$OUTPUT/$2" || cp "$1" "$OUTPUT/$2"; }
put "$work/notices" THIRD_PARTY_NOTICES
put "$work/sbom" prefect-supervisor.spdx.json
put "$work/licenses.cpp" licenses.cpp
