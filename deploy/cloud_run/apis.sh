# shellcheck shell=bash
# Google's APIs that the deployment uses; sourced by steps.sh.

apis() {
    local names=(run sqladmin compute artifactregistry servicenetworking iam cloudresourcemanager secretmanager)
    if [[ $ALERT_EMAIL != none ]]; then names+=(monitoring logging); fi
    if [[ $IAP == yes ]]; then names+=(iap); fi
    if [[ $BUILD == cloud-build ]]; then names+=(cloudbuild); fi
    if is_ha; then names+=(redis); fi
    printf '%s.googleapis.com\n' "${names[@]}"
}

# What is switched on is told here at once, while the APIs themselves may need some minutes.
ask_which_apis_are_on() {
    ask ENABLED_APIS gcloud services list --enabled --format='value(config.name)'
}

# A script that needs setup's work says so, and does not wait for an API that nobody has switched on.
require_apis() {
    local api off=()
    ask_which_apis_are_on
    $dry_run && return
    for api in $(apis); do
        [[ $'\n'$ENABLED_APIS$'\n' == *$'\n'$api$'\n'* ]] || off+=("$api")
    done
    ((${#off[@]} == 0)) ||
        fail "switched off in $PROJECT_ID: ${off[*]}. Run setup first (with these settings); nothing was done"
}

# is_known_to_be_off API: only a script that has asked knows it.
is_known_to_be_off() {
    [[ -v ENABLED_APIS && $'\n'$ENABLED_APIS$'\n' != *$'\n'$1$'\n'* ]]
}
