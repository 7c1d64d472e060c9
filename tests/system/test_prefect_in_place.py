"""`--rotation in-place` with real Prefect under light load: ten tokens in a row, one server, no restart.

A token is replaced every 12 s and is good for 18 s more, as a real one is good for some minutes after its replacement.
The first ones expire while the test runs. A token is in use until a number of requests were answered with it, so the
length of the test follows the machine and the number of requests does not."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from stat import S_IMODE

import pytest

from prefect_load import PrefectLoad
from prefect_server import START_LIMIT, prefect_environment
from processes import find_process
from secret_search import leaks_in_processes
from supervisor import Supervisor, wait_until
from google_emulator.client import GoogleEmulator

TOKENS = 10
TOKEN_LIFE = "30s"
REFRESH_INTERVAL = "12s"
# The load asks about 20 times a second. This many answers, one of every kind among them, is what each token must see.
ANSWERS_PER_TOKEN = 40
# A connection of the pool is used for this number of seconds after its login, so that new logins come all the time.
POOL_RECYCLE = "1"


def check_password_file(file: Path, child: int) -> None:
    assert S_IMODE(file.stat().st_mode) == 0o600
    assert S_IMODE(file.parent.stat().st_mode) == 0o700
    assert file.stat().st_uid == Path("/proc", str(child)).stat().st_uid


def check_no_process_shows_a_token(emulator: GoogleEmulator) -> None:
    for kind in ("environ", "cmdline"):
        assert leaks_in_processes(kind, emulator.tokens()) == {}


@pytest.mark.prefect
@pytest.mark.long
def test_ten_tokens_without_a_failed_request_or_a_restart(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    environment = prefect_environment(tmp_path)
    environment["PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_RECYCLE"] = POOL_RECYCLE
    with (
        # Every request of the supervisor is answered with a new token.
        GoogleEmulator(token_life=TOKEN_LIFE, cache_model="none") as emulator,
        Supervisor(
            *("--rotation", "in-place", "--refresh-interval", REFRESH_INTERVAL),
            emulator=emulator,
            environment=environment,
        ) as supervisor,
    ):
        supervisor.wait_for_health("/readyz", timeout=START_LIMIT)
        child = supervisor.child_pid
        process = find_process(child)
        assert process
        file = Path(process.environment["PGPASSFILE"])
        before_load = len(emulator.tokens())

        def logged_in_with(number: int) -> bool:
            assert supervisor.alive, supervisor.transcript()
            used = {login.token for login in emulator.logins()}
            return any(token.hash in used for token in emulator.tokens()[number:])

        answers: list[Counter[str]] = []
        with PrefectLoad(supervisor.port, burst=8) as load:
            for number in range(before_load, before_load + TOKENS):
                wait_until(
                    lambda number=number: logged_in_with(number), f"a login with token {number}", 120, pause=0.2
                )
                answers.append(load.wait_for_answers(ANSWERS_PER_TOKEN, time.time()))
                check_no_process_shows_a_token(emulator)
                check_password_file(file, child)

        status, tokens, logins, refused = (
            supervisor.status(),
            emulator.tokens(),
            emulator.logins(),
            emulator.refused_logins(),
        )
        supervisor.stop()
        left_behind = file.parent.exists()

    by_token = Counter(login.token for login in logins if login.accepted)
    numbers = {
        "logins": len(logins),
        "logins_refused": len(refused),
        "logins_by_token": [by_token[token.hash] for token in tokens],
        "answers_by_token": [found.total() for found in answers],
        **load.summary(),
    }
    (tmp_path / "in-place.json").write_text(json.dumps(numbers, indent=2))
    record_property("in-place", numbers)
    print(json.dumps(numbers, indent=2))

    assert [str(request) for request in load.failed] == []
    assert len(load.requests) >= TOKENS * ANSWERS_PER_TOKEN
    assert refused == []
    # The newest token may have come a moment ago, so that no login has used it yet.
    assert all(by_token[token.hash] for token in tokens[before_load:-1])
    assert status["child"]["pid"] == child
    assert status["restarts"] == 0
    assert status["rotations"] >= TOKENS
    assert not left_behind, "the password file's folder is still there"
