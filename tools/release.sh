#!/bin/bash
# Builds a release for amd64 and arm64 from nothing, and writes it to build/release-VERSION: two Debian packages, two tarballs, a
# bill of materials for each, and SHA256SUMS.
#
#   tools/release.sh [--tag TAG]
#
# With --tag the release is the one that TAG names: TAG is vVERSION and the present commit, nothing was changed since, and
# CHANGELOG.md says when VERSION was released.
set -euo pipefail
export LC_ALL=C

cd "$(dirname "$0")/.."
fail() { echo "release: error: $*" >&2; exit 1; }

tag=''
while (($#)); do
    case $1 in
        --tag)
            tag=${2:-}
            [[ $tag ]] || fail "--tag needs a tag, such as v0.1.0"
            shift
            ;;
        *) fail "unknown argument '$1'" ;;
    esac
    shift
done

version=$(sed -nE 's/^project\(prefect-supervisor VERSION ([0-9.]+) .*/\1/p' CMakeLists.txt)
changed=$(git status --porcelain --untracked-files=no) || fail "a release is made of a commit, and this is no repository of git"
if [[ $tag ]]; then
    [[ $tag == "v$version" ]] || fail "the tag is $tag, and CMakeLists.txt says that this is version $version"
    [[ $(git rev-parse --verify --quiet "$tag^{commit}") == "$(git rev-parse HEAD)" ]] || fail "$tag is not the present commit"
    [[ ! $changed ]] || fail "files were changed since $tag: ${changed//$'\n'/, }"
    grep -Eqx "## ${version//./\\.} \([0-9]{4}-[0-9]{2}-[0-9]{2}\)" CHANGELOG.md ||
        fail "CHANGELOG.md has no heading '## $version (YYYY-MM-DD)', the day of the release"
elif [[ $changed ]]; then
    echo "release: this is a trial: files differ from the commit that the program will name" >&2
fi
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
# A program that ccache made by way of CCACHE_BASEDIR is another one (tools/check-reproducible.sh).
export CCACHE_DISABLE=1

output=build/release-$version
rm -rf "$output"
mkdir -p "$output" .deps/log
declare -A processors=([release]=x86-64 [arm64]="ARM aarch64")
for preset in release arm64; do
    folder=build/fresh-$preset log=.deps/log/release-$preset.log
    rm -rf "$folder"
    echo "release: building $preset from nothing (output: $log)"
    { cmake --preset "$preset" -B "$folder" -D SUPERVISOR_TESTS=OFF && cmake --build "$folder"; } >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        fail "the build of $preset failed; its whole output is in $log"
    }
    tools/check-program.sh "fresh-$preset" "${processors[$preset]}"
    tools/package.sh "$folder" "$output"
    rm -rf "$folder"
done
(cd "$output" && sha256sum -- *.deb *.json *.tar.gz >SHA256SUMS)
echo "release: $output"
cat "$output/SHA256SUMS"
