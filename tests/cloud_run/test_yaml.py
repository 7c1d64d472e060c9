"""The YAML files are compared with the schema of Cloud Run's API, which record_gcloud.py recorded."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from google_cloud import HERE, SCRIPTS

SCHEMA = json.loads((HERE / "cloud_run_schema.json").read_text())
FILES = ["service.yaml", "worker-pool.yaml", "grants-job.yaml"]
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
            if resource not in SCHEMA["annotations"].get(name, []):
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


@pytest.mark.parametrize("file", ["service.yaml", "worker-pool.yaml"])
def test_the_startup_probe_has_the_longest_time_that_cloud_run_allows(file: str) -> None:
    """No start is tried here: the file is read, since Direct VPC egress may take a minute to come up, and Prefect's start
    takes many times longer on a slow processor. The most is 240 s for a startup probe (Cloud Run, "Configure container
    health checks")."""
    probe = container(load(file))["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == 240
    assert probe["httpGet"] == {"path": "/startupz", "port": 8081}


@pytest.mark.parametrize("file", ["service.yaml", "worker-pool.yaml"])
def test_every_probe_asks_the_supervisor_and_keeps_to_the_limits_of_cloud_run(file: str) -> None:
    probes = {name: probe for name, probe in container(load(file)).items() if name.endswith("Probe")}
    # A worker pool has no readiness probe.
    names = ["livenessProbe", "readinessProbe", "startupProbe"]
    assert sorted(probes) == (names if file == "service.yaml" else [names[0], names[2]])
    paths = {"livenessProbe": "/livez", "readinessProbe": "/readyz", "startupProbe": "/startupz"}
    for name, probe in probes.items():
        assert probe["httpGet"] == {"path": paths[name], "port": 8081}
        assert 1 <= probe["timeoutSeconds"] <= probe["periodSeconds"]
        assert "initialDelaySeconds" not in probe or name != "readinessProbe"


def test_the_server_is_one_instance_with_its_cpu_and_gen2() -> None:
    service = load("service.yaml")
    annotations = service["metadata"]["annotations"] | service["spec"]["template"]["metadata"]["annotations"]
    assert (
        annotations["run.googleapis.com/minScale"] == annotations["autoscaling.knative.dev/maxScale"] == "1"
    )
    assert annotations["run.googleapis.com/cpu-throttling"] == "false"
    assert annotations["run.googleapis.com/execution-environment"] == "gen2"


def test_the_server_has_a_token_for_the_database_alone_and_rotates_it_in_place() -> None:
    environment = {variable["name"]: variable["value"] for variable in container(load("service.yaml"))["env"]}
    assert environment["DB_SSL"] == "require"
    assert environment["SUPERVISOR_TOKEN_SCOPE"] == "https://www.googleapis.com/auth/sqlservice.login"
    assert environment["SUPERVISOR_ROTATION"] == "in-place"


@pytest.mark.parametrize("file", ["service.yaml", "worker-pool.yaml"])
def test_the_server_and_the_worker_need_no_secret(file: str) -> None:
    assert all("valueFrom" not in variable for variable in container(load(file))["env"])
    assert "volumes" not in load(file)["spec"]["template"]["spec"]


def test_what_is_recorded_says_of_which_sdk_it_is() -> None:
    for name in ("cloud_run_schema.json", "gcloud_commands.json"):
        assert "Google Cloud SDK" in json.loads(Path(HERE / name).read_text())["source"]
