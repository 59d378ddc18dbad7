"""Spans of time for people: never more exact than they are."""

_STEPS = ((1.0, "s", "second"), (60.0, "m", "minute"), (3600.0, "h", "hour"))
_NEXT = 90.0
"""Up to so many seconds are told in seconds, up to so many minutes in minutes."""


def short_span(earliest: float, latest: float | None) -> str:
    """For a column: "4m-9m", "40s-2m", ">40m" without a latest. Seconds; 0 and more."""
    if latest is None:
        return f">{_short(earliest)}"
    first, last = _short(earliest), _short(latest, up=True)
    return first if first == last else f"{first}-{last}"


def span(earliest: float, latest: float | None) -> str:
    """For a sentence: "in 4 to 9 minutes", "in 40 seconds to 2 minutes", "not before 2 hours, if at all"."""
    count, unit = _told(earliest)
    if latest is None:
        return f"not before {_words(count, unit)}, if at all"
    last, last_unit = _told(latest, up=True)
    if (count, unit) == (last, last_unit):
        return f"in about {_words(count, unit)}"
    if unit == last_unit:
        return f"in {count} to {_words(last, unit)}"
    return f"in {_words(count, unit)} to {_words(last, last_unit)}"


def _told(seconds: float, *, up: bool = False) -> tuple[int, int]:
    """How many of which of _STEPS: rounded down, or up."""
    step = 0
    while step + 1 < len(_STEPS) and seconds >= _NEXT * _STEPS[step][0]:
        step += 1
    count = seconds / _STEPS[step][0]
    return (-int(-count // 1) if up else int(count)), step


def _short(seconds: float, *, up: bool = False) -> str:
    count, step = _told(seconds, up=up)
    return f"{count}{_STEPS[step][1]}"


def _words(count: int, step: int) -> str:
    return f"{count} {_STEPS[step][2]}{'' if count == 1 else 's'}"
