"""What every domain's demand was since this agent has watched, and how fast it grows.

A history ends with its cgroup, and with an OOM kill in it: what fell by that did not come back by itself. The
estimate costs more than all else that a sample asks of one domain, so it is made again only where demand or
time has moved on by a sixteenth.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from oomsayer.forecast.growth import Growth, growth
from oomsayer.forecast.headroom import Headroom
from oomsayer.forecast.history import History
from oomsayer.kernel.snapshot import Memcg, Snapshot

_MOVED = 1 / 16
_STILL = 1 / 100
"""What has moved by less than this share of its room in all its history does not fill it in a hundred such."""

_HITS_SECONDS = 60.0
"""A limit that was met within the last minute is one that the domain lives at."""

Life = tuple[int, int]
"""Inode and OOM kills: what a history must not outlive."""


@dataclass(slots=True)
class _Watched:
    """One domain."""

    life: Life
    since: float
    history: History = field(default_factory=History)
    growth: Growth | None = None
    room: int = 0
    estimated_at: float = 0.0
    hits: int = 0
    hit_at: float | None = None


class Histories:
    """All domains of one node."""

    def __init__(self) -> None:
        self._watched: dict[str, _Watched] = {}
        self._lately: dict[str, float] = {}

    def note(self, snapshot: Snapshot, rooms: Mapping[str, Headroom], now: float) -> None:
        """Add a sample.

        Args:
            snapshot: the sample.
            rooms: of every domain, by path.
            now: its moment, monotonic, in seconds.
        """
        for path in self._watched.keys() - rooms.keys():
            del self._watched[path]
        for path, room in rooms.items():
            demand = room.demand_bytes
            if demand is None or room.headroom_bytes is None:
                self._watched.pop(path, None)
                continue
            memcg = snapshot.memcgs[path]
            watched = self._watched.get(path)
            if watched is None or watched.life != _life(memcg):
                watched = self._watched[path] = _Watched(_life(memcg), now, hits=_hits(memcg))
            watched.history.add(now, demand)
            if _hits(memcg) > watched.hits:
                watched.hits, watched.hit_at = _hits(memcg), now
            _estimate(watched, room.headroom_bytes, now)

    def growths(self) -> dict[str, Growth]:
        """By path, the growth of every domain that moves at all."""
        return {path: w.growth for path, w in self._watched.items() if w.growth is not None}

    def reclaiming(self, now: float) -> Iterable[str]:
        """Paths of the domains that met their limit within the last minute and got past it by reclaim."""
        return (p for p, w in self._watched.items() if w.hit_at is not None and now - w.hit_at < _HITS_SECONDS)

    def seconds(self) -> float:
        """How long the longest history is."""
        return max((watched.history.seconds for watched in self._watched.values()), default=0.0)


def _estimate(watched: _Watched, room: int, now: float) -> None:
    history = watched.history
    if history.span() < max(room, 0) * _STILL:
        watched.growth = None
        return
    moved = abs(room - watched.room) > abs(watched.room) * _MOVED
    if moved or now - watched.estimated_at > history.seconds * _MOVED:
        watched.growth = growth(history.points())
        watched.room, watched.estimated_at = room, now


def _life(memcg: Memcg) -> Life:
    events = memcg.events
    return memcg.inode, (events.oom_kill or 0) if events else 0


def _hits(memcg: Memcg) -> int:
    events = memcg.events
    return (events.max or 0) if events else 0
