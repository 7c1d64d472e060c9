#!/bin/bash
# Runs parts of the tests one after the other, also after one has failed, and then lists how each of them ended:
#
#   tools/run-tests.sh PART...
#
# A part is the script tools/parts/PART.sh, and its exit code is the verdict: 0 is ok; 77 means that everything in it was skipped,
# for the reason that the script wrote to the file $SKIP_REASON; every other code is a failure.
set -euo pipefail

cd "$(dirname "$0")/.."
all_skipped=77
results=() failed=() skipped=()
SKIP_REASON=$(mktemp)
export SKIP_REASON
trap 'rm -f "$SKIP_REASON"' EXIT
# Ctrl-C ends the part that runs, which may end in good order; the next one must not begin.
trap 'exit 130' INT

for part; do
    echo "== $part"
    start=$SECONDS code=0
    "tools/parts/$part.sh" || code=$?
    case $code in
        0) verdict=ok ;;
        "$all_skipped") verdict="skipped: $(<"$SKIP_REASON")" skipped+=("$part") ;;
        *) verdict=FAILED failed+=("$part") ;;
    esac
    results+=("$(printf '%-8s %5d s  %s' "$part" $((SECONDS - start)) "$verdict")")
    echo
done
printf '%s\n' "${results[@]}"
if ((${#failed[@]})); then
    echo "test: FAILED after $SECONDS s: ${failed[*]}"
    exit 1
fi
echo "test: passed after $SECONDS s${skipped[*]:+; skipped: ${skipped[*]}}"
