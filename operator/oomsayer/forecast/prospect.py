"""Where each domain of a node is heading: its time to OOM, which level runs out first, what shows it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from oomsayer.forecast.growth import LEAST_POINTS, Growth
from oomsayer.forecast.headroom import Headroom, binding
from oomsayer.forecast.oomtime import OomTime, Sureness, Trend, oom_time
from oomsayer.kernel.snapshot import ROOT, Pressure, Snapshot

_WAITING_PERCENT = 10.0
"""Tasks that wait for memory so much of their time are slowed down by reclaim."""
_THRASHING_PERCENT = 20.0
"""Where all of them do, growth says little about the end: it is held up by reclaim itself."""
_SEEN_ENOUGH_SECONDS = 2.0 * LEAST_POINTS


@dataclass(frozen=True, slots=True)
class Watched:
    """What one sample cannot show.

    Attributes:
        growths: by path of the domain; one that is not in it stayed as it was.
        reclaiming: paths of domains that met their limit within the last minute, and live on by reclaim.
        seconds: for how long the node has been watched.
    """

    growths: Mapping[str, Growth] = field(default_factory=dict)
    reclaiming: frozenset[str] = frozenset()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Prospect:
    """One domain's future.

    Attributes:
        time: when its OOM comes.
        binds: path of the level that runs out first when this domain grows: itself, or one above.
        evidence: that it lives on reclaim already, each a sentence.
    """

    time: OomTime
    binds: str
    evidence: tuple[str, ...] = ()


def worth_telling(watched: Watched, ahead: Mapping[str, Prospect]) -> Watched:
    """Without the growth of domains that it does not bring near an OOM; the node's is always told."""
    growths = {
        path: growth
        for path, growth in watched.growths.items()
        if path == ROOT or ahead[path].time.trend is Trend.GROWING
    }
    return replace(watched, growths=growths)


def prospects(snapshot: Snapshot, rooms: Mapping[str, Headroom], watched: Watched) -> dict[str, Prospect]:
    """The prospect of every domain.

    Args:
        snapshot: what the node looks like.
        rooms: of every domain, by path.
        watched: what happened before.
    """
    return {path: _prospect(path, snapshot, rooms, watched) for path in rooms}


def _prospect(path: str, snapshot: Snapshot, rooms: Mapping[str, Headroom], watched: Watched) -> Prospect:
    room = rooms[path]
    growth = watched.growths.get(path)
    memcg = snapshot.memcgs.get(path)
    seen = memcg is not None and watched.seconds >= _SEEN_ENOUGH_SECONDS
    if growth is None and room.headroom_bytes is not None and seen:
        time = OomTime(Trend.STEADY)
    else:
        time = oom_time(growth, room.headroom_bytes, room.demand_bytes)
    of_memcg = None if memcg is None else memcg.pressure
    pressure = snapshot.memory.pressure if path == ROOT else of_memcg
    if time.trend is Trend.GROWING and pressure is not None and pressure.full >= _THRASHING_PERCENT:
        doubt = f"all its tasks wait for memory {pressure.full:.0f} % of the time"
        time = replace(time, sureness=Sureness.LOW, doubts=(*time.doubts, doubt))
    return Prospect(time, binding(path, rooms), _evidence(pressure, reclaiming=path in watched.reclaiming))


def _evidence(pressure: Pressure | None, *, reclaiming: bool) -> tuple[str, ...]:
    found = []
    if reclaiming:
        found.append("its limit was met within the last minute, and reclaim has made room so far")
    if pressure is not None and pressure.some >= _WAITING_PERCENT:
        found.append(f"its tasks wait for memory {pressure.some:.0f} % of the time")
    return tuple(found)
