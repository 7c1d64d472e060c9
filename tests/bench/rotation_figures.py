"""From what was seen in a run with rotations to its figures."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass
from typing import Any

from process import MeasurementError
from process_tree import Usage
from rotation_load import KEPT, OWN, POOLED, Sent
from rotation_subjects import Rotation

# What a rotation costs goes on for some seconds after its last step.
MARGIN = 3.0

Span = tuple[float, float]


@dataclass(frozen=True)
class Run:
    """All that was seen. The requests are in the order in which they ended."""

    rotations: list[Rotation]
    sent: list[Sent]
    usage: Usage
    load_cpu: float
    logins: int
    logins_refused: int
    exit_codes: list[int]

    @property
    def spans(self) -> list[Span]:
        return [(one.begin, one.end + MARGIN) for one in self.rotations]


def figures(run: Run) -> dict[str, Any]:
    """Times are in seconds, memory in bytes."""
    spans = run.spans
    answers = [one for one in run.sent if one.client == OWN and one.answered]
    silences, silence_without = _silences([one.finished for one in answers], spans)
    cpu_rate = run.usage.cpu_rate_without(spans)
    failed = [one for one in run.sent if not one.answered]
    begin, end = run.sent[0].started, run.sent[-1].finished
    return {
        "rotations": len(run.rotations),
        "seconds": end - begin,
        "requests": len(run.sent),
        "failed": len(failed),
        "failed_without_rotation": sum(not any(_touches(one, span) for span in spans) for one in failed),
        "clients": {
            client: {
                "requests": sum(one.client == client for one in run.sent),
                "failed": sum(one.client == client for one in failed),
                "errors": dict(Counter(one.failure for one in failed if one.client == client).most_common()),
            }
            for client in (OWN, KEPT, POOLED)
        },
        "failures": [str(one) for one in failed[:50]],
        "silence": silences,
        "silence_without_rotation": silence_without,
        "answer_p99": _p99([one for one in answers if any(_touches(one, span) for span in spans)]),
        "answer_p99_without_rotation": _p99(
            [one for one in answers if not any(_touches(one, span) for span in spans)]
        ),
        "start_to_serving": [
            _serves(one, answers) - one.next_started for one in run.rotations if one.next_started is not None
        ],
        "drain": [one.drain for one in run.rotations if one.drain is not None],
        "logins": run.logins,
        "logins_refused": run.logins_refused,
        "memory_peak": run.usage.peak(spans),
        "memory_peak_without_rotation": run.usage.peak_without(spans),
        "cpu_more": [run.usage.cpu_between(*span) - cpu_rate * (span[1] - span[0]) for span in spans],
        "cpu_per_second_without_rotation": cpu_rate,
        "cpu_of_load_per_second": run.load_cpu / (end - begin),
        "exit_codes": run.exit_codes,
    }


def _silences(answers: list[float], spans: list[Span]) -> tuple[list[float], float]:
    """The longest time between two answers that touches each span, and the longest that touches none. They are seen
    whole when answers came before the first span and after the last one."""
    if not answers or answers[0] > spans[0][0] or answers[-1] < spans[-1][1]:
        raise MeasurementError("no answers came before the first rotation, or none came after the last one")
    gaps = list(zip(answers, answers[1:]))
    touching = [[gap for gap in gaps if gap[1] >= begin and gap[0] <= end] for begin, end in spans]
    others = set(gaps).difference(*touching)
    return [_longest(found) for found in touching], _longest(list(others))


def _longest(gaps: list[Span]) -> float:
    return max((later - earlier for earlier, later in gaps), default=0.0)


def _touches(one: Sent, span: Span) -> bool:
    return one.finished >= span[0] and one.started <= span[1]


def _p99(answers: list[Sent]) -> float:
    took = [one.finished - one.started for one in answers]
    return statistics.quantiles(took, n=100)[98] if len(took) > 1 else sum(took)


def _serves(rotation: Rotation, answers: list[Sent]) -> float:
    """Where no other child serves meanwhile, the first answer tells when the next one does."""
    assert rotation.next_started is not None
    if rotation.next_serves is not None:
        return rotation.next_serves
    return next(one.finished for one in answers if one.started >= rotation.next_started)
