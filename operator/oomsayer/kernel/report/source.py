"""Which lines belong together: the report that a writer of lines is in the middle of, from first to last."""

import re
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from oomsayer.kernel.logtext import MOST_BYTES_A_LINE
from oomsayer.kernel.logtext.logline import LogLine
from oomsayer.kernel.report import MOST_ROWS, Killed, OomReport, TaskRow
from oomsayer.kernel.report.row import Table

_REMEMBERED = 256
_MOST_NAMES = 1_000
"""How many rows are searched for a name with a blank."""
_PID_FRESH_SECONDS = 600
"""How long a pid that was killed is taken for the same process when a later table shows it."""
IDLE_BEFORE_TABLE = 1_000
"""How many lines of something else may stand inside a report: call traces, per-CPU lists, other messages."""
SYSRQ_WITHIN = 20
"""Lines between somebody's asking by sysrq and the header."""
_FIELDS = rb'"?(?:,(?:"(?:[^"]|"")*"|[^",]*)){%d}\s*$'
_LONGEST_FIELDS = 2_000
BREAKABLE = (
    r"kill:constraint=|of memory:\s*$|Tasks in(?: /|\s*$)|\[ *pid *\]|memory: Killed\s*$"
    r"|Killed process(?: \d{1,10}(?: \([^)]{0,64})?)?\s*$"
    r"|Kill process \d{1,10} \(.{0,64}\)(?: score(?: \d{1,20}(?: or)?)?)?\s*$"
    r"|: usage \d{1,20}kB,\s*$|Comm: .{1,16} Not\s*$"
    r"|(?:Not tainted|Tainted: [A-Z ]{1,40})(?: +\d\S{0,64})?\s*$"
)
"""Long lines, which a console or a mail program may break in several."""
WHOLE = (
    r"kill:constraint=|Tasks in /|Kill(?:ed)? process|invoked oom-killer|\[ *pid *\]"
    r"|\[\s*\d{1,10}\]\s+-?\d+\s+\d|killable process"
)


def joined(begun: str, text: str) -> tuple[str, ...]:
    """A broken line put together: a console breaks it anywhere, a mail at a blank, which is then gone.

    Or in the place of which there are several. People break a summary at its commas and indent the rest,
    some with a backslash as in a shell.
    """
    bare = text.lstrip()
    ways = (begun + text, f"{begun} {text}", f"{begun.rstrip()} {bare}")
    if bare == text:
        return ways[:2]
    return (begun.rstrip("\\") + bare, *ways) if begun.endswith((",", ",\\")) else ways


class Finished:
    """The reports that are over, each once: journal and dmesg may both be in one log."""

    def __init__(self) -> None:
        self._reports: deque[OomReport] = deque()
        self._seen: OrderedDict[int, None] = OrderedDict()

    def add(self, report: OomReport) -> None:
        """Keep a report until it is taken, unless it is a copy."""
        print_of = _fingerprint(report)
        if print_of in self._seen:
            return
        self._seen[print_of] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        self._reports.append(report)

    def take(self) -> Iterator[OomReport]:
        """Each once."""
        while self._reports:
            yield self._reports.popleft()


class Source:
    """What is known of one writer of lines: the report it is in the middle of, and what it said before."""

    def __init__(self, finished: Finished) -> None:
        self._finished = finished
        self.report: OomReport | None = None
        self.table: Table | None = None
        self._first = b""
        self._host = self._begin = b""
        self.kernel: str | None = None
        self.swap_total_kb: int | None = None
        self.dead: OrderedDict[int, tuple[str, float | None]] = OrderedDict()
        self.pending = ""
        self.wraps = 0
        self.idle = 0
        self.tail = b""
        """What stands behind each line, by the table's head."""
        self.fields = 0
        """How many fields of CSV that is: they differ from line to line."""

    def recognise(self, line: LogLine, raw: bytes) -> None:
        """Remember how this writer's lines look, by one of them."""
        host = line.source.rpartition(" ")[2].encode()
        self._host = b" %b " % host if b" %b " % host in raw else b""
        self._begin = b"%b: " % host if raw.startswith(b"%b: " % host) else b""
        self._first = _class_of(raw)

    def wrote(self, raw: bytes) -> bool:
        """Whether a line looks like those of this writer: a cheap look for the rows of a table."""
        if self._first and _class_of(raw) != self._first:
            return False
        return self._host in raw and raw.startswith(self._begin)

    def trimmed(self, raw: bytes) -> bytes:
        """A line without what stands behind each."""
        if not self.tail:
            return raw
        if self.fields:
            behind = re.search(_FIELDS % self.fields, raw[-_LONGEST_FIELDS:])
            return raw[: len(raw) - len(behind[0])] if behind else raw
        bare = raw.rstrip().removesuffix(self.tail.strip())
        return bare.rstrip() if self.tail[:1].isspace() else bare

    def open(self, line: LogLine) -> OomReport:
        """The report that a line belongs to; a new one where none is open."""
        if self.report is not None and not self.report.begun:
            self._renew(self.report, line)
        if self.report is None:
            self.report = OomReport(
                source=line.source,
                seconds=line.seconds,
                kernel=None,
                swap_total_before_kb=self.swap_total_kb,
            )
            self.table = None
        return self.report

    def _renew(self, preface: OomReport, line: LogLine) -> None:
        """What has not begun yet is told of by the line that begins it, and what is long ago is forgotten."""
        if line.seconds is not None:
            preface.source, preface.seconds = line.source, line.seconds
        if self.idle > SYSRQ_WITHIN:
            preface.sysrq = False
        if self.idle >= IDLE_BEFORE_TABLE:
            self.finish()

    def preface(self, line: LogLine) -> OomReport | None:
        """The report that a line before the table belongs to, None once the kernel's decision was seen.

        A log that begins in the middle of a report may begin with such a line.
        """
        report = self.open(line)
        return None if report.ended else report

    def new(self, line: LogLine) -> OomReport:
        """A new report that a line begins: the one before is over."""
        self.finish()
        return self.open(line)

    def finish(self) -> None:
        """The report in the middle of which this writer is, if any, is over."""
        report, self.report, self.table, self.pending = self.report, None, None, ""
        if report is None:
            return
        report.kernel = report.kernel or self.kernel
        if report.swap_total_kb is not None:
            self.swap_total_kb = report.swap_total_kb
        if not report.begun:
            return
        if report.rows:
            report.killed_before = self._lately_dead(report.seconds)
        for killed in report.killed:
            self.dead[killed.pid] = (killed.comm, report.seconds)
            if len(self.dead) > _REMEMBERED:
                self.dead.popitem(last=False)
        self._finished.add(report)

    def keep(self, text: str) -> None:
        """Keep a line that breaks off, in case a console broke it in two."""
        self.pending, self.wraps = text[:MOST_BYTES_A_LINE], 0

    def wrapped(self, line: LogLine) -> bool:
        """Keep a line that may have been broken; False, as its reader has to answer."""
        if re.search(BREAKABLE, line.text):
            self.keep(line.text)
        return False

    def likelier(self, ways: Sequence[str]) -> str:
        """Of the ways to put a broken line together the one that holds the name of a process of the table."""
        if self.report is None or len(ways) == 1:
            return ways[0]
        rows = islice(self.report.rows.values(), _MOST_NAMES)
        names = [row.comm for row in rows if " " in row.comm]
        return max(ways, key=lambda way: sum(name in way for name in names))

    def add_rows(self, report: OomReport, rows: Iterable[TaskRow]) -> None:
        """Keep rows of the open table; a copy of one says the same."""
        self.idle = 0
        kept = report.rows
        for row in rows:
            if len(kept) < MOST_ROWS:
                kept.setdefault(row[0], row)
            else:
                report.rows_dropped += 1

    def killed_lately(self, killed: Killed, now: float | None) -> bool:
        """Whether an earlier report has this kill: the walk of a group meets its victim again.

        Since the reaper came no process is chosen twice.
        """
        comm, then = self.dead.get(killed.pid, (None, None))
        return comm == killed.comm and _lately(then, now)

    def _lately_dead(self, now: float | None) -> dict[int, str]:
        return {pid: comm for pid, (comm, then) in self.dead.items() if _lately(then, now)}


def _lately(then: float | None, now: float | None) -> bool:
    """Whether a pid has not been given to another process since, as far as the log's clock tells."""
    return then is None or now is None or 0 <= now - then < _PID_FRESH_SECONDS


def _class_of(raw: bytes) -> bytes:
    """What a line begins with: a digit, a letter, or some other character, blanks aside."""
    first = raw[:1]
    if first.isspace():
        first = raw.lstrip()[:1]
    return b"0" if first.isdigit() else b"a" if first.isalpha() else first


def _fingerprint(report: OomReport) -> int:
    """Equal for two copies of one report, as when journal and dmesg are both in the log."""
    return hash(
        (
            report.header,
            report.order,
            report.summary,
            report.chosen,
            tuple(report.killed),
            report.exiting,
            tuple(report.rows.values()),
            report.memory,
            report.ram_pages,
            report.seconds if not report.rows else None,
        )
    )
