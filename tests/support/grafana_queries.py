"""The queries of the dashboard, as Prometheus gets them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
DASHBOARD = REPOSITORY / "deploy/grafana/dashboard.json"

# What Grafana puts in for its own variables and for those of the dashboard when all values are chosen
# (https://grafana.com/docs/grafana/latest/dashboards/variables/add-template-variables/#global-variables).
VARIABLES = {"$__rate_interval": "1m", "$__range": "6h", "$job": ".*", "$instance": ".*"}
_METRIC = re.compile(r"\b(?:prefect_supervisor|process)_[a-z0-9_]+")
_LABEL_VALUES = re.compile(r"label_values\((.+), *(\w+)\)")


def substituted(text: str) -> str:
    for name, value in VARIABLES.items():
        text = text.replace(name, value)
    assert "$" not in text, f"a variable is left in {text}"
    return text


def queries(dashboard: dict[str, Any]) -> list[str]:
    """Those of the panels, and the selectors of which the variables list a label's values."""
    found = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            listed = _LABEL_VALUES.fullmatch(variable["query"]["query"])
            assert listed, variable["query"]
            found.append(listed[1])
    return [substituted(text) for text in found]


def names_in(query: str) -> set[str]:
    """The metrics that a query names, as /metrics names them in their TYPE lines."""
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in _METRIC.findall(query)}
