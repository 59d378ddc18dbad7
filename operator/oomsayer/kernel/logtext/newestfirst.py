"""A log whose newest line comes first, as clouds and log stores show it: the oldest first again."""

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise

_UPTIME = rb"\[ *(\d{1,7}\.\d{6})\]"
_DEATH = rb"Killed process \d"
_BEFORE_DEATH = rb"invoked oom-killer|oom-kill:constraint=|Kill process \d"
_FEWEST = 5
"""Steps in time that tell a direction."""
_SNIFFED = 65_536
"""Bytes of a log that tell its direction."""
_AT_A_TIME = 4 * 1024 * 1024
"""Bytes that are turned as one; a report is far shorter."""


def oldest_first(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The blocks as they are, or with their lines turned round where the first block goes back in time."""
    back: bool | None = None
    held: list[bytes] = []
    for block in blocks:
        if back is None:
            back = _goes_back(block)
        if not back:
            yield block
            continue
        held.append(block)
        if sum(map(len, held)) > _AT_A_TIME:
            lines = b"".join(held)
            whole = lines.rfind(b"\n") + 1
            yield _turned(lines[:whole])
            held = [lines[whole:]]
    if held:
        yield _turned(b"".join(held))


def _goes_back(block: bytes) -> bool:
    """Whether nearly all steps between the kernel's own times are back: a log of one boot only goes on."""
    death, before = re.search(_DEATH, block), re.search(_BEFORE_DEATH, block)
    if death and before and before.start() < death.start():
        return False
    times = [float(match[1]) for match in re.finditer(_UPTIME, block[:_SNIFFED])]
    steps = [after - before for before, after in pairwise(times) if after != before]
    return len(steps) >= _FEWEST and sum(step < 0 for step in steps) > 0.9 * len(steps)


def _turned(text: bytes) -> bytes:
    return b"\n".join(reversed(text.removesuffix(b"\n").split(b"\n"))) + b"\n"
