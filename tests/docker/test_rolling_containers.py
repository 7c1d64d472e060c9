"""`--rotation rolling` in containers of `prefect-server`: one has no memory for a second Prefect, and one has."""

from __future__ import annotations

import itertools
import re
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from containers import CONFINED, START_LIMIT, Google, Server
from prefect_load import HEALTH, LIST_FLOWS, PrefectLoad, ask
from supervisor import wait_until

# The refresh interval is so short that a new token is always due. The other times are longer than Prefect takes to
# start and to end on any machine: whether a stop ends within Cloud Run's 10 s is measured here, and not required.
ENVIRONMENT = {
    "SUPERVISOR_ROTATION": "rolling",
    "SUPERVISOR_REFRESH_INTERVAL": "1s",
    "SUPERVISOR_START_DEADLINE": "280s",
    "SUPERVISOR_DRAIN_TIMEOUT": "280s",
    "SUPERVISOR_STOP_TIMEOUT": "100s",
}
PROBES = ("/livez", "/startupz", "/readyz")
BESIDE = "rotation: starting the next child beside this one"
HANDED_OVER = "rotation: new connections go to the next child"
DRAINED = "rotation: child drained"
INSTEAD = "rotation: the next child can't run beside this one"
NO_ROOM = re.compile(
    INSTEAD + r", which is ended first: (\d+) MiB of memory are left, and (\d+) MiB are needed, 1\.3 times the child's"
)


def rotate(google: Google, server: Server) -> str:
    """Makes the server get a new token, and returns the token's hash. The rotation comes 30 s after the child's start
    at the earliest."""
    token = google.emulator.rotate().hash
    # As after a thaw, the supervisor looks at once whether a new token is due.
    server.signal("SIGCONT")
    server.wait_for_log(token)
    return token


def with_memory(mebibytes: int) -> dict[str, object]:
    """The confinement with another limit, which swap does not soften."""
    return CONFINED | {"mem_limit": f"{mebibytes}m", "memswap_limit": f"{mebibytes}m"}


def peak_mebibytes(server: Server) -> int | None:
    """The most that the container had at once, its page cache included, in version 1 of the control groups or in
    version 2. None if the kernel does not say."""
    files = "/sys/fs/cgroup/memory/memory.max_usage_in_bytes", "/sys/fs/cgroup/memory.peak"
    _, text = server.run("sh", "-c", f"cat {' '.join(files)} 2>/dev/null")
    return int(text) >> 20 if text else None


def longest_silence(load: PrefectLoad) -> float:
    """The most seconds between two answers."""
    return max(after.finished - before.finished for before, after in itertools.pairwise(load.requests))


def check_clean_end(server: Server) -> float:
    """Stops the container, and returns how many seconds that took. Its PID 1 ends when no process is left, or kills
    what is left and says so."""
    ended = server.stop()
    assert ended.code == 128 + signal.SIGTERM
    assert server.exit_codes() == [ended.code]
    assert "killing" not in server.output()
    assert server.log[-1].message == "stopped"
    assert not server.out_of_memory
    return round(ended.seconds, 2)


@pytest.mark.thorough("the program makes the same decision in tests/system/test_rolling_faults.py")
def test_without_memory_for_a_second_prefect_a_rotation_is_a_restart_in_which_connections_wait(
    google: Google, record_property: Callable[[str, object], None]
) -> None:
    with Server(google, environment=ENVIRONMENT, **with_memory(256)) as server:
        server.wait_for_log("child: ready", timeout=START_LIMIT)
        rotate(google, server)
        drained = server.wait_for_log(DRAINED, timeout=START_LIMIT)
        assert drained.fields["how"] == "ended by itself" and drained.fields["code"] == 128 + signal.SIGTERM
        # The old child has been reaped, so an answer is the next child's, which takes seconds to start.
        with ThreadPoolExecutor(20) as clients:
            questions = [HEALTH, LIST_FLOWS] * 10
            answers = list(clients.map(lambda it: ask(server.port(8080), it, limit=START_LIMIT), questions))
        assert [str(answer) for answer in answers if not answer.answered] == []
        server.wait_for_log("child: ready", count=2, timeout=START_LIMIT)

        (line,) = (line for line in server.log if line.message.startswith(INSTEAD))
        named = NO_ROOM.fullmatch(line.message)
        assert line.severity == "WARNING" and named, line
        left, needed = int(named[1]), int(named[2])
        assert 0 < left < min(needed, 256)
        assert BESIDE not in server.output()
        assert server.status()["restarts"] == 1
        assert google.emulator.refused_logins() == []
        figures = {
            "MiB left": left,
            "MiB needed": needed,
            "peak MiB": peak_mebibytes(server),
            "waited at most s": round(max(answer.finished - answer.started for answer in answers), 2),
        }
        record_property("256 MiB", figures | {"docker stop took s": check_clean_end(server)})


def test_in_512_mib_a_rolling_rotation_loses_no_request_and_a_stop_in_the_next_one_ends_both(
    google: Google, record_property: Callable[[str, object], None]
) -> None:
    with Server(google, environment=ENVIRONMENT, **with_memory(512)) as server:

        def answers_all_probes_until_drained() -> bool:
            drained = any(line.message == DRAINED for line in server.log)
            answers = {path: httpx.get(f"{server.url(8081)}{path}", timeout=60).text for path in PROBES}
            assert answers == dict.fromkeys(PROBES, "ok\n")
            assert server.check_health() == (0, "")
            return drained

        server.wait_healthy()
        with PrefectLoad(server.port(8080)) as load:
            rotate(google, server)
            wait_until(answers_all_probes_until_drained, DRAINED, START_LIMIT)
            handed_over, drained = server.wait_for_log(HANDED_OVER), server.wait_for_log(DRAINED)
            load.wait_for_answers(40, since=drained.time.timestamp())
        assert [str(request) for request in load.failed] == []
        assert drained.fields["how"] == "ended by itself" and drained.fields["code"] == 128 + signal.SIGTERM
        assert INSTEAD not in server.output()
        assert server.status()["restarts"] == 1
        server.wait_healthy()
        figures = {
            "next child listens after ms": handed_over.fields["after_ms"],
            "drained in ms": drained.fields["took_ms"],
            "longest silence s": round(longest_silence(load), 3),
            "peak MiB": peak_mebibytes(server),
            **load.summary(),
        }

        token = rotate(google, server)
        # Only the child that starts has the new token. It ends when it has completed its start.
        google.emulator.wait_for(
            lambda: any(login.accepted and login.token == token for login in google.emulator.logins()),
            "a login of the third child",
            START_LIMIT,
        )
        record_property("512 MiB", figures | {"docker stop took s": check_clean_end(server)})
        messages = [line.message for line in server.log]
        assert messages.count("child: started") == 3
        assert messages.count(DRAINED) == 1, "the stop came after the overlap"
        assert messages.count("child: ready") == 1
        assert google.emulator.refused_logins() == []
