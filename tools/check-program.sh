#!/bin/bash
# Checks that the program that a preset built is fit to be shipped: static, stripped, small, hardened, and for PROCESSOR if one is
# named. What is checked is the program and the code that it is made of, not the options of the build.
#
#   tools/check-program.sh PRESET [PROCESSOR]        PROCESSOR: a part of what file(1) says, such as "ARM aarch64"
set -euo pipefail
export LC_ALL=C

cd "$(dirname "$0")/.."
build=build/$1
program=$build/prefect-supervisor
processor=${2:-}
largest=3145728

fail() { echo "check-program: $program $*" >&2; exit 1; }

kind=$(file --brief "$program")
size=$(stat -c %s "$program")
if [[ $kind != *"$processor"*"static"*"linked"* || $kind != *", stripped"* ]]; then
    fail "is not static, stripped${processor:+ and for $processor}, but: $kind"
fi
((size <= largest)) || fail "has $size bytes, more than $largest"

headers=$(readelf --wide --file-header --program-headers "$program")
dynamic=$(readelf --wide --dynamic "$program")
# segments KIND: the flags of each segment of that kind, such as "RW" or "R E".
segments() { awk -v kind="$1" '$1 == kind { flags = ""; for (i = 7; i < NF; ++i) flags = flags $i; print flags }' <<<"$headers"; }

# A random address at each start (static-pie): position-independent, and yet without a loader.
grep -Eq '^ *Type: +DYN' <<<"$headers" || fail "has a fixed address (it is no static-pie)"
[[ ! $(segments INTERP) ]] || fail "needs a loader"
! grep -q TEXTREL <<<"$dynamic" || fail "has relocations in its code"
# What the start-up has relocated is read-only from then on, all of it, because nothing is bound later.
[[ $(segments GNU_RELRO) ]] || fail "has no read-only relocations (RELRO)"
grep -Eq 'FLAGS.*BIND_NOW' <<<"$dynamic" || fail "binds functions late, so that its table of them stays writable"
[[ $(segments GNU_STACK) == RW ]] || fail "has a stack that can be executed"
! grep -q 'W.*E' <<<"$(segments LOAD)" || fail "has memory that can be written and executed"

# The stack protector and the checked functions of the C library, in our own code, in curl and in Mbed TLS. The program is stripped, so
# the object files that it was linked from are asked.
for library in libsupervisor_core.a _deps/curl-build/lib/libcurl.a libmbedtls.a; do
    symbols=$(nm --undefined-only "$build/$library" 2>/dev/null)
    grep -q ' __stack_chk_fail$' <<<"$symbols" || fail "was made of $library, which has no stack protector"
    grep -Eq ' __[a-z]+_chk$' <<<"$symbols" || fail "was made of $library, which calls no checked functions (_FORTIFY_SOURCE)"
    grep -q "$library(" "$build/prefect-supervisor.map" || fail "was not linked with $library"
done
grep -q 'stack smashing detected' "$program" || fail "has no stack protector"

if grep -q 'IBT.*SHSTK' <<<"$(readelf --wide --notes "$program")"; then
    flow="control-flow protection"
else
    flow="no control-flow protection, which the distribution's C library was built without"
fi
echo "$program: static, stripped, $size bytes; static-pie, RELRO, stack protector; $flow"
