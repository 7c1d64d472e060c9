"""A real Prometheus collects the metrics, and our alert rules fire in it when they should."""

from __future__ import annotations

import json
import os
from pathlib import Path
from signal import SIGKILL

from children import child
from google_emulator.client import GoogleEmulator
from grafana_queries import DASHBOARD, names_in, queries
from prometheus_server import JOB, PrometheusServer
from scraped import OURS, scrape
from supervisor import Supervisor, wait_until

FAILS = "PrefectSupervisorTokenRefreshFails"
EXPIRES = "PrefectSupervisorTokenExpires"
# A child that is not restarted starts once, before Prometheus looks, and is never drained.
NOT_MEASURED_HERE = {f"{OURS}child_start_duration_seconds", f"{OURS}child_drain_duration_seconds"}


def test_an_alert_fires_while_the_metadata_server_is_down(tokens: GoogleEmulator, tmp_path: Path) -> None:
    """The rules are the product's, without the time for which a rule has to hold before its alert fires; the intervals of
    scrapes and evaluations are short. How long an alert waits is tested by promtool (test_prometheus_rules.py)."""
    for name in ("open", "good"):
        (tmp_path / name).touch()
    with Supervisor(
        "--rotation",
        "in-place",
        "--refresh-interval",
        "2s",
        command=child("serves_health", tmp_path),
        emulator=tokens,
    ) as supervisor:
        supervisor.wait_for_health("/readyz")
        with PrometheusServer(tmp_path, [supervisor.health_port]) as prometheus:
            # It has seen rotations, and all is well.
            rotated = f'{OURS}rotations_total{{mode="in-place",result="success"}}'
            prometheus.wait_for_query(f"increase({rotated}[1m]) > 0")
            (up,) = prometheus.wait_for_query("up == 1")
            assert up["metric"]["job"] == JOB
            wait_until(lambda: prometheus.firing() == set(), "no alert")
            kinds = {name: found[0]["type"] for name, found in prometheus.get("/api/v1/metadata").items()}
            assert kinds == scrape(supervisor).types

            tokens.script({"answer": "refused", "seconds": "10m"})
            alert = prometheus.wait_for_alert(FAILS)
            instance = f"127.0.0.1:{supervisor.health_port}"
            assert alert["labels"] == {
                "alertname": FAILS,
                "severity": "warning",
                "job": JOB,
                "instance": instance,
                "result": "failed",
            }
            assert f"The requests of {instance} for a token have failed" in alert["annotations"]["description"]
            # The token in hand is good for an hour, so nothing else is wrong.
            wait_until(lambda: prometheus.firing() == {FAILS}, "no other alert")
            assert supervisor.health("/readyz").status == 200

            # The dashboard's queries are answered, and not by nothing, but for what has not happened yet.
            asked = queries(json.loads(DASHBOARD.read_text()))
            assert len(asked) > 20

            def unanswered() -> set[str]:
                return {name for text in asked if not prometheus.query(text) for name in names_in(text)}

            wait_until(lambda: unanswered() <= NOT_MEASURED_HERE, "a result of every query of the dashboard")


def test_an_alert_fires_when_the_child_s_token_ends_and_is_not_replaced(
    emulator: GoogleEmulator, tmp_path: Path
) -> None:
    emulator.settings(life="50s")
    emulator.script({"answer": "token"}, {"status": 503, "times": 1000})
    for name in ("open", "good"):
        (tmp_path / name).touch()
    with Supervisor("--rotation", "in-place", command=child("serves_health", tmp_path), emulator=emulator) as supervisor:
        supervisor.wait_for_health("/readyz")
        with PrometheusServer(tmp_path, [supervisor.health_port]) as prometheus:
            prometheus.wait_for_alert(EXPIRES)
            os.kill(supervisor.child_pid, SIGKILL)
            supervisor.wait()
            # The series of an instance that is gone end, and the alert with them.
            missing = prometheus.wait_for_alert("PrefectSupervisorMissing")
            assert missing["labels"]["severity"] == "critical"
            assert EXPIRES not in prometheus.firing()
