# shellcheck shell=bash
# How a step is run; sourced by setup, deploy, verify and cleanup, whose names stand in every message.

((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 404)) || { echo "$0: error: this needs bash 4.4 or newer" >&2; exit 1; }
shopt -s inherit_errexit
program=$(basename "$0")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for part in settings-file checks connections settings failures show manifests apis; do
    # shellcheck source-path=SCRIPTDIR disable=SC1090
    source "$here/$part.sh"
done
dry_run=false
current_step=
advice=
# What the commands of a step print themselves must not get into what ask and is_there read.
exec 3>&1 4>&2
# `gcloud run worker-pools` is generally available since 565, the readiness probe since 573 (the SDK's release notes).
least_sdk=573

fail() { echo "$program: error: $*" >&2; exit 1; }
say() { $dry_run || echo "$program: $*" >&2; }

# take_options OPTIONS WORD...: --dry-run, --settings FILE, and those of OPTIONS, each of which sets the variable of
# its name to true.
take_options() {
    local others=$1 usage="[--settings FILE] [--dry-run]"
    shift
    for option in $others; do usage="[--$option] $usage"; done
    while (($# > 0)); do
        case $1 in
            --dry-run) dry_run=true ;;
            --settings=?*) read_settings_file "${1#*=}" ;;
            --settings)
                (($# > 1)) || fail "usage: $program $usage"
                read_settings_file "$2"
                shift
                ;;
            --*)
                [[ " $others " == *" ${1#--} "* ]] || fail "usage: $program $usage; README.md has the settings"
                printf -v "${1#--}" true
                ;;
            *) fail "usage: $program $usage; README.md has the settings" ;;
        esac
        shift
    done
    define_settings
    refuse_unknown_names
    check_combinations
    report_wrong_settings
}

# step NAME ADVICE: what to do when one of the step's commands fails.
step() {
    current_step=$1 advice=$2
    show_line ""
    show_line "# $1"
}

# if_on API FUNCTION: what the function deletes can only be there if the project's API is on.
if_on() {
    if $dry_run; then
        show_line "if grep -qx $1 <<<\"\$ENABLED_APIS\"; then"
        indent='    '
        "$2"
        indent=
        show_line "fi"
    elif ! is_known_to_be_off "$1"; then
        "$2"
    fi
}

# what_is_needed PROGRAM...: ends the script with one line when something is missing. A dry run needs nothing.
what_is_needed() {
    local name missing=() version
    if ! $dry_run; then
        for name; do
            command -v "$name" >/dev/null || missing+=("the program $name")
        done
        if [[ -z $PROJECT_ID ]] && command -v gcloud >/dev/null; then
            PROJECT_ID=$(gcloud config get-value project 2>/dev/null) || PROJECT_ID=
            [[ $PROJECT_ID != "(unset)" ]] || PROJECT_ID=
        fi
        [[ -n $PROJECT_ID ]] || missing+=("PROJECT_ID (or: gcloud config set project ID)")
        ((${#missing[@]} == 0)) || fail "missing: $(printf '%s; ' "${missing[@]}")nothing was done"
        version=$(gcloud version --format='value("Google Cloud SDK")') || version=
        [[ $version =~ ^([0-9]+)\. ]] ||
            fail "gcloud version does not say the SDK's version, but '$version'; nothing was done"
        ((BASH_REMATCH[1] >= least_sdk)) ||
            fail "the Google Cloud SDK is $version, and $least_sdk or newer is needed (gcloud components update);" \
                "nothing was done"
    elif [[ -z $PROJECT_ID ]]; then
        PROJECT_ID=$(later PROJECT_ID)
        show_line 'PROJECT_ID=$(gcloud config get-value project)'
    fi
    derive_names
    # Every gcloud below works on this project and asks nothing.
    show_line "export CLOUDSDK_CORE_PROJECT=$(shown "$PROJECT_ID") CLOUDSDK_CORE_DISABLE_PROMPTS=1"
    export CLOUDSDK_CORE_PROJECT=$PROJECT_ID CLOUDSDK_CORE_DISABLE_PROMPTS=1
}

# run COMMAND...: shows it, runs it, and ends the script when it fails. Each of these sets both of what attempt
# looks at: an exit from within one of them leads to the trap, which uses them too.
run() {
    local command_input gone_is_fine
    show "$@"
    $dry_run || try_to "$@"
}

# run_with_yaml FILE COMMAND...: the command reads the file, filled in, from its standard input.
run_with_yaml() {
    local command_input gone_is_fine
    command_input=$(fill_in "$1")
    shift
    show_with_yaml "$command_input" "$@"
    $dry_run || try_to "$@"
}

# run_with_secret FORMAT NAME COMMAND...: the command reads the value of the variable NAME, which is never shown.
run_with_secret() {
    local command_input format=$1 secret=$2 gone_is_fine
    shift 2
    # shellcheck disable=SC2059
    printf -v command_input "$format" "${!secret}"
    show_line "printf $(shown "$format") \"\$$secret\" | $(shown "$@")"
    $dry_run || try_to "$@"
}

# delete COMMAND...: an object that does not exist counts as deleted.
delete() {
    local command_input gone_is_fine=true
    show "$@"
    $dry_run || try_to "$@"
}

# delete_each LIST... -- DELETE...: all that the first command names.
delete_each() {
    local list=() names each
    while [[ $1 != -- ]]; do list+=("$1"); shift; done
    shift
    show_line "for each in \$($(shown "${list[@]}")); do $(shown "$@") \"\$each\"; done"
    $dry_run && return
    get_answer "${list[@]}"
    names=$answer
    for each in $names; do
        local command_input gone_is_fine=true
        try_to "$@" "$each"
    done
}

# random_password NAME: the variable gets one.
random_password() {
    show_line "$1=\$(head -c 24 /dev/urandom | base64 | tr -d '+/=\\n')"
    if $dry_run; then
        printf -v "$1" %s "$(later "$1")"
    else
        printf -v "$1" %s "$(head -c 24 /dev/urandom | base64 | tr -d '+/=\n')"
    fi
}

# ask NAME COMMAND...: its answer becomes the value of NAME.
ask() {
    local name=$1 answer
    shift
    show_line "$name=\$($(shown "$@"))"
    if $dry_run; then
        printf -v "$name" %s "$(later "$name")"
        return
    fi
    get_answer "$@"
    [[ -n $answer ]] || { say "this answered nothing, and $name is needed:"; stop 1 "" "$@"; }
    printf -v "$name" %s "$answer"
}

# Sets `answer`.
get_answer() {
    local command_input gone_is_fine wants_answer=true
    try_to "$@"
}

# ask_unless_missing NAME COMMAND...: the same, and nothing if there is no such object.
ask_unless_missing() {
    show_line "$1=\$($(shown "${@:2}"))"
    if $dry_run; then
        printf -v "$1" %s "$(later "$1")"
    else
        answer_unless_missing "$@"
    fi
}

# answer_unless_missing NAME COMMAND...: without showing it.
answer_unless_missing() {
    local command_input gone_is_fine wants_answer=true missing_is_an_answer=true is_missing=false answer= name=$1
    shift
    try_to "$@"
    if $is_missing; then answer=; fi
    printf -v "$name" %s "$answer"
}

# create_unless_there DESCRIBE... -- RUN...: the second one is one of the functions above with its words.
create_unless_there() {
    local describe=()
    while [[ $1 != -- ]]; do describe+=("$1"); shift; done
    shift
    show_line "$(shown "${describe[@]}") ||"
    if $dry_run || ! is_there "${describe[@]}"; then
        "$@"
    fi
}

# A describe that fails for another reason than that there is nothing is a failure of the step.
is_there() {
    local command_input gone_is_fine wants_answer=true missing_is_an_answer=true is_missing=false answer
    try_to "$@"
    ! $is_missing
}

# try_to COMMAND...: until it succeeds, as long as patience lasts where time may help.
try_to() {
    local code kind error since=$SECONDS waits=false
    while true; do
        code=0
        attempt "$@" || code=$?
        if ((code == 0)); then break; fi
        kind=$(kind_of "$error")
        if [[ -v missing_is_an_answer && $kind == missing ]]; then
            is_missing=true
            break
        elif [[ -v gone_is_fine && $kind == missing ]]; then
            say "there is none"
            break
        elif [[ -v gone_is_fine && $kind == api-off ]] && is_known_to_be_off "$(api_in "$error")"; then
            say "there is none, since $(api_in "$error") is switched off in $PROJECT_ID"
            break
        elif ! [[ $kind =~ ^(api-off|not-yet|busy)$ ]] || ((waited + SECONDS - since >= PATIENCE)); then
            if $waits; then printf '%s\n' "$error" >&2; fi
            stop "$code" "$error" "$@"
        elif ! $waits; then
            waits=true
            say "this may pass ($kind): again every $RETRY_PAUSE s, for up to $((PATIENCE - waited)) s (PATIENCE)"
        fi
        sleep "$RETRY_PAUSE"
    done
    if $waits; then waited=$((waited + SECONDS - since)); fi
}
waited=0

# attempt COMMAND...: sets `error` to what it says on its error output, which is shown at once; and `answer`, if it is
# wanted, to its output. No process has a text that it reads among its arguments: printf is the shell's own.
attempt() {
    local code=0 file
    if [[ -v wants_answer ]]; then
        file=$(mktemp)
        answer=$("$@" 2>"$file") || code=$?
        error=$(<"$file")
        rm -f "$file"
        if ((code != 0)) && ! [[ -v missing_is_an_answer ]]; then shown_error; fi
    elif [[ $1 == docker ]]; then
        # It draws on the terminal, and its text is not read.
        error=
        "$@" || code=$?
    elif [[ -v command_input ]]; then
        error=$(set -o pipefail; printf '%s' "$command_input" | "$@" 2>&1 1>&3 | as_it_comes) || code=$?
    else
        error=$(set -o pipefail; "$@" 2>&1 1>&3 | as_it_comes) || code=$?
    fi
    return "$code"
}

shown_error() { $waits || [[ -z $error ]] || printf '%s\n' "$error" >&2; }

# After a first failure the same is not shown again.
as_it_comes() {
    local line
    while IFS= read -r line || [[ -n $line ]]; do
        $waits || printf '%s\n' "$line" >&4
        printf '%s\n' "$line"
    done
}

# stop CODE ERROR COMMAND...
stop() {
    local code=$1 error=$2 kind why
    shift 2
    kind=$(kind_of "$error")
    why=$(error_in "$error")
    echo "$program: failed in step \"$current_step\": $(shown "$@") (exit code $code)${why:+: $why}" \
        "$(advice_for "$kind" "$error") $advice Then run $program again: it goes on from there." | tr -s ' ' >&2
    exit "$code"
}
