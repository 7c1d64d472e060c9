"""Failures by script: which answer the next token requests get. Pure: every call is told what time it is."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields
from typing import Any

from google_emulator.durations import parse_duration

# The name of every scripted answer, and what the client sees.
ANSWERS = {
    "token": "the right answer (for a pause in a sequence, or with `delay`)",
    "status": "`status` with `body` and `retry_after`, if given",
    "hang": "the connection is taken and nothing is ever sent",
    "cut-body": "half of the body, then the connection ends",
    "refused": "the port refuses connections for `seconds`",
    "reset": "the connection is reset without an answer",
    "bad-json": "200 and JSON that breaks off",
    "empty-body": "200 and no body",
    "expires-in": "the right token with `expires_in` set to the JSON value given",
    "no-expires-in": "the right token without expires_in",
    "no-token": "200 and JSON without access_token",
    "empty-token": "200 and an access_token of no characters",
    "padded-token": "a good token, padded with dots to 1,024 characters",
    "long-token": "200 and an access_token of 9,000 characters",
    "newline-token": "the right token with a newline in its middle",
    "redirect": "301 to `location`; by default to a token of no worth on this server",
    "no-flavor": "the right answer without its Metadata-Flavor header",
    "huge-body": "the right answer in a body of `size` bytes, 1 MiB by default",
    "proxy-page": "200 and the HTML page of a proxy",
}


class _Absent:
    """Tells `"expires_in": null` from a step that names no expires_in."""


@dataclass(frozen=True)
class Step:
    """One kind of answer, for a number of token requests or for a duration."""

    answer: str = "token"
    times: int | None = None
    seconds: float | None = None
    delay: float = 0.0
    status: int = 503
    body: str | None = None
    retry_after: int | str | None = None
    expires_in: Any = _Absent
    location: str | None = None
    size: int = 1024 * 1024

    @classmethod
    def from_json(cls, value: Any) -> Step:
        """Raises ValueError that names the key, what it was, and what is allowed."""
        if not isinstance(value, dict):
            raise ValueError(f'a step is an object like {{"answer": "hang", "times": 2}}, not {value!r}')
        allowed = [known.name for known in fields(cls)]
        for key in value:
            if key not in allowed:
                raise ValueError(f"{key!r} is not part of a step; allowed: {', '.join(allowed)}")
        value = dict(value)
        if "answer" not in value and "status" in value:
            value["answer"] = "status"
        for key in ("seconds", "delay"):
            if value.get(key) is not None:
                value[key] = parse_duration(value[key])
        step = cls(**value)
        step._check()
        return step

    def _check(self) -> None:
        if self.answer not in ANSWERS:
            raise ValueError(f"{self.answer!r} is not an answer; allowed: {', '.join(ANSWERS)}")
        if self.times is not None and self.seconds is not None:
            raise ValueError("a step has `times` or `seconds`, not both")
        if self.times is not None and (not isinstance(self.times, int) or self.times < 1):
            raise ValueError(f"`times` is a number of requests from 1 up, not {self.times!r}")
        if self.answer == "refused" and self.seconds is None:
            raise ValueError("a refused port sees no requests to count: give `seconds`")
        if self.answer == "expires-in" and self.expires_in is _Absent:
            raise ValueError("the answer `expires-in` needs the value, as `expires_in`")
        if not isinstance(self.status, int) or not 100 <= self.status <= 999:
            raise ValueError(f"`status` is a number from 100 to 999, not {self.status!r}")


class Script:
    """The steps still to come, in order."""

    def __init__(self) -> None:
        self._steps: deque[Step] = deque()
        self._head_started: float | None = None
        self._head_used = 0

    def add(self, steps: list[Step]) -> None:
        self._steps.extend(steps)

    def clear(self) -> None:
        self._steps.clear()
        self._pop_bookkeeping()

    def __len__(self) -> int:
        return len(self._steps)

    def head(self, now: float) -> Step | None:
        """The step that holds now. A step that lasts `seconds` starts when it is first the head."""
        while self._steps:
            step = self._steps[0]
            if self._head_started is None:
                self._head_started = now
            if step.seconds is None or now < self._head_started + step.seconds:
                return step
            # The next one starts where this one ended, however late that is noticed.
            ended = self._head_started + step.seconds
            self._steps.popleft()
            self._pop_bookkeeping()
            self._head_started = ended
        self._pop_bookkeeping()
        return None

    def head_ends_at(self, now: float) -> float | None:
        step = self.head(now)
        if step is None or step.seconds is None or self._head_started is None:
            return None
        return self._head_started + step.seconds

    def take(self, now: float) -> Step | None:
        """The step for a token request that came now."""
        step = self.head(now)
        if step is not None and step.seconds is None:
            self._head_used += 1
            if self._head_used >= (step.times or 1):
                self._steps.popleft()
                self._pop_bookkeeping()
        return step

    def _pop_bookkeeping(self) -> None:
        self._head_started, self._head_used = None, 0
