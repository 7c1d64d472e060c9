"""The YAML files are compared with the schema of Cloud Run's API, which record_gcloud.py recorded: as they stand, and
as the scripts fill them in."""

from __future__ import annotations

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from google_cloud import HERE, SCRIPTS
from shown_commands import shown_commands

SCHEMA = json.loads((HERE / "cloud_run_schema.json").read_text())
FILES = [
    *("service.yaml", "worker-pool.yaml", "grants-job.yaml", "verify-job.yaml"),
    # SCALE=ha has these besides.
    *("services-pool.yaml", "migrate-job.yaml"),
]
# Annotations of our own are none of Cloud Run's.
OUR_ANNOTATIONS = ("prefect-supervisor/deployed-at", "prefect-supervisor/scale")
SCALARS = {"string": str, "integer": int, "boolean": bool}


def load(name: str) -> Any:
    """The file is read with its placeholders, which stand only in places where a text is required."""
    return yaml.safe_load((SCRIPTS / name).read_text())


def errors_in(document: Any) -> list[str]:
    kind = document["kind"]
    if document["apiVersion"] != SCHEMA["kinds"][kind]:
        return [f"apiVersion is not that of {kind}"]
    template = {"Service": "Revision", "WorkerPool": "Revision", "Job": "Execution"}[kind]
    errors = list(wrong_fields(document, kind, kind))
    for resource, metadata in (
        (kind, document["metadata"]),
        (template, document["spec"]["template"]["metadata"]),
    ):
        for name in metadata.get("annotations", {}):
            if name not in OUR_ANNOTATIONS and resource not in SCHEMA["annotations"].get(name, []):
                errors.append(f"{kind}: {resource} has no annotation {name}")
    return errors


def wrong_fields(value: Any, kind: str, path: str) -> list[str]:
    if kind.startswith("["):
        if not isinstance(value, list):
            return [f"{path} is no list"]
        return [
            error for i, each in enumerate(value) for error in wrong_fields(each, kind[1:-1], f"{path}.{i}")
        ]
    if kind == "map":
        texts = isinstance(value, dict) and all(isinstance(each, str) for each in value.values())
        return [] if texts else [f"{path} is no map of texts"]
    if kind in SCALARS:
        # In Python a bool is also an int.
        right = isinstance(value, SCALARS[kind]) and (kind == "boolean" or not isinstance(value, bool))
        return [] if right else [f"{path} is no {kind}"]
    fields = SCHEMA["types"][kind]
    if not isinstance(value, dict):
        return [f"{path} is no {kind}"]
    errors = [f"{path} has no field {name}" for name in value if name not in fields]
    known = [name for name in value if name in fields]
    return errors + [
        error for name in known for error in wrong_fields(value[name], fields[name], f"{path}.{name}")
    ]


def container(document: Any) -> Any:
    template = document["spec"]["template"]
    (only,) = (template["spec"]["template"] if document["kind"] == "Job" else template)["spec"]["containers"]
    return only


@pytest.mark.parametrize("file", FILES)
def test_cloud_run_knows_every_field_and_annotation(file: str) -> None:
    assert errors_in(load(file)) == []


ALL_SETTINGS = {
    "DB_SSL": "verify-ca",
    "SERVER_ENV_TEXT": "it's: {a: 'text'} # and no comment",
    "WORKER_ENV_TEXT": "- [",
    "SERVER_SECRET_TOKEN": "our-token",
    "WORKER_SECRET_TOKEN": "our-token:3",
}
IAP = {"IAP": "yes", "WORKER_COUNT": "0", "ACCESS": "public"}
HA = {"SCALE": "ha", "DB_TIER": "db-custom-1-3840"}


def filled(**settings: str) -> list[Any]:
    """What the scripts give to Cloud Run with these settings."""
    documents = []
    for script in ("setup", "deploy", "verify"):
        if script == "verify" and settings.get("IAP") == "yes":
            continue
        result = subprocess.run(
            [SCRIPTS / script, "--dry-run"],
            env={"PATH": "/usr/bin:/bin", "PROJECT_ID": "my-cloud-project"} | settings,
            capture_output=True,
            text=True,
            check=True,
        )
        documents += [yaml.safe_load(shown.yaml) for shown in shown_commands(result.stdout) if shown.yaml]
    return documents


@pytest.mark.parametrize(
    "settings",
    [{}, ALL_SETTINGS, ALL_SETTINGS | {"ACCESS": "internal"}, {"ACCESS": "public"}, IAP, HA, HA | ALL_SETTINGS, HA | IAP],
    ids=["defaults", "all", "internal", "public", "IAP", "ha", "ha-all", "ha-IAP"],
)
def test_cloud_run_knows_what_the_scripts_make_of_the_files(settings: dict[str, str]) -> None:
    documents = filled(**settings)
    more = 2 if settings.get("SCALE") == "ha" else 0
    assert len(documents) == 2 + (settings.get("WORKER_COUNT") != "0") + (settings.get("ACCESS") == "internal") + more
    for document in documents:
        assert errors_in(document) == []
        names = [variable["name"] for variable in container(document)["env"]]
        assert len(names) == len(set(names))


def named(documents: list[Any], name: str) -> Any:
    return next(document for document in documents if document["metadata"]["name"] == name)


def test_extra_variables_and_secrets_are_in_the_manifests() -> None:
    documents = filled(**ALL_SETTINGS)
    for name, prefix, version in (("prefect-server", "SERVER", "latest"), ("prefect-worker", "WORKER", "3")):
        environment = {each["name"]: each for each in container(named(documents, name))["env"]}
        assert environment["TEXT"]["value"] == ALL_SETTINGS[f"{prefix}_ENV_TEXT"]
        assert environment["TOKEN"]["valueFrom"] == {"secretKeyRef": {"name": "our-token", "key": version}}


def test_verify_ca_mounts_the_instances_certificate() -> None:
    for name, variable in (("prefect-server", "DB_SSL_ROOT_CERT"), ("prefect-grants", "PGSSLROOTCERT")):
        document = named(filled(DB_SSL="verify-ca"), name)
        environment = {each["name"]: each.get("value") for each in container(document)["env"]}
        assert "verify-ca" in environment.values()
        template = document["spec"]["template"]
        spec = (template["spec"]["template"] if document["kind"] == "Job" else template)["spec"]
        (volume,) = spec["volumes"]
        (mount,) = container(document)["volumeMounts"]
        assert mount["name"] == volume["name"] and volume["secret"]["secretName"] == "prefect-db-ca"
        (item,) = volume["secret"]["items"]
        assert environment[variable] == f"{mount['mountPath']}/{item['path']}"
    for document in filled():
        assert "volumeMounts" not in container(document)


def test_two_servers_at_once_have_connections_enough() -> None:
    """A server takes up to its pool, its overflow and two more (tests/system/test_prefect_connections.py); db-f1-micro
    has 25 connections (docs.cloud.google.com/sql/docs/postgres/flags), of which PostgreSQL keeps 3 for superusers."""
    environment = {each["name"]: each.get("value") for each in container(named(filled(), "prefect-server"))["env"]}
    pool, overflow = (
        int(environment[f"PREFECT_SERVER_DATABASE_SQLALCHEMY_{name}"]) for name in ("POOL_SIZE", "MAX_OVERFLOW")
    )
    assert 2 * (pool + overflow + 2) <= 25 - 3
    more = filled(SERVER_ENV_PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_SIZE="20")
    environment = {each["name"]: each.get("value") for each in container(named(more, "prefect-server"))["env"]}
    assert environment["PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_SIZE"] == "20"


def test_with_internal_ingress_the_worker_comes_through_the_network() -> None:
    """Requests from Cloud Run count as internal if they go to the VPC network, in a subnet with Private Google Access
    (docs.cloud.google.com/run/docs/securing/ingress)."""
    documents = filled(ACCESS="internal")
    server, worker = named(documents, "prefect-server"), named(documents, "prefect-worker")
    assert server["metadata"]["annotations"]["run.googleapis.com/ingress"] == "internal"
    egress = "run.googleapis.com/vpc-access-egress"
    assert worker["spec"]["template"]["metadata"]["annotations"][egress] == "all-traffic"
    documents = filled()
    assert named(documents, "prefect-server")["metadata"]["annotations"]["run.googleapis.com/ingress"] == "all"
    worker = named(documents, "prefect-worker")
    assert worker["spec"]["template"]["metadata"]["annotations"][egress] == "private-ranges-only"


def test_nothing_is_asked_for_that_is_in_preview() -> None:
    """The readiness probe is generally available since SDK 573, worker pools since 565 (the SDK's release notes)."""
    for document in filled(**ALL_SETTINGS):
        assert "launch-stage" not in str(document)


@pytest.mark.parametrize("file", FILES)
def test_a_mistake_would_be_seen(file: str) -> None:
    def with_mistake(make: Any) -> list[str]:
        document = copy.deepcopy(load(file))
        make(document)
        return errors_in(document)

    assert with_mistake(lambda it: it.update(apiVersion="v1"))
    assert with_mistake(lambda it: container(it).update(imagePullPolice="Always"))
    assert with_mistake(lambda it: container(it).update(image=["a", "b"]))
    assert with_mistake(
        lambda it: container(it).update(livenessProbe={"httpGet": {"path": "/livez", "port": "8081"}})
    )
    assert with_mistake(lambda it: container(it)["env"][0].update(value=1))
    assert with_mistake(
        lambda it: it["metadata"].setdefault("annotations", {}).update({"run.googleapis.com/minscale": "1"})
    )
    assert with_mistake(
        lambda it: it["spec"]["template"]["metadata"]["annotations"].update(
            {"run.googleapis.com/ingress": "all"}
        )
    )
    assert with_mistake(
        lambda it: it["spec"]["template"]["metadata"]["annotations"].update(
            {"run.googleapis.com/vpc-access-egress": True}
        )
    )


@pytest.mark.parametrize(
    ("file", "path"),
    [("service.yaml", "/startupz"), ("worker-pool.yaml", "/livez"), ("services-pool.yaml", "/startupz")],
)
def test_the_startup_probe_has_the_longest_time_that_cloud_run_allows(file: str, path: str) -> None:
    """No start is tried here: the file is read, since Direct VPC egress may take a minute to come up, and Prefect's start
    takes many times longer on a slow processor. The most is 240 s for a startup probe (Cloud Run, "Configure container
    health checks")."""
    probe = container(load(file))["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == 240
    # The worker waits for its access for longer than that, and its program says so itself.
    assert probe["httpGet"] == {"path": path, "port": 8081}


@pytest.mark.parametrize("file", ["service.yaml", "worker-pool.yaml", "services-pool.yaml"])
def test_every_probe_asks_the_supervisor_and_keeps_to_the_limits_of_cloud_run(file: str) -> None:
    probes = {name: probe for name, probe in container(load(file)).items() if name.endswith("Probe")}
    # A worker pool has no readiness probe.
    names = ["livenessProbe", "readinessProbe", "startupProbe"]
    assert sorted(probes) == (names if file == "service.yaml" else [names[0], names[2]])
    startup = "/livez" if file == "worker-pool.yaml" else "/startupz"
    paths = {"livenessProbe": "/livez", "readinessProbe": "/readyz", "startupProbe": startup}
    for name, probe in probes.items():
        assert probe["httpGet"] == {"path": paths[name], "port": 8081}
        assert 1 <= probe["timeoutSeconds"] <= probe["periodSeconds"]
        assert "initialDelaySeconds" not in probe or name != "readinessProbe"


def test_the_server_is_one_instance_with_its_cpu_and_gen2() -> None:
    service = named(filled(), "prefect-server")
    annotations = service["metadata"]["annotations"] | service["spec"]["template"]["metadata"]["annotations"]
    # At the service's level, across its revisions (docs.cloud.google.com/run/docs/configuring/max-instances), and at that
    # of each.
    assert annotations["run.googleapis.com/minScale"] == annotations["run.googleapis.com/maxScale"] == "1"
    assert annotations["autoscaling.knative.dev/maxScale"] == "1"
    assert annotations["run.googleapis.com/cpu-throttling"] == "false"
    assert annotations["run.googleapis.com/execution-environment"] == "gen2"


@pytest.mark.parametrize("file", ["service.yaml", "services-pool.yaml", "migrate-job.yaml"])
def test_the_server_has_a_token_for_the_database_alone_and_rotates_it_in_place(file: str) -> None:
    environment = {variable["name"]: variable["value"] for variable in container(load(file))["env"]}
    assert environment["SUPERVISOR_TOKEN_SCOPE"] == "https://www.googleapis.com/auth/sqlservice.login"
    assert environment["SUPERVISOR_ROTATION"] == "in-place"


def test_what_is_recorded_says_of_which_sdk_it_is() -> None:
    for name in ("cloud_run_schema.json", "gcloud_commands.json"):
        assert "Google Cloud SDK" in json.loads(Path(HERE / name).read_text())["source"]
