# shellcheck shell=bash
# Secrets, and who may read them; sourced by setup and deploy.

# make_secret SECRET: without a version yet.
make_secret() {
    create_unless_there gcloud secrets describe "$1" -- \
        run gcloud secrets create "$1" --replication-policy=user-managed --locations="$REGION"
}

# keep_in_secret SECRET NAME: its newest version is the value of the variable NAME; another one is added only if it is not.
keep_in_secret() {
    local newest
    make_secret "$1"
    show_line "[[ \$($(shown gcloud secrets versions access latest --secret="$1")) == \"\$$2\" ]] ||"
    if ! $dry_run; then
        answer_unless_missing newest gcloud secrets versions access latest --secret="$1"
        [[ $newest != "${!2}" ]] || return 0
    fi
    run_with_secret %s "$2" gcloud secrets versions add "$1" --data-file=-
}

# let_read ACCOUNT SECRET
let_read() {
    run gcloud secrets add-iam-policy-binding "$2" --member="serviceAccount:$1" \
        --role=roles/secretmanager.secretAccessor --format=none
}

# stop_reading ACCOUNT SECRET
stop_reading() {
    delete gcloud secrets remove-iam-policy-binding "$2" --member="serviceAccount:$1" \
        --role=roles/secretmanager.secretAccessor --condition=None --format=none
}

# for_each_secret_of_the_user ACTION: with an account and a secret of the settings SERVER_SECRET_X and WORKER_SECRET_X.
for_each_secret_of_the_user() {
    local name secrets
    secrets=$(for name in $(extra_names SERVER_SECRET_); do echo "${!name%%:*}"; done | sort -u)
    for name in $secrets; do "$1" "$SERVER_EMAIL" "$name"; done
    secrets=$(for name in $(extra_names WORKER_SECRET_); do echo "${!name%%:*}"; done | sort -u)
    for name in $secrets; do "$1" "$WORKER_EMAIL" "$name"; done
}
