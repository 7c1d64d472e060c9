"""/status is what docs/status.schema.json says, in each state and mode."""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from signal import SIGTERM
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from children import child
from google_emulator.client import GoogleEmulator
from rolling import DRAINED, READY_URL, ROTATES, flags
from socket_child import socket_child
from supervisor import ReservedPort, Supervisor, wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((REPOSITORY / "docs/status.schema.json").read_text())
SOURCES = REPOSITORY / "supervisor"


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with no room for keys that it does not describe. Its readers have to accept these; our program must not
    have any."""
    found = copy.deepcopy(schema)
    for part in (found, found["properties"]["child"], found["properties"]["token"]):
        part["additionalProperties"] = False
    return found


VALIDATOR = Draft202012Validator(closed(SCHEMA), format_checker=Draft202012Validator.FORMAT_CHECKER)


def deviations(status: dict[str, Any]) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(status)]


def checked(supervisor: Supervisor) -> dict[str, Any]:
    status = supervisor.status()
    assert deviations(status) == [], status
    return status


def wait_for_state(supervisor: Supervisor, state: str) -> dict[str, Any]:
    def reached() -> dict[str, Any] | None:
        status = checked(supervisor)
        return status if status["state"] == state else None

    return wait_until(reached, f"the state {state!r}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a child that answers its readiness question at once."""
    for name in ("open", "good"):
        (tmp_path / name).touch()
    return tmp_path


# The schema


def test_the_schema_is_one_and_describes_every_key() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    for part in (SCHEMA, SCHEMA["properties"]["child"], SCHEMA["properties"]["token"]):
        assert list(part["properties"]) == part["required"]
        assert all(described["description"] for described in part["properties"].values())


def test_the_words_of_the_schema_are_those_of_the_program() -> None:
    phases = re.findall(r'case Phase::(\w+): return "([^"]+)"', (SOURCES / "base/child_phase.cpp").read_text())
    assert len(phases) == 11
    serving = {"running", "overlapping", "handing_over", "retiring"}
    report = (SOURCES / "health/health_report.cpp").read_text()
    (of_a_serving_child,) = re.findall(r"return token_expired\(facts\) \?(.+);", report)
    (for_the_database,) = re.findall(r'waiting_for_database = "(.+)";', report)
    states = {word for phase, word in phases if phase not in serving}
    states |= {*re.findall(r'"(\w+)"', of_a_serving_child), for_the_database}
    assert set(SCHEMA["properties"]["state"]["enum"]) == states
    steps = {word for phase, word in phases if phase in serving - {"running"}}
    assert set(SCHEMA["properties"]["rotation"]["enum"]) == steps | {None}


GOOD = {
    "version": "0.1.0",
    "state": "ready",
    "child": {"pid": 7, "uptime_seconds": 1.5},
    "restarts": 0,
    "rotations": 0,
    "rotation": None,
    "orphans_reaped": 0,
    "token": {"hash": "0123abcd", "expires_at": "2026-11-30T00:53:20Z", "expires_in_seconds": 3000.0},
    "next_refresh_in_seconds": 90.0,
    "last_error": None,
}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda status: status.pop("last_error"),
        lambda status: status.update(more=1),
        lambda status: status.update(state="good"),
        lambda status: status.update(rotation="turning"),
        lambda status: status.update(restarts=-1),
        lambda status: status.update(rotations=1.5),
        lambda status: status.update(child={"pid": 7}),
        lambda status: status["child"].update(pid="7"),
        lambda status: status["token"].update(hash="0123ABCD"),
        lambda status: status["token"].update(expires_at="2026-11-30 00:53:20"),
        lambda status: status["token"].update(expires_in_seconds=None),
        lambda status: status["token"].update(text="ya29."),
        lambda status: status.update(next_refresh_in_seconds=-1),
        lambda status: status.update(last_error=""),
    ],
)
def test_an_answer_that_is_not_as_the_schema_has_it_is_noticed(spoil: Callable[[dict[str, Any]], Any]) -> None:
    assert deviations(GOOD) == []
    status = copy.deepcopy(GOOD)
    spoil(status)
    assert deviations(status) != []


def test_a_reader_accepts_keys_of_a_later_version() -> None:
    assert Draft202012Validator(SCHEMA).is_valid(GOOD | {"more": 1})


# States


def test_from_the_first_token_to_the_end(emulator: GoogleEmulator, tmp_path: Path) -> None:
    emulator.script({"status": 503, "times": 1000})
    with Supervisor(
        "--stop-timeout",
        "10m",
        "--stop-delay",
        "5s",
        command=child("serves_health", tmp_path, "waits"),
        emulator=emulator,
    ) as supervisor:
        supervisor.wait_for_log("token: can't get one")
        status = wait_for_state(supervisor, "waiting for the first token")
        assert status["child"] is None and status["token"] is None and "503" in status["last_error"]
        emulator.clear()
        supervisor.wait_for_output("up")
        assert wait_for_state(supervisor, "starting")["last_error"] is None
        for name in ("open", "good"):
            (tmp_path / name).touch()
        assert wait_for_state(supervisor, "ready")["rotation"] is None
        supervisor.signal(SIGTERM)
        # It may be over before this process runs again.
        status = checked(supervisor)
        assert status["state"] in ("about to stop", "stopping")
        supervisor.wait_for_output("draining")
        assert checked(supervisor)["state"] == "stopping"
        (tmp_path / "drained").touch()
        supervisor.wait()


def test_while_the_database_can_not_be_reached(emulator: GoogleEmulator) -> None:
    with ReservedPort("127.0.0.1") as nobody:
        variables = {"DB_PORT": str(nobody.number), "SUPERVISOR_DB_WAIT": "10m"}
        with Supervisor(command=["true"], emulator=emulator, environment=variables) as supervisor:
            supervisor.wait_for_log("can't be reached yet")
            status = wait_for_state(supervisor, "waiting for the database")
            assert status["child"] is None and "refused" in status["last_error"]


def test_with_an_expired_token_in_place(emulator: GoogleEmulator, folder: Path) -> None:
    emulator.settings(life="10s")
    emulator.script({"answer": "token"}, {"status": 503, "times": 1000})
    with Supervisor("--rotation", "in-place", command=child("serves_health", folder), emulator=emulator) as supervisor:
        supervisor.wait_for_log("child: ready")
        status = wait_for_state(supervisor, "expired")
        assert status["token"]["expires_in_seconds"] <= 0 and "503" in status["last_error"]
        emulator.settings(life="1h")
        emulator.clear()
        assert wait_for_state(supervisor, "ready")["rotations"] == 1


def test_without_a_token() -> None:
    with Supervisor("--no-token", command=child("makes_orphans", 3)) as supervisor:
        supervisor.wait_for_output("made")
        status = wait_until(
            lambda: (found := checked(supervisor))["orphans_reaped"] == 3 and found, "three orphans to be reaped"
        )
        assert status["state"] == "ready"
        assert status["token"] is None and status["next_refresh_in_seconds"] is None


@pytest.mark.long
def test_in_a_restart_and_in_a_rolling_rotation(tokens: GoogleEmulator, folder: Path) -> None:
    """Both rotate 30 s after the start, and are held in each step until it was looked at."""
    patient = flags({"--drain-timeout": "10m", "--stop-timeout": "1s", "--start-deadline": "10m"})
    with (
        Supervisor(
            "--rotation",
            "restart",
            "--refresh-interval",
            "25s",
            *patient,
            command=child("serves_health", folder, "waits"),
            emulator=tokens,
        ) as restarting,
        Supervisor(
            *ROTATES,
            *patient,
            command=socket_child(folder, "serves-holds", "waits"),
            emulator=tokens,
            ready_url=READY_URL,
        ) as rolling,
    ):
        rolling.wait_for_log("child: ready")
        checked(rolling)
        restarting.wait_for_output("draining")
        status = wait_for_state(restarting, "draining")
        assert status["child"] is not None and status["rotations"] == 0
        (folder / "drained").touch()
        restarting.wait_for_log("child: ready", count=2)
        assert checked(restarting)["restarts"] == checked(restarting)["rotations"] == 1

        rolling.wait_for_output("2 up")
        old = wait_for_state(rolling, "ready")
        assert old["rotation"] == "starting the next child" and old["rotations"] == 0
        (folder / "listen").touch()
        rolling.wait_for_output("1 drains")
        new = wait_for_state(rolling, "ready")
        assert new["rotation"] == "ending the other child" and new["rotations"] == 1
        assert new["child"]["pid"] != old["child"]["pid"]
        # Its second one.
        os.kill(old["child"]["pid"], SIGTERM)
        rolling.wait_for_log(DRAINED)
        assert checked(rolling)["rotation"] is None
