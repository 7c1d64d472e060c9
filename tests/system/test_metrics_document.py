"""docs/metrics.md lists exactly the metrics that the program has, each with its type and labels."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from scraped import Scraped, scrape
from supervisor import Supervisor

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENT = REPOSITORY / "docs/metrics.md"
ROW = re.compile(r"^\| `([a-z_]+)` \| (counter|gauge|histogram) \|([^|]*)\| (.+) \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def scraped() -> Iterator[Scraped]:
    with Supervisor("--no-token", command=["sleep", "600"]) as supervisor:
        supervisor.wait_for_log("child: started")
        yield scrape(supervisor)


def rows() -> dict[str, tuple[str, set[str], str]]:
    """By the metric's name: its type, its labels and its meaning."""
    found = ROW.findall(DOCUMENT.read_text())
    assert len(found) == len({name for name, *_ in found})
    return {name: (kind, set(re.findall(r"`(\w+)`", labels)), meaning) for name, kind, labels, meaning in found}


def test_the_document_has_a_row_for_each_metric_and_for_nothing_else(scraped: Scraped) -> None:
    assert {name: kind for name, (kind, _, _) in rows().items()} == scraped.types


def test_the_document_names_the_labels_and_all_their_values(scraped: Scraped) -> None:
    labels: dict[str, set[str]] = {name: set() for name in scraped.types}
    for sample, pairs in scraped.samples:
        name = sample if sample in labels else re.sub(r"_(bucket|sum|count)$", "", sample)
        labels[name] |= {label for label, _ in pairs} - {"le"}
        if name.endswith("_total"):
            values = {value for label, value in pairs if label == "result"}
            assert all(f"`{value}`" in rows()[name][2] for value in values)
    assert {name: found for name, (_, found, _) in rows().items()} == labels


def test_the_sidecars_configuration_names_our_port_and_path() -> None:
    """By the sidecar's own types, of which an unknown key is an error (run-gmp-sidecar, confgenerator/config.go: yaml.Strict())."""
    configuration = yaml.safe_load((REPOSITORY / "deploy/prometheus/run-monitoring.yaml").read_text())
    assert (configuration["apiVersion"], configuration["kind"]) == ("monitoring.googleapis.com/v1beta", "RunMonitoring")
    (endpoint,) = configuration["spec"]["endpoints"]
    assert endpoint == {"port": 8081, "path": "/metrics", "interval": "30s"}
    assert set(configuration) == {"apiVersion", "kind", "metadata", "spec"}
    settings = (REPOSITORY / "supervisor/config/settings.hpp").read_text()
    assert 'Address{"0.0.0.0", 8081}' in settings
