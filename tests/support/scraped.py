"""The metrics of a supervisor, as prometheus_client's parser reads them."""

from __future__ import annotations

from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from supervisor import Supervisor, wait_until

OURS = "prefect_supervisor_"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Scraped:
    text: str
    types: dict[str, str] = field(default_factory=dict)
    """Of each metric, by the name that its TYPE line has."""
    samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Scraped:
        scraped = cls(text)
        for family in text_string_to_metric_families(text):
            # The parser takes the ending off a counter's name.
            scraped.types[f"{family.name}_total" if family.type == "counter" else family.name] = family.type
            for sample in family.samples:
                key = sample.name, frozenset(sample.labels.items())
                assert key not in scraped.samples, f"{key} is there twice"
                scraped.samples[key] = sample.value
        return scraped

    def value(self, name: str, /, **labels: str) -> float:
        """Of one of our own metrics, without the prefix, or of one of the process."""
        full = name if name.startswith("process_") else OURS + name
        return self.samples[full, frozenset(labels.items())]

    def labels_of(self, name: str) -> list[dict[str, str]]:
        return [dict(labels) for sample, labels in self.samples if sample == OURS + name]


def scrape(supervisor: Supervisor) -> Scraped:
    answer = supervisor.health("/metrics")
    assert answer.status == 200 and answer.headers["content-type"] == CONTENT_TYPE
    return Scraped.parse(answer.body)


def wait_for_metric(supervisor: Supervisor, expected: float, name: str, /, **labels: str) -> Scraped:
    """Waits until the metric has this value, which it must not exceed."""

    def reached() -> Scraped | None:
        scraped = scrape(supervisor)
        value = scraped.value(name, **labels)
        assert value <= expected, f"{name}{labels} is {value:g}"
        return scraped if value == expected else None

    return wait_until(reached, f"{name}{labels} to be {expected:g}")
