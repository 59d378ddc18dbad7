"""Quantities for people, in the units of Kubernetes."""

_UNITS = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_STEP_BITS = 10
_WHOLE_FROM = 10


def binary(count: int) -> str:
    """A number of bytes as Kubernetes writes it: "0", "812", "38Mi", "1.5Gi", "-4Ki".

    Rounded down to what tells quantities apart: one decimal below 10 of a unit, none above.
    """
    sign, rest = ("-", -count) if count < 0 else ("", count)
    power = min(max(rest.bit_length() - 1, 0) // _STEP_BITS, len(_UNITS) - 1)
    whole, tenth = divmod(rest * 10 >> power * _STEP_BITS, 10)
    fraction = f".{tenth}" if power and tenth and whole < _WHOLE_FROM else ""
    return f"{sign}{whole}{fraction}{_UNITS[power]}"
