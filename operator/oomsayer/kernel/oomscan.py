"""Finds the OOM reports in a log of any length, block by block, in constant memory.

Most of a log is of something else. So a block is searched for the two phrases of which no report lacks both
(its header and its "Killed process" line), and lines are read one by one only around them. A log may be cut
anywhere, and a piece of a report at either end may hold neither: the ends are read line by line.
"""

from collections.abc import Iterable, Iterator

from oomsayer.kernel.oomreport import MOST_BYTES_A_LINE, OomReport, OomReportReader

BLOCK_BYTES = 256 * 1024
"""A good size to read by: it fits a processor's cache."""
_EDGE_BYTES = 128 * 1024
_HEADER = b" invoked oom-killer"
_KILLED = b"Killed process "


def oom_reports(blocks: Iterable[bytes]) -> Iterator[OomReport]:
    """Every report in a log, each as soon as it is over, in order of their ends."""
    scan = _Scan()
    for block in blocks:
        scan.block(block)
        yield from scan.reader.take()
    scan.end()
    yield from scan.reader.close()


class _Scan:
    """Where the scan is.

    Lines are read (fed to the reader) or skipped; what was skipped last is kept, since the line that shows a
    report whose header is missing is its last.
    """

    def __init__(self) -> None:
        self.reader = OomReportReader()
        self._begun = b""
        self._skipped = b""
        self._seen_bytes = 0

    def block(self, block: bytes) -> None:
        """Read one block, from wherever the one before ended."""
        first = block.find(b"\n")
        if first < 0:
            # A line without end: what is beyond any line's length is not kept.
            self._begun += block[: max(MOST_BYTES_A_LINE - len(self._begun), 0)]
            self._seen_bytes += len(block)
            return
        self._lines(self._begun + block[: first + 1], 0)
        last = block.rfind(b"\n") + 1
        self._begun = block[last : last + MOST_BYTES_A_LINE]
        if last > first + 1:
            self._lines(block if last == len(block) else block[:last], first + 1)
        self._seen_bytes += len(block)

    def end(self) -> None:
        """Read what is left, and the end of the log line by line."""
        tail = self._skipped[-_EDGE_BYTES:]
        self._skipped = b""
        self._feed(tail[tail.find(b"\n") + 1 :] if len(tail) == _EDGE_BYTES else tail)
        if self._begun:
            self.reader.feed(self._begun)
            self._begun = b""

    def _lines(self, lines: bytes, at: int) -> None:
        """Read whole lines from `at` on, or skip them where nothing tells of a report."""
        end = len(lines)
        if self._seen_bytes < _EDGE_BYTES:
            self._feed(lines[at:])
            return
        header, killed = lines.find(_HEADER, at), lines.find(_KILLED, at)
        while at < end:
            if self.reader.attentive:
                at = self._attend(lines, at)
                continue
            if 0 <= header < at:
                header = lines.find(_HEADER, at)
            if 0 <= killed < at:
                killed = lines.find(_KILLED, at)
            hit = min((place for place in (header, killed) if place >= 0), default=-1)
            if hit < 0:
                self._skip(lines, at)
                return
            begin = lines.rfind(b"\n", at, hit) + 1 or at
            self._skip(lines[:begin], at)
            if hit != header:
                self._look_back()
            self._skipped = b""
            after = lines.find(b"\n", hit) + 1
            self.reader.feed(lines[begin : after - 1])
            at = after

    def _attend(self, lines: bytes, at: int) -> int:
        """Read lines while they may belong to a report; where that ends."""
        reader = self.reader
        self._skipped = b""
        end = len(lines)
        while at < end and reader.attentive:
            after = lines.find(b"\n", at) + 1
            reader.feed(lines[at : after - 1])
            at = after
        return at

    def _feed(self, lines: bytes) -> None:
        for line in lines.splitlines():
            self.reader.feed(line)

    def _skip(self, lines: bytes, at: int) -> None:
        """Pass lines over, keeping the last of them."""
        if len(lines) - at >= _EDGE_BYTES:
            self._skipped = lines[at:] if at else lines
        else:
            self._skipped = self._skipped[-_EDGE_BYTES:] + lines[at:]

    def _look_back(self) -> None:
        """Read what came before a line that shows a report without a header."""
        tail = self._skipped[-_EDGE_BYTES:]
        self._feed(tail[tail.find(b"\n") + 1 :] if len(tail) == _EDGE_BYTES else tail)
