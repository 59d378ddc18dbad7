"""When a domain's OOM comes: a range of time and how sure it is, or that it does not grow towards one."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from math import sqrt

from oomsayer.forecast.growth import Growth

HORIZON_SECONDS = 86400.0
"""Growth that takes longer than a day to fill the room is none that anybody is paged for."""

_SETTLED_SECONDS = 30.0
"""What grows for less may just be starting."""
_FARTHEST = 10.0
"""A forecast is doubtful where it looks so many times farther ahead than demand was watched."""
_WIDEST = 6.0
"""And where its latest is so many times its earliest."""
_GIVEN = 0.1
"""Nobody grows more evenly than by a tenth, whatever the interval says."""


class Trend(StrEnum):
    """Where demand is heading."""

    GROWING = "growing"
    STEADY = "not growing"
    UNKNOWN = "unknown"


class Sureness(StrEnum):
    """How far a time to OOM can be relied on."""

    HIGH = "high"
    LOW = "low"


@dataclass(frozen=True, slots=True)
class OomTime:
    """Seconds from the sample to the OOM.

    Attributes:
        trend: without growth there are no times.
        earliest: not before.
        latest: at the latest, None where it may as well never come.
        sureness: whether the range can be relied on.
        doubts: why not, each a sentence; and what speaks against growth where there is none.
    """

    trend: Trend
    earliest: float | None = None
    latest: float | None = None
    sureness: Sureness = Sureness.HIGH
    doubts: tuple[str, ...] = ()

    @property
    def open(self) -> bool:
        """Whether it may be any moment, or never: such a range tells nothing."""
        return self.earliest is not None and self.earliest < 1 and self.latest is None

    def after(self, seconds: float) -> "OomTime":
        """The same so much later, without a newer sample."""
        if self.earliest is None:
            return self
        latest = None if self.latest is None else max(self.latest - seconds, 0.0)
        return replace(self, earliest=max(self.earliest - seconds, 0.0), latest=latest)


UNKNOWN = OomTime(Trend.UNKNOWN, sureness=Sureness.LOW)


def oom_time(growth: Growth | None, room_bytes: int | None, demand_bytes: int | None) -> OomTime:
    """How long the room lasts at this growth.

    Args:
        growth: None where too little was seen.
        room_bytes: headroom, None where it is not known.
        demand_bytes: the demand that goes with this room.
    """
    if growth is None or room_bytes is None or demand_bytes is None:
        return UNKNOWN
    room = max(room_bytes - max(growth.level_bytes - demand_bytes, 0.0), 0.0)
    if growth.middle <= 0 or room / growth.middle > HORIZON_SECONDS:
        return OomTime(Trend.STEADY, doubts=_came_back(growth))
    earliest = _filled(
        room, max(growth.high, growth.middle) * (1 + _GIVEN), max(growth.quickening, 0), growth
    )
    latest = None
    if earliest is None:
        return OomTime(Trend.STEADY, doubts=_came_back(growth))
    if growth.low > 0:
        latest = _filled(room, growth.low / (1 + _GIVEN), min(growth.quickening, 0), growth)
    if latest is not None and latest > HORIZON_SECONDS:
        latest = None
    doubts = tuple(_doubts(growth, room, earliest, latest))
    return OomTime(Trend.GROWING, earliest, latest, Sureness.LOW if doubts else Sureness.HIGH, doubts)


def _filled(room: float, rate: float, quickening: float, growth: Growth) -> float | None:
    """Seconds until growth that changes so fills the room, None where it slows down before."""
    if not quickening:
        return room / rate
    # The rate is that of the middle of the time looked at.
    rate += quickening * growth.seconds / 2
    under = rate * rate + 2 * quickening * room
    return None if rate <= 0 or under < 0 else (sqrt(under) - rate) / quickening


def _came_back(growth: Growth) -> tuple[str, ...]:
    if not growth.returns:
        return ()
    times = "once" if growth.returns == 1 else f"{growth.returns} times"
    return (f"demand rose before and came back {times}",)


def _doubts(growth: Growth, room: float, earliest: float, latest: float | None) -> Iterator[str]:
    if growth.quickening < 0 < growth.low and latest is None:
        yield "it slows down"
    elif latest is None:
        yield from _came_back(growth) or ("it may as well not grow",)
    elif latest > earliest * _WIDEST:
        yield "it grows unevenly"
    if growth.seconds < max(_SETTLED_SECONDS, room / growth.middle / _FARTHEST):
        yield f"it has grown like this for {growth.seconds:.0f} s only"
