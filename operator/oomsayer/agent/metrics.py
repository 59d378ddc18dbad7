"""What the agent has to say about itself, in Prometheus' text format.

Nothing is labelled by pod or cgroup: the operator knows their names and exposes the forecasts.
"""

import resource
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from oomsayer import __version__
from oomsayer.api.vocabulary import AgentMetric
from oomsayer.forecast.match import Outcome

DURATION_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper bounds in seconds: from a small node to one of 10,000 processes."""

Line = tuple[str, float]
"""A sample: what follows the family's name (suffix and labels), and its value."""


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

    def lines(self) -> list[Line]:
        """Its samples."""
        buckets = [
            (f'_bucket{{le="{bound:g}"}}', float(count))
            for bound, count in zip(DURATION_BOUNDS, self.counts, strict=True)
        ]
        count = float(self.count)
        return [*buckets, ('_bucket{le="+Inf"}', count), ("_sum", self.total), ("_count", count)]


@dataclass(frozen=True, slots=True)
class Sampled:
    """The last sample in numbers; `at` is seconds since the epoch."""

    at: float = 0.0
    processes: int = 0
    domains: int = 0
    domains_near: int = 0
    node_headroom_bytes: int | None = None
    gaps: int = 0


@dataclass(slots=True)
class Metrics:
    """Counters and the last values. Written by the sampling loop and the courier, read by scrapes."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    durations: Histogram = field(default_factory=Histogram)
    sampled: Sampled = field(default_factory=Sampled)
    failed_samples: int = 0
    written: int = 0
    not_written: int = 0
    report_size_bytes: int = 0
    omitted_domains: int = 0
    written_at: float = 0.0
    checked: int | None = None
    mismatches: Mapping[str, int] = field(default_factory=dict)
    kills: dict[str, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))

    def self_checked(self, checked: int, mismatches: Mapping[str, int]) -> None:
        """So many processes' oom_score was compared with the kernel's; who differs, counted by the reason."""
        with self.lock:
            self.checked, self.mismatches = checked, mismatches

    def sample(self, sampled: Sampled, seconds: float) -> None:
        """A sample was taken, in so many seconds."""
        with self.lock:
            self.sampled = sampled
            self.durations.observe(seconds)

    def kill_seen(self, outcome: str) -> None:
        """A kill was seen, and this came of the forecast that stood."""
        with self.lock:
            self.kills[outcome] += 1

    def sample_failed(self) -> None:
        """A sample could not be taken."""
        with self.lock:
            self.failed_samples += 1

    def report_written(self, size_bytes: int, omitted_domains: int, at: float) -> None:
        """The API server took a report, at so many seconds since the epoch."""
        with self.lock:
            self.written += 1
            self.report_size_bytes = size_bytes
            self.omitted_domains = omitted_domains
            self.written_at = at

    def report_not_written(self) -> None:
        """The API server did not take a report."""
        with self.lock:
            self.not_written += 1

    def text(self) -> str:
        """All of it in the exposition format, with what this process itself costs."""
        with self.lock:
            lines = [line for family in self._families() for line in _family(*family)]
        return "\n".join(lines) + "\n"

    def _families(self) -> Iterator[tuple[str, str, str, list[Line]]]:
        sampled = self.sampled
        taken = float(self.durations.count)
        yield (
            AgentMetric.BUILD_INFO,
            "gauge",
            "Version of the agent.",
            [(f'{{version="{__version__}"}}', 1)],
        )
        yield (
            AgentMetric.SAMPLES,
            "counter",
            "Samples of the node, by result.",
            [('{result="taken"}', taken), ('{result="failed"}', self.failed_samples)],
        )
        yield (
            AgentMetric.SAMPLE_DURATION,
            "histogram",
            "Time to read the node and reach its verdicts.",
            self.durations.lines(),
        )
        yield AgentMetric.LAST_SAMPLE, "gauge", "When the last sample was taken.", [("", sampled.at)]
        yield (
            AgentMetric.PROCESSES,
            "gauge",
            "Processes that hold memory, at the last sample.",
            [("", sampled.processes)],
        )
        yield (
            AgentMetric.DOMAINS,
            "gauge",
            "OOM domains at the last sample: the node and each cgroup with a memory limit.",
            [("", sampled.domains)],
        )
        yield (
            AgentMetric.DOMAINS_NEAR,
            "gauge",
            "OOM domains with less than a tenth of their limit left.",
            [("", sampled.domains_near)],
        )
        if sampled.node_headroom_bytes is not None:
            yield (
                AgentMetric.NODE_HEADROOM,
                "gauge",
                "What the node can still take before its OOM killer runs.",
                [("", sampled.node_headroom_bytes)],
            )
        if self.checked is not None:
            yield (
                AgentMetric.CHECKED,
                "gauge",
                "Processes whose oom_score the last self-check compared with the kernel's.",
                [("", self.checked)],
            )
            yield (
                AgentMetric.MISMATCHES,
                "gauge",
                "Processes whose oom_score stayed other than the kernel's in the last self-check.",
                [(f'{{reason="{reason}"}}', count) for reason, count in self.mismatches.items()],
            )
        yield (
            AgentMetric.KILLS,
            "counter",
            "Kills of the OOM killer seen, by what came of the forecast that stood.",
            [(f'{{outcome="{outcome}"}}', count) for outcome, count in self.kills.items()],
        )
        yield AgentMetric.GAPS, "gauge", "Things the last sample could not read.", [("", sampled.gaps)]
        yield (
            AgentMetric.REPORTS,
            "counter",
            "Attempts to write the NodeMemoryReport, by result.",
            [('{result="written"}', self.written), ('{result="failed"}', self.not_written)],
        )
        yield (
            AgentMetric.REPORT_SIZE,
            "gauge",
            "Size of the last report's status.",
            [("", self.report_size_bytes)],
        )
        yield (
            AgentMetric.OMITTED_DOMAINS,
            "gauge",
            "OOM domains that the last report's size bound left out.",
            [("", self.omitted_domains)],
        )
        yield AgentMetric.LAST_REPORT, "gauge", "When the last report was written.", [("", self.written_at)]
        yield from _process()


def _process() -> Iterator[tuple[str, str, str, list[Line]]]:
    """What Prometheus' own clients expose of every process, under the names they use."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    yield (
        "process_cpu_seconds_total",
        "counter",
        "User and system CPU time spent.",
        [("", used.ru_utime + used.ru_stime)],
    )
    resident = int(Path("/proc/self/statm").read_bytes().split()[1]) * resource.getpagesize()
    yield "process_resident_memory_bytes", "gauge", "Resident memory.", [("", resident)]


def _family(name: str, kind: str, text: str, lines: list[Line]) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for suffix, value in lines:
        yield f"{name}{suffix} {_number(value)}"


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
