"""How fast the demand for memory grows towards a limit, with an error band.

Demand is what reclaim cannot take back (see headroom), so page cache that merely fills the limit is no
growth. What is left misleads in four ways, and each has its answer here:

- **Noise.** Sen's slope, the median of the slopes between all pairs of points, with the confidence interval
  that Kendall's statistic gives it: up to 29 % of outliers do not move it. (P. K. Sen, "Estimates of the
  regression coefficient based on Kendall's tau", 1968; used to foresee exhausted memory since S. Garg et
  al., "A methodology for detection and estimation of software aging", 1998.)
- **Steps.** How far back to look is decided by the data: the longest time whose interval agrees with those
  of all shorter ones (the intersection of confidence intervals, A. Goldenshluger and A. Nemirovski, "On
  spatially adaptive estimation of nonparametric regression", 1997). Demand that moves in steps cannot be
  known better than to one step: the interval is widened by it.
- **Sawtooth** (garbage collectors, batches). Where demand rose and came back before, what grows is the line
  along the peaks, not a tooth. Only a climb that goes well beyond all peaks speaks for itself.
- **Restarts.** A fall because of an OOM kill is no sign that the next climb will turn by itself. Whoever
  feeds this begins anew after one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from math import inf, sqrt

Point = tuple[float, float]
"""A moment in seconds and the demand then, in bytes."""

LEAST_POINTS = 6
"""Fewer say nothing about a slope."""

_CELLS = 14
"""Into how many pieces a time is cut; the highest demand of each is a point."""
_Z = 1.64
"""Of the normal distribution: intervals of 90 %."""
_Z_PEAKS = 2.33
"""And of 98 %: peaks are seen where a sample happens to be near one, and looked at anew with every tooth."""
_LONGER = 1.5
"""How much longer each time looked at is than the one before."""
_TELLING = 1 / 3
"""Share of the deepest fall that another has to have to be one of its kind, not noise upon it."""
_TAKEN_BACK = 0.25
"""Share of its climb that demand has to lose before that counts as coming back."""
_BEYOND = 0.125
"""Share of the deepest fall by which a climb has to pass all peaks before to speak for itself."""
_LAST_PEAKS = 16
_KNOWN = 3
"""From so many returns on a sawtooth is known for one."""
_PEAKS_FOR_A_LINE = 5
"""Fewer may rise one after the other by chance."""
_LEAST_FALL_BYTES = 1 << 20
"""Charges are counted in batches for each processor, so that less is no fall."""


@dataclass(frozen=True, slots=True)
class Growth:
    """Bytes a second, low <= middle <= high; below zero it shrinks.

    Attributes:
        low: it grows at least so fast, with 95 % confidence.
        middle: the most likely.
        high: at most so fast.
        seconds: how long a time the estimate rests on.
        level_bytes: the demand that grows: that of now, or in a sawtooth the line along its peaks.
        returns: how often demand rose before and came back.
        quickening: bytes a second that growth gains each second, below zero where it slows down; 0 where it
            does not clearly change.
    """

    low: float
    middle: float
    high: float
    seconds: float
    level_bytes: float
    returns: int = 0
    quickening: float = 0.0


@dataclass(frozen=True, slots=True)
class Climb:
    """Points from a trough to the peak after it, or to now."""

    points: Sequence[Point]
    peak: Point


def growth(points: Sequence[Point]) -> Growth | None:
    """The growth at the last of these points; None where they are too few.

    Args:
        points: ascending in time, the present last.
    """
    if len(points) < LEAST_POINTS:
        return None
    *before, now = climbs(points)
    slope = _fit(now.points)
    if not before:
        return slope
    returns = len(before)
    peaks = [done.peak for done in before]
    beyond = now.peak[1] - max(top for _, top in peaks)
    if slope and beyond > _margin(before):
        return replace(slope, returns=returns)
    along = replace(_along(peaks[-_LAST_PEAKS:], now.peak, points[-1]), returns=returns)
    if slope and (beyond > 0 or returns < _KNOWN):
        along = replace(along, high=max(along.high, slope.high))
    if slope and returns < _KNOWN:
        # So few returns make no habit: of n + 1 climbs that are alike, any may be the one that goes on.
        expected = max(along.middle, slope.middle / (returns + 1))
        along = replace(along, low=min(along.low, 0.0), middle=expected)
    return along


def climbs(points: Sequence[Point]) -> list[Climb]:
    """The series cut where it turned: each climb that came back, and last the one going on now."""
    least = max(_deepest_fall(points) * _TELLING, _LEAST_FALL_BYTES)
    found: list[Climb] = []
    trough = peak = 0
    for index, (_, demand) in enumerate(points):
        climbed = points[peak][1] - points[trough][1]
        if demand >= points[peak][1]:
            peak = index
        elif points[peak][1] - demand > max(climbed * _TAKEN_BACK, least):
            if climbed > _LEAST_FALL_BYTES:
                found.append(Climb(points[trough : peak + 1], points[peak]))
            trough = peak = index
        if demand < points[trough][1]:
            trough = peak = index
    return [*found, Climb(points[trough:], points[peak])]


def _deepest_fall(points: Sequence[Point]) -> float:
    top, deepest = -inf, 0.0
    for _, demand in points:
        top = max(top, demand)
        deepest = max(deepest, top - demand)
    return deepest


def _margin(before: Sequence[Climb]) -> float:
    """How far beyond all peaks is more than one more peak: peaks differ, and falls say how deep teeth are."""
    peaks = [done.peak[1] for done in before]
    steps = [abs(later - earlier) for earlier, later in pairwise(peaks)]
    deepest = max(done.peak[1] - done.points[0][1] for done in before)
    return max(2 * median(steps) if steps else 0.0, deepest * _BEYOND)


def _along(peaks: list[Point], peak: Point, now: Point) -> Growth:
    """The growth of the line along the peaks; the one going on now counts once it is higher than the last."""
    points = [*peaks, peak] if peak[1] >= peaks[-1][1] else peaks
    seconds = now[0] - points[0][0]
    if len(points) == 1:
        return Growth(0.0, 0.0, 0.0, seconds, points[0][1])
    low, middle, high = sen(points, _Z_PEAKS)
    if len(points) < _PEAKS_FOR_A_LINE:
        low, high = min(low, 0.0), max(high, 0.0)
    level = median(demand + middle * (now[0] - moment) for moment, demand in points)
    return Growth(low, middle, high, seconds, max(level, now[1]))


def _fit(points: Sequence[Point]) -> Growth | None:
    """The slope over the longest time that agrees with all shorter ones."""
    if len(points) < LEAST_POINTS:
        return None
    end, demand = points[-1]
    step = _second_highest(later[1] - earlier[1] for earlier, later in pairwise(points))
    length = end - points[-LEAST_POINTS][0]
    whole = end - points[0][0]
    low, high = -inf, inf
    best: Growth | None = None
    while True:
        length = min(length, whole)
        cells = _cells([point for point in points if point[0] >= end - length], length)
        if len(cells) >= LEAST_POINTS - 1:
            band = sen(cells)
            slack = step / length
            low, high = max(low, band[0] - slack), min(high, band[2] + slack)
            if low > high:
                break
            quickening = _quickening(cells, length)
            best = Growth(band[0] - slack, band[1], band[2] + slack, length, demand, quickening=quickening)
            if _stalled(cells):
                best = replace(
                    best, low=min(best.low, 0.0), middle=0.0, high=max(best.high, 0.0), quickening=0.0
                )
        if length == whole:
            break
        length *= _LONGER
    return best


def _cells(points: Sequence[Point], length: float) -> list[Point]:
    """The highest point of each of _CELLS equal pieces of time."""
    highest: dict[int, Point] = {}
    begin = points[-1][0] - length
    for point in points:
        cell = min(int((point[0] - begin) / length * _CELLS), _CELLS - 1)
        if cell not in highest or point[1] >= highest[cell][1]:
            highest[cell] = point
    return list(highest.values())


def _stalled(cells: Sequence[Point]) -> bool:
    """Whether the later half of the time brought nothing new."""
    middle = len(cells) // 2
    earlier, later = (max(demand for _, demand in half) for half in (cells[:middle], cells[middle:]))
    return later - earlier < _LEAST_FALL_BYTES


def _quickening(cells: Sequence[Point], length: float) -> float:
    """Bytes a second squared, where the later half clearly grows faster or slower than the earlier."""
    middle = len(cells) // 2
    earlier, later = sen(cells[: middle + 1]), sen(cells[middle:])
    apart = later[0] > earlier[2] or later[2] < earlier[0]
    return (later[1] - earlier[1]) / (length / 2) if apart else 0.0


def sen(points: Sequence[Point], z: float = _Z) -> tuple[float, float, float]:
    """Sen's slope with its confidence interval, of 90 % where `z` is not given: low, middle, high."""
    slopes = sorted(
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for earlier, later in combinations(points, 2)
        if later[0] > earlier[0]
    )
    n, count = len(points), len(slopes)
    width = z * sqrt(n * (n - 1) * (2 * n + 5) / 18)
    low = max(int((count - width) / 2), 0)
    high = min(int((count + width) / 2), count - 1)
    return slopes[low], median(slopes), slopes[high]


def median(values: Iterable[float]) -> float:
    """The middle of at least one value. `statistics` has it too, and needs four more modules in memory."""
    ranked = sorted(values)
    half = len(ranked) // 2
    return ranked[half] if len(ranked) % 2 else (ranked[half - 1] + ranked[half]) / 2


def _second_highest(steps: Iterable[float]) -> float:
    """One step may happen once; what happened twice is how this demand moves."""
    return max(sorted(steps)[-2], 0.0)
