"""Reads a log line by line: which function reads a line, which writer wrote it, whether a console broke it.

A new format begins in _READERS: a word that its lines hold, and the function that reads them.
"""

import re
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple, TypeAlias

from oomsayer.kernel.logtext import MOST_BYTES_A_LINE
from oomsayer.kernel.logtext.logline import LogLine, log_lines
from oomsayer.kernel.oomsummary import summed_up
from oomsayer.kernel.report import OomReport
from oomsayer.kernel.report.header import read_cpuset, read_header
from oomsayer.kernel.report.kill import (
    CHOSEN,
    GROUP,
    KILLED,
    read_chosen,
    read_end,
    read_group,
    read_killed,
    read_reaped,
    read_sizes,
)
from oomsayer.kernel.report.memory import (
    COUNTER,
    read_cgroups,
    read_counter,
    read_machine,
    read_sysrq,
    read_trace,
)
from oomsayer.kernel.report.release import FEATURES, RELEASE, read_features, read_release
from oomsayer.kernel.report.row import ANY_ROW, NUMBERS, ROW_START
from oomsayer.kernel.report.source import (
    BREAKABLE,
    IDLE_BEFORE_TABLE,
    WHOLE,
    Finished,
    Source,
    joined,
)
from oomsayer.kernel.report.summary import read_summary
from oomsayer.kernel.report.table import (
    HEAD,
    KNOWN_HEAD,
    note_left_out,
    read_columns,
    read_odd_row,
    unwrap_row,
)

_ONE_WRITER = 2
"""Bare lines count as a writer of their own."""
_MOST_CHARACTERS_A_MESSAGE = 10_000
"""Two cgroup paths of the greatest length (PATH_MAX) and what is around them."""
_MOST_SOURCES = 64
_IDLE_AFTER_TABLE = 100
_IDLE_AFTER_KILL = 8
_PREFIX_MATTERS = rb"[\"\x1b]|invoked oom-killer|Linux version|Kill(?:ed)? process"
"""Quoted or coloured lines must be unwrapped; a header begins with a name, a boot tells the time."""
_TABLE_HEAD = b"total_vm"
_MOST_WRAPS = 40

_LineReader: TypeAlias = Callable[[Source, LogLine], bool]
"""Reads a line into the source's report; whether the line was of its kind."""

_WHEN_WHOLE: tuple[tuple[Callable[[str], object], _LineReader], ...] = (
    (summed_up, read_summary),
    (partial(re.search, GROUP), read_group),
    (partial(re.search, KNOWN_HEAD), read_columns),
    (partial(re.search, HEAD), read_columns),
    (partial(re.search, KILLED), read_killed),
    (partial(re.search, CHOSEN), read_chosen),
    (partial(re.search, COUNTER), read_counter),
    (partial(re.search, RELEASE), read_release),
)
"""How a broken line is known to be whole again, and its reader; rows are looked at more closely."""

_READERS: tuple[tuple[str, _LineReader], ...] = (
    ("invoked oom-killer", read_header),
    ("kill:constraint=", read_summary),
    ("Killed process", read_killed),
    ("memory: Killed", read_killed),
    ("total-vm:", read_sizes),
    ("Kill process", read_chosen),
    ("Tasks in", read_group),
    ("total_vm", read_columns),
    (": usage ", read_counter),
    ("cgroup stats", read_cgroups),
    ("reached of cgroup", read_cgroups),
    ("killed as a result", read_cgroups),
    ("Task in /", read_cgroups),
    ("Not tainted", read_release),
    ("Comm: ", read_release),
    ("Tainted: ", read_release),
    ("Linux version", read_release),
    ("mems_allowed=", read_cpuset),
    ("Total swap", read_machine),
    ("present:", read_machine),
    ("*4kB ", read_machine),
    ("*64kB ", read_machine),
    ("pages RAM", read_machine),
    ("pages of RAM", read_machine),
    ("pages reserved", read_machine),
    ("k swap on", read_machine),
    ("Mem-Info", read_machine),
    ("oom_reaper: reaped", read_reaped),
    ("OOM victim", read_end),
    ("killable", read_end),
    ("deadlocked on", read_end),
    ("panic_on_oom", read_end),
    ("Manual OOM execution", read_sysrq),
    ("moom_callback", read_trace),
    ("mem_cgroup_o", read_trace),
    *((word, read_features) for word in FEATURES),
)
"""Which reader to ask for a line that holds a word."""
_WORDS: tuple[bytes, ...] = tuple(dict.fromkeys(word.encode() for word, _ in _READERS))


class _Searched(NamedTuple):
    """Of some lines: where the next table's head begins, -1 for none, and which before it tell something."""

    lines: bytes
    head: int
    begins: list[int]


class OomReportReader:
    """Gathers reports from lines, fed in order. Memory stays bounded whatever is fed."""

    def __init__(self) -> None:
        self._finished = Finished()
        self._sources: OrderedDict[str, Source] = OrderedDict({"": Source(self._finished)})
        self._current = self._sources[""]
        self._searched = _Searched(b"", -1, [])

    @property
    def expectant(self) -> bool:
        """Whether the next line may be the rest of one that a console broke."""
        return bool(self._current.pending)

    @property
    def attentive(self) -> bool:
        """Whether the lines that follow may belong to a report that has begun."""
        source = self._current
        report = source.report
        if report is None:
            return False
        if report.ended:
            return source.idle < _IDLE_AFTER_KILL
        return source.idle < (_IDLE_AFTER_TABLE if report.rows else IDLE_BEFORE_TABLE)

    def take(self) -> Iterator[OomReport]:
        """The reports that are finished, each once."""
        return self._finished.take()

    def close(self) -> Iterator[OomReport]:
        """The reports that are finished, those cut off by the end of the log too."""
        for source in self._sources.values():
            source.finish()
        yield from self.take()

    def feed(self, raw: bytes) -> None:
        """Read one line, without its line feed."""
        if len(raw) > MOST_BYTES_A_LINE:
            raw = raw[:MOST_BYTES_A_LINE]
        source = self._current
        raw = source.trimmed(raw)
        if (
            source.table is not None
            and source.report is not None
            and not source.pending
            and self._row(source, raw)
        ):
            return
        source.idle += 1
        note_left_out(source, raw)
        if source.pending or raw[:1] == b"{" or self._telling(raw):
            self._read(raw)

    def _telling(self, raw: bytes) -> bool:
        """Whether a line may be of a report: a cheap look before any pattern for its parts is tried."""
        if any(map(raw.__contains__, _WORDS)):
            return True
        if not re.search(NUMBERS, raw):
            return False
        return bool(re.search(ANY_ROW, raw) or re.search(ROW_START, raw))

    def telling(self, lines: bytes, at: int, end: int) -> list[int]:
        """Where the lines from `at` to `end` begin that may be of a report.

        feed() passes over all others, while no report is open, and after a kill.
        """
        begins = set(_lines_with(_WORDS, lines, at, end))
        begins |= {begin for begin in _lines_with((b"{",), lines, at, end) if lines.startswith(b"{", begin)}
        for row in re.compile(NUMBERS).finditer(lines, at, end):
            begins.add(lines.rfind(b"\n", at, row.start()) + 1 or at)
        return sorted(begins)

    def ahead(self, lines: bytes, at: int, end: int) -> int:
        """Read on from `at`, the beginning of a line, as far as can be told at a glance; where that ends.

        Args:
            lines: whole lines, `end` where they end.
            at: where to begin.
            end: where to stop.
        """
        source = self._current
        report, table = source.report, source.table
        if report is None or source.pending:
            return at
        if report.ended:
            return self._ahead_to_telling(lines, at, end)
        if table is None:
            return self._ahead_to_table(lines, at, end)
        # Rows of two writers look alike: only where there is one can they be taken as they come.
        if len(self._sources) > _ONE_WRITER or source.tail:
            return at
        found = []
        match = table.line.match(lines, at, end)
        while match is not None:
            found.append(match.groups())
            at = match.end()
            match = table.line.match(lines, at, end)
        if found:
            source.add_rows(report, table.rows(found))
        return at

    def _ahead_to_telling(self, lines: bytes, at: int, end: int) -> int:
        """Pass over what follows the kill, up to a line that may be of a report, as long as one may come."""
        source = self._current
        stop = at
        for _ in range(_IDLE_AFTER_KILL - source.idle):
            stop = lines.find(b"\n", stop, end) + 1 or end
        first = min(self.telling(lines, at, stop), default=stop)
        source.idle += lines.count(b"\n", at, first)
        return first

    def _ahead_to_table(self, lines: bytes, at: int, end: int) -> int:
        """Read the lines before the next table that some reader knows."""
        if self._searched.lines is not lines or 0 <= self._searched.head < at:
            self._searched = _before_table(lines, at, end)
        _, head, begins = self._searched
        if head < 0:
            return at
        for begin in begins[bisect_left(begins, at) :]:
            self._current.idle += lines.count(b"\n", at, begin)
            at = begin
            after = lines.find(b"\n", begin, end)
            self._read(lines[begin : min(after, begin + MOST_BYTES_A_LINE)])
            # The rest of a broken line may hold no word.
            if self.expectant:
                return after + 1
        return head

    def _row(self, source: Source, raw: bytes) -> bool:
        """Read the line as a row of the open table, if it is one and from the same writer."""
        table, report = source.table, source.report
        if table is None or report is None or not source.wrote(raw) or b'"' in raw or b"\x1b" in raw:
            return False
        match = table.pattern.search(raw)
        if match is None or not table.named(match) or report.ended:
            return False
        source.add_rows(report, [table.row(match)])
        return True

    def _read(self, raw: bytes) -> None:
        source = self._current
        text = raw.decode("utf-8", "backslashreplace")
        if self._plain(source, raw):
            self._message(source, LogLine("", None, text[:_MOST_CHARACTERS_A_MESSAGE]))
            return
        for line in log_lines(text):
            source = self._source(line, raw)
            if len(line.text) > _MOST_CHARACTERS_A_MESSAGE:
                line = line._replace(text=line.text[:_MOST_CHARACTERS_A_MESSAGE])  # noqa: PLW2901 - the same line
            if source.pending and _unwrap(source, line.text):
                continue
            self._message(source, line)

    def _plain(self, source: Source, raw: bytes) -> bool:
        """Whether a line goes on with the report of the only writer, so that its prefix tells nothing new."""
        return (
            source.report is not None
            and source.report.begun
            and not source.pending
            and len(self._sources) <= _ONE_WRITER
            and source.wrote(raw)
            and re.search(_PREFIX_MATTERS, raw) is None
        )

    def _source(self, line: LogLine, raw: bytes) -> Source:
        if not line.source:
            return self._current
        source = self._sources.get(line.source)
        begun = self._current.report
        if source is None and len(self._sources) == 1 and begun is not None and not begun.ended:
            # Nobody but this writer has written: it was its first line that lacked the prefix.
            source = self._sources[line.source] = self._current
        elif source is None:
            source = self._sources[line.source] = Source(self._finished)
            if len(self._sources) > _MOST_SOURCES:
                self._sources.popitem(last=False)[1].finish()
        if source is not self._current:
            source.recognise(line, raw)
            self._sources.move_to_end(line.source)
            self._current = source
        return source

    def _message(self, source: Source, line: LogLine) -> None:
        text = line.text
        for word, reader in _READERS:
            if word in text and reader(source, line):
                source.idle = 0
                return
        read_odd_row(source, text)


def _before_table(lines: bytes, at: int, end: int) -> _Searched:
    head = lines.find(_TABLE_HEAD, at, end)
    if head < 0:
        return _Searched(lines, head, [])
    head = lines.rfind(b"\n", at, head) + 1 or at
    return _Searched(lines, head, sorted(set(_lines_with(_WORDS, lines, at, head))))


def _lines_with(words: Iterable[bytes], lines: bytes, at: int, end: int) -> Iterator[int]:
    """Where the lines from `at` to `end` begin that hold one of these words."""
    find = lines.find
    for word in words:
        hit = find(word, at, end)
        while hit >= 0:
            yield lines.rfind(b"\n", at, hit) + 1 or at
            after = find(b"\n", hit, end)
            hit = find(word, after, end) if after >= 0 else -1


def _unwrap(source: Source, text: str) -> bool:
    """Join a line to the one that broke off before it; whether they made sense together."""
    begun, source.pending = source.pending, ""
    if re.search(ROW_START, begun.encode("utf-8", "surrogateescape")):
        return unwrap_row(source, begun, text)
    both = joined(begun, text)
    for whole, reader in _WHEN_WHOLE if re.search(BREAKABLE, begun) else ():
        ways = [way for way in both if whole(way)]
        if ways:
            return reader(source, LogLine("", None, source.likelier(ways)))
    source.wraps += 1
    if source.wraps < _MOST_WRAPS and not re.search(WHOLE, text):
        longer = next((either for either in both if re.search(BREAKABLE, either)), "")
        source.pending = longer[:MOST_BYTES_A_LINE]
    return bool(source.pending)
