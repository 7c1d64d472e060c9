"""The supervisor's lines on standard output, separated from those of its child."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

SEVERITIES = ("DEBUG", "INFO", "WARNING", "ERROR")
# The log cuts its times to whole milliseconds, so a time in it is up to that many seconds too early.
LOG_PRECISION = 0.001

_TEXT_LINE = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (?P<severity>"
    + "|".join(SEVERITIES)
    + r") (?P<rest>.*)"
)
_FIELD = r' [a-z_]+=(?:"(?:[^"\\]|\\.)*"|[^ "=\\]+)'
_MESSAGE_AND_FIELDS = re.compile(rf"(?P<message>.*?)(?P<fields>(?:{_FIELD})*)")


@dataclass(frozen=True)
class LogLine:
    raw: str
    time: datetime
    severity: str
    message: str
    fields: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.raw


def parse_log_line(raw: str) -> LogLine | None:
    """None for a line that is not the supervisor's."""
    return _parse_json(raw) if raw.startswith("{") else _parse_text(raw)


def _parse_json(raw: str) -> LogLine | None:
    try:
        members = json.loads(raw)
        time, severity, message = (members.pop(name) for name in ("time", "severity", "message"))
        return LogLine(raw, datetime.fromisoformat(time), severity, message, members)
    except (ValueError, KeyError, AttributeError, TypeError):
        return None


def _parse_text(raw: str) -> LogLine | None:
    line = _TEXT_LINE.fullmatch(raw)
    if not line:
        return None
    parts = _MESSAGE_AND_FIELDS.fullmatch(line["rest"])
    assert parts  # Both groups may be empty.
    fields = {}
    for assignment in re.findall(_FIELD, parts["fields"]):
        name, _, value = assignment[1:].partition("=")
        if value.startswith('"'):
            value = json.loads(value)
        elif name != "hash" and re.fullmatch(r"-?\d+", value):
            value = int(value)
        fields[name] = value
    return LogLine(raw, datetime.fromisoformat(line["time"]), line["severity"], parts["message"], fields)
