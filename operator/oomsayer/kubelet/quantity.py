"""Quantities as people write them in pods and kubelet configurations: "500Mi", "1.5G", "1e9", "128974848".

Source: k8s.io/apimachinery/pkg/api/resource/quantity.go.
"""

import re

_PARTS = {"n": 10**9, "u": 10**6, "m": 10**3}
_MULTIPLES = {
    "": 1,
    **{unit: 1000**power for power, unit in enumerate(("k", "M", "G", "T", "P", "E"), start=1)},
    **{f"{unit}i": 1024**power for power, unit in enumerate("KMGTPE", start=1)},
}
_QUANTITY = re.compile(r"([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,2})|([numkMGTPE]|[KMGTPE]i|))")


def parse_quantity(text: str) -> int:
    """The number, rounded up to a whole one as Kubernetes does.

    Raises:
        ValueError: it is no quantity.
    """
    match = _QUANTITY.fullmatch(text.strip())
    sign, whole, fraction, exponent, unit = match.groups("") if match else ("",) * 5
    if not whole + fraction:
        raise ValueError(f"{text!r} is no quantity, such as 500Mi or 1.5Gi")
    # Whole numbers throughout: exact, and decimal would be half a megabyte in every agent.
    power = int(exponent or 0)
    dividend: int = int(whole + fraction) * _MULTIPLES.get(unit, 1) * 10 ** max(power, 0)
    divisor: int = 10 ** len(fraction) * _PARTS.get(unit, 1) * 10 ** max(-power, 0)
    return -(dividend // divisor) if sign == "-" else -(-dividend // divisor)
