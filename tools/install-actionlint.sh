#!/bin/bash
# Puts actionlint, which checks workflows of GitHub Actions, into .deps/bin. It is in no distribution, and is a Go module.
set -euo pipefail

cd "$(dirname "$0")/.."
GOBIN=$PWD/.deps/bin GOTOOLCHAIN=${GOTOOLCHAIN:-auto} exec go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
