#!/bin/bash
# The unit tests, under AddressSanitizer and UndefinedBehaviorSanitizer.
set -euo pipefail

cd "$(dirname "$0")/../.."
tools/build.sh asan
exec ctest --preset asan --parallel "$(nproc)"
