"""Why an OOM report says what it says: the choice made again from the table, and compared with the kernel's.

Pure: a report in, an explanation out. What the report does not tell stays None and is named in `missing`;
a deviation whose reason can not be known is 'undetermined'.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from oomsayer.kernel.badness import oom_badness, unkillable
from oomsayer.kernel.domain import mem_cgroup_get_max
from oomsayer.kernel.era import ERAS, Era, RssSource, Tie, detect, era_named, release_version
from oomsayer.kernel.oomreport import Limit, OomReport, TaskRow
from oomsayer.kernel.snapshot import OOM_SCORE_ADJ_MIN, ROOT, Memcg, Memory, Sysctls, Task, Unkillable

UNDETERMINED = "undetermined"
"""Said of a deviation whose reason the report does not tell."""
_ENDLESS = 2**50
"""Pages that stand for any amount of swap."""
OOM_SCORE_ADJ_MAX = 1000
"""The highest oom_score_adj (include/uapi/linux/oom.h)."""
_USUAL_PAGE = 4096
_KNOWN_PAGES_KB = (4, 8, 16, 64, 256)
_LONG_MAX = 2**63 - 1
_OLDEST_RULES = (3, 7)
_SPANNED_UNTIL = (5, 3)
_SIGNED_STABLE = (5, 4, 144)


class ReportDomain(StrEnum):
    """What ran out, as far as a report tells."""

    NODE = "node"
    MEMCG = "memcg"
    CPUSET = "cpuset"
    MEMPOLICY = "mempolicy"
    UNKNOWN = "unknown"


class Ranked(NamedTuple):
    """A row of the table and its badness. A tuple, as rows are many.

    Attributes:
        row: as printed.
        task: as oom_badness() takes it.
        points: badness in pages; None where it is not known, or the process is never chosen.
        eligible: whether the scan considers it.
        order: place in the table, which is the order of the scan.
    """

    row: TaskRow
    task: Task
    points: int | None
    eligible: bool
    order: int


@dataclass(frozen=True, slots=True)
class Change:
    """The least that would have led to another choice; None where nothing of the kind would.

    Attributes:
        runner_up: second in badness; it may have died with the victim.
        victim_oom_score_adj: the highest value at which the victim falls behind the runner-up.
        victim_bytes: how much less memory of the victim would do.
        next_oom_score_adj: the lowest value at which the next comes before the victim.
        next_bytes: how much more memory of the next would do.
    """

    runner_up: Ranked
    victim_oom_score_adj: int | None
    victim_bytes: int | None
    next_oom_score_adj: int | None
    next_bytes: int | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """What one report comes down to.

    Attributes:
        report: it.
        era: the rules it was read by, None where it is older than any known.
        era_name: "E0" to "E7", None where the report leaves more than one.
        kind: what ran out.
        path: of the cgroup, "/" for the node, the cpuset's name; None where not told.
        totalpages: what scales oom_score_adj in the domain, None where not known.
        page_size: bytes a page.
        candidates: the table, worst first, those never chosen last.
        predicted: whom the rules choose, None where nobody, or where too little is known.
        killed: pid and name of each process the report says was killed, the victim first.
        agrees: whether the first killed is the predicted one, None where that can not be said.
        because: why not, 'undetermined' where that can not be known; None where they agree.
        next: who would have been taken after this kill.
        change: what would have changed the choice.
        complete: whether all parts are there that the kernel prints.
        missing: what is not known, each a sentence.
    """

    report: OomReport
    era: Era | None
    era_name: str | None
    kind: ReportDomain
    path: str | None
    totalpages: int | None
    page_size: int
    candidates: tuple[Ranked, ...] = ()
    predicted: Ranked | None = None
    killed: tuple[tuple[int, str], ...] = ()
    agrees: bool | None = None
    because: str | None = None
    next: Ranked | None = None
    change: Change | None = None
    complete: bool = False
    missing: tuple[str, ...] = ()


class _Span(NamedTuple):
    """Totalpages between two bounds, `most` None for no upper one; equal bounds for a known value."""

    least: int
    most: int | None

    @property
    def known(self) -> int | None:
        return self.least if self.least == self.most else None


class _Reading(NamedTuple):
    """One way to read a report: the rules, totalpages, and whether root's processes hold CAP_SYS_ADMIN."""

    era: Era
    span: _Span
    root: Callable[[TaskRow], bool]
    why: str = ""


def explain(report: OomReport) -> Explanation:
    """Make the choice of a report again, and say how it compares."""
    missing = _Missing(report)
    page_size = _page_size(report, missing)
    kind, path = _domain(report, missing)
    era, era_name, others = _era(report, missing)
    told = _totalpages(report, kind, page_size, era, missing)
    table = _table(report, page_size)
    known = Explanation(
        report, era, era_name, kind, path, told.known, page_size, killed=_killed(report),
        candidates=tuple(Ranked(row, task, None, not unkillable(task), at) for at, (row, task) in enumerate(table)),
        complete=missing.complete, missing=missing.sentences,
    )  # fmt: skip
    if era is None:
        return known
    root = _root(kind)
    told, root = _settled_by_score(report, era, told, root, page_size)
    reading = _Reading(era, _assumed(report, kind, told, missing), root)
    ranked = _ranked(table, reading, page_size)
    predicted = _winner(ranked, reading, page_size)
    if predicted is None and any(candidate.eligible for candidate in ranked):
        missing.add("who is chosen: it depends on totalpages")
    if era.root_bonus and any(row.uid == 0 for row, _ in table):
        missing.add("capabilities: whether a process of uid 0 is forgiven 3 % is guessed from where it ran")
    if era.sacrifice_child and table:
        missing.add("parents: a child that dies in its parent's place can not be foreseen")
    agrees = _agrees(report, predicted, ranked)
    because = None
    if agrees is False:
        because = _because(
            report, predicted, ranked, reading, _alternatives(report, reading, told, others), page_size
        )
    elif report.panicked:
        because = f"nobody was killed, the kernel panicked: {report.panicked}"
    following = _next(report, ranked, reading, page_size)
    return replace(
        known,
        totalpages=reading.span.known,
        candidates=tuple(ranked),
        predicted=predicted,
        agrees=agrees,
        because=because,
        next=following,
        change=_change(ranked, predicted, following, reading, page_size) if agrees else None,
        complete=missing.complete,
        missing=missing.sentences,
    )


class _Missing:
    """Collects what a report does not tell; a missing part of the report makes it incomplete."""

    def __init__(self, report: OomReport) -> None:
        self.complete = True
        self._sentences: dict[str, None] = {}
        if report.header is None:
            self.part("header: who asked for memory (cut off, or held back by the kernel's rate limit)")
        if not report.rows:
            empty = (
                "task table: no rows"
                if report.columns
                else "task table: none (vm.oom_dump_tasks, or cut off)"
            )
            if report.columns and report.no_killable:
                self.add(empty)
            else:
                self.part(empty)
        elif not report.columns:
            self.part("task table: its header, so the columns are taken from their number")
        if report.rows_dropped:
            self.part(f"task table: {report.rows_dropped} rows beyond the first {len(report.rows)}")
        chosen = report.summary or report.chosen or report.killed
        if not report.ended:
            self.part("kill: no line says who was killed")
        elif report.killed and report.columns and not (report.summary or report.chosen):
            era = report.since
            if (5, 0) <= era and report.kernel is None:
                self.part("summary: the line oom-kill:constraint=...")
        if chosen and report.rows and report.killed and report.row_of(_first(report)) is None:
            self.part("task table: no row of the killed process, so it was cut")

    def part(self, sentence: str) -> None:
        """A part of the report is missing."""
        self.complete = False
        self.add(sentence)

    def add(self, sentence: str) -> None:
        """Something is not known that no report tells."""
        self._sentences[sentence] = None

    @property
    def sentences(self) -> tuple[str, ...]:
        return tuple(self._sentences)


def _first(report: OomReport) -> int:
    return report.killed[0].pid


def _killed(report: OomReport) -> tuple[tuple[int, str], ...]:
    """Who died: the kernel's lines, or whom its summary names where those are missing."""
    if report.killed:
        return tuple((killed.pid, killed.comm) for killed in report.killed)
    if report.exiting or report.panicked or report.no_killable:
        return ()
    summary = report.summary
    if summary and summary.pid is not None:
        return ((summary.pid, summary.comm or ""),)
    return ()


def _actual(report: OomReport) -> int | None:
    """The pid of the kernel's victim."""
    killed = _killed(report)
    if killed:
        return killed[0][0]
    if report.exiting:
        return report.exiting[0]
    return None


# What the report is of.


def _page_size(report: OomReport, missing: _Missing) -> int:
    """From figures printed both in pages and in kB, from the free lists, from an unlimited counter."""
    for killed in report.killed:
        row = report.row_of(killed.pid)
        if row and row.total_vm and killed.total_vm_kb:
            ratio = killed.total_vm_kb / row.total_vm
            for size in _KNOWN_PAGES_KB:
                if abs(ratio - size) < size * 0.1:
                    return size * 1024
    if report.buddy_kb in _KNOWN_PAGES_KB:
        return report.buddy_kb * 1024
    if report.unlimited_kb is not None:
        for size in _KNOWN_PAGES_KB[1:]:
            if report.unlimited_kb == _LONG_MAX // (size * 1024) * size:
                return size * 1024
        return _USUAL_PAGE
    if report.rows:
        missing.add("page size: nothing tells it, taken as 4096 bytes")
    return _USUAL_PAGE


_CONSTRAINTS = {"CPUSET": ReportDomain.CPUSET, "MEMORY_POLICY": ReportDomain.MEMPOLICY}


def _domain(report: OomReport, missing: _Missing) -> tuple[ReportDomain, str | None]:
    summary = report.summary
    # Early 5.x prints CONSTRAINT_NONE for a memory cgroup too: the cgroup named beside it decides.
    if summary and summary.oom_memcg is not None:
        return ReportDomain.MEMCG, summary.oom_memcg
    if report.oom_memcg is not None:
        return ReportDomain.MEMCG, report.oom_memcg
    if (summary and summary.constraint == "MEMCG") or report.memcg_words:
        missing.part("domain: the path of the memory cgroup")
        return ReportDomain.MEMCG, None
    if summary and summary.constraint in _CONSTRAINTS:
        kind = _CONSTRAINTS[summary.constraint]
        return kind, summary.cpuset if kind is ReportDomain.CPUSET else None
    if summary or report.sysrq:
        return ReportDomain.NODE, ROOT
    if not (report.node_words or report.killed or report.chosen):
        missing.part("domain: nothing tells what ran out")
        return ReportDomain.UNKNOWN, None
    if not (report.node_words or report.memcg_words):
        missing.part("domain: nothing tells what ran out")
        return ReportDomain.UNKNOWN, None
    return _old_node(report, missing)


def _old_node(report: OomReport, missing: _Missing) -> tuple[ReportDomain, str | None]:
    """Before 5.0 the constraint is not printed: the nodes that the request could use tell it."""
    nodes = set(report.node_present_kb)
    masked = _mask(report.nodemask)
    allowed = _mask(report.mems_allowed)
    if not nodes and report.header is not None and report.mems_allowed not in (None, "0"):
        missing.add(
            "constraint: no zones are listed, so a cpuset's OOM would look alike; taken as the node's"
        )
    if masked and nodes - masked:
        return ReportDomain.MEMPOLICY, None
    if allowed and nodes - allowed:
        return ReportDomain.CPUSET, report.cpuset
    return ReportDomain.NODE, ROOT


def _mask(text: str | None) -> set[int]:
    """The nodes of a list like 0-1,4; empty for none or (null)."""
    nodes: set[int] = set()
    for low, high in re.findall(r"(\d{1,4})(?:-(\d{1,4}))?", text or ""):
        nodes.update(range(int(low), int(high or low) + 1))
    return nodes


def _era(report: OomReport, missing: _Missing) -> tuple[Era | None, str | None, tuple[Era, ...]]:
    """The rules to read by, the era's name where only one fits, and the other eras that fit."""
    version = release_version(report.kernel or "")
    if version is None:
        return _era_by_format(report, missing)
    if version < _OLDEST_RULES:
        missing.add(f"rules: kernel {report.kernel} is older than any known here")
        return None, None, ()
    detection = detect(report.kernel or "")
    for doubt in detection.doubts:
        missing.add(doubt)
    era = _without_child_step(detection.era, report)
    if _stable_release(report.kernel or "") >= _SIGNED_STABLE and version == _SIGNED_STABLE[:2]:
        era = era_named("E5")
    return era, era.name, ()


def _stable_release(release: str) -> tuple[int, ...]:
    """The first three numbers of a release, where it is a stable kernel's own and no vendor's package."""
    match = re.match(r"(\d{1,4})\.(\d{1,4})\.(\d{1,4})", release)
    return tuple(map(int, match.groups())) if match else ()


def _without_child_step(era: Era, report: OomReport) -> Era:
    """Vendors took the step out earlier: a "Killed process" line with its reason in front proves it."""
    if era.sacrifice_child and report.killed_prefixed and report.chosen is None:
        return replace(era, sacrifice_child=False) if era.root_bonus else era_named("E3")
    return era


def _era_by_format(report: OomReport, missing: _Missing) -> tuple[Era | None, str | None, tuple[Era, ...]]:
    since, until = report.since, report.until
    # A vendor's kernel: its table is as old as the rest, newer lines were brought in.
    if since > until:
        since = until
    if until < _OLDEST_RULES:
        missing.add("rules: the table is older than any known here")
        return None, None, ()
    fitting = [
        era
        for era, following in zip(ERAS, [*(e.since for e in ERAS[1:]), (999, 0)], strict=True)
        if era.since <= until and following > since
    ]
    eras = list(dict.fromkeys(_without_child_step(era, report) for era in fitting))
    era = eras[-1]
    only = era.name if len(eras) == 1 else None
    span = era.releases if only else f"{eras[0].name} to {era.name}"
    missing.part(
        f"kernel release: not printed; by its format {span}" + ("" if only else f", read as {era.name}")
    )
    return era, only, tuple(eras[:-1])


def _totalpages(
    report: OomReport, kind: ReportDomain, page_size: int, era: Era | None, missing: _Missing
) -> _Span:
    if kind is ReportDomain.MEMCG:
        return _memcg_totalpages(report, page_size, missing)
    if kind is ReportDomain.UNKNOWN:
        return _Span(0, None)
    if report.swap_total_kb is None:
        missing.part("total swap: the line is not there")
    swap = None if report.swap_total_kb is None else report.swap_total_kb * 1024 // page_size
    if kind is ReportDomain.NODE:
        if report.ram_pages is None or report.reserved_pages is None:
            missing.part("RAM: the lines 'pages RAM' and 'pages reserved' are not both there")
            return _Span(0, None)
        ram = max(report.ram_pages - report.reserved_pages, 0)
    else:
        ram_or_none = _present(report, kind, page_size, era, missing)
        if ram_or_none is None:
            return _Span(0, None)
        ram = ram_or_none
    return _Span(ram, None) if swap is None else _Span(ram + swap, ram + swap)


def _present(
    report: OomReport, kind: ReportDomain, page_size: int, era: Era | None, missing: _Missing
) -> int | None:
    """Pages present on the nodes that the request could use."""
    summary = report.summary
    if kind is ReportDomain.CPUSET:
        nodes = _mask(summary.mems_allowed if summary else report.mems_allowed)
    else:
        nodes = _mask(summary.nodemask if summary else report.nodemask)
    if not nodes or not nodes <= set(report.node_present_kb):
        missing.part("RAM: the zones of the allowed nodes are not all there")
        return None
    if era is not None and era.since < _SPANNED_UNTIL:
        missing.add("RAM: up to 5.3 the kernel counts holes too, which are not printed; taken without")
    return sum(report.node_present_kb[node] for node in nodes) * 1024 // page_size


def _memcg_totalpages(report: OomReport, page_size: int, missing: _Missing) -> _Span:
    if report.memory is None:
        missing.part("limit: the line 'memory: usage ..., limit ...' is not there")
        return _Span(1, None)
    swap_kb = report.swap_total_kb if report.swap_total_kb is not None else report.swap_total_before_kb
    least = _memcg_max(report, page_size, 0)
    if swap_kb is not None:
        most = _memcg_max(report, page_size, swap_kb * 1024)
        if most != least:
            missing.add("swappiness: not printed, taken as above 0")
        return _Span(most, most)
    most = _memcg_max(report, page_size, _ENDLESS * page_size)
    return _Span(least, None if most >= _ENDLESS else most)


def _memcg_max(report: OomReport, page_size: int, swap_bytes: int) -> int:
    memcg = Memcg(
        "/memcg",
        max_bytes=_bytes(report.memory),
        swap_max_bytes=_bytes(report.swap),
        memsw_max_bytes=_bytes(report.memsw),
    )
    memory = Memory(page_size, total_bytes=0, swap_total_bytes=swap_bytes)
    return mem_cgroup_get_max(memcg, memory, Sysctls())


def _bytes(limit: Limit | None) -> int | None:
    return None if limit is None or limit.limit_kb is None else limit.limit_kb * 1024


def _assumed(report: OomReport, kind: ReportDomain, span: _Span, missing: _Missing) -> _Span:
    """Totalpages of a memory cgroup whose report does not tell the machine's swap.

    Where nothing at all is swapped, no swap is the plain reading; where something is, there is no telling.
    """
    if kind is not ReportDomain.MEMCG or span.known is not None or report.memory is None:
        return span
    if _swapped(report):
        missing.add("total swap: a memory cgroup's report does not tell it, so totalpages is not known")
        return span
    missing.add("total swap: a memory cgroup's report does not tell it; taken as none, as nothing is swapped")
    return _Span(span.least, span.least)


def _swapped(report: OomReport) -> bool:
    if any(row.swap_pages for row in report.rows.values()):
        return True
    if report.swap is not None:
        return report.swap.usage_kb > 0
    memory, memsw = report.memory, report.memsw
    return memory is not None and memsw is not None and memsw.usage_kb > memory.usage_kb


def _root(kind: ReportDomain) -> Callable[[TaskRow], bool]:
    """Who is taken to hold CAP_SYS_ADMIN: root's processes, but not in a cgroup, where containers drop it."""
    if kind is ReportDomain.MEMCG:
        return lambda _row: False
    return lambda row: row.uid == 0


def _settled_by_score(
    report: OomReport, era: Era, span: _Span, root: Callable[[TaskRow], bool], page_size: int
) -> tuple[_Span, Callable[[TaskRow], bool]]:
    """Let the score that old kernels print decide what it can: totalpages, and the chosen one's capability."""
    row = report.row_of(report.chosen[0]) if report.chosen else None
    if row is None or report.chosen is None:
        return span, root
    score = report.chosen[2]
    flags = (root(row), not root(row)) if era.root_bonus and row.uid == 0 else (False,)
    fits = [
        (total, flag)
        for total in sorted({span.least, span.most or 0} - {0})
        for flag in flags
        if _score(replace(_task(row, report, page_size), cap_sys_admin=flag), total, era, page_size) == score
    ]
    totals = {total for total, _ in fits}
    if len(totals) != 1:
        return span, root
    total, capable = fits[0]
    settled = _Span(total, total)
    if len(fits) > 1:
        return settled, root
    return settled, lambda other: capable if other.pid == row.pid else root(other)


def _score(task: Task, totalpages: int, era: Era, page_size: int) -> int | None:
    """The score of "Kill process ... score" (up to 5.0): per mille of totalpages."""
    points = oom_badness(task, totalpages, era, page_size)
    return None if points is None else points * 1000 // totalpages


# The choice made again.


def pgtables_bytes(row: TaskRow, report: OomReport, page_size: int) -> int:
    """A row's page tables in bytes: up to 4.14 the table counts them in pages."""
    in_pages = any(name in report.columns for name in ("nr_ptes", "nr_pmds"))
    return row.pgtables * page_size if in_pages else row.pgtables


def _table(report: OomReport, page_size: int) -> list[tuple[TaskRow, Task]]:
    return [(row, _task(row, report, page_size)) for row in report.rows.values()]


def _task(row: TaskRow, report: OomReport, page_size: int) -> Task:
    return Task(
        row.tgid,
        0,
        row.comm,
        ROOT,
        row.oom_score_adj,
        row.rss_pages,
        row.swap_pages or 0,
        pgtables_bytes(row, report, page_size),
        unkillable=_unkillable(row, report),
    )


def _unkillable(row: TaskRow, report: OomReport) -> Unkillable | None:
    if row.tgid == 1:
        return Unkillable.INIT
    # Killed a while ago and still listed: its memory was reaped, or the scan would have waited for it.
    if report.killed_before.get(row.pid) == row.comm and row.pid not in (
        _actual(report),
        *(k.pid for k in report.killed),
    ):
        return Unkillable.OOM_SKIP
    return None


def _ranked(table: Sequence[tuple[TaskRow, Task]], reading: _Reading, page_size: int) -> list[Ranked]:
    """The table, the one that select_bad_process() would choose first; those never chosen last."""
    era, known = reading.era, reading.span.known
    ranked = []
    for order, (row, plain) in enumerate(table):
        task = replace(plain, cap_sys_admin=True) if era.root_bonus and reading.root(row) else plain
        told = known is not None or not task.oom_score_adj
        points = oom_badness(task, known or 0, era, page_size) if told else None
        ranked.append(Ranked(row, task, points, not unkillable(task), order))
    total = reading.span.least if known is None else known
    ranked.sort(key=lambda candidate: _key(candidate, total, era, page_size), reverse=True)
    return ranked


def _key(candidate: Ranked, totalpages: int, era: Era, page_size: int) -> tuple[bool, int, int]:
    points = oom_badness(candidate.task, totalpages, era, page_size)
    order = candidate.order if era.tie is Tie.LAST else -candidate.order
    return points is not None, points or 0, order


def _first_at(ranked: Sequence[Ranked], totalpages: int, era: Era, page_size: int) -> Ranked | None:
    best = max(ranked, key=lambda candidate: _key(candidate, totalpages, era, page_size), default=None)
    return best if best is not None and best.eligible else None


def _winner(ranked: Sequence[Ranked], reading: _Reading, page_size: int) -> Ranked | None:
    """The one chosen whatever totalpages is within its bounds; None where it depends.

    Points grow linearly with totalpages: who is first at both ends is first between.
    """
    span = reading.span
    low = _first_at(ranked, span.least, reading.era, page_size)
    if span.known is not None or low is None:
        return low
    high = _first_at(ranked, span.most or _ENDLESS, reading.era, page_size)
    return low if high is not None and high.order == low.order else None


# How it compares.


def _is(candidate: Ranked, pid: int) -> bool:
    return pid in (candidate.row.pid, candidate.row.tgid)


def _agrees(report: OomReport, predicted: Ranked | None, ranked: Sequence[Ranked]) -> bool | None:
    actual = _actual(report)
    if actual is None:
        if report.no_killable and report.columns:
            return predicted is None
        return None
    if predicted is None:
        nobody = bool(ranked) and not any(candidate.eligible for candidate in ranked)
        return False if nobody else None
    return _is(predicted, actual)


def _because(
    report: OomReport,
    predicted: Ranked | None,
    ranked: Sequence[Ranked],
    reading: _Reading,
    alternatives: Iterator[_Reading],
    page_size: int,
) -> str:
    """Why the kernel took another than predicted, where the report tells."""
    actual = _actual(report)
    if report.allocating:
        return (
            "vm.oom_kill_allocating_task is set: the kernel took the process that asked, whatever its badness"
        )
    if actual is None or predicted is None:
        return UNDETERMINED
    if report.chosen and _is(predicted, report.chosen[0]):
        return (
            f"child sacrificed: {predicted.row.comm} ({report.chosen[0]}) was chosen as predicted, and a child of its "
            "died in its place, as kernels up to 5.0 do"
        )
    chosen = report.chosen[0] if report.chosen else actual
    taken = next((candidate for candidate in ranked if _is(candidate, chosen)), None)
    if taken is None:
        return f"task table truncated: pid {chosen}, which the kernel took, is not in it"
    for other in alternatives:
        winner = _winner(
            _ranked([(c.row, c.task) for c in sorted(ranked, key=_order)], other, page_size), other, page_size
        )
        if winner is not None and winner.order == taken.order:
            return other.why
    return (
        _by_capability(taken, ranked, reading, page_size)
        or _moved(report, predicted, taken, reading)
        or UNDETERMINED
    )


def _order(candidate: Ranked) -> int:
    return candidate.order


def _alternatives(
    report: OomReport, reading: _Reading, told: _Span, others: Sequence[Era]
) -> Iterator[_Reading]:
    """Other readings that the report leaves open, the likelier first."""
    for era in reversed(others):
        yield reading._replace(
            era=era,
            why=f"the kernel's release is not printed: by the rules of {era.releases} the choice is the kernel's",
        )
    release = report.kernel or ""
    if not reading.era.signed and _VENDOR.match(release):
        yield reading._replace(
            era=replace(reading.era, signed=True),
            why="the choice is that of signed badness (5.9), which stable 5.4.144 and vendors brought to older "
            f"kernels: {release} does not show whether it has it",
        )
    if told != reading.span and told.known is None:
        yield reading._replace(
            span=_Span(told.most or _ENDLESS, told.most or _ENDLESS),
            why="totalpages is larger than taken: the machine has swap, which a memory cgroup's report does not print",
        )
    if report.memory and report.memory.limit_kb is not None and reading.span.known is not None:
        limit = report.memory.limit_kb // 4
        if limit < reading.span.least:
            yield reading._replace(
                span=_Span(limit, limit),
                why="totalpages is the limit alone: swappiness, which is not printed, was 0",
            )


_VENDOR = re.compile(r"5\.4\.0-\d|4\.18\.0-\d+.*\.el8|5\.[3-8]\.\d+-\d{3,}")
"""Releases of vendors whose own number hides which fixes they carry."""


def _by_capability(taken: Ranked, ranked: Sequence[Ranked], reading: _Reading, page_size: int) -> str | None:
    if not reading.era.root_bonus:
        return None
    for mine in (False, True):
        flipped = [
            c._replace(
                task=replace(c.task, cap_sys_admin=c.row.uid == 0 and (mine if c is taken else not mine))
            )
            for c in ranked
        ]
        best = _winner(flipped, reading, page_size)
        if best is not None and best.order == taken.order:
            return (
                "capabilities are not printed: with CAP_SYS_ADMIN on other processes of uid 0 than taken here, "
                "whom kernels up to 4.16 forgive 3 %, the choice is the kernel's"
            )
    return None


def _moved(report: OomReport, predicted: Ranked, taken: Ranked, reading: _Reading) -> str | None:
    """Whether counters that moved between the choice and the printing explain a narrow margin."""
    if predicted.points is None or taken.points is None:
        return None
    margin = predicted.points - taken.points
    killed = next((k for k in report.killed if _is(taken, k.pid)), None)
    drift = 0
    if killed and killed.rss_kb is not None and killed.total_vm_kb and taken.row.total_vm:
        kb = max(round(killed.total_vm_kb / taken.row.total_vm), 1)
        drift = abs(killed.rss_kb // kb - taken.row.rss_pages)
    if margin <= drift:
        return (
            f"rss printed later than chosen: the two are {margin} pages apart, and the victim's rss moved by {drift} "
            "pages between the table and its kill"
        )
    if reading.era.rss_source is RssSource.STAT:
        cpus = (report.cpu or 0) + 1
        hidden = (max(32, 2 * cpus) - 1) * cpus * 4
        if margin <= hidden:
            return (
                f"rss printed later than chosen: the two are {margin} pages apart, and the per-CPU counters of "
                f"6.2 to 6.19 hold back up to {hidden} pages on {cpus} or more CPUs"
            )
    return None


def _next(report: OomReport, ranked: Sequence[Ranked], reading: _Reading, page_size: int) -> Ranked | None:
    """Who comes after those that died."""
    dead = {pid for pid, _ in _killed(report)}
    if not dead:
        return None
    return _winner([c for c in ranked if not {c.row.pid, c.row.tgid} & dead], reading, page_size)


# What would have changed it.


def _change(
    ranked: Sequence[Ranked],
    victim: Ranked | None,
    following: Ranked | None,
    reading: _Reading,
    page_size: int,
) -> Change | None:
    """The least changes, found by evaluating badness: it only falls with less memory or a lower oom_score_adj."""
    total = reading.span.known
    runner_up = next((c for c in ranked if c.eligible and c is not victim), None)
    if total is None or victim is None or runner_up is None or not victim.eligible:
        return None
    follower = following or runner_up

    def key(candidate: Ranked, task: Task) -> tuple[bool, int, int]:
        return _key(candidate._replace(task=task), total, reading.era, page_size)

    def lowered(adj: int) -> bool:
        return key(victim, replace(victim.task, oom_score_adj=victim.task.oom_score_adj - adj)) < key(
            runner_up, runner_up.task
        )

    def raised(adj: int) -> bool:
        return key(follower, replace(follower.task, oom_score_adj=follower.task.oom_score_adj + adj)) > key(
            victim, victim.task
        )

    def slimmer(pages: int) -> bool:
        return key(victim, replace(victim.task, rss_pages=victim.task.rss_pages - pages)) < key(
            runner_up, runner_up.task
        )

    def fatter(pages: int) -> bool:
        return key(follower, replace(follower.task, rss_pages=follower.task.rss_pages + pages)) > key(
            victim, victim.task
        )

    down = _least(lowered, victim.task.oom_score_adj - OOM_SCORE_ADJ_MIN)
    up = _least(raised, OOM_SCORE_ADJ_MAX - follower.task.oom_score_adj)
    less = _least(slimmer, victim.task.rss_pages + victim.task.swap_pages)
    more = _least(fatter, total)
    return Change(
        runner_up=runner_up,
        victim_oom_score_adj=None if down is None else victim.task.oom_score_adj - down,
        victim_bytes=None if less is None else less * page_size,
        next_oom_score_adj=None if up is None else follower.task.oom_score_adj + up,
        next_bytes=None if more is None else more * page_size,
    )


def _least(holds: Callable[[int], bool], most: int) -> int | None:
    """The smallest number from 1 to `most` from which on `holds`, None where it never does."""
    if most < 1 or not holds(most):
        return None
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
