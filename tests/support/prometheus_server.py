"""A real Prometheus that scrapes supervisors, with our alert rules.

with PrometheusServer(folder, targets=[supervisor.health_port]) as prometheus:
    prometheus.wait_for_query("up == 1")
    prometheus.wait_for_alert("PrefectSupervisorTokenRefreshFails")
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from supervisor import LIMIT, ReservedPort, wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
RULES = REPOSITORY / "deploy/prometheus/alerts.yaml"
JOB = "prefect"


def alert_rules() -> dict[str, dict[str, Any]]:
    """The rules of the product's file, by their name."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def promtool(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    assert program, "promtool is missing: tools/setup.sh test installs it"
    return subprocess.run(
        [program, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=LIMIT
    )


class PrometheusServer:
    """The rules are those of the product, except that an alert fires at once and not after its `for`."""

    def __init__(self, folder: Path, targets: Sequence[int]) -> None:
        self._folder = folder
        self._targets = [f"127.0.0.1:{port}" for port in targets]
        self._port = ReservedPort("127.0.0.1")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PrometheusServer:
        program = shutil.which("prometheus")
        assert program, "prometheus is missing: tools/setup.sh test installs it"
        rules = yaml.safe_load(RULES.read_text())
        for group in rules["groups"]:
            for rule in group["rules"]:
                rule.pop("for", None)
        configuration = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [{"job_name": JOB, "static_configs": [{"targets": self._targets}]}],
        }
        for name, content in (("rules.yaml", rules), ("prometheus.yaml", configuration)):
            (self._folder / name).write_text(yaml.safe_dump(content))
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    program,
                    "--config.file=prometheus.yaml",
                    "--storage.tsdb.path=data",
                    f"--web.listen-address=127.0.0.1:{self._port.number}",
                ],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_until(self._is_ready, "Prometheus to be ready")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._port.release()

    def _is_ready(self) -> bool:
        assert self._process
        if self._process.poll() is not None:
            pytest.fail(f"Prometheus ended:\n{(self._folder / 'log').read_text()}", pytrace=False)
        with contextlib.suppress(OSError):
            with urllib.request.urlopen(self._url("/-/ready"), timeout=10):
                return True
        return False

    def _url(self, path: str, **query: str) -> str:
        return f"http://127.0.0.1:{self._port.number}{path}?{urllib.parse.urlencode(query)}"

    def get(self, path: str, **query: str) -> Any:
        """The `data` of an answer of its API; an error is raised with the reason."""
        try:
            with urllib.request.urlopen(self._url(path, **query), timeout=LIMIT) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path} {query}: {error.read().decode()}") from error

    def query(self, expression: str) -> list[dict[str, Any]]:
        return self.get("/api/v1/query", query=expression)["result"]

    def wait_for_query(self, expression: str) -> list[dict[str, Any]]:
        return wait_until(lambda: self.query(expression), f"a result of {expression}")

    def firing(self) -> set[str]:
        alerts = self.get("/api/v1/alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def wait_for_alert(self, name: str) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            alerts = self.get("/api/v1/alerts")["alerts"]
            return next(
                (one for one in alerts if one["labels"]["alertname"] == name and one["state"] == "firing"), None
            )

        return wait_until(found, f"the alert {name} to fire")
