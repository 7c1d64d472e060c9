#!/bin/bash
# The same source gives the same program, byte for byte, for amd64 and for arm64: minutes, because nothing comes from a cache.
set -euo pipefail

cd "$(dirname "$0")/../.."
presets=(release)
if [[ -e .deps/arm64/sysroot ]]; then
    presets+=(arm64)
else
    echo "reproducible: without arm64, whose libraries are not in .deps/arm64 (./dev test arm64)"
fi
exec tools/check-reproducible.sh "${presets[@]}"
