"""The real supervisor against metadata servers that cache as Google's do, with the margins of tokens of one hour.

Compute Engine answers with a cached token until 5 minutes before its end; 4 minutes is the shortest margin that
Google's client libraries plan for, and GKE answers the old token while it fetches the next one in the background
(google_emulator/tokens.py has the models). The first token is old enough that the margin is near.
"""

from __future__ import annotations

import pytest

from delivered import both_modes, delivered_token
from supervisor import Supervisor, wait_until
from google_emulator.client import GoogleEmulator
from google_emulator.records import MetadataRequest

UNCHANGED = "token: still the same one"
TOKEN_PATH = "/computeMetadata/v1/instance/service-accounts/default/token"
# 250 s before its end: before the margin of four minutes, and 20 to 25 s before the supervisor's own.
NEAR_THE_MARGIN = "3350s"
# The pauses after an unchanged token, in seconds, while the margin is not reached.
PAUSES = (2, 4, 8)


def check_only_tokens_were_asked_for(emulator: GoogleEmulator) -> list[MetadataRequest]:
    """No ping and no other path: the metadata server has seen token requests of one form, and nothing else."""
    log = emulator.log()
    assert log
    assert {(request.method, request.path) for request in log} == {("GET", TOKEN_PATH)}
    assert {tuple(request.query) for request in log} == {("scopes",)}
    assert {request.headers.get("metadata-flavor") for request in log} == {"Google"}
    assert [request for request in log if request.in_flight] == []
    return log


def wait_for_another_token(old: str, emulator: GoogleEmulator, supervisor: Supervisor) -> None:
    def delivered() -> bool:
        text = delivered_token(supervisor)
        return text not in (None, old) and text in {token.text for token in emulator.tokens()}

    # A rotation by restart waits until the child is 30 s old.
    wait_until(delivered, "another token with the child", 120)


@pytest.mark.long
@both_modes
def test_an_unchanged_token_is_asked_for_again_with_growing_pauses(mode: str) -> None:
    with (
        GoogleEmulator(
            postgres=False, token_life="1h", cache_model="four-minutes", first_token_age=NEAR_THE_MARGIN
        ) as emulator,
        Supervisor(
            *("--rotation", mode, "--refresh-interval", "2s", "--log-level", "debug"),
            emulator=emulator,
            command=["sleep", "600"],
        ) as supervisor,
    ):
        checked = 0
        for count, pause in enumerate(PAUSES, 1):
            line = supervisor.wait_for_log(UNCHANGED, count=count, timeout=60)
            assert line.severity == "DEBUG"
            planned = supervisor.status()["next_refresh_in_seconds"]
            # If the machine is so busy that the next answer has come already, this pause can't be checked.
            if sum(UNCHANGED in message for message in supervisor.messages()) == count:
                assert planned <= pause
                checked += 1
        assert checked
        first = emulator.tokens()[0].text
        wait_for_another_token(first, emulator, supervisor)

        log = check_only_tokens_were_asked_for(emulator)
        same = [request for request in log if request.token == log[0].token]
        assert len(same) > len(PAUSES)
        # The metadata server notes a request before the supervisor has its answer, from which the pause counts.
        for earlier, later, pause in zip(same[1:], [*same[2:], log[len(same)]], PAUSES, strict=False):
            assert later.time - earlier.time >= pause
        assert supervisor.status()["restarts"] == (0 if mode == "in-place" else 1)
        assert not any(line.severity in ("WARNING", "ERROR") for line in supervisor.log)


@pytest.mark.long
@both_modes
def test_a_cache_that_fetches_in_the_background_answers_the_old_token_once(mode: str) -> None:
    with (
        GoogleEmulator(postgres=False, token_life="1h", cache_model="gke", first_token_age=NEAR_THE_MARGIN) as emulator,
        Supervisor(
            *("--rotation", mode, "--log-level", "debug"), emulator=emulator, command=["sleep", "600"]
        ) as supervisor,
    ):
        # The first refresh comes when the supervisor's own margin is reached.
        line = supervisor.wait_for_log(UNCHANGED, timeout=60)
        assert line.fields["hash"] == emulator.tokens()[0].hash
        wait_for_another_token(emulator.tokens()[0].text, emulator, supervisor)

        log = check_only_tokens_were_asked_for(emulator)
        old, new = (token.hash for token in emulator.tokens()[:2])
        # The background fetch takes one second, and the pause within the margin is two.
        assert [request.token for request in log[:3]] == [old, old, new]
        assert log[2].time - log[1].time >= 2
        fresh = supervisor.wait_for_log("token: fresh one in hand", count=2)
        assert fresh.fields["hash"] == new
