"""Quantities for people, in the units of Kubernetes."""

_UNITS = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_STEP = 1024
_WHOLE_FROM = 10


def binary(count: int) -> str:
    """A number of bytes as Kubernetes writes it: "0", "812", "38Mi", "1.5Gi", "-4Ki".

    Rounded down to what tells quantities apart: one decimal below 10 of a unit, none above.
    """
    sign, rest = ("-", -count) if count < 0 else ("", count)
    power = 0
    while power + 1 < len(_UNITS) and rest >= _STEP ** (power + 1):
        power += 1
    tenths = rest * 10 // _STEP**power
    whole, tenth = divmod(tenths, 10)
    fraction = f".{tenth}" if power and tenth and whole < _WHOLE_FROM else ""
    return f"{sign}{whole}{fraction}{_UNITS[power]}"
