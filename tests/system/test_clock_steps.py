"""Steps of the clocks while a child works: the token's expiry is kept on two clocks, and the earlier one rules (decisions/0005)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from children import child
from injection import require
from stepped_clock import SteppedClock, why_no_steps
from supervisor import Supervisor, wait_until
from google_emulator.client import GoogleEmulator

pytestmark = require(why_no_steps)

HOUR = 3600


def serving_child(folder: Path) -> list[str]:
    for name in ("open", "good"):
        (folder / name).touch()
    return child("serves_health", folder)


@pytest.mark.parametrize("wall", [2 * HOUR, -2 * HOUR], ids=["forward", "back"])
def test_a_step_of_the_wall_clock_leaves_the_child_alone(wall: int, tokens: GoogleEmulator, tmp_path: Path) -> None:
    """After a step forward the token seems expired, and the next one is asked for at once; a step back changes nothing,
    since the other clock rules."""
    with Supervisor("--rotation", "in-place", emulator=tokens, command=serving_child(tmp_path)) as supervisor:
        supervisor.wait_for_health("/readyz")
        SteppedClock(supervisor.pid).step(wall=wall)
        # The request is what makes the loop look at its clocks.
        assert supervisor.health("/livez").status == 200
        if wall > 0:
            line = supervisor.wait_for_log("rotation: fresh token handed over in place")
            assert line.time.timestamp() - datetime.now(UTC).timestamp() == pytest.approx(wall, abs=60)
        supervisor.wait_for_health("/readyz")
        status = supervisor.status()
        assert status["child"]["pid"] == supervisor.child_pid and status["restarts"] == 0
        # The first token has its whole hour by the boot clock, and its life is not made longer by the wall clock.
        assert 3000 < status["token"]["expires_in_seconds"] <= HOUR
        assert len(tokens.token_requests()) == (2 if wall > 0 else 1)


def test_a_step_back_does_not_prolong_a_token(tmp_path: Path) -> None:
    with (
        GoogleEmulator(postgres=False, token_life="10s", cache_model="none") as emulator,
        Supervisor("--rotation", "in-place", emulator=emulator, command=serving_child(tmp_path)) as supervisor,
    ):
        supervisor.wait_for_health("/readyz")
        SteppedClock(supervisor.pid).step(wall=-HOUR)
        wait_until(lambda: len(emulator.token_requests()) >= 3, "the next two tokens")
        assert supervisor.status()["token"]["expires_in_seconds"] <= 10


def test_a_jump_of_both_clocks_is_a_freeze(tokens: GoogleEmulator, tmp_path: Path) -> None:
    with Supervisor("--rotation", "restart", emulator=tokens, command=serving_child(tmp_path)) as supervisor:
        supervisor.wait_for_health("/readyz")
        SteppedClock(supervisor.pid).step(wall=HOUR, boot=HOUR)
        assert supervisor.health("/livez").status == 200
        assert supervisor.wait_for_log("init: frozen for a while").fields["ms"] >= HOUR * 1000
        # The child's 30 s are over by the clock, so the fresh token replaces it at once.
        supervisor.wait_for_log("child: started", count=2)
        supervisor.wait_for_health("/readyz")
