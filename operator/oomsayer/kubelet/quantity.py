"""Quantities as people write them in pods and kubelet configurations: "500Mi", "1.5G", "1e9", "128974848".

Source: k8s.io/apimachinery/pkg/api/resource/quantity.go.
"""

import re
from decimal import ROUND_CEILING, Decimal

_UNITS = {
    "": Decimal(1),
    "n": Decimal(10) ** -9,
    "u": Decimal(10) ** -6,
    "m": Decimal(10) ** -3,
    **{unit: Decimal(1000) ** power for power, unit in enumerate(("k", "M", "G", "T", "P", "E"), start=1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)},
}
_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d{1,2})|([numkMGTPE]i?|Ki|))")


def parse_quantity(text: str) -> int:
    """The number, rounded up to a whole one as Kubernetes does.

    Raises:
        ValueError: it is no quantity.
    """
    match = _QUANTITY.fullmatch(text.strip())
    unit = _UNITS.get(match[3] or "") if match else None
    if match is None or unit is None:
        raise ValueError(f"{text!r} is no quantity, such as 500Mi or 1.5Gi")
    number = Decimal(match[1] + (match[2] or "")) * unit
    return int(number.to_integral_value(ROUND_CEILING))
