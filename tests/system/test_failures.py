"""The metadata server fails, gives wrong answers or is silent while a child works: the child is left alone, one line
says why, and the next token comes after the pause that the line states. The same for a full disk under the password
file."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from children import child
from delivered import both_modes
from log_lines import LogLine
from metadata_failures import FAILURES
from prefect_load import HEALTH, ask
from processes import find_process
from secret_search import leaks_in
from supervisor import Supervisor, run, wait_until
from google_emulator.client import GoogleEmulator

SPREAD = 0.2
SHORTER_THAN_ANY = 0.1
FAILED = "token: can't get one"


def serving_child(folder: Path) -> list[str]:
    """Answers the readiness check from the start."""
    for name in ("open", "good"):
        (folder / name).touch()
    return child("serves_health", folder)


def password_file(supervisor: Supervisor) -> Path:
    process = find_process(supervisor.child_pid)
    assert process
    # The path as the child sees it, because the child may have another /dev/shm than this process.
    return Path(f"{process.directory}/root{process.environment['PGPASSFILE']}")


def wait_for_handover(supervisor: Supervisor, emulator: GoogleEmulator, timeout: float = 30.0) -> None:
    """Waits until the child's password file holds the token that the metadata server gives out now."""
    file = password_file(supervisor)

    def handed_over() -> bool:
        current = emulator.current_token()
        return current is not None and file.read_text() == f"*:*:*:*:{current.text}\n"

    wait_until(handed_over, "the newest token in the password file", timeout)


def failures(supervisor: Supervisor) -> list[LogLine]:
    return [line for line in supervisor.log if line.message.startswith(FAILED)]


def check_the_child_was_left_alone(supervisor: Supervisor, pid: int) -> None:
    status = supervisor.status()
    assert status["child"]["pid"] == pid == supervisor.child_pid
    assert status["restarts"] == 0
    assert ask(supervisor.port, HEALTH).error is None
    assert supervisor.health("/livez").status == 200


def check_no_token_was_shown(supervisor: Supervisor, emulator: GoogleEmulator) -> None:
    assert leaks_in("\n".join(supervisor.lines + supervisor.errors), emulator.tokens()) == []


def check_stated_pause(failure: LogLine, seconds: float) -> None:
    assert seconds * (1 - SPREAD) <= failure.fields["next_try_ms"] / 1000 <= seconds * (1 + SPREAD)


def check_pause(failure: LogLine, seconds: float, emulator: GoogleEmulator) -> None:
    """The pause that the line states is about `seconds`, and the next request did not come before its end. How long
    after it is not judged, because a busy machine wakes its processes late."""
    check_stated_pause(failure, seconds)
    # The log cuts its times to milliseconds.
    assert pause_after(failure, emulator) >= failure.fields["next_try_ms"] / 1000 - 0.001


def check_delivery(supervisor: Supervisor, emulator: GoogleEmulator, mode: str, pid: int) -> None:
    """The fresh token reaches the child in the way of the mode."""
    if mode == "in-place":
        wait_for_handover(supervisor, emulator)
        check_the_child_was_left_alone(supervisor, pid)
    else:
        # The new token waits until the child is 30 s old, or replaces it on a machine that was slow so far.
        supervisor.wait_for_log(lambda line: line.message.startswith(("rotation: held back", "rotation: draining")))


def pause_after(failure: LogLine, emulator: GoogleEmulator) -> float:
    """Seconds from a failure to the next request."""
    failed_at = failure.time.timestamp()
    pauses = [request.time - failed_at for request in emulator.token_requests()]
    # The log cuts its times to milliseconds, so the failed request itself may seem to be the later one.
    return next(pause for pause in pauses if pause > SHORTER_THAN_ANY)


@contextmanager
def working_child(
    emulator: GoogleEmulator, folder: Path, *arguments: str, mode: str = "in-place"
) -> Iterator[tuple[Supervisor, int]]:
    """A supervisor and the pid of its child, which is ready."""
    arguments = ("--rotation", mode, *arguments)
    with Supervisor(*arguments, emulator=emulator, command=serving_child(folder)) as supervisor:
        supervisor.wait_for_health("/readyz")
        yield supervisor, supervisor.child_pid


@pytest.fixture
def emulator() -> Iterator[GoogleEmulator]:
    """Every successful answer is a new token: a refresh interval of two seconds rotates every two seconds."""
    with GoogleEmulator(postgres=False, token_life="1m", cache_model="none") as it:
        yield it


@contextmanager
def second_request_answered(
    emulator: GoogleEmulator, folder: Path, step: dict[str, Any], mode: str = "in-place"
) -> Iterator[tuple[Supervisor, int]]:
    """The child works with the first token when the request for the next one is answered by `step`."""
    emulator.script({"answer": "token"}, step)
    with working_child(emulator, folder, "--refresh-interval", "2s", mode=mode) as (supervisor, pid):
        yield supervisor, pid


@both_modes
@pytest.mark.parametrize(("step", "why"), FAILURES.values(), ids=FAILURES.keys())
def test_a_failed_refresh_leaves_the_child_alone(
    emulator: GoogleEmulator, mode: str, step: dict[str, Any], why: str, tmp_path: Path
) -> None:
    with second_request_answered(emulator, tmp_path, step, mode) as (supervisor, pid):
        failure = supervisor.wait_for_log(FAILED)
        assert failure.severity == "WARNING"
        assert re.search(why, failure.message)
        # The current token is still valid.
        assert supervisor.health("/readyz").status == 200
        check_the_child_was_left_alone(supervisor, pid)

        supervisor.wait_for_log("token: fresh one in hand", count=2)
        check_pause(failure, 1, emulator)
        assert failures(supervisor) == [failure], "one failure, one line"
        check_delivery(supervisor, emulator, mode, pid)
        check_no_token_was_shown(supervisor, emulator)


@both_modes
def test_refused_connections_leave_the_child_alone(emulator: GoogleEmulator, mode: str, tmp_path: Path) -> None:
    step = {"answer": "refused", "seconds": 5}
    with second_request_answered(emulator, tmp_path, step, mode) as (supervisor, pid):
        for count, seconds in ((1, 1), (2, 2)):
            failure = supervisor.wait_for_log(FAILED, count=count)
            assert emulator.metadata in failure.message and "connect" in failure.message
            check_stated_pause(failure, seconds)
            check_the_child_was_left_alone(supervisor, pid)
        supervisor.wait_for_log("token: fresh one in hand", count=2)
        # How many tries were refused depends on the machine.
        last = failures(supervisor)[-1]
        assert pause_after(last, emulator) >= last.fields["next_try_ms"] / 1000 - 0.001
        check_delivery(supervisor, emulator, mode, pid)


@both_modes
@pytest.mark.parametrize(
    "step", [{"answer": "padded-token"}, {"answer": "token", "delay": 3}], ids=["padded", "late"]
)
def test_an_unusual_answer_that_is_good_is_taken(
    emulator: GoogleEmulator, mode: str, step: dict[str, Any], tmp_path: Path
) -> None:
    with second_request_answered(emulator, tmp_path, step, mode) as (supervisor, pid):
        fresh = supervisor.wait_for_log("token: fresh one in hand", count=2)
        unusual = emulator.token_requests()[1]
        assert unusual.answer == step["answer"]
        assert fresh.fields["hash"] == unusual.token
        assert failures(supervisor) == []
        if mode == "in-place":
            handed_over = supervisor.wait_for_log("rotation: fresh token handed over")
            assert handed_over.fields["hash"] == unusual.token
            check_the_child_was_left_alone(supervisor, pid)
        else:
            check_delivery(supervisor, emulator, mode, pid)


@both_modes
@pytest.mark.parametrize("as_date", [False, True], ids=["seconds", "date"])
def test_retry_after_is_honoured(emulator: GoogleEmulator, mode: str, as_date: bool, tmp_path: Path) -> None:
    until = int(time.time()) + 60
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(until))
    step = {"status": 503, "retry_after": date if as_date else 4}
    with second_request_answered(emulator, tmp_path, step, mode) as (supervisor, pid):
        failure = supervisor.wait_for_log(FAILED)
        if as_date:
            # The pause reaches to the date, wherever in between the answer came.
            assert abs(failure.time.timestamp() + failure.fields["next_try_ms"] / 1000 - until) <= 1.5
        else:
            supervisor.wait_for_log("token: fresh one in hand", count=2)
            check_pause(failure, 4, emulator)
        check_the_child_was_left_alone(supervisor, pid)


@both_modes
def test_the_pauses_between_failures_grow(emulator: GoogleEmulator, mode: str, tmp_path: Path) -> None:
    seconds = [1, 2, 4, 8, 15]
    step = {"status": 503, "times": len(seconds)}
    with second_request_answered(emulator, tmp_path, step, mode) as (supervisor, pid):
        supervisor.wait_for_log("token: fresh one in hand", count=2, timeout=60)
        lines = failures(supervisor)
        assert len(lines) == len(seconds)
        for failure, pause in zip(lines, seconds, strict=True):
            check_pause(failure, pause, emulator)
        check_delivery(supervisor, emulator, mode, pid)


@pytest.mark.long
@both_modes
def test_after_expiry_it_is_not_ready_but_alive_and_recovers(mode: str, tmp_path: Path) -> None:
    with (
        GoogleEmulator(postgres=False, token_life="10s") as emulator,
        working_child(emulator, tmp_path, mode=mode) as (supervisor, pid),
    ):
        emulator.script({"status": 503, "times": 1000})
        answer = supervisor.wait_for_health("/readyz", 503)
        assert "the token is expired" in answer.body and "answered 503" in answer.body
        assert supervisor.status()["state"] == "expired"
        assert supervisor.health("/livez").status == 200
        check_the_child_was_left_alone(supervisor, pid)
        error = supervisor.wait_for_log("token: expired and not replaced")
        assert error.severity == "ERROR" and "answered 503" in error.fields["last_error"]

        emulator.clear()
        # A pause of 36 s may just have begun, and a rotation by restart comes after it.
        supervisor.wait_for_health("/readyz", 200, timeout=120)
        if mode == "in-place":
            wait_for_handover(supervisor, emulator)
            check_the_child_was_left_alone(supervisor, pid)
        else:
            wait_until(lambda: supervisor.child_pid != pid, "the child with the fresh token", 120)
            supervisor.wait_for_log("child: ready", count=2)
        # One error a minute for a token, and a slow machine may see more than one minute.
        reports = [line for line in supervisor.log if line.message == error.message]
        reports = [line for line in reports if line.fields["hash"] == error.fields["hash"]]
        assert all((later.time - earlier.time).total_seconds() >= 59.9 for earlier, later in pairwise(reports))
        check_no_token_was_shown(supervisor, emulator)


def test_at_the_start_every_failure_is_tried_again(tmp_path: Path) -> None:
    with GoogleEmulator(postgres=False, token_life="1h") as emulator:
        emulator.script({"status": 403}, {"status": 404}, {"answer": "refused", "seconds": 3}, {"status": 503})
        with working_child(emulator, tmp_path) as (supervisor, _):
            whys = " ".join(line.message for line in failures(supervisor))
            assert all(why in whys for why in ("answered 403", "answered 404", "connect", "answered 503"))
            assert supervisor.messages()[-1] == "child: ready"


@pytest.mark.parametrize(
    ("step", "last_answer"),
    [({"status": 404, "times": 1000}, "answered 404"), ({"answer": "refused", "seconds": 600}, "connect")],
    ids=["404", "refused"],
)
def test_without_a_first_token_it_ends_with_the_last_answer(step: dict[str, Any], last_answer: str) -> None:
    with GoogleEmulator(postgres=False) as emulator:
        emulator.script(step)
        begun = time.monotonic()
        supervisor = run("--start-deadline", "3s", emulator=emulator, command=["sleep", "600"])
        assert supervisor.process and supervisor.process.returncode == 1
        assert time.monotonic() - begun >= 3
        error = [line for line in supervisor.log if line.severity == "ERROR"]
        assert len(error) == 1
        assert "none within the start deadline of 3s" in error[0].message and last_answer in error[0].message
        assert "child: started" not in supervisor.messages()


def can_mount() -> bool:
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/dev/shm"]
    return os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="only root may give the program a small /dev/shm of its own")
def test_a_full_disk_under_the_password_file_leaves_the_child_its_token(tmp_path: Path) -> None:
    mount = 'mount -t tmpfs -o size=256k none /dev/shm && exec "$0" "$@"'
    with (
        GoogleEmulator(postgres=False, token_life="1m", cache_model="none") as emulator,
        Supervisor(
            *("--rotation", "in-place", "--refresh-interval", "4s"),
            emulator=emulator,
            command=serving_child(tmp_path),
            through=["unshare", "--mount", "sh", "-c", mount],
        ) as supervisor,
    ):
        supervisor.wait_for_health("/readyz")
        pid = supervisor.child_pid
        file = password_file(supervisor)
        assert file.parts[4:6] == ("dev", "shm")

        filler = file.parents[1] / "filler"
        with filler.open("wb", buffering=0) as disk, pytest.raises(OSError, match="No space left"):
            while True:
                disk.write(bytes(4096))
        kept = file.read_text()
        line = supervisor.wait_for_log("rotation: the child keeps the old token")
        assert line.severity == "ERROR" and "No space left on device" in line.message
        assert file.read_text() == kept
        assert [entry.name for entry in file.parent.iterdir()] == [file.name]
        assert supervisor.status()["last_error"] in line.message
        check_the_child_was_left_alone(supervisor, pid)

        filler.unlink()
        wait_for_handover(supervisor, emulator)
        assert supervisor.health("/readyz").status == 200
        check_the_child_was_left_alone(supervisor, pid)
        check_no_token_was_shown(supervisor, emulator)
        assert supervisor.stop() == 0
