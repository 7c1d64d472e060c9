"""Compares a dashboard with Grafana's schema, as Grafana Labs publishes it for Python (grafana-foundation-sdk).

The types of that package are generated from the schema, for one version of Grafana each. They read a dashboard leniently: they
leave out the keys that they do not know, and check no type. So this module compares what they have read with what was given, and
each value with its declared type.
"""

from __future__ import annotations

import enum
import json
import types
import typing
from collections.abc import Iterator
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard, RowPanel
from grafana_foundation_sdk.models.prometheus import Dataquery

# The types of each kind of panel and of Prometheus' queries.
register_default_plugins()


def deviations(dashboard: dict[str, Any]) -> list[str]:
    """Where the dashboard is not as the schema has it; empty if it is."""
    read = Dashboard.from_json(dashboard)
    written = json.loads(json.dumps(read, cls=JSONEncoder))
    return [
        *_unknown(dashboard, written, "dashboard"),
        *_misfits(read, Dashboard, "dashboard"),
        *_unknown_kinds(read),
    ]


def _unknown(given: Any, known: Any, path: str) -> Iterator[str]:
    """The keys that the types do not know, or whose value they have changed. They add defaults, which is in order."""
    if isinstance(given, dict) and isinstance(known, dict):
        for key, value in given.items():
            if key in known:
                yield from _unknown(value, known[key], f"{path}.{key}")
            else:
                yield f"{path}.{key} is not in the schema"
    elif isinstance(given, list) and isinstance(known, list) and len(given) == len(known):
        for number, (one, other) in enumerate(zip(given, known)):
            yield from _unknown(one, other, f"{path}[{number}]")
    elif given != known:
        yield f"{path} is read as {known!r}"


def _unknown_kinds(dashboard: Dashboard) -> Iterator[str]:
    """What such a panel or query has was not compared with anything."""
    for panel in dashboard.panels or []:
        if not isinstance(panel, RowPanel):
            if isinstance(panel.options, dict):
                yield f"the panel {panel.title!r} is of an unknown kind, {panel.type_val!r}"
            if not all(isinstance(target, Dataquery) for target in panel.targets or []):
                yield f"the panel {panel.title!r} has a query that is not for Prometheus"


def _misfits(value: Any, declared: Any, path: str) -> Iterator[str]:
    origin, arguments = typing.get_origin(declared), typing.get_args(declared)
    if origin in (typing.Union, types.UnionType):
        found = [list(_misfits(value, one, path)) for one in arguments]
        if all(found):
            # The one that got furthest before it did not fit.
            yield max((one[0] for one in found), key=lambda text: len(text.partition(" ")[0]))
    elif origin is typing.Literal:
        if value not in arguments:
            yield f"{path} is {value!r}, allowed is {arguments}"
    elif origin is list:
        if isinstance(value, list):
            for number, one in enumerate(value):
                yield from _misfits(one, arguments[0], f"{path}[{number}]")
        else:
            yield f"{path} is {value!r}, and not a list"
    elif origin is dict:
        if isinstance(value, dict):
            for key, one in value.items():
                yield from _misfits(one, arguments[1], f"{path}.{key}")
        else:
            yield f"{path} is {value!r}, and not an object"
    elif declared in (object, Any):
        yield from _misfits_of_members(value, path)
    elif declared is float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            yield f"{path} is {value!r}, and not a number"
    elif declared is str:
        if not isinstance(value, str):
            yield f"{path} is {value!r}, and not a string"
    elif declared in (int, bool, type(None)):
        if type(value) is not declared:
            yield f"{path} is {value!r}, and not {declared.__name__}"
    elif isinstance(declared, type) and issubclass(declared, enum.Enum):
        if value not in [one.value for one in declared]:
            yield f"{path} is {value!r}, allowed is {[one.value for one in declared]}"
    elif isinstance(value, dict | list | str | int | float | None):
        yield f"{path} is {value!r}, and not {declared}"
    else:
        yield from _misfits_of_members(value, path)


def _misfits_of_members(value: Any, path: str) -> Iterator[str]:
    """Of an object whose class is one of the package's; anything else has no declared type."""
    if type(value).__module__.startswith("grafana_foundation_sdk."):
        for name, declared in typing.get_type_hints(type(value)).items():
            yield from _misfits(getattr(value, name), declared, f"{path}.{name}")
