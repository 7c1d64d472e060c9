#!/bin/bash
# The program that is shipped: what can only be asked of it, and once more the tests that touch each of its duties.
set -euo pipefail

cd "$(dirname "$0")/../.."
tools/build.sh release
exec .deps/venv/bin/python -m pytest tests/system -m "shipped or only_shipped" -n 3 --maxschedchunk 1 -q -ra ${THOROUGH:-}
