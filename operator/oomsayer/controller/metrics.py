"""What the operator tells Prometheus. Series by node and by risk level: never by pod, which has no bound."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from oomsayer import __version__
from oomsayer.api.forecast import NextVictim, OOMForecastStatus, RiskLevel, Scorecard, TimeToOOM
from oomsayer.api.vocabulary import OperatorMetric
from oomsayer.controller.scorecard import OUTCOME_COUNTS, REASON_COUNTS

# One more series for each, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]

Values = Mapping[tuple[str, ...], float]
"""The samples of a family, by the values of its labels."""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30)


@dataclass(frozen=True, slots=True)
class NodeView:
    """Of one forecast what becomes metrics: numbers and labels, by what Prometheus calls the domain.

    Attributes:
        headroom: bytes, of "node" and "closest" where known.
        margin: bytes, likewise.
        oom_time: seconds since the epoch by domain and bound, where an OOM is surely on its way.
        victim: labels of the victim in the closest domain, empty without one.
        sampled_at: seconds since the epoch, by the node's clock.
        risks: how many, by level.
        kills: how many were observed since the node was first seen, by outcome.
        misses: how many forecasts missed, by reason.
        warned: how many of the kills a warning had preceded.
    """

    headroom: dict[str, int]
    margin: dict[str, int]
    victim: dict[str, str]
    sampled_at: float | None
    risks: dict[str, int]
    kills: dict[str, int] = field(default_factory=dict)
    misses: dict[str, int] = field(default_factory=dict)
    warned: int = 0
    oom_time: dict[tuple[str, str], float] = field(default_factory=dict)


def view(status: OOMForecastStatus) -> NodeView:
    """What of a forecast becomes metrics."""
    node = next((d for d in status.domains if d.kind == "node"), None)
    closest = next((d for d in status.domains if status.next and d.name == status.next.domain), None)
    shown = {name: d for name, d in (("node", node), ("closest", closest)) if d is not None}
    levels = [risk.level for risk in status.risks]
    return NodeView(
        headroom={n: d.headroom_bytes for n, d in shown.items() if d.headroom_bytes is not None},
        margin={n: d.margin_bytes for n, d in shown.items() if d.margin_bytes is not None},
        victim=_victim(status.next) if status.next and status.next.pid else {},
        sampled_at=status.sampled_at.timestamp() if status.sampled_at else None,
        risks={level.value: levels.count(level) for level in RiskLevel},
        oom_time={
            (name, bound): moment.timestamp()
            for name, domain in shown.items()
            for bound, moment in _on_its_way(domain.time_to_oom)
        },
        **_scored(status.scorecard),
    )


def _on_its_way(time: TimeToOOM | None) -> Iterator[tuple[str, datetime]]:
    """When an OOM is surely on its way: its earliest and its latest moment."""
    if time is not None and time.confidence == "high" and time.earliest is not None:
        yield "earliest", time.earliest
        if time.latest is not None:
            yield "latest", time.latest


def _scored(card: Scorecard | None) -> dict[str, Any]:
    if card is None:
        return {}
    return {
        "kills": {outcome.value: getattr(card, name) for outcome, name in OUTCOME_COUNTS.items()},
        "misses": {reason.value: getattr(card.miss_reasons, name) for reason, name in REASON_COUNTS.items()},
        "warned": card.warned,
    }


@dataclass(slots=True)
class Sources:
    """What is read when Prometheus asks, rather than counted as it happens."""

    nodes: dict[str, NodeView] = field(default_factory=dict)
    api_failures: dict[tuple[str, int], int] = field(default_factory=dict)
    leading: bool = False
    queue_length: int = 0


class Metrics:
    """The operator's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.sources = Sources()
        self.reports = Counter(
            OperatorMetric.REPORTS.removesuffix("_total"),
            "Reports looked at, by what came of them.",
            ["result"],
            registry=self.registry,
        )
        self.events = Counter(
            OperatorMetric.EVENTS.removesuffix("_total"),
            "Events, by reason and by what came of them.",
            ["reason", "result"],
            registry=self.registry,
        )
        self.reconcile_seconds = Histogram(
            OperatorMetric.RECONCILE_DURATION.value,
            "Time from taking up a node to having published what changed.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.registry.register(_Now(self.sources))
        ProcessCollector(registry=self.registry)

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class _Now(Collector):
    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterable[Metric]:
        sources = self._sources
        yield InfoMetricFamily(
            OperatorMetric.BUILD_INFO.removesuffix("_info"),
            "The operator's version.",
            {"version": __version__},
        )
        yield GaugeMetricFamily(
            OperatorMetric.LEADER.value,
            "1 where this operator writes, 0 where it waits.",
            int(sources.leading),
        )
        yield GaugeMetricFamily(
            OperatorMetric.QUEUE_LENGTH.value, "Nodes and policies to be looked at.", sources.queue_length
        )
        yield _counter(
            OperatorMetric.API_FAILURES,
            "Requests to the API server that failed, by method and HTTP status; 0 is no answer.",
            ("method", "code"),
            {(method, str(code)): count for (method, code), count in sources.api_failures.items()},
        )
        # What one that leads no more was still working on is not of now, and another tells it.
        yield from _forecasts(sources.nodes if sources.leading else {})


def _forecasts(nodes: Mapping[str, NodeView]) -> Iterator[Metric]:
    yield _gauge(
        OperatorMetric.HEADROOM,
        "Bytes until the OOM of the node itself, and of its closest domain.",
        ("node", "domain"),
        {(n, domain): value for n, seen in nodes.items() for domain, value in seen.headroom.items()},
    )
    yield _gauge(
        OperatorMetric.OOM_TIME,
        "When the OOM of the same two domains comes at the present growth, where that is sure.",
        ("node", "domain", "bound"),
        {(n, *where): moment for n, seen in nodes.items() for where, moment in seen.oom_time.items()},
    )
    yield _gauge(
        OperatorMetric.MARGIN,
        "Bytes between victim and runner-up, of the same two domains.",
        ("node", "domain"),
        {(n, domain): value for n, seen in nodes.items() for domain, value in seen.margin.items()},
    )
    yield _victims(nodes)
    yield _gauge(
        OperatorMetric.SAMPLE_TIME,
        "When the node was sampled, by its clock.",
        ("node",),
        {(n,): seen.sampled_at for n, seen in nodes.items() if seen.sampled_at is not None},
    )
    yield _gauge(
        OperatorMetric.RISKS,
        "Risks that have begun and not ended.",
        ("node", "level"),
        {(n, level): count for n, seen in nodes.items() for level, count in seen.risks.items()},
    )
    yield from _scorecards(nodes)


def _scorecards(nodes: Mapping[str, NodeView]) -> Iterator[Metric]:
    yield _counter(
        OperatorMetric.KILLS,
        "Kills of the OOM killer, by what came of the forecast that stood.",
        ("node", "outcome"),
        {(n, outcome): count for n, seen in nodes.items() for outcome, count in seen.kills.items()},
    )
    yield _counter(
        OperatorMetric.MISSES,
        "Forecasts that missed.",
        ("node", "reason"),
        {(n, reason): count for n, seen in nodes.items() for reason, count in seen.misses.items()},
    )
    yield _counter(
        OperatorMetric.WARNED,
        "Kills of the OOM killer that a warning had preceded.",
        ("node",),
        {(n,): seen.warned for n, seen in nodes.items()},
    )


def _victims(nodes: Mapping[str, NodeView]) -> Metric:
    family = InfoMetricFamily(
        OperatorMetric.VICTIM.removesuffix("_info"), "Who is killed in the closest domain.", labels=["node"]
    )
    for name, seen in nodes.items():
        if seen.victim:
            family.add_metric([name], seen.victim)
    return family


def _gauge(name: str, text: str, labels: Sequence[str], values: Values) -> Metric:
    return _filled(GaugeMetricFamily(name, text, labels=labels), values)


def _counter(name: str, text: str, labels: Sequence[str], values: Values) -> Metric:
    return _filled(CounterMetricFamily(name.removesuffix("_total"), text, labels=labels), values)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, values: Values) -> Metric:
    for labelled, value in values.items():
        family.add_metric(labelled, value)
    return family


def _victim(line: NextVictim) -> dict[str, str]:
    namespace, _, pod = line.pod.partition("/")
    return {
        "domain": line.domain,
        "domain_kind": line.domain_kind,
        "comm": line.comm,
        "namespace": namespace,
        "pod": pod,
        "container": line.container,
        "confidence": line.confidence.value,
    }
