#!/bin/bash
# Creates a new virtual environment in FOLDER and installs packages in it; the arguments after FOLDER are those of `pip install`:
#
#   tools/make-venv.sh FOLDER [ARGUMENT...]
set -euo pipefail

folder=$1
shift
for python in /usr/bin/python3 python3; do
    if "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        "$python" -m venv --clear "$folder"
        exec "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-input "$@"
    fi
done
echo "make-venv: no python3 of version 3.11 or newer with the module venv was found" >&2
exit 1
