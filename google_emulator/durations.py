"""Durations as the supervisor's settings write them: `90s`, `55m`, `1h30m`, `250ms`."""

from __future__ import annotations

import re

_SECONDS_PER_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")


def parse_duration(text: str | int | float) -> float:
    """Returns seconds. A bare number is taken as seconds. Raises ValueError with what is allowed."""
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        return float(text)
    text = str(text).strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    seconds, position = 0.0, 0
    for part in _PART.finditer(text):
        if part.start() != position:
            break
        seconds += float(part[1]) * _SECONDS_PER_UNIT[part[2]]
        position = part.end()
    if not text or position != len(text):
        raise ValueError(f"{text!r} is not a duration; write it like 90s, 55m, 1h30m or 250ms")
    return seconds
