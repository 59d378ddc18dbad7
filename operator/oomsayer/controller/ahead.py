"""A domain's time to OOM as a forecast tells it. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from oomsayer.api.duration import short_span
from oomsayer.api.forecast import TimeToOOM
from oomsayer.forecast.oomtime import OomTime, Trend
from oomsayer.forecast.prospect import Prospect

_REASONS_SHOWN = 16
_STALE_SHARE = 3 / 4
_TELL_AGAIN_SHARE = 1 / 4
_SOONEST_SECONDS = 5.0


def aged(ahead: Mapping[str, Prospect], seconds: float) -> dict[str, Prospect]:
    """Prospects of a sample that is so old, as they are now."""
    return {path: replace(prospect, time=prospect.time.after(seconds)) for path, prospect in ahead.items()}


def time_to_oom(prospect: Prospect, now: datetime) -> TimeToOOM:
    """What a forecast says that is written now."""
    time = prospect.time
    return TimeToOOM(
        trend=time.trend.value,
        earliest=_moment(time.earliest, now),
        latest=_moment(time.latest, now),
        text=_text(time),
        confidence=time.sureness.value,
        because=(*time.doubts, *prospect.evidence)[:_REASONS_SHOWN],
    )


def moved(before: TimeToOOM | None, told_at: datetime, after: TimeToOOM | None, now: datetime) -> bool:
    """Whether a time to OOM is another than told, or the text that tells it is out of date."""
    if before is None or after is None:
        return before is not after
    if (before.trend, before.confidence) != (after.trend, after.confidence):
        return True
    if before.earliest is None or after.earliest is None:
        return before.earliest is not after.earliest
    if _until(after.earliest, now) < _until(before.earliest, told_at) * _STALE_SHARE:
        return True
    if before.latest is None or after.latest is None:
        return before.latest is not after.latest
    expected = before.earliest + (before.latest - before.earliest) / 2
    return not after.earliest <= expected <= after.latest


def tell_again(ahead: Mapping[str, Prospect]) -> float | None:
    """Seconds until what is told of the soonest OOM is out of date, None where none is on its way."""
    soonest = min((p.time.earliest for p in ahead.values() if p.time.earliest is not None), default=None)
    return None if soonest is None else max(soonest * _TELL_AGAIN_SHARE, _SOONEST_SECONDS)


def _text(time: OomTime) -> str:
    if time.trend is Trend.UNKNOWN or time.open:
        return "<unknown>"
    return time.trend.value if time.earliest is None else short_span(time.earliest, time.latest)


def _until(earliest: datetime, now: datetime) -> timedelta:
    """What may come at once is kept as the second that has begun: that is no time, not a little less."""
    return max(earliest - now, timedelta())


def _moment(seconds: float | None, now: datetime) -> datetime | None:
    return None if seconds is None else (now + timedelta(seconds=seconds)).replace(microsecond=0)
