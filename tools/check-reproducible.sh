#!/bin/bash
# Builds the program and its packages again, in another folder, at another time, in another time zone, with another umask and
# without ccache, and compares the SHA-256 of both. A first build by ccache with CCACHE_BASEDIR is another program, because that
# setting changes the paths that the compiler sees:
#
#   tools/check-reproducible.sh PRESET...        release, arm64
set -euo pipefail

cd "$(dirname "$0")/.."
root=$PWD
# Longer than the first folder, so that a path that is left in the program would also move what follows it.
copy=$(mktemp -d)/another-folder-for-a-second-build
trap 'rm -rf "$(dirname "$copy")"' EXIT
export TZ=Pacific/Kiritimati CCACHE_DISABLE=1 SUPERVISOR_COMMIT SOURCE_DATE_EPOCH

mkdir "$copy"
# The files of git, as they are now, and none that git ignores.
git ls-files -z --cached --others --exclude-standard | tar --create --null --ignore-failed-read --files-from=- 2>/dev/null |
    tar --extract --directory "$copy"
ln -sfn "$root/.deps" "$copy/.deps"
SUPERVISOR_COMMIT=$(git rev-parse --short=12 HEAD)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)

sums() { (cd "$1" && sha256sum -- *); }

different=0
for preset; do
    tools/build.sh "$preset"
    log=.deps/log/reproducible-$preset.log
    echo "check-reproducible: building $preset a second time (output: $log)"
    (umask 027 && cd "$copy" && cmake --preset "$preset" &&
        cmake --build "build/$preset" --target prefect-supervisor documents) >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        echo "check-reproducible: error: the second build of $preset failed; its whole output is in $log" >&2
        exit 1
    }
    # Taken from the first build now, because both are compiled for the same commit.
    first=build/$preset/packages
    rm -rf "$first" "$first.second"
    tools/package.sh "build/$preset" "$first"
    cp "build/$preset/prefect-supervisor" "$first/"
    "$copy/tools/package.sh" "$copy/build/$preset" "$root/$first.second"
    cp "$copy/build/$preset/prefect-supervisor" "$first.second/"
    if [[ $(sums "$first") == "$(sums "$first.second")" ]]; then
        echo "check-reproducible: $preset: both builds have these SHA-256"
        sums "$first"
        rm -rf "$first.second"
    else
        echo "check-reproducible: $preset: the builds differ; they are in $first and $first.second" >&2
        diff <(sums "$first") <(sums "$first.second") >&2 || true
        different=1
    fi
done
exit $different
