"""Programs that take their socket by systemd's convention (sd_listen_fds(3)) under `--rotation rolling`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from google_emulator.client import GoogleEmulator
from rolling import DRAINED, PATIENT, READY_URL, ROTATES, UNTIL_ROTATION, answer_from, flags, fresh_connections, lost
from supervisor import Supervisor

ROTATIONS = 2
# Each answers with the number of the process that the supervisor started, which is the parent of gunicorn's workers.
APPLICATIONS = """
import os

def by_wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getppid()).encode()]

async def by_asgi(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
"""


def commands(folder: Path) -> dict[str, list[str]]:
    return {
        # It listens as soon as it has started. With --preload it loads the application before, so that a next child
        # which can't load it ends without ever being taken for one that is ready.
        "gunicorn": [
            *("gunicorn", "--preload", "--workers", "2", "--no-control-socket"),
            *("--chdir", str(folder), "applications:by_wsgi"),
        ],
        # It is told the descriptor, and listens when the application has started.
        "uvicorn": ["uvicorn", "--fd", "3", "--lifespan", "off", "--app-dir", str(folder), "applications:by_asgi"],
    }


@pytest.mark.long
def test_other_servers_rotate_without_losing_a_request(
    tokens: GoogleEmulator, tmp_path: Path, subtests, record_property: Callable[[str, object], None]
) -> None:
    (tmp_path / "applications.py").write_text(APPLICATIONS)
    with contextlib.ExitStack() as stack:
        supervisors = {
            name: stack.enter_context(
                Supervisor(*ROTATES, *flags(PATIENT), command=command, emulator=tokens, ready_url=READY_URL)
            )
            for name, command in commands(tmp_path).items()
        }
        loads = {}
        for name, supervisor in supervisors.items():
            supervisor.wait_for_health("/readyz")
            loads[name] = stack.enter_context(fresh_connections(supervisor.port))
        for name, supervisor in supervisors.items():
            with subtests.test(msg=name):
                for number in range(1, ROTATIONS + 1):
                    drained = supervisor.wait_for_log(DRAINED, count=number, timeout=UNTIL_ROTATION)
                    assert drained.fields["how"] == "ended by itself"
                assert answer_from(supervisor.port) == str(supervisor.child_pid)
                assert supervisor.status()["restarts"] == ROTATIONS
                assert [line.raw for line in supervisor.log if line.severity in ("WARNING", "ERROR")] == []
                requests = list(loads[name])
                record_property(name, {"requests": len(requests), "lost": len(lost(requests))})
                assert lost(requests) == [] and len(requests) > 100
