"""A log as copied from a terminal, which broke each line at its width: whole lines again."""

import re
from collections.abc import Iterable, Iterator

from oomsayer.kernel.logtext import MOST_BYTES_A_LINE

_STAMPED = (
    rb"\s{0,8}(?:<\d{1,3}>)?"
    rb"(?:\[ *\d{1,7}\.\d{6}\]|\[\w{3} \w{3} +\d|\w{3} +\d{1,2} \d\d:\d\d:\d\d |\d{4}-\d\d-\d\d[T ]\d\d:)"
)
"""How a line begins, and the rest of a broken one does not."""
_WIDTHS = range(40, 400)
_MOST_SNIFFED = 200_000
"""Bytes of a first block from which on it was not copied by hand."""
_OF_GREP = b"--"
"""What grep puts between matches that are apart."""


def unfolded(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The blocks with broken lines put together, all else as it is. The first block shows whether any are."""
    width: int | None = None
    begun = b""
    for block in blocks:
        if width is None:
            width = _width(block) if len(block) < _MOST_SNIFFED else 0
        if not width:
            yield block
            continue
        data = begun + block
        end = _last_begin(data)
        if len(data) - end > MOST_BYTES_A_LINE:
            end = len(data)
        begun = data[end:]
        yield _whole(data[:end], width)
    if begun:
        yield _whole(begun, width or 0)


def _width(block: bytes) -> int:
    """At what width lines are broken, 0 for none: nearly every rest follows a line that fills it."""
    lines = [line.rstrip(b"\r") for line in block.split(b"\n")]
    stamped = [re.match(_STAMPED, line) is not None for line in lines]
    if sum(stamped) < 2:  # noqa: PLR2004 - between two
        return 0
    width = max(map(len, lines))
    first, last = stamped.index(True), len(stamped) - stamped[::-1].index(True)
    rests = [n for n in range(first + 1, last) if lines[n] and not stamped[n]]
    broken = [n - 1 for n in rests if len(lines[n - 1]) == width and lines[n] != _OF_GREP]
    # Lines of one form are of one length by themselves.
    forms = {re.sub(rb"\d+", b"", lines[n]) for n in broken}
    return width if width in _WIDTHS and len(forms) > 1 and len(broken) * 5 > len(rests) * 4 else 0


def _last_begin(data: bytes) -> int:
    """Where the last line begins that is stamped."""
    at = len(data)
    while at > 0:
        at = data.rfind(b"\n", 0, at - 1) + 1
        if re.match(_STAMPED, data[at : at + 64]):
            return at
    return 0


def _whole(data: bytes, width: int) -> bytes:
    lines: list[bytes] = []
    full = False
    for line in data.removesuffix(b"\n").split(b"\n"):
        bare = line.rstrip(b"\r")
        if full and not re.match(_STAMPED, line):
            lines[-1] += bare
        else:
            lines.append(bare)
        full = len(bare) == width
    return b"\n".join(lines) + (b"\n" if data.endswith(b"\n") else b"")
