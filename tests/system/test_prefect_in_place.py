"""`--rotation in-place` with real Prefect under light load: ten tokens, one server, no restart."""

from __future__ import annotations

import json
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
from google_emulator.client import World

TOKEN_LIVES = 10
TOKEN_LIFE = "12s"
# A connection is taken from the pool for so many seconds after its login: new logins all the time.
POOL_RECYCLE = "1"


def check_password_file(file: Path, child: int) -> None:
    assert S_IMODE(file.stat().st_mode) == 0o600
    assert S_IMODE(file.parent.stat().st_mode) == 0o700
    assert file.stat().st_uid == Path("/proc", str(child)).stat().st_uid


def check_no_process_shows_a_token(world: World) -> None:
    for kind in ("environ", "cmdline"):
        assert leaks_in_processes(kind, world.tokens()) == {}


@pytest.mark.prefect
@pytest.mark.long
def test_ten_token_lives_without_a_failed_request_or_a_restart(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    environment = prefect_environment(tmp_path)
    environment["PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_RECYCLE"] = POOL_RECYCLE
    with (
        # Every request is answered with a new token, and one is asked for when the last one's life is over.
        World(token_life=TOKEN_LIFE, cache_model="none") as world,
        Supervisor("--rotation", "in-place", world=world, environment=environment) as supervisor,
    ):
        supervisor.wait_for_health("/readyz", timeout=START_LIMIT)
        child = supervisor.child_pid
        process = find_process(child)
        assert process
        file = Path(process.environment["PGPASSFILE"])
        before_load = len(world.tokens())

        def logged_in_with(number: int) -> bool:
            assert supervisor.alive, supervisor.transcript()
            used = {login.token for login in world.logins()}
            return any(token.hash in used for token in world.tokens()[number:])

        with PrefectLoad(supervisor.port, burst=8) as load:
            for number in range(before_load, before_load + TOKEN_LIVES):
                wait_until(
                    lambda number=number: logged_in_with(number), f"a login with token {number}", pause=0.2
                )
                check_no_process_shows_a_token(world)
                check_password_file(file, child)

        status, tokens, logins, refused = (
            supervisor.status(),
            world.tokens(),
            world.logins(),
            world.refused_logins(),
        )
        supervisor.stop()
        left_behind = file.parent.exists()

    by_token = Counter(login.token for login in logins if login.accepted)
    numbers = {
        "logins": len(logins),
        "logins_refused": len(refused),
        "logins_by_token": [by_token[token.hash] for token in tokens],
        **load.summary(),
    }
    (tmp_path / "in-place.json").write_text(json.dumps(numbers, indent=2))
    record_property("in-place", numbers)
    print(json.dumps(numbers, indent=2))

    assert [str(request) for request in load.failed] == []
    assert refused == []
    # A start may be longer than a token's life, and log in with the next one only; the newest may have come a moment ago.
    assert all(by_token[token.hash] for token in tokens[before_load:-1])
    assert status["child"]["pid"] == child
    assert status["restarts"] == 0
    assert status["rotations"] >= TOKEN_LIVES
    assert not left_behind, "the password file's folder is still there"
