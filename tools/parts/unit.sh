#!/bin/bash
# The unit tests, under AddressSanitizer and UndefinedBehaviorSanitizer (the latter in the sources: docs/decisions/0022-unity-builds.md).
set -euo pipefail

cd "$(dirname "$0")/../.."
# The program first, for which the part system may be waiting.
tools/build.sh asan prefect-supervisor
tools/build.sh asan
exec ctest --preset asan --parallel "$(nproc)"
