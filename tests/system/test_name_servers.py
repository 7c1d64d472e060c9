"""A host that is a name, and a name server that does not answer, or refuses to.

curl asks for names in a thread of its own, because the C library's resolver cannot be interrupted; a handle that is
closed waits for that thread unless CURLOPT_QUICK_EXIT is set (curl's documentation of that option). Whatever the
resolver does, the program must go on (docs/decisions/0001).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGINT, SIGTERM

import pytest

from children import child
from injection import NameServer, require, why_no_names
from processes import MARK, marked_processes
from supervisor import BINARY, DATABASE, LIMIT, RUN_MARK, Supervisor, run, wait_until

pytestmark = require(why_no_names)

METADATA = "metadata.google.internal"
WEB = "web.internal"
BY_NAME = DATABASE | {"GCE_METADATA_HOST": METADATA}


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[NameServer]:
    with NameServer(tmp_path) as server:
        yield server


@pytest.fixture
def refusing(tmp_path: Path) -> Iterator[NameServer]:
    with NameServer(tmp_path, refuses=True) as server:
        yield server


def check_livez_until(supervisor: Supervisor, status: int, condition: Callable[[], bool], what: str) -> None:
    """/livez is answered again and again until the condition is true."""

    def asked() -> bool:
        assert supervisor.health("/livez").status == status
        return condition()

    wait_until(asked, what)


def test_it_answers_and_ends_while_the_token_waits_for_a_name(silent: NameServer) -> None:
    with Supervisor(
        command=["sleep", "600"], environment=BY_NAME, through=silent.through
    ) as supervisor:
        wait_until(lambda: silent.tries(METADATA) >= 1, "the question for the metadata server's name")
        # There is no child yet, so it is not alive, but it answers. The first try times out meanwhile.
        check_livez_until(supervisor, 503, lambda: silent.tries(METADATA) >= 2, "the second try")
        failure = supervisor.wait_for_log("token: can't get one")
        assert METADATA in failure.message and "timed out" in failure.message
        assert supervisor.stop() == 128 + SIGTERM
        assert not supervisor.processes()


def test_the_start_deadline_holds_while_the_token_waits_for_a_name(silent: NameServer) -> None:
    ended = run(
        *("--start-deadline", "1s"), command=["sleep", "600"], environment=BY_NAME, through=silent.through
    )
    assert ended.process and ended.process.returncode == 1
    (error,) = [line for line in ended.log if line.severity == "ERROR"]
    assert "none within the start deadline of 1s" in error.message


def test_the_child_gets_its_stop_while_the_readiness_question_waits_for_a_name(silent: NameServer) -> None:
    with Supervisor(
        "--no-token",
        command=child("drains", 0, 7),
        ready_url=f"http://{WEB}:8080/",
        through=silent.through,
    ) as supervisor:
        supervisor.wait_for_output("up")
        wait_until(lambda: silent.tries(WEB) >= 1, "the question for the name")
        check_livez_until(supervisor, 200, lambda: silent.tries(WEB) >= 2, "the second try")
        assert supervisor.stop() == 7
        assert supervisor.output == ["up", "TERM 1", "drained"]
        assert not supervisor.processes()


def test_a_refused_name_is_tried_again_and_delays_nothing(refusing: NameServer) -> None:
    with Supervisor(
        command=["sleep", "600"], environment=BY_NAME, through=refusing.through
    ) as supervisor:
        failure = supervisor.wait_for_log("token: can't get one", count=2)
        assert METADATA in failure.message and "resolve" in failure.message
        assert supervisor.health("/livez").status == 503
        assert supervisor.stop() == 128 + SIGTERM


def test_a_refused_name_in_the_readiness_question_delays_nothing(refusing: NameServer) -> None:
    with Supervisor(
        "--no-token",
        command=child("drains", 0, 7),
        ready_url=f"http://{WEB}:8080/",
        through=refusing.through,
    ) as supervisor:
        supervisor.wait_for_output("up")
        check_livez_until(supervisor, 200, lambda: refusing.tries(WEB) >= 2, "the second try")
        assert supervisor.health("/readyz").status == 503
        assert supervisor.stop() == 7


@contextlib.contextmanager
def probing(server: NameServer) -> Iterator[subprocess.Popen[str]]:
    """--probe of a name."""
    mark = f"{RUN_MARK}-probe-{os.getpid()}"
    with subprocess.Popen(
        [*server.through, str(BINARY), "--probe", f"http://{WEB}:8080/"],
        env={"PATH": os.environ["PATH"], MARK: mark},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            # unshare and sh become the program.
            process.kill()
    assert not marked_processes(mark)


def end_of(process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    code = process.wait(LIMIT)
    assert process.stderr
    return code, process.stderr.read().splitlines()


def test_a_probe_ends_by_its_own_limit(silent: NameServer) -> None:
    with probing(silent) as process:
        code, errors = end_of(process)
    assert silent.tries(WEB) == 1
    assert code == 1 and len(errors) == 1 and "timed out" in errors[0]


def test_a_probe_of_a_refused_name_says_so(refusing: NameServer) -> None:
    with probing(refusing) as process:
        code, errors = end_of(process)
    assert code == 1 and len(errors) == 1 and "resolve" in errors[0] and WEB in errors[0]


@pytest.mark.parametrize("number", [SIGTERM, SIGINT])
def test_a_signal_ends_a_probe_that_waits_for_a_name(silent: NameServer, number: signal.Signals) -> None:
    """By 128 + n, as a shell would report it, and without a line of its own."""
    with probing(silent) as process:
        wait_until(lambda: silent.tries(WEB) >= 1, "the question for the name")
        process.send_signal(number)
        assert end_of(process) == (128 + number, [])
