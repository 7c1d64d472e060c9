#!/bin/bash
# The unit tests, in a debug build.
set -euo pipefail

cd "$(dirname "$0")/../.."
tools/build.sh dev
exec ctest --preset dev --parallel "$(nproc)"
