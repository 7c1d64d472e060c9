"""`prefect-server` with real Prefect, as confined as on Cloud Run: no root, read-only, 512 MiB, one processor."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx

from containers import CONFINED, START_LIMIT, Google, Server

# The refresh interval is so short that a new token is always due. The stop timeout is longer than a drain takes on any
# machine: whether a drain ends within Cloud Run's 10 s is measured here, and not required.
ENVIRONMENT = {"SUPERVISOR_REFRESH_INTERVAL": "1s", "SUPERVISOR_STOP_TIMEOUT": "100s"}


def rotate(google: Google, server: Server) -> str:
    """Makes the server get a new token, and returns the token's hash."""
    token = google.emulator.rotate().hash
    # As after a thaw, the supervisor looks at once whether a new token is due.
    server.signal("SIGCONT")
    server.wait_for_log(token)
    return token


def test_a_confined_server_has_its_ui_takes_new_tokens_in_place_and_drains(
    google: Google, record_property: Callable[[str, object], None]
) -> None:
    # Without a token there is no child yet.
    google.emulator.script({"status": 503, "times": 10_000})
    with Server(google, environment=ENVIRONMENT, **CONFINED) as server:
        # The command of HEALTHCHECK fails before Prefect is ready and succeeds afterwards.
        server.wait_for_log("token: can't get one")
        assert server.check_health()[0] == 1
        google.emulator.clear()
        after = server.wait_for_log("child: ready", timeout=START_LIMIT).fields["after_ms"]
        assert server.check_health() == (0, "")
        server.wait_healthy()

        page = httpx.get(server.url(8080), follow_redirects=True)
        assert page.status_code == 200 and "<title>" in page.text
        asset = re.search(r'src="([^"]+\.js)"', page.text)
        assert asset and len(httpx.get(f"{server.url(8080)}{asset[1]}").content) > 1000
        assert httpx.get(f"{server.url(8080)}/ui-settings").json()["api_url"] == "/api"
        assert server.changed_files() == []

        for number in (1, 2):
            rotated = rotate(google, server)
            handed_over = server.wait_for_log("rotation: fresh token handed over in place", count=number)
            assert handed_over.fields["hash"] == rotated
        # More at once than the pool has connections, so that some log in.
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: server.api.post("/flows/filter", json={}).status_code, range(40)))
        assert answers == [200] * 40
        assert any(login.accepted and login.token == rotated for login in google.emulator.logins())
        assert server.status()["restarts"] == 0
        assert google.emulator.refused_logins() == []

        ended = server.stop()
        record_property("confined", {"ready after s": after / 1000, "docker stop took s": round(ended.seconds, 2)})
        assert ended.code == 128 + signal.SIGTERM
        assert "killing it" not in server.output()
        assert server.log[-1].message == "stopped"


def test_a_rotation_by_restart_installs_extra_pip_packages_no_second_time(google: Google) -> None:
    environment = ENVIRONMENT | {"EXTRA_PIP_PACKAGES": "iniconfig==2.3.1"}
    changed = ("stat", "-c", "%y", "/tmp/extra-pip-packages.log")
    with Server(google, "--rotation", "restart", environment=environment) as server:
        server.wait_for_log("child: ready", timeout=START_LIMIT)
        installed_at = server.run(*changed)
        assert installed_at[0] == 0, installed_at
        rotate(google, server)
        server.wait_for_log("child: started", count=2, timeout=START_LIMIT)
        server.wait_for_log("child: ready", count=2, timeout=START_LIMIT)
        assert server.run("python", "-c", "import iniconfig")[0] == 0
        assert server.run(*changed) == installed_at
        assert server.processes()[0].startswith("prefect-supervisor --rotation restart")
        assert google.emulator.refused_logins() == []


def test_a_server_without_enough_memory_ends_the_container_as_killed(google: Google) -> None:
    with Server(google, mem_limit="140m") as server:
        ended = server.wait(timeout=START_LIMIT)
        assert server.out_of_memory
        assert ended.code == 128 + signal.SIGKILL
        (line,) = (line for line in server.log if line.message == "child: ended by itself")
        assert line.severity == "ERROR" and line.fields["code"] == 137 and "memory" in line.fields["why"]
