#!/bin/bash
# The scripts, manifests and the Terraform module for Google Cloud, against a stand-in for gcloud and the providers' recorded schemas.
# With THOROUGH=--all nothing is left out (./dev test --all).
set -euo pipefail

cd "$(dirname "$0")/../.."
tools/build.sh asan prefect-supervisor
export PREFECT_SUPERVISOR_BINARY=$PWD/build/asan/prefect-supervisor
exec .deps/venv/bin/python -m pytest tests/cloud_run tests/terraform -n 4 --maxschedchunk 1 -q -ra --durations=10 ${THOROUGH:-}
