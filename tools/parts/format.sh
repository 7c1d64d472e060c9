#!/bin/bash
# The C++ sources are formatted by clang-format.
exec "$(dirname "$0")/../format.sh" --check
