#!/bin/bash
# The scripts, manifests and the Terraform module for Google Cloud, against a stand-in for gcloud and the providers' recorded schemas.
# With THOROUGH=--all nothing is left out (./dev test --all).
set -euo pipefail

cd "$(dirname "$0")/../.."
source tools/use-sanitized-program.sh
exec .deps/venv/bin/python -m pytest tests/cloud_run tests/terraform -n 4 --maxschedchunk 1 -q -ra --durations=10 ${THOROUGH:-}
