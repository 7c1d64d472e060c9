# shellcheck shell=bash
# The alert policies in alerts/ and the address that they write to; sourced by setup and cleanup. They are known by the
# beginning of their display names, since Google gives them names that are numbers.

delete_alerts() {
    # A channel that a policy uses cannot be deleted, so the policies go first.
    delete_each gcloud monitoring policies list --filter="displayName~\"^$NAME: \"" --format='value(name)' -- \
        gcloud monitoring policies delete
    delete_each gcloud beta monitoring channels list --filter="displayName~\"^$NAME: \"" --format='value(name)' -- \
        gcloud beta monitoring channels delete
}

create_alerts() {
    local file
    ask NOTIFICATION_CHANNEL gcloud beta monitoring channels create --display-name="$NAME: operators" --type=email \
        --channel-labels="email_address=$ALERT_EMAIL" --format='value(name)'
    for file in "$here"/alerts/*.yaml; do
        run_with_yaml "alerts/${file##*/}" gcloud monitoring policies create --policy-from-file=-
    done
}
