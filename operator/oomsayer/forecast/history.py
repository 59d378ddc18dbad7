"""What one domain's demand was: the last moments exactly, what is longer ago coarser and coarser.

A time a long ago is kept as pieces of a sixteenth of a, each with its lowest and its highest demand. So two
hours are about a hundred pieces, and no peak is forgotten.
"""

from array import array
from collections.abc import Iterator

from oomsayer.forecast.growth import Point

KEPT_SECONDS = 7200.0
"""A sawtooth has to be seen more than once to be known for one."""

_PIECES = 16
_FIELDS = 4
"""Of a piece: when it was lowest, how low, when it was highest, how high."""
_TIDY_EVERY = 16


class History:
    """One domain's demand over time."""

    __slots__ = ("_added", "_pieces")

    def __init__(self) -> None:
        self._pieces = array("d")
        self._added = 0

    def add(self, moment: float, demand: float) -> None:
        """Note the demand in bytes at a moment in seconds, later than all before."""
        self._pieces.extend((moment, demand, moment, demand))
        self._added += 1
        if self._added % _TIDY_EVERY == 0:
            self._tidy(moment)

    def points(self) -> list[Point]:
        """The series, ascending in time, turning points included."""
        found: list[Point] = []
        for low_at, low, high_at, high in self._each():
            if low_at == high_at:
                found.append((low_at, low))
            elif low_at < high_at:
                found += ((low_at, low), (high_at, high))
            else:
                found += ((high_at, high), (low_at, low))
        return found

    @property
    def seconds(self) -> float:
        """How long a time it tells of."""
        if not self._pieces:
            return 0.0
        return max(self._pieces[-2], self._pieces[-4]) - min(self._pieces[0], self._pieces[2])

    def span(self) -> float:
        """Bytes between the lowest and the highest demand."""
        return max(self._pieces[3::_FIELDS], default=0.0) - min(self._pieces[1::_FIELDS], default=0.0)

    def _each(self) -> Iterator[tuple[float, float, float, float]]:
        pieces = self._pieces
        return zip(pieces[::_FIELDS], pieces[1::_FIELDS], pieces[2::_FIELDS], pieces[3::_FIELDS], strict=True)

    def _tidy(self, now: float) -> None:
        """Join neighbours that are long enough ago, and drop what is too long ago."""
        kept = array("d")
        for low_at, low, high_at, high in self._each():
            end = max(low_at, high_at)
            age = now - end
            if age > KEPT_SECONDS:
                continue
            if kept and end - min(kept[-4], kept[-2]) <= age / _PIECES:
                if low < kept[-3]:
                    kept[-4:-2] = array("d", (low_at, low))
                if high >= kept[-1]:
                    kept[-2:] = array("d", (high_at, high))
            else:
                kept.extend((low_at, low, high_at, high))
        self._pieces = kept
