"""An OOM report as the kernel printed it: gathered from log lines, whole or in parts, nothing concluded yet.

A report is a header ("... invoked oom-killer"), the numbers of what ran out, a table of the candidates, one
line that sums the choice up (5.0+) and a line for each process killed. Any part may be missing: logs are cut,
the kernel's rate limit swallows headers, people paste pieces.

Source: dump_header(), dump_tasks(), oom_kill_process() in mm/oom_kill.c, mem_cgroup_print_oom_info() in
mm/memcontrol.c, show_free_areas() in mm/show_mem.c; 3.10 to 7.1.
"""

import re
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, NamedTuple, TypeAlias

from oomsayer.kernel.logline import LogLine, log_lines

MOST_ROWS = 50_000
"""How many rows of one table are kept; Linux's own default for the number of processes is 32,768."""
MOST_BYTES_A_LINE = 65_536
_ONE_WRITER = 2
"""Bare lines count as a writer of their own."""
_MOST_CHARACTERS_A_MESSAGE = 16_384
"""Two cgroup paths of the greatest length (PATH_MAX) and what is around them."""
_LONGEST_REASON = 60
_MOST_SOURCES = 64
_MOST_KILLED = 10_000
_MOST_WRAPS = 4
_IDLE_BEFORE_TABLE = 1_000
"""How many lines of something else may stand inside a report: call traces, per-CPU lists, other messages."""
_IDLE_AFTER_TABLE = 100
_IDLE_AFTER_KILL = 8
_REMEMBERED = 256
_PID_FRESH_SECONDS = 600
"""How long a pid that was killed is taken for the same process when a later table shows it."""
UNLIMITED_KB = 2**52
"""A limit of so many kB or more means none: kernels print their largest counter."""


class TaskRow(NamedTuple):
    """One row of the table. A tuple, not a dataclass: a log may hold a hundred thousand.

    It carries what oom_badness() asks of a task. Pages, but for pgtables_bytes.

    Attributes:
        pid: first column: the thread that still has the memory, mostly the process itself.
        tgid: the process.
        uid: as the kernel counts users.
        comm: as printed.
        oom_score_adj: -1000 to 1000.
        rss_pages: resident.
        swap_pages: swapped out; None where the kernel printed no such column (before 3.7).
        pgtables: bytes (4.15+), or page-table pages.
        total_vm: address space, which tells the page size.
    """

    pid: int
    tgid: int
    uid: int
    comm: str
    oom_score_adj: int
    rss_pages: int
    swap_pages: int | None
    pgtables: int
    total_vm: int


# Of a ready tuple: a call of the class goes through Python, and there is one for each row.
_new_row = partial(tuple.__new__, TaskRow)


class Killed(NamedTuple):
    """One "Killed process" line; kB, None where not printed."""

    pid: int
    comm: str
    total_vm_kb: int | None = None
    rss_kb: int | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """Usage and limit of one counter of a memory cgroup in kB; a limit of None is unlimited."""

    usage_kb: int
    limit_kb: int | None


@dataclass(frozen=True, slots=True)
class Summary:
    """The line "oom-kill:constraint=...": who was chosen, where. Fields that were not printed are None."""

    constraint: str
    nodemask: str | None
    mems_allowed: str | None
    cpuset: str | None
    oom_memcg: str | None
    global_oom: bool
    task_memcg: str | None
    comm: str | None
    pid: int | None
    uid: int | None


@dataclass(slots=True)
class OomReport:
    """What was found of one report. Mutable while it is read, left alone afterwards.

    Attributes:
        source: of its lines, see LogLine.
        seconds: since boot at its first line, where shown.
        header: who asked for memory, None without the header line.
        order: of that request, -1 for sysrq-f.
        kernel: release, as `uname -r`.
        cpu: number of the CPU that printed it.
        cpuset, mems_allowed, nodemask: of the allocating task, up to 4.20 from the header.
        columns: names of the table's columns between pid and name, empty without the table's header.
        rows: by first column.
        rows_dropped: rows beyond MOST_ROWS, or broken.
        wide_pid: the table's header is the one of 4.19 and later.
        summary: the line of 5.0 and later.
        chosen: pid, comm and score of "Kill process ... or sacrifice child" (up to 5.0).
        killed: in order, each pid once.
        killed_prefixed: a "Killed process" line came with its reason in front (5.1+).
        killed_with_uid: and with UID and page tables behind (5.4+).
        allocating: the reason names vm.oom_kill_allocating_task.
        oom_group: the cgroup that died as one.
        memory, memsw, swap: the cgroup's counters.
        task_memcg, oom_memcg: from "Task in A killed as a result of limit of B" and the statistics' heading.
        memcg_words: a phrase that only a memory cgroup's OOM prints was seen.
        node_words: a phrase that only an OOM of the machine prints was seen.
        sysrq: started by hand.
        ram_pages, reserved_pages, swap_total_kb: of the machine.
        node_present_kb: by NUMA node, from the zones.
        exiting: pid and comm of the chosen one that was already exiting.
        no_killable: the kernel found nobody.
        panicked: why it panicked, None where it did not.
        since, until: kernel releases between which the format lies.
        buddy_kb: smallest block of the free lists: the page size in kB.
        unlimited_kb: an unlimited counter as printed, which tells the page size too.
        swap_total_before_kb: total swap as an earlier line of the same source said, None where none did.
        killed_before: comm by pid of who was killed earlier in the same log, lately.
    """

    source: str = ""
    seconds: float | None = None
    header: str | None = None
    order: int | None = None
    kernel: str | None = None
    cpu: int | None = None
    cpuset: str | None = None
    mems_allowed: str | None = None
    nodemask: str | None = None
    columns: tuple[str, ...] = ()
    rows: dict[int, TaskRow] = field(default_factory=dict)
    rows_dropped: int = 0
    wide_pid: bool | None = None
    summary: Summary | None = None
    chosen: tuple[int, str, int] | None = None
    killed: list[Killed] = field(default_factory=list)
    killed_prefixed: bool = False
    killed_with_uid: bool = False
    allocating: bool = False
    oom_group: str | None = None
    memory: Limit | None = None
    memsw: Limit | None = None
    swap: Limit | None = None
    task_memcg: str | None = None
    oom_memcg: str | None = None
    memcg_words: bool = False
    node_words: bool = False
    sysrq: bool = False
    ram_pages: int | None = None
    reserved_pages: int | None = None
    swap_total_kb: int | None = None
    node_present_kb: dict[int, int] = field(default_factory=dict)
    exiting: tuple[int, str] | None = None
    no_killable: bool = False
    panicked: str | None = None
    since: tuple[int, int] = (3, 0)
    until: tuple[int, int] = (99, 0)
    buddy_kb: int | None = None
    unlimited_kb: int | None = None
    swap_total_before_kb: int | None = None
    killed_before: dict[int, str] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether the kernel's decision was seen."""
        return bool(self.killed or self.exiting or self.no_killable or self.panicked)

    def row_of(self, pid: int) -> TaskRow | None:
        """The row of a process, by the thread that was printed or by the process."""
        row = self.rows.get(pid)
        return row or next((row for row in self.rows.values() if row.tgid == pid), None)


# The patterns are text: re compiles each when it is first needed, and a log needs few of them.
_HEADER = (
    r"^(?P<comm>.*?) invoked oom-killer"
    r"(?:: gfp_mask=0x[0-9a-f]+(?:\([^)]*\))?)?(?:, nodemask=(?P<nodemask>\(null\)|[\d,-]*))?"
    r"(?:,\s+order=(?P<order>-?\d{1,4}))?(?:, oom_score_adj=(?P<adj>-?\d{1,5}))?"
)
_RELEASE = r"(?:Not tainted|Tainted:[^#]*?)\s+(\d{1,3}\.\d{1,4}\S*)\s*(?:#|$)"
_BOOT = r"Linux version (\d{1,3}\.\d{1,4}\S*) "
_CPU = r"CPU: (\d{1,6}) (UID: \d+ )?PID: "
_CPUSET = r" cpuset=(?P<cpuset>.*) mems_allowed=(?P<mems>[\d,-]*)\s*$"
_SUMMARY = r"oom-kill:constraint=CONSTRAINT_(\w+)"
_SUMMARY_END = r",pid=(\d{1,10}),uid=(\d{1,10})\s*$"
_LONGEST_COMM = 15
_LONGEST_ESCAPED_COMM = 60
"""A name has at most 15 bytes, each printed as at most four characters; the patterns allow 64."""
_CHOSEN = r"Kill process (\d{1,10}) \((.{0,64})\) score (\d{1,20}) or sacrifice child"
_SHARING = r"Kill process (\d{1,10}) \((.{0,64})\) sharing same memory"
_KILLED = (
    r"Killed process (?P<pid>\d{1,10})(?:, UID:? ?\d+,?)? \((?P<comm>.{0,64})\)(?:,? UID:? \d{1,10},?)?"
    r"(?:,? total-vm:(?P<vm>\d{1,18})kB, anon-rss:(?P<anon>\d{1,18})kB, file-rss:(?P<file>\d{1,18})kB"
    r"(?:, shmem-rss:(?P<shmem>\d{1,18})kB)?(?P<tail>, UID:\d+ pgtables:\d+kB oom_score_adj:-?\d+)?)?"
)
_REASON = r"of [mM]emory(?: \(\w+\))?: $"
_GROUP = r"Tasks in (/.*) are going to be killed due to memory\.oom\.group set"
_TASK_IN = r"Task in (?P<memcg>/.*) killed as a result of limit of (?P<domain>/.*?)\s*$"
_LIMIT_OF = r"Memory limit reached of cgroup (/.*?)\s*$"
_STATS = r"Memory cgroup stats for (/.*?):(?: |$)"
_COUNTER = (
    r"(?P<what>memory\+swap|memory|swap|kmem): usage (?P<usage>\d{1,20})kB, "
    r"limit (?P<limit>\d{1,20})kB, failcnt"
)
_EXITING = r"OOM victim (\d{1,10}) \((.{0,64})\) is already exiting"
_NO_KILLABLE = r"(?i)no killable process|System is deadlocked on memory"
_PANIC = r"Out of memory:? (.*panic_on_oom is enabled)"
_RAM = r"(\d{1,15}) pages (?:of )?RAM\b"
_RESERVED = r"(\d{1,15}) (?:pages reserved|reserved pages)"
_SWAP_TOTAL = r"Total swap = (\d{1,15})kB"
_SWAP_ON = r"Adding (\d{1,15})k swap on "
_ZONE = r"(?:Node (?P<node>\d{1,5}) )?\w+ free:\d+kB .*?\bpresent:(?P<present>\d{1,15})kB"
_BUDDY = r"(?:DMA\d*|Normal|Movable|HighMem): \d+\*(\d{1,4})kB "
_BREAKABLE = r"oom-kill:constraint=|Tasks in(?: /|\s*$)|\[ *pid *\]|Killed process \d{1,10} \([^)]{0,64}$"
"""Long lines, which a console may break in several."""
_WHOLE = r"oom-kill:constraint=|Tasks in /|Killed process|invoked oom-killer|\[ *pid *\]"
_TOTALS = ((_RAM, "ram_pages"), (_RESERVED, "reserved_pages"), (_SWAP_TOTAL, "swap_total_kb"))
_TABLE = r"\[ *pid *\]((?: +\w+)+) +name\s*$"
_ANY_ROW = rb"(?s)\[\s*(\d{1,10})\]((?:\s+-?\d{1,20}){7,12})\s(.*)$"
_ROW_START = rb"\[\s*\d{1,10}\](?:\s+-?\d{1,20}){2,12}\s*$"
_NUMBERS = rb"\[\s*\d{1,10}\]\s+-?\d"
"""How a row begins."""
_PREFIX_MATTERS = rb"[\"\x1b]|invoked oom-killer|Linux version"
"""Quoted or coloured lines must be unwrapped; a header begins with a name, a boot tells the time."""
_TABLE_HEAD = b"total_vm"
_TABLE_HEADED_SINCE = (4, 19)
_FEATURES: tuple[tuple[str, tuple[int, int] | None, tuple[int, int] | None], ...] = (
    (r"(?:^|\s)percpu \d+\s*$", (5, 9), None),
    (r"(?:^|\s)workingset_refault_anon \d+\s*$", (5, 9), None),
    (r"(?:^|\s)workingset_refault \d+\s*$", None, (5, 8)),
    (r"(?:^|\s)vmalloc \d+\s*$", (5, 18), None),
    (r"(?:^|\s)sec_pagetables[ :]\d+", (6, 1), None),
    (r"Tasks state \(memory values in pages\)", _TABLE_HEADED_SINCE, None),
    (r"Memory cgroup min protection \d+kB", (6, 19), None),
)
"""What dates a report that shows no release: first and last mainline release that prints it."""
_DEFAULT_COLUMNS = {
    7: ("uid", "tgid", "total_vm", "rss", "pgtables_bytes", "swapents", "oom_score_adj"),
    8: ("uid", "tgid", "total_vm", "rss", "nr_ptes", "nr_pmds", "swapents", "oom_score_adj"),
    10: (
        "uid",
        "tgid",
        "total_vm",
        "rss",
        "rss_anon",
        "rss_file",
        "rss_shmem",
        "pgtables_bytes",
        "swapents",
        "oom_score_adj",
    ),
}
_ROW_COLUMNS = ("tgid", "uid", "oom_score_adj", "rss", "swapents", "total_vm")
_PAGE_TABLE_COLUMNS = ("nr_ptes", "nr_pmds", "nr_puds")


def _limit(match: re.Match[str]) -> Limit:
    limit = int(match["limit"])
    return Limit(int(match["usage"]), None if limit >= UNLIMITED_KB else limit)


def _summary(text: str) -> Summary | None:
    """The summary in a line. Names and paths may hold anything, so it is taken apart from its right end."""
    start = re.search(_SUMMARY, text)
    if start is None:
        return None
    fields = text[start.end() :]
    end = re.search(_SUMMARY_END, fields)
    head, comm = (fields, None) if end is None else _last_name(fields[: end.start()])
    head, _, task_memcg = _cut(head, ",task_memcg=")
    head, named, oom_memcg = _cut(head, ",oom_memcg=")
    head, mems_named, mems = _cut(head, ",mems_allowed=")
    _, _, cpuset = _cut(head, ",cpuset=")
    nodemask = re.match(r",nodemask=(\(null\)|[\d,-]*)", head)
    return Summary(
        constraint=start[1],
        nodemask=nodemask[1] if nodemask else None,
        mems_allowed=(mems or "").removesuffix(",global_oom") if mems_named else None,
        cpuset=cpuset if mems_named else None,
        # Without what follows, a path may be cut.
        oom_memcg=oom_memcg if named and task_memcg is not None else None,
        global_oom=",global_oom" in text,
        task_memcg=task_memcg if end else None,
        comm=comm,
        pid=int(end[1]) if end else None,
        uid=int(end[2]) if end else None,
    )


def _cut(text: str, name: str) -> tuple[str, bool, str | None]:
    """Text before the last field of that name, whether there is one, and its value."""
    before, found, value = text.rpartition(name)
    return (before, True, value) if found else (text, False, None)


def _last_name(text: str) -> tuple[str, str | None]:
    """Text before the field `task`, and the name in it, which may itself look like a field."""
    for longest in (_LONGEST_COMM, _LONGEST_ESCAPED_COMM):
        at = text.find(",task=", max(len(text) - longest - len(",task="), 0))
        if at >= 0:
            return text[:at], text[at + len(",task=") :]
    return text, None


class _Table:
    """How the rows of one table are read: the columns are those that its header names."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        self.columns = columns
        count = len(columns)
        self.pattern = re.compile(
            rb"\[\s*(\d{1,10})\]" + rb"\s+(-?\d{1,20})" * count + rb"(?:\s(.*))?$", re.DOTALL
        )
        # The same with the whole line around it, where nothing in the line is quoted or coloured.
        self.line = re.compile(
            rb"[^\n]*?\[ *(\d{1,10})\]" + rb" +(-?\d{1,20})" * count + rb" ([^\n\x1b\"]+)\n"
        )
        # Among a row's numbers the pid comes first: a place of 0 is a column that is not there.
        place = {name: index for index, name in enumerate(columns, start=1)}
        self.known = {"tgid", "rss", "oom_score_adj"} <= place.keys()
        self._places = tuple(place.get(name, 0) for name in _ROW_COLUMNS)
        page_tables = ("pgtables_bytes",) if "pgtables_bytes" in place else _PAGE_TABLE_COLUMNS
        self._page_tables = [place[name] for name in page_tables if name in place]

    def row(self, match: re.Match[bytes]) -> TaskRow:
        """One row, its numbers taken by the names of their columns."""
        *numbers, comm = match.groups()
        values = list(map(int, numbers))
        tgid, uid, adj, rss, swap, total_vm = self._places
        return _new_row(
            (
                values[0],
                values[tgid],
                values[uid] if uid else -1,
                (comm or b"").rstrip(b"\r\n").decode("utf-8", "backslashreplace"),
                values[adj],
                values[rss],
                values[swap] if swap else None,
                sum([values[place] for place in self._page_tables]),
                values[total_vm] if total_vm else 0,
            )
        )


class _Source:
    """What is known of one writer of lines: the report it is in the middle of, and what it said before."""

    def __init__(self) -> None:
        self.report: OomReport | None = None
        self.table: _Table | None = None
        self._first = b""
        self._host = b""
        self.kernel: str | None = None
        self.swap_total_kb: int | None = None
        self.dead: OrderedDict[int, tuple[str, float | None]] = OrderedDict()
        self.pending = ""
        self.wraps = 0
        self.idle = 0

    def recognise(self, line: LogLine, raw: bytes) -> None:
        """Remember how this writer's lines look, by one of them."""
        host = b" %b " % line.source.rpartition(" ")[2].encode()
        self._host = host if host in raw else b""
        self._first = _class_of(raw)

    def wrote(self, raw: bytes) -> bool:
        """Whether a line looks like those of this writer: a cheap look for the rows of a table."""
        return (not self._first or _class_of(raw) == self._first) and self._host in raw


def _lines_with(word: bytes, lines: bytes, at: int, end: int) -> Iterator[int]:
    """Where the lines from `at` to `end` begin that hold a word."""
    hit = lines.find(word, at, end)
    while hit >= 0:
        yield lines.rfind(b"\n", at, hit) + 1 or at
        after = lines.find(b"\n", hit, end)
        hit = lines.find(word, after, end) if after >= 0 else -1


def _class_of(raw: bytes) -> bytes:
    """What a line begins with: a digit, a letter, or some other character, blanks aside."""
    first = raw[:1]
    if first.isspace():
        first = raw.lstrip()[:1]
    return b"0" if first.isdigit() else b"a" if first.isalpha() else first


_LineReader: TypeAlias = "Callable[[OomReportReader, _Source, LogLine], bool]"


class OomReportReader:
    """Gathers reports from lines, fed in order. Memory stays bounded whatever is fed."""

    def __init__(self) -> None:
        self._sources: OrderedDict[str, _Source] = OrderedDict({"": _Source()})
        self._current = self._sources[""]
        self._done: deque[OomReport] = deque()
        self._seen: OrderedDict[int, None] = OrderedDict()

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
        return source.idle < (_IDLE_AFTER_TABLE if report.rows else _IDLE_BEFORE_TABLE)

    def take(self) -> Iterator[OomReport]:
        """The reports that are finished, each once."""
        while self._done:
            yield self._done.popleft()

    def close(self) -> Iterator[OomReport]:
        """The reports that are finished, those cut off by the end of the log too."""
        for source in self._sources.values():
            self._finish(source)
        yield from self.take()

    def feed(self, raw: bytes) -> None:
        """Read one line, without its line feed."""
        if len(raw) > MOST_BYTES_A_LINE:
            raw = raw[:MOST_BYTES_A_LINE]
        source = self._current
        if (
            source.table is not None
            and source.report is not None
            and not source.pending
            and self._row(source, raw)
        ):
            return
        source.idle += 1
        if source.pending or raw[:1] == b"{" or self._telling(raw):
            self._read(raw)

    def _telling(self, raw: bytes) -> bool:
        """Whether a line may be of a report: a cheap look before any pattern for its parts is tried."""
        if any(map(raw.__contains__, self._WORDS)):
            return True
        if not re.search(_NUMBERS, raw):
            return False
        return bool(re.search(_ANY_ROW, raw) or re.search(_ROW_START, raw))

    def telling(self, lines: bytes, at: int, end: int) -> list[int]:
        """Where the lines from `at` to `end` begin that may be of a report.

        feed() passes over all others, while no report is open, and after a kill.
        """
        begins = {begin for word in self._WORDS for begin in _lines_with(word, lines, at, end)}
        begins |= {begin for begin in _lines_with(b"{", lines, at, end) if lines.startswith(b"{", begin)}
        for row in re.compile(_NUMBERS).finditer(lines, at, end):
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
        if len(self._sources) > _ONE_WRITER:
            return at
        match = table.line.match(lines, at, end)
        rows, row = report.rows, table.row
        while match is not None:
            if len(rows) < MOST_ROWS:
                # A copy of a row says the same.
                rows.setdefault(int(match[1]), row(match))
            else:
                report.rows_dropped += 1
            at = match.end()
            match = table.line.match(lines, at, end)
        source.idle = 0
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
        head = lines.find(_TABLE_HEAD, at, end)
        if head < 0:
            return at
        head = lines.rfind(b"\n", at, head) + 1 or at
        begins = {begin for word in self._WORDS for begin in _lines_with(word, lines, at, head)}
        for begin in sorted(begins):
            self.feed(lines[begin : lines.find(b"\n", begin, end)])
        return head

    def _row(self, source: _Source, raw: bytes) -> bool:
        """Read the line as a row of the open table, if it is one and from the same writer."""
        table, report = source.table, source.report
        if table is None or report is None or not source.wrote(raw) or b'"' in raw or b"\x1b" in raw:
            return False
        match = table.pattern.search(raw)
        if match is None or not match[3] or report.ended:
            return False
        self._add_row(source, report, table.row(match))
        return True

    @staticmethod
    def _add_row(source: _Source, report: OomReport, row: TaskRow) -> None:
        source.idle = 0
        if len(report.rows) >= MOST_ROWS:
            report.rows_dropped += 1
        elif row.pid not in report.rows:
            report.rows[row.pid] = row

    def _read(self, raw: bytes) -> None:
        source = self._current
        text = raw.decode("utf-8", "backslashreplace")
        if self._plain(source, raw):
            self._message(source, LogLine("", None, text))
            return
        for line in log_lines(text):
            source = self._source(line, raw)
            if len(line.text) > _MOST_CHARACTERS_A_MESSAGE:
                line = line._replace(text=line.text[:_MOST_CHARACTERS_A_MESSAGE])  # noqa: PLW2901 - the same line
            if source.pending and self._unwrap(source, line.text):
                continue
            self._message(source, line)

    def _plain(self, source: _Source, raw: bytes) -> bool:
        """Whether a line goes on with the report of the only writer, so that its prefix tells nothing new."""
        return (
            source.report is not None
            and not source.pending
            and len(self._sources) <= _ONE_WRITER
            and source.wrote(raw)
            and re.search(_PREFIX_MATTERS, raw) is None
        )

    def _source(self, line: LogLine, raw: bytes) -> _Source:
        if not line.source:
            return self._current
        source = self._sources.get(line.source)
        if source is None:
            source = self._sources[line.source] = _Source()
            if len(self._sources) > _MOST_SOURCES:
                self._finish(self._sources.popitem(last=False)[1])
        if source is not self._current:
            source.recognise(line, raw)
            self._sources.move_to_end(line.source)
            self._current = source
        return source

    def _message(self, source: _Source, line: LogLine) -> None:
        text = line.text
        for word, reader in self._READERS:
            if word in text and reader(self, source, line):
                source.idle = 0
                return
        self._odd_row(source, text)

    def _open(self, source: _Source, line: LogLine) -> OomReport:
        """The report that a line belongs to; a new one where none is open."""
        if source.report is None:
            source.report = OomReport(
                source=line.source,
                seconds=line.seconds,
                kernel=None,
                swap_total_before_kb=source.swap_total_kb,
                killed_before=self._lately_dead(source, line.seconds),
            )
            source.table = None
        return source.report

    @staticmethod
    def _lately_dead(source: _Source, now: float | None) -> dict[int, str]:
        return {
            pid: comm
            for pid, (comm, then) in source.dead.items()
            if then is None or now is None or 0 <= now - then < _PID_FRESH_SECONDS
        }

    def _new(self, source: _Source, line: LogLine) -> OomReport:
        self._finish(source)
        return self._open(source, line)

    def _finish(self, source: _Source) -> None:
        report, source.report, source.table, source.pending = source.report, None, None, ""
        if report is None:
            return
        report.kernel = report.kernel or source.kernel
        if report.swap_total_kb is not None:
            source.swap_total_kb = report.swap_total_kb
        for killed in report.killed:
            source.dead[killed.pid] = (killed.comm, report.seconds)
            if len(source.dead) > _REMEMBERED:
                source.dead.popitem(last=False)
        print_of = _fingerprint(report)
        if print_of in self._seen:
            return
        self._seen[print_of] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        self._done.append(report)

    def _wrapped(self, source: _Source, text: str) -> None:
        """Keep a line that breaks off, in case a console broke it in two."""
        source.pending, source.wraps = text[:MOST_BYTES_A_LINE], 0

    def _unwrap(self, source: _Source, text: str) -> bool:
        """Join a line to the one that broke off before it; whether they made sense together."""
        begun, source.pending = source.pending, ""
        joined = begun + text
        line = LogLine("", None, joined)
        summary = _summary(joined)
        if summary is not None and summary.pid is not None:
            return self._summary(source, line)
        for pattern, reader in ((_GROUP, self._group), (_TABLE, self._columns), (_KILLED, self._killed)):
            if re.search(_BREAKABLE, begun) and re.search(pattern, joined):
                return reader(source, line)
        if re.search(_ROW_START, begun.encode("utf-8", "surrogateescape")):
            return self._unwrap_row(source, begun, text)
        source.wraps += 1
        if source.wraps < _MOST_WRAPS and re.search(_BREAKABLE, joined) and not re.search(_WHOLE, text):
            source.pending = joined[:MOST_BYTES_A_LINE]
            return True
        return False

    def _unwrap_row(self, source: _Source, begun: str, text: str) -> bool:
        """Join the rest of a row; a row without a name stands for itself when another follows."""
        report, table = source.report, source.table
        if report is None or table is None:
            return False
        other = re.search(_WHOLE, text) or re.search(_ANY_ROW, text.encode("utf-8", "surrogateescape"))
        whole = begun if other else begun + text
        match = table.pattern.search(whole.encode("utf-8", "surrogateescape"))
        if match is not None:
            self._add_row(source, report, table.row(match))
        return match is not None and not other

    # Readers of one kind of line each: whether the line was of that kind.

    def _header(self, source: _Source, line: LogLine) -> bool:
        match = re.search(_HEADER, line.text)
        if match is None:
            return False
        report = source.report
        comm = match["comm"].rpartition("kernel: ")[2].strip()
        order = int(match["order"]) if match["order"] else None
        # The same header again, before anything else came, is a copy of the line.
        if report and report.header == comm and report.order == order and _only_header(report):
            return True
        if report and report.header is None and report.order is None and _only_header(report):
            report.seconds = line.seconds
        else:
            report = self._new(source, line)
        report.header, report.order = comm, order
        report.sysrq = report.order == -1
        report.nodemask = match["nodemask"]
        return True

    def _release(self, source: _Source, line: LogLine) -> bool:
        boot = re.search(_BOOT, line.text)
        if boot:
            self._finish(source)
            source.kernel, source.swap_total_kb = boot[1], None
            source.dead.clear()
            return True
        match = re.search(_RELEASE, line.text)
        if match is None or source.report is None:
            return False
        report = source.report
        report.kernel = source.kernel = match[1]
        cpu = re.search(_CPU, line.text)
        if cpu:
            report.cpu = int(cpu[1])
            if cpu[2]:
                report.since = max(report.since, (6, 11))
        return True

    def _header_cpuset(self, source: _Source, line: LogLine) -> bool:
        match = re.search(_CPUSET, line.text)
        if match is None or source.report is None:
            return False
        source.report.cpuset, source.report.mems_allowed = match["cpuset"], match["mems"]
        return True

    def _columns(self, source: _Source, line: LogLine) -> bool:
        match = re.search(_TABLE, line.text)
        if match is None:
            if re.search(_BREAKABLE, line.text):
                self._wrapped(source, line.text)
            return False
        columns = tuple(match[1].split())
        table = _Table(columns)
        if not table.known or len(columns) > 16:  # noqa: PLR2004 - no kernel prints so many
            return False
        report = self._open(source, line)
        if report.columns == columns and source.table is not None and not report.ended:
            return True
        if report.rows or report.ended:
            report = self._new(source, line)
        report.columns, source.table = columns, table
        report.wide_pid = "[  pid  ]" in line.text
        _date_by_columns(report)
        return True

    def _odd_row(self, source: _Source, text: str) -> None:
        """A row off the fast way: wrapped in something, broken by a console, or without a table's header."""
        raw = text.encode("utf-8", "surrogateescape")
        report = source.report
        if source.table is not None and report is not None and not report.ended:
            match = source.table.pattern.search(raw)
            if match and match[3] and match[3].strip():
                self._add_row(source, report, source.table.row(match))
            elif re.search(_ROW_START, raw):
                self._wrapped(source, text)
            return
        match = re.search(_ANY_ROW, raw)
        columns = _DEFAULT_COLUMNS.get(len(match[2].split())) if match else None
        if columns is None or match is None:
            return
        line = LogLine("", None, text)
        report = self._new(source, line) if report is not None and report.ended else self._open(source, line)
        source.table = _Table(columns)
        again = source.table.pattern.search(raw)
        if again:
            self._add_row(source, report, source.table.row(again))

    def _summary(self, source: _Source, line: LogLine) -> bool:
        summary = _summary(line.text)
        if summary is None:
            return False
        if summary.pid is None:
            self._wrapped(source, line.text)
        report = self._open(source, line)
        if report.summary == summary:
            return True
        if (report.summary and report.summary.pid is not None) or report.ended:
            report = self._new(source, line)
        report.summary = summary
        report.since = max(report.since, (5, 0))
        return True

    def _chosen(self, source: _Source, line: LogLine) -> bool:
        sharing = re.search(_SHARING, line.text)
        if sharing:
            report = self._open(source, line)
            _add_killed(report, Killed(int(sharing[1]), sharing[2]))
            return True
        match = re.search(_CHOSEN, line.text)
        if match is None:
            return False
        chosen = (int(match[1]), match[2], int(match[3]))
        report = self._open(source, line)
        if report.chosen == chosen:
            return True
        if report.chosen or report.ended:
            report = self._new(source, line)
        report.chosen = chosen
        report.until = min(report.until, (5, 1))
        self._reason(report, line.text)
        return True

    @staticmethod
    def _reason(report: OomReport, text: str) -> None:
        if "Memory cgroup out of memory" in text:
            report.memcg_words = True
        elif "Out of memory" in text:
            report.node_words = True
        if "oom_kill_allocating_task" in text:
            report.allocating = True

    def _killed(self, source: _Source, line: LogLine) -> bool:
        match = re.search(_KILLED, line.text)
        if match is None:
            if re.search(_BREAKABLE, line.text):
                self._wrapped(source, line.text)
            return False
        killed = Killed(
            int(match["pid"]),
            match["comm"],
            int(match["vm"]) if match["vm"] else None,
            sum(int(match[k] or 0) for k in ("anon", "file", "shmem")) if match["anon"] else None,
        )
        report = self._open(source, line)
        if not _belongs(report, killed):
            report = self._new(source, line)
        _add_killed(report, killed)
        if re.search(_REASON, line.text[max(match.start() - _LONGEST_REASON, 0) : match.start()]):
            report.killed_prefixed = True
            report.since = max(report.since, (5, 1))
            self._reason(report, line.text)
        if match["tail"]:
            report.killed_with_uid = True
            report.since = max(report.since, (5, 4))
        return True

    def _group(self, source: _Source, line: LogLine) -> bool:
        match = re.search(_GROUP, line.text)
        if match is None:
            if source.report is not None and re.search(_BREAKABLE, line.text):
                self._wrapped(source, line.text)
            return False
        self._open(source, line).oom_group = match[1]
        return True

    def _cgroups(self, source: _Source, line: LogLine) -> bool:
        task_in, limit_of, stats = (re.search(p, line.text) for p in (_TASK_IN, _LIMIT_OF, _STATS))
        match = task_in or limit_of or stats
        if match is None:
            return False
        report = self._open(source, line)
        if report.ended:
            report = self._new(source, line)
        report.memcg_words = True
        if task_in:
            report.task_memcg, report.oom_memcg = task_in["memcg"], task_in["domain"]
        else:
            report.oom_memcg = report.oom_memcg or match[1]
        return True

    def _counter(self, source: _Source, line: LogLine) -> bool:
        match = re.search(_COUNTER, line.text)
        if match is None:
            return False
        report = self._open(source, line)
        if report.ended:
            report = self._new(source, line)
        limit = _limit(match)
        report.memcg_words = True
        if limit.limit_kb is None:
            report.unlimited_kb = int(match["limit"])
        if match["what"] == "memory":
            report.memory = limit
        elif match["what"] == "memory+swap":
            report.memsw = limit
        elif match["what"] == "swap":
            report.swap = limit
        return True

    def _machine(self, source: _Source, line: LogLine) -> bool:
        text = line.text
        adding = re.search(_SWAP_ON, text)
        if adding:
            source.swap_total_kb = (source.swap_total_kb or 0) + int(adding[1])
            return True
        report = source.report
        if report is None or report.ended:
            return False
        for pattern, name in _TOTALS:
            match = re.search(pattern, text)
            if match:
                setattr(report, name, int(match[1]))
        zone, buddy = re.search(_ZONE, text), re.search(_BUDDY, text)
        if zone:
            node = int(zone["node"] or 0)
            report.node_present_kb[node] = report.node_present_kb.get(node, 0) + int(zone["present"])
        elif buddy:
            report.buddy_kb = int(buddy[1])
        report.node_words = True
        return True

    def _ends(self, source: _Source, line: LogLine) -> bool:
        exiting = re.search(_EXITING, line.text)
        panic = re.search(_PANIC, line.text)
        if not exiting and not panic and not re.search(_NO_KILLABLE, line.text):
            return False
        report = self._open(source, line)
        if exiting and _met_again(report, int(exiting[1])):
            return True
        if report.killed or report.exiting:
            report = self._new(source, line)
        if exiting:
            report.exiting = (int(exiting[1]), exiting[2])
        elif panic:
            report.panicked = panic[1]
        else:
            report.no_killable = True
        return True

    def _trace(self, source: _Source, line: LogLine) -> bool:
        report = source.report
        if report is None or report.ended:
            return False
        if "mem_cgroup_out_of_memory" in line.text or "mem_cgroup_oom" in line.text:
            report.memcg_words = True
        elif "moom_callback" in line.text:
            report.sysrq = True
        else:
            return False
        return True

    def _features(self, source: _Source, line: LogLine) -> bool:
        report = source.report
        if report is None or report.ended:
            return False
        for pattern, since, until in _FEATURES:
            if re.search(pattern, line.text):
                report.since = max(report.since, since or report.since)
                report.until = min(report.until, until or report.until)
                return True
        return False

    _READERS: ClassVar[tuple[tuple[str, _LineReader], ...]] = (
        ("invoked oom-killer", _header),
        ("oom-kill:", _summary),
        ("Killed process", _killed),
        ("Kill process", _chosen),
        ("Tasks in", _group),
        ("total_vm", _columns),
        (": usage ", _counter),
        ("cgroup stats", _cgroups),
        ("reached of cgroup", _cgroups),
        ("killed as a result", _cgroups),
        ("tainted ", _release),
        ("Tainted: ", _release),
        ("Linux version", _release),
        ("mems_allowed=", _header_cpuset),
        ("Total swap", _machine),
        ("present:", _machine),
        ("*4kB ", _machine),
        ("*64kB ", _machine),
        ("pages RAM", _machine),
        ("pages of RAM", _machine),
        ("pages reserved", _machine),
        ("k swap on", _machine),
        ("Mem-Info", _machine),
        ("OOM victim", _ends),
        ("killable", _ends),
        ("deadlocked on", _ends),
        ("panic_on_oom", _ends),
        ("moom_callback", _trace),
        ("mem_cgroup_o", _trace),
        ("percpu ", _features),
        ("sec_pagetables", _features),
        ("min protection", _features),
        ("Tasks state", _features),
        ("workingset_refault", _features),
        ("vmalloc ", _features),
    )
    """Which reader to ask for a line that holds a word."""
    _WORDS: ClassVar[tuple[bytes, ...]] = tuple(dict.fromkeys(word.encode() for word, _ in _READERS))


def _date_by_columns(report: OomReport) -> None:
    """Narrow down the releases whose table has these columns."""
    spans: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {
        "nr_pmds": ((4, 0), (4, 14)),
        "pgtables_bytes": ((4, 15), (4, 18)),
        "nr_ptes": ((3, 7), (4, 0)),
    }
    since, until = next((span for name, span in spans.items() if name in report.columns), ((3, 0), (3, 6)))
    if "rss_anon" in report.columns:
        since, until = (6, 8), report.until
    elif report.wide_pid or report.since >= _TABLE_HEADED_SINCE:
        since, until = _TABLE_HEADED_SINCE, report.until
    report.since, report.until = max(report.since, since), min(report.until, until)


def _only_header(report: OomReport) -> bool:
    return not (
        report.rows or report.columns or report.summary or report.chosen or report.ended or report.memory
    )


def _belongs(report: OomReport, killed: Killed) -> bool:
    """Whether a further "Killed process" line is of this report: only a group kill prints several."""
    if not report.killed or any(k.pid == killed.pid for k in report.killed):
        return True
    if report.oom_group is None:
        return False
    return not report.rows or report.row_of(killed.pid) is not None


def _met_again(report: OomReport, pid: int) -> bool:
    """Whether a process is found exiting while its group is walked, as the victim itself may be."""
    if report.oom_group is None:
        return False
    return any(k.pid == pid for k in report.killed) or report.row_of(pid) is not None


def _add_killed(report: OomReport, killed: Killed) -> None:
    if len(report.killed) < _MOST_KILLED and all(k.pid != killed.pid for k in report.killed):
        report.killed.append(killed)


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
