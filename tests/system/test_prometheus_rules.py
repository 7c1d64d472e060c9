"""The alert rules of deploy/prometheus, checked and tested by promtool, and what they speak of exists."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from grafana_queries import DASHBOARD, names_in, queries
from grafana_schema import deviations
from prometheus_server import REPOSITORY, RULES, alert_rules, promtool
from scraped import Scraped, scrape
from supervisor import Supervisor

TESTS = RULES.with_name("alerts_test.yaml")
DOCUMENT = REPOSITORY / "docs/metrics.md"


@pytest.fixture(scope="module")
def scraped() -> Iterator[Scraped]:
    with Supervisor("--no-token", command=["sleep", "600"]) as supervisor:
        supervisor.wait_for_log("child: started")
        yield scrape(supervisor)


# Alert rules


def test_promtool_accepts_the_rules() -> None:
    checked = promtool("check", "rules", RULES.name, folder=RULES.parent)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(alert_rules())} rules found" in checked.stdout


def test_the_rules_fire_when_they_should_and_not_before() -> None:
    tested = promtool("test", "rules", TESTS.name, folder=TESTS.parent)
    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("< 60", "< 6000"),
        ("child_ready == 0", "child_ready == 1"),
        ("for: 3m", "for: 0m"),
        ("> 0.8", "> 0.9"),
        ('le="30"', 'le="0.1"'),
        ("for: 10m", "for: 30m"),
        ('result="fallback"', 'result="failed"'),
        ("[15m]", "[1h]"),
    ],
)
def test_a_rule_that_is_wrong_is_noticed(right: str, wrong: str, tmp_path: Path) -> None:
    text = RULES.read_text()
    assert right in text
    (tmp_path / RULES.name).write_text(text.replace(right, wrong))
    (tmp_path / TESTS.name).write_text(TESTS.read_text())
    assert promtool("test", "rules", TESTS.name, folder=tmp_path).returncode != 0


@pytest.mark.parametrize("name", alert_rules())
def test_each_rule_has_a_test_in_which_it_fires_and_one_in_which_it_does_not(name: str) -> None:
    expected = [
        bool(one["exp_alerts"])
        for test in yaml.safe_load(TESTS.read_text())["tests"]
        for one in test["alert_rule_test"]
        if one["alertname"] == name
    ]
    assert set(expected) == {True, False}


@pytest.mark.parametrize("name", alert_rules())
def test_each_rule_names_metrics_and_labels_that_the_program_has(name: str, scraped: Scraped) -> None:
    expression = alert_rules()[name]["expr"]
    assert names_in(expression) and names_in(expression) <= set(scraped.types)
    for metric, label, value in re.findall(r'(\w+)\{(\w+)="([^"]*)"\}', expression):
        samples = [dict(labels) for sample, labels in scraped.samples if sample == metric]
        assert value in {labels[label] for labels in samples}


@pytest.mark.parametrize("name", alert_rules())
def test_each_rule_is_explained_in_the_document(name: str) -> None:
    rule = alert_rules()[name]
    row = re.search(rf"^\| `{name}` \| (\w+) \|", DOCUMENT.read_text(), re.MULTILINE)
    assert row and row[1] == rule["labels"]["severity"]
    assert rule["annotations"]["summary"] and rule["annotations"]["description"]


# The dashboard


def test_the_dashboard_is_as_grafanas_schema_has_it() -> None:
    assert deviations(json.loads(DASHBOARD.read_text())) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('"colorMode": "background"', '"colorMode": "backdrop"'),
        ('"colorMode": "background"', '"colourMode": "background"'),
        ('"drawStyle": "bars"', '"drawStyle": "dots"'),
        ('"refId": "A"', '"refId": 1'),
        ('"type": "timeseries"', '"type": "timesseries"'),
        ('"type": "query"', '"type": "question"'),
        ('"title": "prefect-supervisor"', '"title": 5'),
    ],
)
def test_a_dashboard_that_is_not_as_the_schema_has_it_is_noticed(right: str, wrong: str) -> None:
    text = DASHBOARD.read_text()
    assert right in text
    assert deviations(json.loads(text.replace(right, wrong, 1))) != []


def test_promtool_parses_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    def parsed(*texts: str) -> int:
        rules = [{"record": f"query:{number}", "expr": text} for number, text in enumerate(texts)]
        (tmp_path / "queries.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
        checked = promtool("check", "rules", "queries.yaml", folder=tmp_path)
        print(checked.stdout, checked.stderr)
        return checked.returncode

    found = queries(json.loads(DASHBOARD.read_text()))
    assert len(found) > 20
    assert parsed(*found) == 0
    assert parsed(*found, "rate(process_open_fds)") != 0


def test_the_dashboard_names_metrics_that_the_program_has_and_all_of_ours(scraped: Scraped) -> None:
    named = {name for text in queries(json.loads(DASHBOARD.read_text())) for name in names_in(text)}
    assert named == set(scraped.types)


def test_the_panels_lie_side_by_side_and_each_has_a_title_and_prometheus() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
        assert panel["title"]
        sources = [panel.get("datasource"), *(target["datasource"] for target in panel.get("targets", []))]
        if panel["type"] != "row":
            assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
