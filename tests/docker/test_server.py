"""`prefect-server` with real Prefect, as confined as on Cloud Run: no root, read-only, 512 MiB, one processor."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx

from containers import CONFINED, START_LIMIT, Google, Server


def test_a_confined_server_has_its_ui_takes_new_tokens_in_place_and_drains_within_ten_seconds(
    google: Google, record_property: Callable[[str, object], None]
) -> None:
    with Server(google, **CONFINED) as server:
        # What HEALTHCHECK runs tells the difference.
        server.wait_for_log("child: started")
        assert server.check_health()[0] == 1
        after = server.wait_for_log("child: ready", timeout=START_LIMIT).fields["after_ms"]
        assert server.check_health() == (0, "")
        server.wait_healthy(timeout=30)

        page = httpx.get(server.url(8080), follow_redirects=True)
        assert page.status_code == 200 and "<title>" in page.text
        asset = re.search(r'src="([^"]+\.js)"', page.text)
        assert asset and len(httpx.get(f"{server.url(8080)}{asset[1]}").content) > 1000
        assert httpx.get(f"{server.url(8080)}/ui-settings").json()["api_url"] == "/api"
        assert server.changed_files() == []

        rotated = server.wait_for_log("rotation: fresh token handed over in place", count=2).fields["hash"]
        # More at once than the pool has connections, so that some log in.
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: server.api.post("/flows/filter", json={}).status_code, range(40)))
        assert answers == [200] * 40
        assert any(login.accepted and login.token == rotated for login in google.world.logins())
        assert server.status()["restarts"] == 0
        assert google.world.refused_logins() == []

        ended = server.stop(timeout=10)
        record_property("confined", {"ready after s": after / 1000, "docker stop took s": round(ended.seconds, 2)})
        assert ended.code == 128 + signal.SIGTERM
        assert ended.seconds < 10
        assert "killing it" not in server.output()
        assert server.log[-1].message == "stopped"


def test_a_rotation_by_restart_installs_extra_pip_packages_no_second_time(google: Google) -> None:
    environment = {"EXTRA_PIP_PACKAGES": "iniconfig==2.3.1"}
    # Longer than the 30 s between two restarts, or a child would outlive its token.
    google.world.settings(life="45s")
    google.world.rotate()
    changed = ("stat", "-c", "%y", "/tmp/extra-pip-packages.log")
    with Server(google, "--rotation", "restart", environment=environment) as server:
        server.wait_for_log("child: started")
        installed_at = server.run(*changed)
        server.wait_for_log("child: started", count=2, timeout=120)
        server.wait_for_log("child: ready", count=2, timeout=START_LIMIT)
        assert server.run("python", "-c", "import iniconfig")[0] == 0
        assert server.run(*changed) == installed_at
        assert server.processes()[0].startswith("prefect-supervisor --rotation restart")
        assert google.world.refused_logins() == []


def test_a_server_without_enough_memory_ends_the_container_as_killed(google: Google) -> None:
    with Server(google, mem_limit="140m") as server:
        ended = server.wait(timeout=120)
        assert server.out_of_memory
        assert ended.code == 128 + signal.SIGKILL
        (line,) = (line for line in server.log if line.message == "child: ended by itself")
        assert line.severity == "ERROR" and line.fields["code"] == 137 and "memory" in line.fields["why"]
