"""deploy/terraform against the schemas of the providers, which record_schema.py recorded, and against the settings of
deploy/cloud_run. The parser is python-hcl2; test_terraform.py has Terraform itself read the module."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from module import MODULE, REPOSITORY, blocks_of, members, parsed, texts

SCHEMAS = json.loads(Path(__file__).with_name("provider_schema.json").read_text())["schemas"]
# The arguments of Terraform itself.
META = {"count", "for_each", "depends_on", "provider", "lifecycle"}
KINDS = ("resource", "data", "ephemeral")
OBJECTS = {(kind, *labels): block for kind in KINDS for labels, block in blocks_of(MODULE, kind).items()}
every_object = pytest.mark.parametrize("key", OBJECTS, ids=".".join)

# The settings of deploy/cloud_run with their defaults; $ stands for NAME. None: there is no default, or none that a
# file can have.
SETTINGS: dict[str, Any] = {
    "PROJECT_ID": None,
    "REGION": "us-central1",
    "NAME": "prefect",
    "SERVER_SERVICE": "$-server",
    "WORKER_SERVICE": "$-worker",
    "REPO_NAME": "$-repo",
    "DB_INSTANCE_NAME": "$-db",
    "DB_NAME": "prefect",
    "DB_SCHEMA": "public",
    "DB_USER": "$-sa",
    "WORKER_ACCOUNT": "$-worker",
    "GRANTS_ACCOUNT": "$-grants",
    "PSC_NETWORK_NAME": "$-network",
    "SUBNET": "$-subnet",
    "SUBNET_RANGE": "10.0.0.0/24",
    "DB_ADDRESS": "$-db-ip",
    "DB_IP": "10.0.0.5",
    "DB_ENDPOINT": "$-db-endpoint",
    "GRANTS_JOB": "$-grants",
    "GRANTS_SECRET": "$-grants-password",
    "NETWORK": "new",
    "NETWORK_PROJECT": None,
    "DB_INSTANCE": "new",
    "DB_TIER": "db-f1-micro",
    "DB_EDITION": "ENTERPRISE",
    "DB_HIGH_AVAILABILITY": "no",
    "DB_BACKUPS": "yes",
    "DB_POINT_IN_TIME_RECOVERY": "no",
    "DB_DELETION_PROTECTION": "no",
    "DB_FINAL_BACKUP": "no",
    "DB_SSL": "require",
    "ACCESS": "password",
    "AUTH_SECRET": "$-auth",
    "IAP": "no",
    "UI_URL": None,
    "IMAGE_TAG": "v1",
    "SERVER_CPU": "1",
    "SERVER_MEMORY": "1Gi",
    "WORKER_CPU": "1",
    "WORKER_MEMORY": "1Gi",
    "WORKER_COUNT": 1,
    "WORK_POOL": "cloud-run-pool",
    "ALERT_EMAIL": None,
}
# SERVER_ENV_X and its like are maps here.
FAMILIES = {
    "SERVER_ENV_": "server_env",
    "WORKER_ENV_": "worker_env",
    "SERVER_SECRET_": "server_secrets",
    "WORKER_SECRET_": "worker_secrets",
}
# Terraform builds no image, and has patience of its own.
SCRIPTS_ONLY = {"BUILD", "PREFECT_VERSION", "VERIFY_TIMEOUT", "RETRY_PAUSE", "PATIENCE"}
# The module has one server; more than one of them is made by the scripts alone.
SCRIPTS_ONLY |= {"SCALE", "API_INSTANCES", "API_MAX_INSTANCES", "SERVICES_POOL", "MIGRATE_JOB", "DB_MAX_CONNECTIONS"}
SCRIPTS_ONLY |= {"REDIS_INSTANCE", "REDIS_TIER", "REDIS_SIZE"}
TERRAFORM_ONLY = {"server_image", "worker_image", "iap_members", "auth_version", "grants_version"}


def errors_in(block: dict[str, Any], schema: dict[str, Any], path: str, meta: set[str]) -> Iterator[str]:
    arguments, nested = members(block)
    attributes, block_types = schema["attributes"], schema.get("block_types", {})
    for name in arguments.keys() - meta:
        attribute = attributes.get(name)
        if attribute is None:
            yield f"{path} has no argument {name}"
        elif not attribute.get("optional") and not attribute.get("required"):
            yield f"{path}.{name} can only be read"
        elif attribute.get("deprecated"):
            yield f"{path}.{name} is deprecated"
    for name, attribute in attributes.items():
        if attribute.get("required") and name not in arguments:
            yield f"{path} lacks {name}"
    counts: dict[str, int] = {}
    for name, inner, dynamic in nested:
        if name in meta:
            continue
        if name not in block_types:
            yield f"{path} has no block {name}"
            continue
        counts[name] = counts.get(name, 0) + (0 if dynamic else 1)
        yield from errors_in(inner, block_types[name]["block"], f"{path}.{name}", set())
    for name, kind in block_types.items():
        if kind.get("min_items", 0) and name not in {each for each, _, _ in nested}:
            yield f"{path} lacks the block {name}"
        if kind.get("max_items") and counts.get(name, 0) > kind["max_items"]:
            yield f"{path} has the block {name} too often"


def errors_of(key: tuple[str, ...], block: dict[str, Any]) -> list[str]:
    kind, resource, _ = key
    return list(errors_in(block, SCHEMAS[f"{kind} {resource}"], resource, META))


@every_object
def test_the_provider_knows_every_argument_and_block(key: tuple[str, ...]) -> None:
    assert errors_of(key, OBJECTS[key]) == []


def test_a_mistake_would_be_seen() -> None:
    key = ("resource", "google_cloud_run_v2_service", "server")
    service = OBJECTS[key]
    (template,) = service["template"]
    (container,) = template["containers"]

    def with_container(**changes: Any) -> list[str]:
        changed = {name: value for name, value in (container | changes).items() if value is not None}
        return errors_of(key, service | {"template": [template | {"containers": [changed]}]})

    path = "google_cloud_run_v2_service.template.containers"
    assert with_container(memory="1Gi") == [f"{path} has no argument memory"]
    assert with_container(image=None) == [f"{path} lacks image"]
    assert with_container(probe=container["liveness_probe"]) == [f"{path} has no block probe"]
    assert with_container(liveness_probe=container["liveness_probe"] * 2) == [
        f"{path} has the block liveness_probe too often"
    ]
    assert errors_of(key, service | {"uri": "x"}) == ["google_cloud_run_v2_service.uri can only be read"]
    assert errors_of(key, {name: value for name, value in service.items() if name != "template"}) == [
        "google_cloud_run_v2_service lacks the block template"
    ]


def expressions() -> list[str]:
    return [text for file in sorted(MODULE.glob("*.tf")) for text in texts(parsed(file))]


def locals_defined() -> set[str]:
    return {
        name
        for file in MODULE.glob("*.tf")
        for block in parsed(file).get("locals", [])
        for name in block
        if not name.startswith("__")
    }


def test_every_variable_is_used_and_described() -> None:
    variables = blocks_of(MODULE, "variable")
    # A variable's own validation is no use of it.
    used = {
        name
        for file in MODULE.glob("*.tf")
        if file.name != "variables.tf"
        for text in texts(parsed(file))
        for name in re.findall(r"\bvar\.(\w+)", text)
    }
    assert used == {name for (name,) in variables}
    assert [name for (name,), block in variables.items() if not block.get("description")] == []
    local_uses = {name for text in expressions() for name in re.findall(r"\blocal\.(\w+)", text)}
    assert local_uses == locals_defined()


def test_every_reference_is_to_something_that_is_there() -> None:
    variables = {name for (name,) in blocks_of(MODULE, "variable")}
    wrong = []
    for text in expressions():
        wrong += [f"var.{name}" for name in re.findall(r"\bvar\.(\w+)", text) if name not in variables]
        pattern = r"\b((?:data|ephemeral)\.)?((?:google|random)_\w+)\.(\w+)(?:\[[^\]]*\])?(?:\.(\w+))?"
        for kind, resource, name, attribute in re.findall(pattern, text):
            key = (kind.rstrip(".") or "resource", resource, name)
            if key not in OBJECTS:
                wrong.append(".".join(key))
            elif attribute and attribute not in SCHEMAS[f"{key[0]} {resource}"]["attributes"]:
                wrong.append(f"{'.'.join(key)}.{attribute}")
    assert wrong == []


def test_the_module_has_the_settings_of_the_scripts_and_their_defaults() -> None:
    variables = {name: block for (name,), block in blocks_of(MODULE, "variable").items()}
    expected = {name.lower() for name in SETTINGS} | set(FAMILIES.values()) | TERRAFORM_ONLY
    assert set(variables) == expected
    names = {name: value for block in parsed(MODULE / "names.tf")["locals"] for name, value in block.items()}
    for setting, default in SETTINGS.items():
        name = setting.lower()
        have = variables[name].get("default")
        if isinstance(default, str) and default.startswith("$"):
            assert have is None, name
            assert names[name] == f'${{coalesce(var.{name}, "${{var.name}}{default[1:]}")}}', name
        elif default in ("yes", "no"):
            assert have is (default == "yes"), name
        elif default is None:
            assert have is None, name
        else:
            assert have == (json.dumps(default) if isinstance(default, str) else default), name


def test_the_scripts_have_the_same_settings_and_the_same_defaults() -> None:
    text = (REPOSITORY / "deploy/cloud_run/settings.sh").read_text()
    scripts = {
        name: default.strip("'\"").replace("$NAME-", "$-")
        for name, default in re.findall(r"^\s*setting ([A-Z_]+) ('[^']*'|\"[^\"]*\"|\S+)", text, re.MULTILINE)
    }
    assert scripts.keys() == SETTINGS.keys() | SCRIPTS_ONLY
    for name, default in SETTINGS.items():
        # What has no default here is asked for, derived or absent there.
        assert scripts[name] in ("", "none", "$PROJECT_ID") if default is None else scripts[name] == str(default), name
    assert set(re.findall(r"^\s*extra_settings (\w+)", text, re.MULTILINE)) == FAMILIES.keys()
    defaults = dict(re.findall(r"^\s*default_extra SERVER_ENV_(\w+) (\S+)", text, re.MULTILINE))
    (connections,) = (block["connections"] for block in parsed(MODULE / "server.tf")["locals"])
    assert {name: value.strip('"') for name, value in connections.items() if not name.startswith("__")} == defaults
