"""`--rotation restart` with real Prefect under light load: five tokens in a row, each by a restart."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from signal import SIGTERM

import pytest

from log_lines import LogLine
from prefect_load import PrefectLoad, Request
from prefect_server import START_LIMIT, prefect_environment
from supervisor import Supervisor, wait_until
from google_emulator.client import World
from google_emulator.records import Login, MetadataRequest

ROTATIONS = 5
# Two starts of the server are never closer than 30 s, so tokens live hardly longer than that.
TOKEN_LIFE = "34s"
EVENTS = {
    "token: fresh one in hand": "fresh",
    "rotation: draining the child": "draining",
    "rotation: child drained": "drained",
    "child: started": "started",
    "child: ready": "ready",
}
# The log counts whole milliseconds.
LOG_PRECISION = 0.001
# The metadata server notes the time once an answer is sent, when its reader may be at work already.
NOTED_LATER = 0.05


@dataclass(frozen=True)
class Rotation:
    """One rotation as the log tells it. Times are seconds since the epoch."""

    token: str
    fresh: float
    draining: float
    drained: float
    started: float
    ready: float

    def covers(self, request: Request) -> bool:
        """Whether it may have gone without an answer: none listens while the server is replaced."""
        return request.finished >= self.draining and request.started <= self.ready


@dataclass(frozen=True)
class Cost:
    """What one rotation cost the users of the API."""

    without_answer_ms: int
    drain_ms: int
    reap_to_start_ms: int
    start_to_ready_ms: int
    requests_failed: int


def read_rotations(log: list[LogLine]) -> list[Rotation]:
    """The rotations in the log, which also shows that their steps came in the right order."""
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
    answered = [request.finished for request in requests if request.token == rotation.token]
    assert answered, f"the metadata server gave out no token {rotation.token}"
    assert answered[0] and answered[0] <= rotation.draining + LOG_PRECISION + NOTED_LATER


def check_logins(rotations: list[Rotation], logins: list[Login]) -> None:
    """Each server logs in with the token it was started with, and with no other."""
    for rotation, following in pairwise(rotations):
        tokens = {login.token for login in logins if rotation.started <= login.time < following.draining}
        assert tokens == {rotation.token}


@pytest.mark.prefect
@pytest.mark.long
def test_five_rotations_lose_no_login_and_never_end_the_container(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    environment = prefect_environment(tmp_path)
    with (
        World(token_life=TOKEN_LIFE, cache_model="five-minutes") as world,
        Supervisor("--rotation", "restart", world=world, environment=environment) as supervisor,
    ):

        def started_again(times: int) -> bool:
            assert supervisor.alive, f"the container would have ended:\n{supervisor.transcript()}"
            status = supervisor.status()
            return status["restarts"] == times and status["state"] == "ready"

        supervisor.wait_for_health("/readyz", timeout=START_LIMIT)
        with PrefectLoad(supervisor.port) as load:
            for number in range(1, ROTATIONS + 1):
                rotated = functools.partial(started_again, number)
                wait_until(rotated, f"rotation {number}", START_LIMIT, pause=0.1)
            # The answers of the last server are to be seen, too.
            time.sleep(2)
        log, logins, requests = supervisor.log, world.logins(), world.token_requests()
        assert supervisor.stop() == 128 + SIGTERM
        refused = world.refused_logins()

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
