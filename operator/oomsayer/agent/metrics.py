"""What the agent has to say about itself, in Prometheus' text format.

Nothing is labelled by pod or cgroup: the operator knows their names and exposes the forecasts.
"""

import resource
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from oomsayer import __version__
from oomsayer.agent.exposition import Family, Histogram, counter, counters, exposition, gauge, gauges
from oomsayer.api.vocabulary import AgentMetric
from oomsayer.forecast.match import Outcome


@dataclass(frozen=True, slots=True)
class Sampled:
    """The last sample in numbers; `at` is seconds since the epoch, 0 before the first."""

    at: float = 0.0
    processes: int = 0
    domains: int = 0
    domains_near: int = 0
    node_headroom_bytes: int | None = None
    gaps: int = 0


@dataclass(slots=True)
class Metrics:
    """Counters and the last values. Written by the sampling loop and the courier, read by scrapes.

    Times are in seconds since the epoch, 0 before the first.
    """

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
            return exposition(self._families())

    def _families(self) -> Iterator[Family]:
        yield gauges(AgentMetric.BUILD_INFO, "Version of the agent.", "version", {__version__: 1})
        yield from self._about_samples()
        if self.checked is not None:
            yield from self._about_the_self_check(self.checked)
        yield counters(
            AgentMetric.KILLS,
            "Kills of the OOM killer seen, by what came of the forecast that stood.",
            "outcome",
            self.kills,
        )
        yield from self._about_reports()
        yield from _about_this_process()

    def _about_samples(self) -> Iterator[Family]:
        results = {"taken": self.durations.count, "failed": self.failed_samples}
        yield counters(AgentMetric.SAMPLES, "Samples of the node, by result.", "result", results)
        yield self.durations.family(
            AgentMetric.SAMPLE_DURATION, "Time to read the node and reach its verdicts."
        )
        last = self.sampled
        yield gauge(AgentMetric.LAST_SAMPLE, "When the last sample was taken.", last.at)
        yield gauge(AgentMetric.PROCESSES, "Processes that hold memory, at the last sample.", last.processes)
        yield gauge(
            AgentMetric.DOMAINS,
            "OOM domains at the last sample: the node and each cgroup with a memory limit.",
            last.domains,
        )
        yield gauge(
            AgentMetric.DOMAINS_NEAR,
            "OOM domains with less than a tenth of their limit left.",
            last.domains_near,
        )
        if last.node_headroom_bytes is not None:
            yield gauge(
                AgentMetric.NODE_HEADROOM,
                "What the node can still take before its OOM killer runs.",
                last.node_headroom_bytes,
            )
        yield gauge(AgentMetric.GAPS, "Things the last sample could not read.", last.gaps)

    def _about_the_self_check(self, checked: int) -> Iterator[Family]:
        yield gauge(
            AgentMetric.CHECKED,
            "Processes whose oom_score the last self-check compared with the kernel's.",
            checked,
        )
        yield gauges(
            AgentMetric.MISMATCHES,
            "Processes whose oom_score stayed other than the kernel's in the last self-check.",
            "reason",
            self.mismatches,
        )

    def _about_reports(self) -> Iterator[Family]:
        results = {"written": self.written, "failed": self.not_written}
        yield counters(
            AgentMetric.REPORTS, "Attempts to write the NodeMemoryReport, by result.", "result", results
        )
        yield gauge(AgentMetric.REPORT_SIZE, "Size of the last report's status.", self.report_size_bytes)
        yield gauge(
            AgentMetric.OMITTED_DOMAINS,
            "OOM domains that the last report's size bound left out.",
            self.omitted_domains,
        )
        yield gauge(AgentMetric.LAST_REPORT, "When the last report was written.", self.written_at)


def _about_this_process() -> Iterator[Family]:
    """What Prometheus' own clients expose of every process, under the names they use."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = used.ru_utime + used.ru_stime
    yield counter("process_cpu_seconds_total", "User and system CPU time spent.", spent)
    resident = int(Path("/proc/self/statm").read_bytes().split()[1]) * resource.getpagesize()
    yield gauge("process_resident_memory_bytes", "Resident memory.", resident)
