"""Watches for kills: as long as one counter of the machine stands still, it costs the reading of one file.

When it has moved, the sample before is kept, and the next one is waited for: whoever was killed has then
had time to go. What is told of the kill, and the forecast that it is held against, are those of the
sample before: no write to the API server, and no answer from it, comes in between.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from oomsayer.forecast.match import Match, Standing, match_all
from oomsayer.kernel.observed import (
    Interval,
    Look,
    ObservedKill,
    OomCounts,
    Paths,
    observe,
    settled,
)
from oomsayer.kernel.oomlog import OomKill, last_seconds, oom_kills
from oomsayer.kernel.snapshot import Snapshot
from oomsayer.kernel.verdict import Verdict
from oomsayer.kubelet.cgroups import owner
from oomsayer.node.kernellog import KernelLog

PATIENCE_SECONDS = 10.0
"""How long a victim is waited for: one that is still there may hang in the kernel, or was never seen."""

LAST_KILLS = 16
"""How many a report tells: an operator that was away for longer misses those before."""

TOLD_SECONDS = 3600.0
"""For how long: a report that is calm again is small again."""


class Counters(Protocol):
    """What a node counts."""

    def oom_kills(self) -> int | None:
        """Kills of the whole machine since boot."""

    def oom_counts(self, shot: Snapshot) -> dict[str, OomCounts]:
        """The counts of each memory cgroup."""


@dataclass(frozen=True, slots=True)
class KillRecord:
    """One kill as it is reported.

    Attributes:
        id: the same in all reports, and no other kill's.
        at: seconds since the epoch: when the log says it was, else when it was noticed.
        kill: what was observed.
        match: what the forecast that stood was worth.
        standing: that forecast, None where there was none.
    """

    id: str
    at: float
    kill: ObservedKill
    match: Match
    standing: Standing | None


@dataclass(frozen=True, slots=True)
class _Noticed:
    """The kills that counters told of so far, and when they were read, by both clocks."""

    counts: dict[str, OomCounts]
    at: float
    clock: float


class KillWatch:
    """Looks at each sample for kills since the one before."""

    def __init__(
        self, node: Counters, log: KernelLog | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """A watch that has seen nothing yet.

        Args:
            node: what is asked for counters.
            log: the kernel's log, None where it is not to be read.
            clock: seconds since boot, as the kernel's log counts them.

        Raises:
            OSError: the log cannot be read.
        """
        self._node = node
        self._log = log
        self._clock = clock
        self._log_seconds = 0.0 if log is None else last_seconds(log.read()) or 0.0
        self._log_read = self._log_seconds
        self._paths: Paths | None = None
        self._before: Look | None = None
        self._standing: Standing | None = None
        self._noticed: _Noticed | None = None
        self._prefix = f"{int(time.time() * 1000):x}"
        self.seen = 0
        """How many kills were recorded."""
        self._records: deque[KillRecord] = deque(maxlen=LAST_KILLS)

    def records(self, now: float) -> tuple[KillRecord, ...]:
        """What is to be told at `now`, in seconds since the epoch: the last kills, oldest first."""
        return tuple(record for record in self._records if now - record.at < TOLD_SECONDS)

    @property
    def waiting(self) -> bool:
        """Whether a kill was noticed and the next sample is waited for."""
        return self._noticed is not None

    def look(self, snapshot: Snapshot, told: Sequence[Verdict]) -> list[KillRecord]:
        """The kills that this sample makes known, recorded.

        Args:
            snapshot: the sample.
            told: its verdicts.
        """
        # The log first: a kill in between is counted and not yet logged, and so waited for.
        logged = self._logged() if self.waiting else None
        kills = self._node.oom_kills()
        before = self._before
        if kills is None:
            return []
        if before is None or kills == before.kills:
            counts = self._node.oom_counts(snapshot) if before is None else before.counts
            self._advance(Look(snapshot, counts, kills), told)
            return []
        now = Look(snapshot, self._node.oom_counts(snapshot), kills)
        if self._noticed is None:
            self._noticed = _Noticed(dict(now.counts), snapshot.taken_at, self._clock())
            return []
        interval = Interval(before, now, self._noticed.counts)
        if not settled(interval, logged) and self._clock() - self._noticed.clock < PATIENCE_SECONDS:
            return []
        fresh = self._record(interval, logged or ())
        self._advance(now, told)
        return fresh

    def _advance(self, now: Look, told: Sequence[Verdict]) -> None:
        self._before, self._standing, self._noticed = now, Standing(now.snapshot, told), None

    def _logged(self) -> list[OomKill] | None:
        """The kills that the log has told of since those recorded last; None where it is not read."""
        if self._log is None:
            return None
        try:
            lines = self._log.read()
        except OSError:
            return None  # it could be read at first: what the counters tell remains
        self._log_read = last_seconds(lines) or self._log_read
        kills = oom_kills(lines)
        return [kill for kill in kills if kill.seconds is not None and kill.seconds > self._log_seconds]

    def _record(self, interval: Interval, logged: Sequence[OomKill]) -> list[KillRecord]:
        snapshot = interval.before.snapshot
        if self._paths is None:
            self._paths = Paths("" if snapshot.initial_pid_namespace else None)
        pod_paths = [path for path in snapshot.memcgs if owner(path).pod_uid is not None]
        kills = observe(interval, logged, self._paths, pod_paths)
        fresh = []
        for kill, match in zip(kills, match_all(kills, self._standing), strict=True):
            self.seen += 1
            fresh.append(
                KillRecord(f"{self._prefix}-{self.seen}", self._time_of(kill), kill, match, self._standing)
            )
        self._records.extend(fresh)
        self._log_seconds = self._log_read
        return fresh

    def _time_of(self, kill: ObservedKill) -> float:
        """When it was, in seconds since the epoch; the log's clock drifts, so not before the last sample."""
        noticed, before = self._noticed, self._before
        latest = time.time() if noticed is None else noticed.at
        if kill.seconds is None or before is None:
            return latest
        at = time.time() - (self._clock() - kill.seconds)
        return min(max(at, before.snapshot.taken_at), max(latest, time.time()))
