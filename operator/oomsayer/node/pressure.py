"""/proc/pressure/memory and memory.pressure: how long tasks wait for memory (PSI).

Source: Documentation/accounting/psi.rst; psi_show() in kernel/sched/psi.c.
"""

from oomsayer.kernel.snapshot import Pressure


def parse(data: bytes) -> Pressure | None:
    """The averages of the last 10 seconds; None where there are none (no PSI in this kernel, or psi=0)."""
    shares = {words[0]: _avg10(words[1]) for line in data.splitlines() if len(words := line.split()) > 1}
    some, full = shares.get(b"some"), shares.get(b"full")
    return None if some is None or full is None else Pressure(some, full)


def _avg10(word: bytes) -> float | None:
    try:
        share = float(word.removeprefix(b"avg10="))
    except ValueError:
        return None
    return share if 0 <= share <= 100 else None  # noqa: PLR2004 - percent
