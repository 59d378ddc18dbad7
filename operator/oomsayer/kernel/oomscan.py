"""Finds the OOM reports in a log of any length, block by block, in constant memory.

Most of a log is of something else. So a block is searched for the two phrases of which no report lacks both
(its header and its "Killed process" line), and lines are read one by one only around them. A log may be cut
anywhere, and a piece of a report at either end may hold neither: there every line is read that may be of one.
"""

from collections import deque
from collections.abc import Iterable, Iterator

from oomsayer.kernel.logtext import MOST_BYTES_A_LINE
from oomsayer.kernel.logtext.folded import unfolded
from oomsayer.kernel.logtext.newestfirst import oldest_first
from oomsayer.kernel.logtext.quotedprintable import decoded
from oomsayer.kernel.report import OomReport
from oomsayer.kernel.report.reader import OomReportReader

BLOCK_BYTES = 256 * 1024
"""A good size to read by: it fits a processor's cache."""
_EDGE_BYTES = 128 * 1024
_HEADER = b" invoked oom-killer: gfp_mask=0x"
_KILLED = b"Killed process "
_MOST_TRIES = 64
"""How often another K is looked for before the phrase is: where there are many, that is faster."""


def oom_reports(blocks: Iterable[bytes]) -> Iterator[OomReport]:
    """Every report in a log, each as soon as it is over, in order of their ends."""
    scan = _Scan()
    for block in oldest_first(unfolded(decoded(blocks))):
        scan.block(block)
        yield from scan.reader.take()
    scan.end()
    yield from scan.reader.close()


def _find_killed(lines: bytes, at: int, end: int) -> int:
    """Where the phrase comes next, -1 for nowhere: by its rarest letter, since a byte is found faster."""
    for _ in range(_MOST_TRIES):
        hit = lines.find(_KILLED[:1], at, end)
        if hit < 0 or lines.startswith(_KILLED, hit, end):
            return hit
        at = hit + 1
    return lines.find(_KILLED, at, end)


class _Scan:
    """Where the scan is.

    Lines are read (fed to the reader) or skipped; what was skipped last is kept, since the line that shows a
    report whose header is missing is its last.
    """

    def __init__(self) -> None:
        self.reader = OomReportReader()
        self._begun = b""
        self._skipped: deque[tuple[bytes, int, int]] = deque()
        self._skipped_bytes = 0
        self._seen_bytes = 0

    def block(self, block: bytes) -> None:
        """Read one block, from wherever the one before ended."""
        first = block.find(b"\n") + 1
        if not first:
            # A line without end: what is beyond any line's length is not kept.
            self._begun += block[: max(MOST_BYTES_A_LINE - len(self._begun), 0)]
        else:
            begun = self._begun + block[: min(first, MOST_BYTES_A_LINE)]
            self._lines(begun, 0, len(begun))
            last = block.rfind(b"\n") + 1
            self._begun = block[last : last + MOST_BYTES_A_LINE]
            self._lines(block, first, last)
        self._seen_bytes += len(block)

    def end(self) -> None:
        """Read what is left, and the end of the log line by line."""
        self._look_back()
        if self._begun:
            self.reader.feed(self._begun)
            self._begun = b""

    def _lines(self, lines: bytes, at: int, end: int) -> None:
        """Read whole lines from `at` to `end`, or skip them where nothing tells of a report."""
        if self._seen_bytes < _EDGE_BYTES:
            self._read(lines[at:end])
            return
        header, killed = lines.find(_HEADER, at, end), _find_killed(lines, at, end)
        while at < end:
            if self.reader.attentive:
                at = self._attend(lines, at, end)
                continue
            if 0 <= header < at:
                header = lines.find(_HEADER, at, end)
            if 0 <= killed < at:
                killed = _find_killed(lines, at, end)
            hit = min((place for place in (header, killed) if place >= 0), default=-1)
            if hit < 0:
                self._skip(lines, at, end)
                return
            begin = lines.rfind(b"\n", at, hit) + 1 or at
            if hit == header:
                self._forget()
            else:
                self._skip(lines, at, begin)
                self._look_back()
            at = self._line(lines, begin, end)

    def _attend(self, lines: bytes, at: int, end: int) -> int:
        """Read lines while they may belong to a report; where that ends."""
        reader = self.reader
        self._forget()
        while at < end and reader.attentive:
            ahead = reader.ahead(lines, at, end)
            at = ahead if ahead > at else self._line(lines, at, end)
        return at

    def _line(self, lines: bytes, at: int, end: int) -> int:
        """Read one line; where the next begins."""
        after = lines.find(b"\n", at, end)
        if after < 0:
            after = end
        self.reader.feed(lines[at:after])
        return after + 1

    def _read(self, lines: bytes) -> None:
        """Read all lines in which there may be anything of a report."""
        reader = self.reader
        places = iter([*reader.telling(lines, 0, len(lines)), len(lines)])
        at = 0
        while at < len(lines):
            if not reader.attentive and not reader.expectant:
                at = next(place for place in places if place >= at)
            at = self._line(lines, at, len(lines))

    def _skip(self, lines: bytes, at: int, end: int) -> None:
        """Pass lines over, keeping the last of them."""
        if at == end:
            return
        self._skipped.append((lines, at, end))
        self._skipped_bytes += end - at
        while self._skipped_bytes - (self._skipped[0][2] - self._skipped[0][1]) >= _EDGE_BYTES:
            _, start, stop = self._skipped.popleft()
            self._skipped_bytes -= stop - start

    def _forget(self) -> None:
        self._skipped.clear()
        self._skipped_bytes = 0

    def _look_back(self) -> None:
        """Read the last of what was skipped."""
        tail = b"".join(lines[max(at, end - _EDGE_BYTES) : end] for lines, at, end in self._skipped)
        cut = len(tail) > _EDGE_BYTES or self._skipped_bytes > _EDGE_BYTES
        tail = tail[-_EDGE_BYTES:]
        self._forget()
        self._read(tail[tail.find(b"\n") + 1 :] if cut else tail)
