# shellcheck shell=bash
# What a failure of gcloud means; sourced by steps.sh. gcloud has one exit code for nearly all of them, so its text is
# read. tests/cloud_run/gcloud_texts.py says where in the SDK's source, or in Google's documentation, each text stands.

# kind_of TEXT: which of these it is.
#   api-off    the API is off, or was switched on some minutes ago
#   policy     a policy of the organisation forbids it
#   busy       another change is under way
#   missing    there is no such object
#   not-yet    an account or a permission that has just been made is not known everywhere
#   quota      the project has no more of it
#   denied     the caller may not do it
kind_of() {
    local text=${1,,} pattern
    # The first that is in the text.
    local -a kinds=(
        'api-off:has not been used in project|service_disabled|api .* not enabled'
        "policy:constraints/|org(aniz|anis)ation policy|orgpolicy|permitted customer|violates? constraint"
        'busy:concurrent policy changes|another operation was already in progress|resource.*is not ready'
        "quota:quota ('[a-z_-]+' )?exceeded|resource_exhausted|system limit for internal resources"
        'not-yet:permission denied on secret|iam\.serviceaccounts\.actas|service account .*does not exist'
        'missing:not found|not_found|not be found|cannot find|could not find|does not exist|httperror 404'
        'missing:unknown service account'
        "denied:permission_denied|does not have permission|required '[a-z.]+' permission|not authorized"
        'denied:denied|httperror 403|forbidden'
    )
    for pattern in "${kinds[@]}"; do
        if [[ $text =~ ${pattern#*:} ]]; then
            echo "${pattern%%:*}"
            return
        fi
    done
    echo other
}

# api_in TEXT: the API that a text about one that is off names.
api_in() { if [[ $1 =~ ([a-z0-9]+\.googleapis\.com) ]]; then echo "${BASH_REMATCH[1]}"; fi; }

# error_in TEXT: the line that says what is wrong, which names the command. Compute Engine's has it in the next one.
error_in() {
    local text=${1#"${1%%ERROR: (gcloud*}"} line
    text=${text:-${1#"${1%%ERROR:*}"}}
    text=${text:-$1}
    line=${text%%$'\n'*}
    if [[ $line == *: ]]; then
        text=${text#*$'\n'}
        line+=${text%%$'\n'*}
    fi
    echo "${line:0:300}"
}

# advice_for KIND TEXT: what to do besides the step's own advice.
advice_for() {
    case $1 in
        api-off)
            echo "The API $(api_in "$2") is off, or was switched on less than some minutes ago; setup switches it on."
            ;;
        policy) echo "A policy of your organisation forbids it; its administrator can tell which values are allowed." ;;
        quota) echo "A quota is used up: console.cloud.google.com/iam-admin/quotas shows it, and is where more is asked for." ;;
        denied) echo "You lack a permission for it." ;;
        not-yet | busy) echo "It has been waited for $PATIENCE s (PATIENCE)." ;;
    esac
}
