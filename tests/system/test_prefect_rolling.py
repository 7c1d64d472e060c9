"""`--rotation rolling` with real Prefect under light load: two tokens, each by a next server beside the old one, and no
request that fails."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from signal import SIGTERM
from types import TracebackType

import pytest

from log_lines import LOG_PRECISION, LogLine
from prefect_load import PrefectLoad
from prefect_server import START_LIMIT, prefect_environment
from supervisor import Supervisor
from google_emulator.client import GoogleEmulator
from google_emulator.records import Login

ROTATIONS = 2
# The supervisor asks for a token after this interval, gets the same one, and goes on to ask until the test has had the
# next one made. No token gets old, and no next server is given up, however slowly it starts on a busy machine.
TOKEN_LIFE = "1h"
REFRESH_INTERVAL = "30s"
PATIENT = ("--start-deadline", "10m", "--stop-timeout", "1m")
EVENTS = {
    "token: fresh one in hand": "fresh",
    "rotation: starting the next child beside this one": "starting",
    "child: started": "started",
    "rotation: new connections go to the next child": "handed_over",
    "rotation: child drained": "drained",
}


@dataclass(frozen=True)
class Rotation:
    """One rotation as the log shows it. Times are seconds since the epoch."""

    token: str
    starting: float
    drained: float
    handed_over: float
    next_start_ms: int
    """From the start of the next server until it took connections."""
    drain_ms: int


@dataclass(frozen=True)
class Cost:
    """The effect of one rotation on the users of the API."""

    without_answer_ms: int
    """The longest time, from the start of the next server until the end of the old one."""
    next_start_ms: int
    drain_ms: int


def read_rotations(log: list[LogLine]) -> list[Rotation]:
    """The rotations in the log, which also shows that the steps of each came in the right order."""
    steps = [(EVENTS[line.message], line) for line in log if line.message in EVENTS]
    assert [event for event, _ in steps] == ["fresh", "started"] + list(EVENTS.values()) * ROTATIONS
    rotations = []
    for first in range(2, len(steps), len(EVENTS)):
        lines = dict(steps[first : first + len(EVENTS)])
        assert lines["drained"].fields["how"] == "ended by itself"
        assert lines["drained"].fields["code"] == 128 + SIGTERM
        rotations.append(
            Rotation(
                token=lines["fresh"].fields["hash"],
                starting=lines["starting"].time.timestamp(),
                handed_over=lines["handed_over"].time.timestamp(),
                drained=lines["drained"].time.timestamp(),
                next_start_ms=lines["handed_over"].fields["after_ms"],
                drain_ms=lines["drained"].fields["took_ms"],
            )
        )
    return rotations


def cost_of(rotation: Rotation, load: PrefectLoad) -> Cost:
    answers = sorted(request.finished for request in load.requests if request.answered)
    pauses = [
        after - before
        for before, after in itertools.pairwise(answers)
        if after >= rotation.starting and before <= rotation.drained
    ]
    return Cost(
        without_answer_ms=round(max(pauses) * 1000),
        next_start_ms=rotation.next_start_ms,
        drain_ms=rotation.drain_ms,
    )


def check_logins(rotations: list[Rotation], logins: list[Login]) -> None:
    """A server uses the token that it was started with. So a token is seen from the start of its server on, and the one
    before it no longer when that server has ended."""
    by_token = {
        token: [login.time for login in group]
        for token, group in itertools.groupby(sorted(logins, key=lambda login: str(login.token)), lambda it: it.token)
    }
    first, *later = by_token.keys() - {rotation.token for rotation in rotations}
    assert later == [], "a token that no server was started with was used"
    for before, rotation in zip([first, *(rotation.token for rotation in rotations)], rotations, strict=False):
        assert min(by_token[rotation.token]) >= rotation.starting
        assert max(by_token[before]) <= rotation.drained + LOG_PRECISION


class Readiness:
    """Asks /readyz again and again for as long as the block lasts, as a platform does, and counts the answers."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask_on, daemon=True)
        self.answers: Counter[str] = Counter()

    def __enter__(self) -> Readiness:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _ask_on(self) -> None:
        while not self._ended.wait(0.05):
            try:
                answer = self._supervisor.health("/readyz")
                self.answers[f"{answer.status} {answer.body}".strip()] += 1
            except (OSError, http.client.HTTPException) as error:
                self.answers[repr(error)] += 1


@pytest.mark.prefect
@pytest.mark.long
def test_two_rolling_rotations_fail_no_request_and_no_login(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with (
        GoogleEmulator(token_life=TOKEN_LIFE, cache_model="five-minutes") as emulator,
        Supervisor(
            *("--rotation", "rolling", "--refresh-interval", REFRESH_INTERVAL, *PATIENT),
            emulator=emulator,
            environment=prefect_environment(tmp_path),
        ) as supervisor,
    ):
        supervisor.wait_for_health("/readyz", timeout=START_LIMIT)
        with Readiness(supervisor) as readiness, PrefectLoad(supervisor.port) as load:
            for number in range(1, ROTATIONS + 1):
                emulator.rotate()
                drained = supervisor.wait_for_log("rotation: child drained", count=number, timeout=START_LIMIT)
                # The next server answers questions of every kind also when it is alone.
                load.wait_for_answers(40, drained.time.timestamp() + LOG_PRECISION)
        status, log, logins = supervisor.status(), supervisor.log, emulator.logins()
        assert supervisor.stop() == 128 + SIGTERM
        refused = emulator.refused_logins()

    rotations = read_rotations(log)
    numbers = {
        "rotations": [asdict(cost_of(rotation, load)) for rotation in rotations],
        "logins": len(logins),
        "logins_refused": len(refused),
        "readiness": dict(readiness.answers),
        **load.summary(),
    }
    (tmp_path / "rolling.json").write_text(json.dumps(numbers, indent=2))
    record_property("rolling", numbers)
    print(json.dumps(numbers, indent=2))

    assert [str(request) for request in load.failed] == []
    assert refused == []
    check_logins(rotations, [login for login in logins if login.accepted])
    assert status["restarts"] == ROTATIONS
    assert [line.message for line in log].count("child: ready") == 1
    assert {answer.partition(" ")[0] for answer in readiness.answers} == {"200"}
