# shellcheck shell=bash disable=SC2034
# The objects that are set up, and their names; sourced by setup, deploy, verify and cleanup. The environment
# overrides every value.

: "${REGION:=us-central1}"
: "${DB_INSTANCE_NAME:=prefect-db}"
: "${DB_NAME:=prefect}"
: "${DB_USER:=prefect-sa}"
: "${SERVER_SERVICE:=prefect-server}"
: "${WORKER_SERVICE:=prefect-worker}"
: "${PSC_NETWORK_NAME:=prefect-network}"
: "${REPO_NAME:=prefect-repo}"
: "${IMAGE_TAG:=v1}"
# Another name than public: set-up makes that schema, and Prefect's tables go there.
: "${DB_SCHEMA:=public}"
# public: anyone who knows the URL may use the API. private: only callers with roles/run.invoker may use it.
: "${ACCESS:=public}"
# PROJECT_ID has no default here: what_is_needed asks gcloud's configuration for it.

SUBNET=prefect-subnet
SUBNET_RANGE=10.0.0.0/24
DB_ADDRESS=prefect-db-ip
DB_IP=10.0.0.5
DB_ENDPOINT=prefect-db-endpoint
GRANTS_JOB=grant-perms-job
GRANTS_SECRET=grant-perms-password

# Seconds between the attempts of a command whose objects may not have reached all of Google's servers yet.
: "${RETRY_PAUSE:=10}"

# Needs PROJECT_ID.
derive_names() {
    SERVICE_ACCOUNT=$DB_USER@$PROJECT_ID.iam.gserviceaccount.com
    # Cloud SQL's name for it.
    DB_IAM_USER=$DB_USER@$PROJECT_ID.iam
    IMAGES=$REGION-docker.pkg.dev/$PROJECT_ID/$REPO_NAME
}
