"""`--rotation restart` with real Prefect under light load: five tokens in a row, each by a restart."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from signal import SIGTERM

import pytest

from log_lines import LOG_PRECISION, LogLine
from prefect_load import PrefectLoad, Request
from prefect_server import START_LIMIT, prefect_environment
from supervisor import Supervisor, wait_until
from google_emulator.client import GoogleEmulator
from google_emulator.records import Login, MetadataRequest

ROTATIONS = 5
# The supervisor asks for a token after this interval, gets the same one, and goes on to ask until the test has had the next
# one made. Two starts of the server are at least 30 s apart. A token lives much longer than a server takes to start and
# to be replaced, also on a busy machine, but not as long as the test.
TOKEN_LIFE = "2m"
REFRESH_INTERVAL = "30s"
EVENTS = {
    "token: fresh one in hand": "fresh",
    "rotation: draining the child": "draining",
    "rotation: child drained": "drained",
    "child: started": "started",
    "child: ready": "ready",
}


@dataclass(frozen=True)
class Rotation:
    """One rotation as the log shows it. Times are seconds since the epoch."""

    token: str
    fresh: float
    draining: float
    drained: float
    started: float
    ready: float

    def covers(self, request: Request) -> bool:
        """Whether the request may fail, since no process listens while the server is replaced."""
        return request.finished >= self.draining and request.started <= self.ready + LOG_PRECISION


@dataclass(frozen=True)
class Cost:
    """The effect of one rotation on the users of the API."""

    without_answer_ms: int
    drain_ms: int
    reap_to_start_ms: int
    start_to_ready_ms: int
    requests_failed: int


def read_rotations(log: list[LogLine]) -> list[Rotation]:
    """The rotations in the log, which also shows that the steps of each came in the right order."""
    steps = [(EVENTS[line.message], line) for line in log if line.message in EVENTS]
    rotation = ["fresh", "draining", "drained", "started", "ready"]
    assert [event for event, _ in steps] == ["fresh", "started", "ready"] + rotation * ROTATIONS
    rotations = []
    for first in range(3, len(steps), len(rotation)):
        times = {event: line.time.timestamp() for event, line in steps[first : first + len(rotation)]}
        rotations.append(Rotation(token=token_hash(steps[first][1]), **times))
    return rotations


def token_hash(line: LogLine) -> str:
    return line.fields["hash"]


def cost_of(rotation: Rotation, load: PrefectLoad) -> Cost:
    def milliseconds(seconds: float) -> int:
        return round(seconds * 1000)

    return Cost(
        without_answer_ms=milliseconds(load.silence_around(rotation.started)),
        drain_ms=milliseconds(rotation.drained - rotation.draining),
        reap_to_start_ms=milliseconds(rotation.started - rotation.drained),
        start_to_ready_ms=milliseconds(rotation.ready - rotation.started),
        requests_failed=sum(rotation.covers(request) for request in load.failed),
    )


def check_token_was_in_hand(rotation: Rotation, requests: list[MetadataRequest]) -> None:
    """The order of the log's lines shows it already. Here it is shown by the time at which the server began its answer."""
    answered = [request.answered for request in requests if request.token == rotation.token]
    assert answered, f"the metadata server gave out no token {rotation.token}"
    assert answered[0] and answered[0] <= rotation.fresh + LOG_PRECISION


def check_logins(rotations: list[Rotation], logins: list[Login]) -> None:
    """Each server logs in with the token it was started with, and none with the token of an earlier one.

    The logins are in the order in which they came, and an earlier server is gone before the next one starts.
    """
    used = [token for token, _ in itertools.groupby(login.token for login in logins if login.accepted)]
    assert used[1:] == [rotation.token for rotation in rotations]


@pytest.mark.prefect
@pytest.mark.long
def test_five_rotations_lose_no_login_and_never_end_the_container(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    environment = prefect_environment(tmp_path)
    with (
        GoogleEmulator(token_life=TOKEN_LIFE, cache_model="five-minutes") as emulator,
        Supervisor(
            *("--rotation", "restart", "--refresh-interval", REFRESH_INTERVAL, "--stop-timeout", "1m"),
            emulator=emulator,
            environment=environment,
        ) as supervisor,
    ):

        def started_again(times: int) -> bool:
            assert supervisor.alive, f"the container would have ended:\n{supervisor.transcript()}"
            status = supervisor.status()
            return status["restarts"] == times and status["state"] == "ready"

        supervisor.wait_for_health("/readyz", timeout=START_LIMIT)
        with PrefectLoad(supervisor.port) as load:
            for number in range(1, ROTATIONS + 1):
                emulator.rotate()
                rotated = functools.partial(started_again, number)
                wait_until(rotated, f"rotation {number}", START_LIMIT, pause=0.1)
            last_ready = supervisor.wait_for_log("child: ready", count=1 + ROTATIONS).time.timestamp()
            wait_until(
                lambda: any(one.answered and one.started > last_ready + LOG_PRECISION for one in load.requests),
                "an answer of the last server",
            )
        log, logins, requests = supervisor.log, emulator.logins(), emulator.token_requests()
        assert supervisor.stop() == 128 + SIGTERM
        refused = emulator.refused_logins()

    rotations = read_rotations(log)
    numbers = {
        "rotations": [asdict(cost_of(rotation, load)) for rotation in rotations],
        "logins": len(logins),
        "logins_refused": len(refused),
        **load.summary(),
    }
    (tmp_path / "restart.json").write_text(json.dumps(numbers, indent=2))
    record_property("restart", numbers)
    print(json.dumps(numbers, indent=2))

    assert refused == []
    assert len({rotation.token for rotation in rotations}) == ROTATIONS
    for rotation in rotations:
        check_token_was_in_hand(rotation, requests)
    check_logins(rotations, logins)
    unexplained = [str(one) for one in load.failed if not any(rotation.covers(one) for rotation in rotations)]
    assert unexplained == [], "requests failed while no server was being replaced"
