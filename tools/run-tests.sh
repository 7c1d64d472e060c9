#!/bin/bash
# Runs parts of the tests and then lists how each of them ended; a part that fails stops no other one:
#
#   tools/run-tests.sh PART...
#
# A part is the script tools/parts/PART.sh, and its exit code is the verdict: 0 is ok; 77 means that everything in it was skipped,
# for the reason that the script wrote to the file $SKIP_REASON; every other code is a failure.
#
# The tests of the whole program wait most of their time, and builds and sanitizers compute. So there are two lanes that run
# side by side, each with its parts one after the other. The output of a part is printed when the part has ended; with parts in
# one lane alone it is printed as it comes. Where both lanes use one build, the second waits for the first to have made it (build.sh).
set -euo pipefail

cd "$(dirname "$0")/.."
all_skipped=77
waiting=(format release docker system)
state=$(mktemp -d)
second_lane=''
# Ctrl-C ends the parts that run, which may end in good order; the next ones must not begin. A lane in the background has a
# process group of its own, because bash lets what it starts there ignore Ctrl-C.
trap '[[ ! $second_lane ]] || kill -TERM -- "-$second_lane"; exit 130' INT TERM
trap 'wait; rm -rf "$state"' EXIT

run_part() {
    local part=$1 shown=$2 start=$SECONDS code=0 verdict
    export SKIP_REASON=$state/$part.skipped
    if [[ $shown ]]; then
        echo "== $part"
        "tools/parts/$part.sh" || code=$?
    else
        echo "== $part: started"
        "tools/parts/$part.sh" >"$state/$part.log" 2>&1 </dev/null || code=$?
    fi
    case $code in
        0) verdict=ok ;;
        "$all_skipped") verdict="skipped: $(<"$SKIP_REASON")" ;;
        *) verdict=FAILED ;;
    esac
    printf '%-8s %5d s  %s\n' "$part" $((SECONDS - start)) "$verdict" >"$state/$part.verdict"
    if [[ $shown ]]; then
        echo
    else
        # As one block, for the other lane prints too.
        { echo "== $part"; cat "$state/$part.log"; echo "== $part: $verdict after $((SECONDS - start)) s"; echo; } >"$state/$part.block"
        flock "$state" cat "$state/$part.block"
    fi
}

run_lane() {
    local shown=$1 part
    shift
    for part; do run_part "$part" "$shown"; done
}

waits=() computes=()
for part; do
    if [[ " ${waiting[*]} " == *" $part "* ]]; then waits+=("$part"); else computes+=("$part"); fi
done
if ((${#waits[@]} && ${#computes[@]})); then
    set -m
    run_lane '' "${computes[@]}" &
    second_lane=$!
    set +m
    run_lane '' "${waits[@]}"
    wait
else
    run_lane shown "$@"
fi

failed=() skipped=()
for part; do
    cat "$state/$part.verdict"
    case $(<"$state/$part.verdict") in
        *" FAILED") failed+=("$part") ;;
        *"  skipped: "*) skipped+=("$part") ;;
    esac
done
if ((${#failed[@]})); then
    echo "test: FAILED after $SECONDS s: ${failed[*]}"
    exit 1
fi
echo "test: passed after $SECONDS s${skipped[*]:+; skipped: ${skipped[*]}}"
