"""Terraform itself validates deploy/terraform and plans it, for each kind of environment and with each kind of mistake.
The providers are stand-ins with the recorded schemas of the real ones (schema_provider), so nothing is created."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
import yaml

from module import REPOSITORY
from terraform import PROJECT, Plan, Terraform, needs_terraform

pytestmark = needs_terraform()

SERVER = "google_cloud_run_v2_service.server"
WORKER = "google_cloud_run_v2_worker_pool.worker[0]"
GRANTS = "google_cloud_run_v2_job.grants"


def container(plan: Plan, address: str) -> Any:
    (template,) = plan[address]["template"]
    if address == GRANTS:
        (template,) = template["template"]
    (only,) = template["containers"]
    return only


def variables_of(plan: Plan, address: str) -> dict[str, Any]:
    """A variable's value, or its secret. A value that is known only after the apply is None."""
    found: dict[str, Any] = {}
    for variable in container(plan, address)["env"]:
        assert variable["name"] not in found, f"{variable['name']} is there twice"
        sources = variable.get("value_source") or []
        found[variable["name"]] = (
            f"secret {sources[0]['secret_key_ref'][0]['secret']}" if sources else variable.get("value")
        )
    return found


def test_terraform_finds_the_module_valid_and_well_formatted(terraform: Terraform) -> None:
    result = terraform.run("validate", "-no-color")
    assert result.returncode == 0, result.stdout + result.stderr
    result = terraform.run("fmt", "-check", "-diff")
    assert result.returncode == 0, result.stdout


def test_a_password_is_the_default(terraform: Terraform) -> None:
    plan = terraform.plan()
    assert plan[SERVER]["ingress"] == "INGRESS_TRAFFIC_ALL"
    # Organisations that restrict members by domain refuse a binding of allUsers:
    # https://docs.cloud.google.com/run/docs/authenticating/public
    assert plan[SERVER]["invoker_iam_disabled"] is True
    assert "allUsers" not in plan.text
    assert variables_of(plan, SERVER)["PREFECT_SERVER_API_AUTH_STRING"] == "secret prefect-auth"
    assert variables_of(plan, WORKER)["PREFECT_API_AUTH_STRING"] == "secret prefect-auth"
    assert "prefect-auth" in plan.output("auth_command")
    assert plan[WORKER]["template"][0]["vpc_access"][0]["egress"] == "PRIVATE_RANGES_ONLY"


def test_public_has_no_password(terraform: Terraform) -> None:
    plan = terraform.plan(access="public")
    assert "AUTH_STRING" not in plan.text
    assert "prefect-auth" not in plan.text
    assert plan.output("auth_command") is None


def test_internal_is_reached_from_the_network_alone_and_has_the_password(terraform: Terraform) -> None:
    plan = terraform.plan(access="internal")
    assert plan[SERVER]["ingress"] == "INGRESS_TRAFFIC_INTERNAL_ONLY"
    assert variables_of(plan, SERVER)["PREFECT_SERVER_API_AUTH_STRING"] == "secret prefect-auth"
    # A request of Cloud Run is internal when it goes through the network, whose subnet has Private Google Access:
    # https://docs.cloud.google.com/run/docs/securing/ingress
    assert plan[WORKER]["template"][0]["vpc_access"][0]["egress"] == "ALL_TRAFFIC"
    assert plan["google_compute_subnetwork.this[0]"]["private_ip_google_access"] is True


def test_iap_lets_only_its_members_pass(terraform: Terraform) -> None:
    plan = terraform.plan(iap=True, access="public", worker_count=0, iap_members=["group:data@example.com"])
    assert plan[SERVER]["iap_enabled"] is True
    assert plan[SERVER]["invoker_iam_disabled"] is False
    (invoker,) = plan.of("google_cloud_run_v2_service_iam_member")
    # https://docs.cloud.google.com/run/docs/securing/identity-aware-proxy-cloud-run
    assert invoker["role"] == "roles/run.invoker"
    assert invoker["member"] == "serviceAccount:service-number@gcp-sa-iap.iam.gserviceaccount.com"
    (user,) = plan.of("google_iap_web_cloud_run_service_iam_member")
    assert (user["role"], user["member"]) == ("roles/iap.httpsResourceAccessor", "group:data@example.com")
    assert not plan.of("google_cloud_run_v2_worker_pool")


def test_no_password_is_in_the_plan(terraform: Terraform) -> None:
    plan = terraform.plan(access="internal", db_ssl="verify-ca")
    # The stand-in's random password is `result`.
    assert "admin:" not in plan.text
    for version in plan.of("google_secret_manager_secret_version"):
        assert version.get("secret_data_wo") is None
    for user in plan.of("google_sql_user"):
        assert user.get("password_wo") is None and user.get("password") is None
    assert variables_of(plan, GRANTS)["PGPASSWORD"] == "secret prefect-grants-password"


def test_each_account_has_the_least_rights(terraform: Terraform) -> None:
    plan = terraform.plan(server_secrets={"TOKEN": "mine:3"}, worker_secrets={"KEY": "theirs"}, db_ssl="verify-ca")
    assert sorted(account["account_id"] for account in plan.of("google_service_account")) == [
        "prefect-grants",
        "prefect-sa",
        "prefect-worker",
    ]
    (login,) = plan.of("google_project_iam_member")
    assert login["role"] == "roles/cloudsql.instanceUser"
    # The form of both is that of Google's own sample, cloud_sql/instance_iam_condition/main.tf of
    # https://github.com/terraform-google-modules/terraform-docs-samples
    assert login["condition"][0]["expression"].split(" && ") == [
        "resource.name == 'projects/my-project/instances/prefect-db'",
        "resource.type == 'sqladmin.googleapis.com/Instance'",
    ]
    assert {each["role"] for each in plan.of("google_secret_manager_secret_iam_member")} == {
        "roles/secretmanager.secretAccessor"
    }
    addresses = {address for address in plan.resources if address.startswith("google_secret_manager_secret_iam_member")}
    kind = "google_secret_manager_secret_iam_member"
    assert addresses == {
        f'{kind}.server["mine"]',
        f'{kind}.worker["theirs"]',
        f"{kind}.server_auth[0]",
        f"{kind}.worker_auth[0]",
        f"{kind}.server_db_ca[0]",
        f"{kind}.grants_db_ca[0]",
        f"{kind}.grants_password",
    }


def test_the_database_refuses_plain_text_and_has_no_public_address(terraform: Terraform) -> None:
    plan = terraform.plan()
    (instance,) = plan.of("google_sql_database_instance")
    (settings,) = instance["settings"]
    (addresses,) = settings["ip_configuration"]
    assert addresses["ssl_mode"] == "ENCRYPTED_ONLY"
    assert addresses["ipv4_enabled"] is False
    assert addresses["psc_config"][0]["allowed_consumer_projects"] == [PROJECT]
    assert settings["backup_configuration"][0]["enabled"] is True
    assert (settings["tier"], settings["edition"]) == ("db-f1-micro", "ENTERPRISE")
    assert plan["google_compute_address.db"]["address"] == variables_of(plan, SERVER)["DB_IP"] == "10.0.0.5"
    # PostgreSQL keeps 3 of the 25 connections for superusers. Two servers run side by side during a rollout, each with
    # its pool and two connections more (tests/system/test_prefect_connections.py).
    server = variables_of(plan, SERVER)
    pool = int(server["PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_SIZE"])
    assert 2 * (pool + int(server["PREFECT_SERVER_DATABASE_SQLALCHEMY_MAX_OVERFLOW"]) + 2) <= 25 - 3
    larger = terraform.plan(server_env={"PREFECT_SERVER_DATABASE_SQLALCHEMY_MAX_OVERFLOW": "10"})
    assert variables_of(larger, SERVER)["PREFECT_SERVER_DATABASE_SQLALCHEMY_MAX_OVERFLOW"] == "10"


def test_verify_ca_mounts_the_certificate_of_the_instance(terraform: Terraform) -> None:
    plan = terraform.plan(db_ssl="verify-ca")
    for address, variable in ((SERVER, "DB_SSL_ROOT_CERT"), (GRANTS, "PGSSLROOTCERT")):
        (mount,) = container(plan, address)["volume_mounts"]
        path = variables_of(plan, address)[variable]
        (template,) = plan[address]["template"]
        (volume,) = (template["template"][0] if address == GRANTS else template)["volumes"]
        (secret,) = volume["secret"]
        assert secret["secret"] == "prefect-db-ca"
        assert path == f"{mount['mount_path']}/{secret['items'][0]['path']}"
        assert volume["name"] == mount["name"]
    assert variables_of(plan, SERVER)["DB_SSL"] == variables_of(plan, GRANTS)["PGSSLMODE"] == "verify-ca"


def test_settings_reach_what_they_are_for(terraform: Terraform) -> None:
    plan = terraform.plan(
        db_high_availability=True,
        db_point_in_time_recovery=True,
        db_deletion_protection=True,
        db_final_backup=True,
        db_tier="db-custom-2-7680",
        db_schema="flows",
        server_cpu="2",
        server_memory="4Gi",
        worker_memory="8Gi",
        worker_cpu="4",
        worker_count=3,
        work_pool="blue-pool",
        ui_url="https://prefect.example.com/",
        server_env={"PREFECT_LOGGING_LEVEL": "DEBUG", "SUPERVISOR_DB_WAIT": "3m"},
        worker_secrets={"KEY": "theirs:7"},
        image_tag="v7",
    )
    (instance,) = plan.of("google_sql_database_instance")
    (settings,) = instance["settings"]
    assert instance["deletion_protection"] and settings["deletion_protection_enabled"]
    assert settings["availability_type"] == "REGIONAL"
    assert settings["backup_configuration"][0]["point_in_time_recovery_enabled"] is True
    assert settings["final_backup_config"][0]["enabled"] is True
    server, worker = variables_of(plan, SERVER), variables_of(plan, WORKER)
    assert server["PREFECT_UI_URL"] == "https://prefect.example.com"
    assert server["PREFECT_LOGGING_LEVEL"] == "DEBUG"
    assert server["SUPERVISOR_DB_WAIT"] == "3m"
    assert server["DB_SCHEMA"] == variables_of(plan, GRANTS)["DB_SCHEMA"] == "flows"
    assert worker["WORK_POOL"] == "blue-pool"
    assert worker["KEY"] == "secret theirs"
    assert container(plan, SERVER)["resources"][0]["limits"] == {"cpu": "2", "memory": "4Gi"}
    assert container(plan, WORKER)["resources"][0]["limits"] == {"cpu": "4", "memory": "8Gi"}
    assert plan[WORKER]["scaling"][0]["manual_instance_count"] == 3
    assert container(plan, SERVER)["image"] == "us-central1-docker.pkg.dev/my-project/prefect-repo/prefect-server:v7"


def test_an_existing_network_is_used_and_left_alone(terraform: Terraform) -> None:
    plan = terraform.plan(
        network="existing", network_project="host", psc_network_name="shared", subnet="blue", db_ip="10.8.0.9"
    )
    assert not plan.of("google_compute_network") and not plan.of("google_compute_subnetwork")
    (interface,) = plan[SERVER]["template"][0]["vpc_access"][0]["network_interfaces"]
    assert interface["network"] == "projects/host/global/networks/shared"
    assert interface["subnetwork"] == "projects/host/regions/us-central1/subnetworks/blue"
    assert plan["google_compute_forwarding_rule.db"]["network"] == "projects/host/global/networks/shared"


def test_an_existing_instance_gets_a_database_and_users_and_nothing_else(terraform: Terraform) -> None:
    plan = terraform.plan(db_instance="existing", db_instance_name="old")
    assert not plan.of("google_sql_database_instance")
    for address in ("google_sql_database.prefect", "google_sql_user.server"):
        # Prefect's data outlives a destroy.
        assert plan[address]["deletion_policy"] == "ABANDON"


def test_without_an_address_there_are_no_alerts_and_with_one_all_of_them(terraform: Terraform) -> None:
    assert not terraform.plan().of("google_monitoring_alert_policy")
    plan = terraform.plan(alert_email="ops@example.com", server_service="blue")
    files = sorted((REPOSITORY / "deploy/cloud_run/alerts").glob("*.yaml"))
    assert files
    for file in files:
        policy = plan[f'google_monitoring_alert_policy.logs["{file.stem}"]']
        (condition,) = policy["conditions"]
        assert 'service_name="blue"' in condition["condition_matched_log"][0]["filter"]
        assert "${" not in str(policy)
    (channel,) = plan.of("google_monitoring_notification_channel")
    assert channel["labels"] == {"email_address": "ops@example.com"}


def test_two_environments_share_nothing(terraform: Terraform) -> None:
    names = []
    for name in ("blue", "green"):
        plan = terraform.plan(name=name, db_ssl="verify-ca", alert_email="ops@example.com")
        names.append(
            {
                (address.split(".")[0], values[key])
                for address, values in plan.resources.items()
                for key in ("name", "account_id", "secret_id", "repository_id", "display_name")
                # The database's name counts inside its instance only.
                if isinstance(values.get(key), str) and address != "google_sql_database.prefect"
            }
        )
        assert all(value.startswith(name) or f" {name}" in value for _, value in names[-1])
    assert len(names[0]) == len(names[1]) > 15
    assert not names[0] & names[1]


def test_the_server_and_the_worker_are_those_of_the_scripts(terraform: Terraform) -> None:
    plan = terraform.plan()
    for address, file in ((SERVER, "service.yaml"), (WORKER, "worker-pool.yaml")):
        document = yaml.safe_load((REPOSITORY / "deploy/cloud_run" / file).read_text())
        spec = document["spec"]["template"]["spec"]
        (ours,) = spec["containers"]
        (template,) = plan[address]["template"]
        theirs = container(plan, address)
        for probe in ("startup", "liveness", "readiness"):
            wanted = ours.get(f"{probe}Probe")
            have = theirs.get(f"{probe}_probe") or []
            assert len(have) == (1 if wanted else 0), f"{file}: {probe}"
            if not wanted:
                continue
            assert have[0]["http_get"][0]["path"] == wanted["httpGet"]["path"]
            assert have[0]["http_get"][0]["port"] == wanted["httpGet"]["port"]
            for key, name in (
                ("periodSeconds", "period_seconds"),
                ("timeoutSeconds", "timeout_seconds"),
                ("failureThreshold", "failure_threshold"),
                ("successThreshold", "success_threshold"),
            ):
                assert have[0].get(name) == wanted.get(key), f"{file}: {probe}: {key}"
        names = {variable["name"] for variable in ours["env"]}
        assert names <= variables_of(plan, address).keys(), file
        if address == SERVER:
            assert template["timeout"] == f"{spec['timeoutSeconds']}s"
            assert template["max_instance_request_concurrency"] == spec["containerConcurrency"]
            assert template["execution_environment"] == "EXECUTION_ENVIRONMENT_GEN2"
            assert theirs["resources"][0]["cpu_idle"] is False


def test_a_variable_that_the_module_sets_is_no_extra_one(terraform: Terraform) -> None:
    plan = terraform.plan(access="internal", db_ssl="verify-ca")
    text = (REPOSITORY / "deploy/terraform/names.tf").read_text()
    for address, name in ((SERVER, "server"), (WORKER, "worker")):
        (reserved,) = re.findall(rf"{name}_variables_of_the_module = \[(.*?)\]", text, re.DOTALL)
        # The size of the pool is a default, which a user may change.
        ours = {each for each in variables_of(plan, address) if "_SQLALCHEMY_" not in each}
        assert ours <= set(re.findall(r'"(\w+)"', reserved))


def test_the_grants_job_runs_once_for_each_change_of_the_grants(terraform: Terraform) -> None:
    variants: list[dict[str, Any]] = [{}, {"db_schema": "flows"}, {"db_name": "other"}, {"grants_version": 2}]
    tokens = []
    for variables in variants:
        plan = terraform.plan(**variables)
        token = plan[GRANTS]["run_execution_token"]
        number = plan["google_sql_user.grants"]["password_wo_version"]
        assert number == plan["google_secret_manager_secret_version.grants"]["secret_data_wo_version"]
        assert int(token, 16) == number
        tokens.append(token)
    assert all(first != second for first, second in itertools.combinations(tokens, 2))
    # An execution's name is the job's and the token, and may have 63 characters.
    assert len(f"{'x' * 49}-{tokens[0]}") < 63
    assert terraform.plan(server_memory="2Gi")[GRANTS]["run_execution_token"] == tokens[0]


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"project_id": "My Project"}, "project_id is a project's ID"),
        ({"region": "europe"}, "region is the name of a region"),
        ({"name": "Blue"}, "name has 2 to 20"),
        ({"name": "a" * 21}, "name has 2 to 20"),
        ({"name": "ab"}, "a name of 2 characters needs db_user"),
        ({"db_schema": "public; drop"}, "db_schema has up to 63"),
        ({"db_user": "prefect-sa@my-project.iam"}, "db_user is a service account's ID"),
        ({"db_instance": "existing"}, "db_instance = existing needs db_instance_name"),
        ({"network": "existing", "psc_network_name": "old"}, "network = existing needs subnet"),
        ({"subnet_range": "10.0.0.0/28"}, "subnet_range is an IPv4 range such as 10.0.0.0/24, with 8 to 26"),
        ({"subnet_range": "10.0.0.7/24"}, "subnet_range has bits outside its prefix"),
        ({"db_ip": "10.0.0.500"}, "db_ip is an IPv4 address"),
        ({"db_ip": "10.0.1.5"}, "db_ip must be a free address inside subnet_range"),
        ({"db_ip": "10.0.0.1"}, "db_ip must be a free address inside subnet_range"),
        ({"db_ip": "10.0.0.254"}, "db_ip must be a free address inside subnet_range"),
        ({"network": "old"}, "network is either new or existing"),
        ({"network_project": "host"}, "needs network = existing"),
        ({"db_instance": "prefect-db"}, "db_instance is either new or existing"),
        ({"db_edition": "PLUS"}, "db_edition is either"),
        ({"db_edition": "ENTERPRISE_PLUS"}, "db_tier is one that ENTERPRISE_PLUS does not have"),
        ({"db_tier": "db-perf-optimized-N-2"}, "db_tier is one that needs db_edition = ENTERPRISE_PLUS"),
        ({"db_backups": False, "db_high_availability": True}, "db_high_availability needs db_backups"),
        ({"db_backups": False, "db_point_in_time_recovery": True}, "db_point_in_time_recovery needs db_backups"),
        ({"db_ssl": "verify-full"}, "db_ssl is either require or verify-ca"),
        ({"access": "private"}, "access is password, public or internal"),
        ({"iap": True, "access": "public"}, "iap needs worker_count = 0"),
        ({"iap": True, "worker_count": 0}, "iap needs access = public"),
        ({"ui_url": "http://prefect.example.com"}, "ui_url is an address such as https://"),
        ({"image_tag": "a b"}, "image_tag has up to 128"),
        ({"server_cpu": "3"}, "server_cpu is 1, 2, 4, 6 or 8"),
        ({"worker_memory": "1GB"}, "worker_memory is an amount such as"),
        ({"server_memory": "511Mi"}, "server_memory is an amount such as 512Mi or 2Gi, and 512Mi or more"),
        ({"worker_count": -1}, "worker_count is a whole number"),
        ({"work_pool": "a/b"}, "work_pool has letters, digits"),
        ({"server_env": {"A-B": "1"}}, "server_env has names of letters"),
        ({"server_env": {"DB_IP": "10.0.0.9"}}, "server_env has a variable that the module itself sets"),
        ({"worker_env": {"KEY": "1"}, "worker_secrets": {"KEY": "key"}}, "worker_env and worker_secrets have"),
        ({"worker_secrets": {"KEY": "projects/p/secrets/s"}}, "worker_secrets has values of the form"),
        ({"alert_email": "nobody"}, "alert_email is an address such as"),
    ],
    ids=lambda value: "" if isinstance(value, str) else ",".join(f"{name}={each}" for name, each in value.items()),
)
def test_a_bad_value_is_refused_with_what_is_allowed(
    terraform: Terraform, variables: dict[str, Any], says: str
) -> None:
    assert says in terraform.refusal(**variables)


def test_all_bad_values_are_named_at_once(terraform: Terraform) -> None:
    said = terraform.refusal(access="private", db_ssl="no", worker_memory="much")
    assert all(each in said for each in ("access is", "db_ssl is", "worker_memory is"))
