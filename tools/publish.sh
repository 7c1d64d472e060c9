#!/bin/bash
# Makes a release on GitHub of what ./dev release has written: its notes are those of CHANGELOG.md.
#
#   tools/publish.sh TAG        needs gh, GitHub's command, and GH_TOKEN
set -euo pipefail

cd "$(dirname "$0")/.."
fail() { echo "publish: error: $*" >&2; exit 1; }

tag=${1:-}
version=${tag#v}
folder=build/release-$version
[[ $tag == v?* ]] || fail "needs a tag, such as v0.1.0"
[[ -e $folder/SHA256SUMS ]] || fail "$folder has no SHA256SUMS: ./dev release --tag $tag makes it"
(cd "$folder" && sha256sum --check --quiet SHA256SUMS) || fail "$folder is not what ./dev release wrote"
notes=$(awk -v heading="## $version " 'index($0, heading) == 1 { inside = 1; next } /^## / { inside = 0 } inside' CHANGELOG.md)
[[ $notes ]] || fail "CHANGELOG.md has nothing about $version"
exec gh release create "$tag" --verify-tag --title "prefect-supervisor $version" --notes "$notes" "$folder"/*
