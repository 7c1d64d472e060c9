"""The alert policies of deploy/cloud_run/alerts: Cloud Monitoring knows their fields, docs/operations.md has the lines
that they look for, and each of them finds the line that the real program writes, and no other line.

alert_policy_schema.json names the file of the SDK that it was taken from. That a log-based policy has one condition and
needs a limit on its notifications is in the reference of AlertPolicy and of AlertStrategy:
https://docs.cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.alertPolicies
The language of the filters: https://docs.cloud.google.com/logging/docs/view/logging-query-language
How Cloud Run's log gets its fields: https://docs.cloud.google.com/logging/docs/structured-logging
"""

from __future__ import annotations

import copy
import json
import os
import re
import signal
from pathlib import Path
from string import Template
from typing import Any

import pytest
import yaml

from children import child
from google_cloud import HERE, SCRIPTS
from google_emulator.client import GoogleEmulator
from supervisor import REPOSITORY, ReservedPort, Supervisor

TYPES = json.loads((HERE / "alert_policy_schema.json").read_text())["types"]
FILES = sorted((SCRIPTS / "alerts").glob("*.yaml"))
VALUES = {
    "NAME": "blue",
    "SERVER_SERVICE": "blue-server",
    "PROJECT_ID": "my-project",
    "NOTIFICATION_CHANNEL": "projects/my-project/notificationChannels/1",
}
SCALARS = {"string": str, "boolean": bool}
SEVERITIES = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
TOKEN = re.compile(r'\s*(AND\b|OR\b|[()]|[A-Za-z_.]+|=~|>=|=|:|"(?:[^"\\]|\\.)*"|[A-Z]+)')

every_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def load(file: Path) -> Any:
    return yaml.safe_load(Template(file.read_text()).substitute(VALUES))


def wrong_fields(value: Any, kind: str, path: str) -> list[str]:
    if kind.startswith("["):
        if not isinstance(value, list):
            return [f"{path} is no list"]
        return [error for i, each in enumerate(value) for error in wrong_fields(each, kind[1:-1], f"{path}.{i}")]
    if kind == "map":
        return [] if isinstance(value, dict) else [f"{path} is no map"]
    if kind in SCALARS:
        return [] if isinstance(value, SCALARS[kind]) else [f"{path} is no {kind}"]
    if "|" in kind:
        return [] if value in kind.split("|") else [f"{path} is none of {kind}"]
    if not isinstance(value, dict):
        return [f"{path} is no {kind}"]
    fields = TYPES[kind]
    return [f"{path} has no field {name}" for name in value if name not in fields] + [
        error for name in value if name in fields for error in wrong_fields(value[name], fields[name], f"{path}.{name}")
    ]


def filter_of(policy: Any) -> str:
    (condition,) = policy["conditions"]
    return str(condition["conditionMatchedLog"]["filter"])


def log_entry(line: str, service: str = "blue-server") -> dict[str, Any]:
    """What Cloud Logging makes of a line of JSON: it takes `severity` and `time` for fields of its own."""
    payload = json.loads(line)
    entry = {
        "resource": {"type": "cloud_run_revision", "labels": {"service_name": service}},
        "severity": payload.pop("severity"),
        "timestamp": payload.pop("time"),
    }
    return entry | {"jsonPayload": payload}


def matches(text: str, entry: dict[str, Any]) -> bool:
    """Whether the filter finds the entry. This knows the part of the language that the policies use, and no other."""
    tokens = []
    rest = text.strip()
    while rest:
        token = TOKEN.match(rest)
        assert token, f"the filter has {rest!r}"
        tokens.append(token[1])
        rest = rest[token.end() :].strip()

    def factor() -> bool:
        name = tokens.pop(0)
        if name == "(":
            found = expression()
            assert tokens.pop(0) == ")"
            return found
        operator, wanted = tokens.pop(0), tokens.pop(0)
        if wanted.startswith('"'):
            wanted = json.loads(wanted)
        value: Any = entry
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is None:
            return False
        if operator == ">=":
            assert name == "severity"
            return SEVERITIES.index(value) >= SEVERITIES.index(wanted)
        if operator == "=~":
            return re.search(wanted, value) is not None
        # Of all comparisons, only regular expressions tell upper from lower case.
        return wanted.lower() in value.lower() if operator == ":" else bool(value.lower() == wanted.lower())

    def expression() -> bool:
        found = factor()
        joined = {tokens[0]} if tokens and tokens[0] in ("AND", "OR") else set()
        while tokens and tokens[0] in ("AND", "OR"):
            # OR binds closer than AND in this language, unlike in most; brackets make it plain.
            assert tokens[0] in joined, "AND and OR in one list need brackets"
            word, right = tokens.pop(0), factor()
            found = (found and right) if word == "AND" else (found or right)
        return found

    found = expression()
    assert not tokens, f"the filter has {tokens} at its end"
    return found


def alerts_on(entry: dict[str, Any]) -> list[str]:
    return [file.stem for file in FILES if matches(filter_of(load(file)), entry)]


def alerts_of(supervisor: Supervisor) -> dict[str, list[str]]:
    """The message of every line that alerts, with the policies that do so."""
    found = {line.message: alerts_on(log_entry(line.raw)) for line in supervisor.log}
    return {message: names for message, names in found.items() if names}


def test_there_is_a_policy_for_each_of_the_four_signs() -> None:
    assert [file.stem for file in FILES] == [
        "database-not-reachable",
        "ended-by-itself",
        "not-ready",
        "token-not-replaced",
    ]


@every_file
def test_cloud_monitoring_knows_every_field(file: Path) -> None:
    assert wrong_fields(load(file), "AlertPolicy", "policy") == []


@every_file
def test_a_mistake_would_be_seen(file: Path) -> None:
    def with_mistake(make: Any) -> list[str]:
        policy = copy.deepcopy(load(file))
        make(policy)
        return wrong_fields(policy, "AlertPolicy", "policy")

    assert with_mistake(lambda policy: policy.update(channels=[])) == ["policy has no field channels"]
    assert with_mistake(lambda policy: policy.update(combiner="ANY"))[0].startswith("policy.combiner is none of")
    assert with_mistake(lambda policy: policy["conditions"][0]["conditionMatchedLog"].update(filter=3)) == [
        "policy.conditions.0.conditionMatchedLog.filter is no string"
    ]


@every_file
def test_the_policy_is_one_that_log_based_alerts_can_be(file: Path) -> None:
    policy = load(file)
    assert [sorted(condition) for condition in policy["conditions"]] == [["conditionMatchedLog", "displayName"]]
    assert policy["combiner"] == "OR"
    assert re.fullmatch(r"\d+s", policy["alertStrategy"]["notificationRateLimit"]["period"])
    assert re.fullmatch(r"\d+s", policy["alertStrategy"]["autoClose"])


@every_file
def test_it_names_the_environment_and_needs_no_other_value(file: Path) -> None:
    text = file.read_text()
    assert set(re.findall(r"\$\{(\w+)\}", text)) == {"NAME", "SERVER_SERVICE", "PROJECT_ID", "NOTIFICATION_CHANNEL"}
    policy = load(file)
    assert policy["displayName"].startswith("blue: ")
    assert policy["notificationChannels"] == [VALUES["NOTIFICATION_CHANNEL"]]


@every_file
def test_operations_md_has_the_line_that_the_filter_looks_for(file: Path) -> None:
    (wanted,) = set(re.findall(r'(?:message|textPayload)(?::|=~)"([^"]*)"', filter_of(load(file))))
    pattern = wanted if wanted.startswith("^") else "^" + re.escape(wanted)
    # The lines of the log, which stand first in the rows of tables.
    lines = re.findall(r"^\| `([^`]*)`", (REPOSITORY / "docs/operations.md").read_text(), re.MULTILINE)
    assert [line for line in lines if re.search(pattern, line)]


@every_file
def test_google_cloud_md_says_what_the_policy_means(file: Path) -> None:
    rows = re.findall(r"^\| ([\w-]+) \| `([^`]*)`", (REPOSITORY / "docs/google-cloud.md").read_text(), re.MULTILINE)
    (line,) = (line for name, line in rows if name == file.stem)
    wanted = line.replace("…", "10.0.0.5:5432") + " 2m"
    entry = {"severity": "ERROR", "time": "2026-11-25T20:00:00.000Z", "message": wanted}
    assert alerts_on(log_entry(json.dumps(entry))) == [file.stem]


def test_a_server_that_ends_by_itself_alerts() -> None:
    with Supervisor("--log-format", "json", "--no-token", command=["sh", "-c", "exit 3"]) as supervisor:
        assert supervisor.wait() == 3
        assert alerts_of(supervisor) == {"child: ended by itself": ["ended-by-itself"]}
        (line,) = (line for line in supervisor.log if line.message == "child: ended by itself")
        # The same line of another environment's service is none of this environment's concern.
        assert alerts_on(log_entry(line.raw, service="green-server")) == []


def test_a_server_that_is_stopped_or_ends_well_alerts_nobody() -> None:
    with Supervisor("--log-format", "json", "--no-token", command=["true"]) as supervisor:
        assert supervisor.wait() == 0
        assert "child: ended by itself" in supervisor.messages()
        assert alerts_of(supervisor) == {}
    with Supervisor("--log-format", "json", "--no-token", command=["sleep", "600"]) as supervisor:
        supervisor.wait_for_log("child: started")
        assert supervisor.stop() == 128 + signal.SIGTERM
        assert alerts_of(supervisor) == {}


def test_a_database_that_cannot_be_reached_alerts() -> None:
    with (
        ReservedPort() as port,
        GoogleEmulator(postgres=False, token_life="1h") as emulator,
        Supervisor(
            *("--log-format", "json", "--db-wait", "1s", "--db-port", str(port.number)),
            command=["sleep", "600"],
            emulator=emulator,
        ) as supervisor,
    ):
        assert supervisor.wait() == 1
        (message,) = (message for message in supervisor.messages() if "can't be reached within" in message)
        assert alerts_of(supervisor) == {message: ["database-not-reachable"]}
        # The line has no other field than its message, so that it may be kept as plain text.
        (line,) = (line for line in supervisor.log if line.message == message)
        assert line.fields == {}
        entry = log_entry(line.raw)
        entry["textPayload"] = entry.pop("jsonPayload")["message"]
        assert alerts_on(entry) == ["database-not-reachable"]


def test_a_token_that_is_not_replaced_alerts() -> None:
    with (
        GoogleEmulator(postgres=False, token_life="10s") as emulator,
        Supervisor(
            *("--log-format", "json", "--db-wait", "off", "--ready-url", "off"),
            command=["sleep", "600"],
            emulator=emulator,
        ) as supervisor,
    ):
        supervisor.wait_for_log("child: started")
        emulator.script({"status": 503, "times": 1000})
        line = supervisor.wait_for_log("token: expired and not replaced")
        assert alerts_of(supervisor) == {line.message: ["token-not-replaced"]}


def test_a_server_that_answers_no_more_alerts(tmp_path: Path) -> None:
    (tmp_path / "open").touch()
    (tmp_path / "good").touch()
    with Supervisor(
        "--log-format",
        "json",
        "--no-token",
        command=child("serves_health", tmp_path),
        ready_url="http://127.0.0.1:{port}/api/health",
    ) as supervisor:
        supervisor.wait_for_health("/readyz")
        os.kill(supervisor.child_pid, signal.SIGSTOP)
        line = supervisor.wait_for_log("child: not ready any more")
        assert alerts_of(supervisor) == {line.message: ["not-ready"]}
        os.kill(supervisor.child_pid, signal.SIGCONT)
