# shellcheck shell=bash disable=SC2034
# The settings of one environment, with their defaults and what is allowed; sourced by steps.sh. README.md explains
# them.
# Each line is: setting NAME DEFAULT CHECK... (settings-file.sh, checks.sh).

define_settings() {
    setting PROJECT_ID '' is_project
    setting REGION us-central1 matches '^[a-z]+-[a-z]+[0-9]+$' "a region is such as us-central1"
    setting NAME prefect is_name 20 2

    # ha: several API servers, a process for the background services, and Redis between them (high-availability.sh).
    setting SCALE single one_of single ha

    setting SERVER_SERVICE "$NAME-server" is_name 49
    setting WORKER_SERVICE "$NAME-worker" is_name 49
    setting REPO_NAME "$NAME-repo" is_name 63

    # With SCALE=ha alone. The shortest and longest names of a Redis instance are those of its API.
    setting API_INSTANCES 2 is_number
    setting API_MAX_INSTANCES 3 is_number
    setting SERVICES_POOL "$NAME-services" is_name 49
    setting MIGRATE_JOB "$NAME-migrate" is_name 49
    setting REDIS_INSTANCE "$NAME-redis" is_name 40
    setting REDIS_TIER standard one_of basic standard
    setting REDIS_SIZE 1 matches '^[1-9][0-9]{0,2}$' "an amount in GB is such as 1"
    setting DB_MAX_CONNECTIONS '' matches '^([1-9][0-9]{1,5})?$' "a number such as 200 is needed"

    setting DB_INSTANCE new one_of new existing
    setting DB_INSTANCE_NAME "$NAME-db" is_name 84
    setting DB_NAME prefect matches '^[A-Za-z_][A-Za-z0-9_-]{0,62}$' \
        "a database's name has up to 63 letters, digits, underscores and hyphens"
    setting DB_SCHEMA public matches '^[a-z_][a-z0-9_]{0,62}$' \
        "a schema's name has up to 63 lower-case letters, digits and underscores here"
    setting DB_TIER db-f1-micro matches '^db-[A-Za-z0-9-]+$' "a tier is such as db-f1-micro or db-custom-1-3840"
    setting DB_EDITION ENTERPRISE one_of ENTERPRISE ENTERPRISE_PLUS
    setting DB_HIGH_AVAILABILITY no one_of yes no
    setting DB_BACKUPS yes one_of yes no
    setting DB_POINT_IN_TIME_RECOVERY no one_of yes no
    setting DB_DELETION_PROTECTION no one_of yes no
    setting DB_FINAL_BACKUP no one_of yes no
    setting DB_SSL require one_of require verify-ca

    # The accounts of the server (its database user has the same name), of the worker and of the grants job.
    setting DB_USER "$NAME-sa" is_name 30 6
    setting WORKER_ACCOUNT "$NAME-worker" is_name 30 6
    setting GRANTS_ACCOUNT "$NAME-grants" is_name 30 6
    setting GRANTS_JOB "$NAME-grants" is_name 49
    setting GRANTS_SECRET "$NAME-grants-password" is_secret

    setting NETWORK new one_of new existing
    setting NETWORK_PROJECT "$PROJECT_ID" is_project
    setting PSC_NETWORK_NAME "$NAME-network" is_name 63
    setting SUBNET "$NAME-subnet" is_name 63
    setting SUBNET_RANGE 10.0.0.0/24 is_range
    setting DB_ADDRESS "$NAME-db-ip" is_name 63
    setting DB_IP 10.0.0.5 is_address
    setting DB_ENDPOINT "$NAME-db-endpoint" is_name 63

    setting ACCESS password is_access
    setting AUTH_SECRET "$NAME-auth" is_secret
    setting IAP no one_of yes no
    setting UI_URL '' matches "^(https://[^ /'\"]+(/[^ '\"]*)?)?\$" \
        "an address is such as https://prefect.example.com"

    setting IMAGE_TAG v1 matches '^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$' \
        "a tag has up to 128 letters, digits, dots, underscores and hyphens"
    setting PREFECT_VERSION 3.9.1 matches '^[0-9]+\.[0-9]+\.[0-9]+[a-z0-9.]*$' "a version is such as 3.9.1"
    setting BUILD docker one_of docker cloud-build
    # With less than one CPU a service takes one request at a time.
    setting SERVER_CPU 1 one_of 1 2 4 6 8
    setting SERVER_MEMORY 1Gi is_memory
    setting WORKER_CPU 1 one_of 1 2 4 6 8
    setting WORKER_MEMORY 1Gi is_memory
    setting WORKER_COUNT 1 is_number
    setting WORK_POOL cloud-run-pool matches '^[A-Za-z0-9][A-Za-z0-9._-]*$' \
        "a work pool's name has letters, digits, dots, underscores and hyphens here"

    setting VERIFY_TIMEOUT 180 is_number
    setting RETRY_PAUSE 10 is_number
    setting PATIENCE 600 is_number
    setting ALERT_EMAIL none matches '^(none|[^@ ,]+@[^@ ,]+\.[^@ ,]+)$' \
        "an address is such as team@example.com, or none"

    extra_settings SERVER_ENV_ is_text
    extra_settings WORKER_ENV_ is_text
    extra_settings SERVER_SECRET_ is_secret_version
    extra_settings WORKER_SECRET_ is_secret_version
    # Prefect opens up to 5 + 10 connections by default, and two more beside its pool. During a deployment two servers
    # run, so they would need 34 of the 25 that db-f1-micro has; with these they need 14. A larger tier allows more.
    default_extra SERVER_ENV_PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_SIZE 5
    default_extra SERVER_ENV_PREFECT_SERVER_DATABASE_SQLALCHEMY_MAX_OVERFLOW 0
}


# Needs PROJECT_ID.
derive_names() {
    local iam=$PROJECT_ID.iam.gserviceaccount.com
    NETWORK_PROJECT=${NETWORK_PROJECT:-$PROJECT_ID}
    SERVER_EMAIL=$DB_USER@$iam WORKER_EMAIL=$WORKER_ACCOUNT@$iam GRANTS_EMAIL=$GRANTS_ACCOUNT@$iam
    # Cloud SQL's name for the server's account.
    DB_IAM_USER=$DB_USER@$PROJECT_ID.iam
    # The temporary administrator, the CA's secret and verify's job have no setting of their own.
    GRANTS_USER=$NAME-grants DB_CA_SECRET=$NAME-db-ca VERIFY_JOB=$NAME-verify
    # Those of Redis have none either.
    REDIS_URL_SECRET=$NAME-redis-url REDIS_CA_SECRET=$NAME-redis-ca
    IMAGES=$REGION-docker.pkg.dev/$PROJECT_ID/$REPO_NAME
    # How many servers answer requests.
    SERVER_MIN=1 SERVER_MAX=1
    if is_ha; then SERVER_MIN=$API_INSTANCES SERVER_MAX=$API_MAX_INSTANCES; fi
    # A network of this project goes by its name; a shared one needs its project too.
    NETWORK_PATH=$PSC_NETWORK_NAME SUBNET_PATH=$SUBNET PSC_PROJECTS=$PROJECT_ID
    if [[ $NETWORK_PROJECT != "$PROJECT_ID" ]]; then
        NETWORK_PATH=projects/$NETWORK_PROJECT/global/networks/$PSC_NETWORK_NAME
        SUBNET_PATH=projects/$NETWORK_PROJECT/regions/$REGION/subnetworks/$SUBNET
        PSC_PROJECTS=$PROJECT_ID,$NETWORK_PROJECT
    fi
    # Without the condition the role would be one for every instance of the project.
    INSTANCE_CONDITION="expression=resource.name == 'projects/$PROJECT_ID/instances/$DB_INSTANCE_NAME' &&"
    INSTANCE_CONDITION+=" resource.type == 'sqladmin.googleapis.com/Instance',title=$NAME-instance"
}

has_password() { [[ $ACCESS != public ]]; }

is_ha() { [[ $SCALE == ha ]]; }
