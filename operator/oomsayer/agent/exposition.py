"""Prometheus' text format, as much of it as the agent needs.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (version 0.0.4).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

DURATION_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper bounds in seconds: from a small node to one of 10,000 processes."""


class Sample(NamedTuple):
    """One line of a family: what follows the family's name (suffix and labels), and its value."""

    suffix: str
    value: float


class Family(NamedTuple):
    """One metric with all its samples."""

    name: str
    kind: str
    help: str
    samples: tuple[Sample, ...]


def gauge(name: str, text: str, value: float) -> Family:
    """What goes up and down."""
    return Family(name, "gauge", text, (Sample("", value),))


def gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> Family:
    """The same by the value of a label, one that needs no escaping."""
    return Family(name, "gauge", text, _labelled(label, values))


def counter(name: str, text: str, value: float) -> Family:
    """What only goes up; the name ends in _total."""
    return Family(name, "counter", text, (Sample("", value),))


def counters(name: str, text: str, label: str, values: Mapping[str, float]) -> Family:
    """The same by the value of a label, one that needs no escaping."""
    return Family(name, "counter", text, _labelled(label, values))


def _labelled(label: str, values: Mapping[str, float]) -> tuple[Sample, ...]:
    return tuple(Sample(f'{{{label}="{key}"}}', value) for key, value in values.items())


@dataclass(slots=True)
class Histogram:
    """Durations in seconds, counted by upper bound."""

    counts: list[int] = field(default_factory=lambda: [0] * len(DURATION_BOUNDS))
    count: int = 0
    total: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.count += 1
        self.total += seconds
        for index, bound in enumerate(DURATION_BOUNDS):
            if seconds <= bound:
                self.counts[index] += 1

    def family(self, name: str, text: str) -> Family:
        """All of it under a name."""
        buckets = (
            Sample(f'_bucket{{le="{bound:g}"}}', count)
            for bound, count in zip(DURATION_BOUNDS, self.counts, strict=True)
        )
        everything = Sample('_bucket{le="+Inf"}', self.count)
        sums = (Sample("_sum", self.total), Sample("_count", self.count))
        return Family(name, "histogram", text, (*buckets, everything, *sums))


def exposition(families: Iterable[Family]) -> str:
    """What a scrape is answered with."""
    return "\n".join(line for family in families for line in _lines(family)) + "\n"


def _lines(family: Family) -> Iterator[str]:
    yield f"# HELP {family.name} {family.help}"
    yield f"# TYPE {family.name} {family.kind}"
    for sample in family.samples:
        yield f"{family.name}{sample.suffix} {_number(sample.value)}"


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
