# shellcheck shell=bash
# How a step is run; sourced by setup, deploy, verify and cleanup, whose names stand in every message.

((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 404)) || { echo "$0: error: this needs bash 4.4 or newer" >&2; exit 1; }
program=$(basename "$0")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dry_run=false
current_step=
advice=
# What the commands of a step print themselves must not get into what ask and is_there read.
exec 3>&1
unset tries

fail() { echo "$program: error: $*" >&2; exit 1; }
say() { $dry_run || echo "$program: $*" >&2; }

# take_options SETTINGS OPTION...: none, or --dry-run; SETTINGS says what comes from the environment.
take_options() {
    local settings=$1
    shift
    case $* in
        '') ;;
        --dry-run) dry_run=true ;;
        *) fail "usage: $program [--dry-run]; $settings" ;;
    esac
}

# step NAME ADVICE: what to do when one of the step's commands fails.
step() {
    current_step=$1 advice=$2
    printf '\n# %s\n' "$1" >&3
}

# what_is_needed PROGRAM...: ends the script with one line when something is missing. A dry run needs nothing.
what_is_needed() {
    local name missing=()
    [[ $ACCESS == public || $ACCESS == private ]] || fail "ACCESS is '$ACCESS'; it is either public or private"
    [[ $DB_SCHEMA =~ ^[a-z_][a-z0-9_]*$ ]] ||
        fail "DB_SCHEMA is '$DB_SCHEMA'; lower-case letters, digits and underscores make a schema's name here"
    if $dry_run; then
        PROJECT_ID=${PROJECT_ID:-PROJECT_ID}
    else
        for name; do
            command -v "$name" >/dev/null || missing+=("the program $name")
        done
        if [[ -z ${PROJECT_ID:-} ]] && command -v gcloud >/dev/null; then
            PROJECT_ID=$(gcloud config get-value project 2>/dev/null) || PROJECT_ID=
            [[ $PROJECT_ID != "(unset)" ]] || PROJECT_ID=
        fi
        [[ -n ${PROJECT_ID:-} ]] || missing+=("PROJECT_ID (or: gcloud config set project ID)")
        ((${#missing[@]} == 0)) || fail "missing: $(printf '%s; ' "${missing[@]}")nothing was done"
    fi
    derive_names
    # Every gcloud below works on this project and asks nothing.
    printf 'export CLOUDSDK_CORE_PROJECT=%s CLOUDSDK_CORE_DISABLE_PROMPTS=1\n' "$PROJECT_ID" >&3
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
    command_input=$(fill_in "$1")$'\n'
    shift
    show "$@" "<<'YAML'"$'\n'"$command_input"YAML
    $dry_run || try_to "$@"
}

# run_with_secret SECRET COMMAND...: the same with a text that is never shown.
run_with_secret() {
    local command_input=$1 gone_is_fine
    shift
    show "$@" "<<<'(a random password)'"
    $dry_run || try_to "$@"
}

# delete COMMAND...: an object that does not exist counts as deleted.
delete() {
    local command_input gone_is_fine=true
    show "$@"
    $dry_run || try_to "$@"
}

# patiently run...: up to five attempts. New accounts and permissions take time to reach all of Google's servers.
patiently() {
    local tries=5
    "$@"
}

try_to() {
    local try=1 code
    while code=0; do
        attempt "$@" || code=$?
        ((code != 0)) || return 0
        ((try++ < ${tries:-1})) || stop "$code" "$@"
        say "that failed; again in $RETRY_PAUSE s (try $try of $tries)"
        sleep "$RETRY_PAUSE"
    done
}

attempt() {
    local answer code=0
    if [[ -v command_input ]]; then
        # printf is the shell's own: no process has the text among its arguments.
        printf '%s' "$command_input" | "$@"
    elif [[ -v gone_is_fine ]]; then
        answer=$("$@" 2>&1) || code=$?
        if ((code != 0)) && means_gone "$answer"; then
            say "there is none"
            return 0
        fi
        [[ -z $answer ]] || printf '%s\n' "$answer" >&2
        return "$code"
    else
        "$@"
    fi
}

# ask NAME COMMAND...: its answer becomes the value of NAME, which is the name itself in a dry run.
ask() {
    local name=$1 answer code=0
    shift
    printf '%s=%s\n' "$name" "\$($(quoted "$@"))" >&3
    if $dry_run; then
        printf -v "$name" %s "$name"
        return
    fi
    answer=$("$@") || code=$?
    ((code == 0)) || stop "$code" "$@"
    [[ -n $answer ]] || { say "this answered nothing, and $name is needed:"; stop 1 "$@"; }
    printf -v "$name" %s "$answer"
}

# create_unless_there DESCRIBE... -- CREATE...
create_unless_there() {
    local describe=()
    while [[ $1 != -- ]]; do describe+=("$1"); shift; done
    shift
    show "${describe[@]}" '||'
    if $dry_run || ! is_there "${describe[@]}"; then
        run "$@"
    fi
}

# A describe that fails for another reason than that there is nothing is a failure of the step.
is_there() {
    local answer
    if answer=$("$@" 2>&1 >/dev/null); then return 0; fi
    if means_gone "$answer"; then return 1; fi
    printf '%s\n' "$answer" >&2
    stop 1 "$@"
}

# gcloud has no exit code for a missing object. If an API was never enabled, the object does not exist either.
means_gone() {
    local pattern='not found|not_found|cannot find|could not find|does not exist|unknown service account'
    pattern+='|httperror 404|has not been used in project'
    [[ ${1,,} =~ $pattern ]]
}

stop() {
    local code=$1
    shift
    echo "$program: failed in step \"$current_step\": $(quoted "$@") (exit code $code)." \
        "$advice Then run $program again: it goes on from there." >&2
    exit "$code"
}

show() {
    local last=${*: -1}
    case $last in
        # Words of the shell's own syntax are not quoted.
        '||' | '<<'*) printf '%s %s\n' "$(quoted "${@:1:$#-1}")" "$last" >&3 ;;
        *) quoted "$@" >&3 ;;
    esac
}

quoted() {
    local word words=() escaped="'\\''"
    for word; do
        [[ $word =~ ^[A-Za-z0-9_@%+=:,./-]+$ ]] || word="'${word//"'"/"$escaped"}'"
        words+=("$word")
    done
    echo "${words[*]}"
}

# fill_in FILE: the file without its comments, and each ${NAME} replaced by the variable's value.
fill_in() {
    local text name
    text=$(sed '/^ *#/d' "$here/$1")
    while [[ $text =~ \$\{([A-Z_]+)\} ]]; do
        name=${BASH_REMATCH[1]}
        text=${text//"\${$name}"/"${!name}"}
    done
    printf '%s' "$text"
}
