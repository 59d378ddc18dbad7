"""What every domain's demand was since this agent has watched, and how fast it grows.

A history ends with its cgroup, and with an OOM of its own: what fell by that did not come back by itself. The
estimate costs more than all else that a sample asks of one domain, so it is made again only where demand or
time has moved on by a sixteenth.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

from oomsayer.forecast.growth import Growth, growth
from oomsayer.forecast.headroom import Headroom
from oomsayer.forecast.history import History
from oomsayer.forecast.prospect import Watched
from oomsayer.kernel.snapshot import Memcg, Snapshot

_MOVED = 1 / 16
_STILL = 1 / 100
"""What has moved by less than this share of its room in all its history takes a hundred such to fill it."""

_HITS_SECONDS = 60.0
"""A limit that was met within the last minute is one that the domain lives at."""

Life = tuple[int, int]
"""Inode and OOMs: what a history must not outlive."""


@dataclass(slots=True)
class _Domain:
    """One domain."""

    life: Life
    history: History = field(default_factory=History)
    growth: Growth | None = None
    room: int = 0
    estimated_at: float = 0.0
    hits: int = 0
    hit_at: float = -inf


class Histories:
    """All domains of one node."""

    def __init__(self) -> None:
        self._domains: dict[str, _Domain] = {}
        self._began: float | None = None

    def note(self, snapshot: Snapshot, rooms: Mapping[str, Headroom], now: float) -> Watched:
        """Add a sample; what is known with it.

        Args:
            snapshot: the sample.
            rooms: of every domain, by path.
            now: its moment, monotonic, in seconds.
        """
        if self._began is None:
            self._began = now
        for path in self._domains.keys() - rooms.keys():
            del self._domains[path]
        for path, room in rooms.items():
            demand, left, memcg = room.demand_bytes, room.headroom_bytes, snapshot.memcgs.get(path)
            # Memory nodes by themselves are not watched: a report has the growth of cgroups alone.
            if demand is None or left is None or memcg is None:
                self._domains.pop(path, None)
                continue
            domain = self._domains.get(path)
            if domain is None or domain.life != _life(memcg):
                domain = self._domains[path] = _Domain(_life(memcg), hits=_hits(memcg))
            if _hits(memcg) > domain.hits:
                domain.hits, domain.hit_at = _hits(memcg), now
            domain.history.add(now, demand)
            _estimate(domain, left, now)
        return Watched(
            {path: domain.growth for path, domain in self._domains.items() if domain.growth is not None},
            frozenset(path for path, domain in self._domains.items() if now - domain.hit_at < _HITS_SECONDS),
            now - self._began,
        )


def _estimate(domain: _Domain, room: int, now: float) -> None:
    history = domain.history
    moved = abs(room - domain.room) > abs(domain.room) * _MOVED
    if moved or now - domain.estimated_at > history.seconds * _MOVED:
        still = history.span() < max(room, 0) * _STILL
        domain.growth = None if still else growth(history.points())
        domain.room, domain.estimated_at = room, now


def _life(memcg: Memcg) -> Life:
    """On v1, where OOMs are not counted, the kills in it are."""
    events = memcg.events
    if events is None:
        return memcg.inode, 0
    return memcg.inode, (events.oom_kill if events.oom is None else events.oom) or 0


def _hits(memcg: Memcg) -> int:
    events = memcg.events
    return (events.max or 0) if events else 0
