"""An instance that is frozen for longer than its token lives, as on Cloud Run between requests."""

from __future__ import annotations

import time
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import Any

import pytest

from children import child
from processes import find_process
from supervisor import Supervisor, wait_until
from google_emulator.client import World

TOKEN_LIFE = 10.0
FROZEN = 13.0
LIMIT_AFTER = 2.0


@pytest.mark.parametrize(
    "step",
    [None, {"answer": "hang"}, {"status": 503, "times": 3}],
    ids=["idle", "in a request", "in a pause"],
)
def test_a_fresh_token_is_there_within_two_seconds_of_the_thaw(
    step: dict[str, Any] | None, tmp_path: Path
) -> None:
    command = child("serves_health", tmp_path)
    (tmp_path / "open").touch()
    (tmp_path / "good").touch()
    with (
        World(postgres=False, token_life=f"{TOKEN_LIFE:g}s") as world,
        Supervisor("--rotation", "in-place", world=world, command=command) as supervisor,
    ):
        supervisor.wait_for_health("/readyz")
        process = find_process(supervisor.child_pid)
        assert process
        file = Path(process.environment["PGPASSFILE"])
        old = file.read_text()
        if step is not None:
            world.script(step)
            wait_until(lambda: world.token_requests()[-1].answer != "token", "the failing request")
            if step.get("times"):
                # The third failure is followed by a pause of four seconds.
                supervisor.wait_for_log("token: can't get one", count=3)

        supervisor.signal_tree(SIGSTOP)
        time.sleep(FROZEN)
        before = len(world.token_requests())
        thawed = time.time()
        supervisor.signal_tree(SIGCONT)

        wait_until(lambda: file.read_text() != old, "the fresh token in the password file", pause=0.01)
        handed_over = time.time()
        answered = [request for request in world.token_requests()[before:] if request.answer == "token"]
        assert answered[0].time - thawed <= LIMIT_AFTER
        assert handed_over - thawed <= LIMIT_AFTER
        current = world.current_token()
        assert current and file.read_text() == f"*:*:*:*:{current.text}\n"
        assert current.minted_at >= thawed

        supervisor.wait_for_health("/readyz")
        assert supervisor.status()["child"]["pid"] == process.pid
        assert supervisor.status()["restarts"] == 0
